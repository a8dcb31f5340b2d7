from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch.utils._python_dispatch import TorchDispatchMode

from bertcli.engines import Hidden, MaskLogits, Pooled, SequenceLogits, TokenLogits, device, linear
from bertcli.engines.fused import FusedModel
from bertcli.engines.packed import Packed
from bertcli.engines.rounding import rounded_length
from bertcli.engines.transformers_backend import TransformersModel
from bertcli.errors import EngineError
from bertcli.models.check import quick_check
from bertcli.models.checkpoint import Checkpoint, open_checkpoint
from tests.checkpoints import FAMILIES, edit_json
from tests.conftest import Make
from tests.engines import oracle
from tests.engines.calibrated import open_packed
from tests.engines.windows import make_windows

pytestmark = pytest.mark.slow

TOLERANCE = 1e-4


def make_engine(path: Path, dtype: str = "float32") -> tuple[Packed, Checkpoint]:
    checkpoint = open_checkpoint(path)
    return open_packed(checkpoint, dtype), checkpoint


@pytest.mark.parametrize("family", FAMILIES)
def test_hidden_states_are_those_of_transformers(checkpoints: Make, family: str) -> None:
    path = checkpoints(family)
    engine, checkpoint = make_engine(path)
    windows = make_windows(checkpoint)
    for layer in (0, 1, 2, -1, -2, -3):
        expected = [oracle.hidden(path, "base", window, layer) for window in windows]
        assert oracle.difference(engine.forward(windows, Hidden(layer)), expected) < TOLERANCE, layer


OF_THE_FAMILY = ("bert", "roberta", "xlm-roberta", "camembert", "electra", "distilbert", "albert")


@pytest.mark.parametrize("family", FAMILIES)
def test_described_encoders_are_not_run_by_transformers(checkpoints: Make, family: str) -> None:
    engine, _ = make_engine(checkpoints(family))
    assert type(engine._model) is FusedModel


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert"])
def test_what_the_family_does_not_know_is_run_by_transformers(checkpoints: Make, family: str) -> None:
    name = "activation" if family == "distilbert" else "hidden_act"
    path = checkpoints(family, "label", **{name: "mish"})
    engine, checkpoint = make_engine(path)
    assert type(engine._model) is TransformersModel
    windows = make_windows(checkpoint)
    expected = [oracle.logits(path, "label", window) for window in windows]
    answers = engine.forward(windows, SequenceLogits(checkpoint.head("label")))
    assert oracle.difference(answers, expected) < TOLERANCE


@pytest.mark.parametrize("activation", ["relu", "gelu_new", "gelu_pytorch_tanh", "silu", "swish"])
def test_activations(checkpoints: Make, activation: str) -> None:
    path = checkpoints("bert", hidden_act=activation)
    engine, checkpoint = make_engine(path)
    assert type(engine._model) is FusedModel
    windows = make_windows(checkpoint)
    expected = [oracle.hidden(path, "base", window) for window in windows]
    assert oracle.difference(engine.forward(windows, Hidden()), expected) < TOLERANCE


@pytest.mark.parametrize("family", OF_THE_FAMILY)
def test_layer_norms_heed_the_configuration_where_transformers_does(checkpoints: Make, family: str) -> None:
    path = checkpoints(family, "fill", layer_norm_eps=0.1)
    engine, checkpoint = make_engine(path)
    windows = make_windows(checkpoint)
    expected = [oracle.logits(path, "fill", window)[list(window.masks)] for window in windows]
    answers = engine.forward(windows, MaskLogits(checkpoint.head("fill")))
    assert oracle.difference(answers, expected) < TOLERANCE


@pytest.mark.parametrize("family", FAMILIES)
def test_label_heads(checkpoints: Make, family: str) -> None:
    path = checkpoints(family, "label", labels=("a", "b", "c"))
    engine, checkpoint = make_engine(path)
    windows = make_windows(checkpoint)
    expected = [oracle.logits(path, "label", window) for window in windows]
    answers = engine.forward(windows, SequenceLogits(checkpoint.head("label")))
    assert oracle.difference(answers, expected) < TOLERANCE


def test_label_head_on_the_mean(checkpoints: Make) -> None:
    path = checkpoints("modernbert", "label", classifier_pooling="mean")
    engine, checkpoint = make_engine(path)
    windows = make_windows(checkpoint)
    expected = [oracle.logits(path, "label", window) for window in windows]
    answers = engine.forward(windows, SequenceLogits(checkpoint.head("label")))
    assert oracle.difference(answers, expected) < TOLERANCE


@pytest.mark.parametrize("family", FAMILIES)
def test_tag_heads(checkpoints: Make, family: str) -> None:
    path = checkpoints(family, "tag", labels=("O", "B", "I"))
    engine, checkpoint = make_engine(path)
    windows = make_windows(checkpoint)
    expected = [oracle.logits(path, "tag", window) for window in windows]
    assert (
        oracle.difference(engine.forward(windows, TokenLogits(checkpoint.head("tag"))), expected) < TOLERANCE
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_fill_heads(checkpoints: Make, family: str) -> None:
    path = checkpoints(family, "fill")
    engine, checkpoint = make_engine(path)
    windows = make_windows(checkpoint)
    expected = [oracle.logits(path, "fill", window)[list(window.masks)] for window in windows]
    assert (
        oracle.difference(engine.forward(windows, MaskLogits(checkpoint.head("fill"))), expected) < TOLERANCE
    )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize("family", OF_THE_FAMILY)
def test_company_changes_no_bit(checkpoints: Make, family: str, dtype: str) -> None:
    """Of an engine that calls itself batch_invariant, so that answers may be kept and computed again."""
    checkpoint = open_checkpoint(checkpoints(family, "label", labels=("a", "b")))
    engine = open_packed(checkpoint, dtype)
    if not engine.batch_invariant:
        pytest.skip("this machine's matrix products are not oneDNN's, or it has AMX")
    windows = make_windows(checkpoint, [3, 3, 5, 9, 14, 20, 31, 40])
    for ask in (Hidden(), Pooled("mean"), SequenceLogits(checkpoint.head("label"))):
        together = engine.forward(windows, ask)
        for window, answer in zip(windows, together, strict=True):
            assert np.array_equal(engine.forward([window], ask)[0], answer)
            assert np.array_equal(engine.forward([*windows[2:], window], ask)[-1], answer)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
def test_company_changes_no_bit_where_by_chance_one_token_is_read(checkpoints: Make, dtype: str) -> None:
    """A window with one mask, or with one new token behind a long overlap, alone and beside one that has more."""
    checkpoint = open_checkpoint(checkpoints("bert", "fill"))
    engine = open_packed(checkpoint, dtype)
    if not engine.batch_invariant:
        pytest.skip("this machine's matrix products are not oneDNN's, or it has AMX")
    first, second = make_windows(checkpoint, [20, 20])
    one = replace(first, masks=(7,), fresh=(5, 6))
    more = replace(second, masks=(7, 9), fresh=(1, 19))
    for ask in (MaskLogits(checkpoint.head("fill")), Pooled("mean"), Pooled("max")):
        alone = engine.forward([one], ask)[0]
        assert np.array_equal(engine.forward([one, more], ask)[0], alone)


def test_bfloat16_with_amx_is_not_batch_invariant(checkpoints: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """There the number of rows decides in which order large products are added up."""
    checkpoint = open_checkpoint(checkpoints("bert", "fill"))
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    assert not Packed(checkpoint, device="cpu", dtype="bfloat16").batch_invariant
    with_float32 = Packed(checkpoint, device="cpu", dtype="float32").batch_invariant
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert Packed(checkpoint, device="cpu", dtype="float32").batch_invariant == with_float32


def test_what_is_padded_is_not_batch_invariant(checkpoints: Make) -> None:
    assert not Packed(open_checkpoint(checkpoints("mpnet"))).batch_invariant


@pytest.mark.parametrize("tied", [True, False])
def test_a_fill_head_without_a_bias(checkpoints: Make, tied: bool) -> None:
    path = checkpoints("modernbert", "fill", decoder_bias=False, tie_word_embeddings=tied)
    engine, checkpoint = make_engine(path)
    assert quick_check(checkpoint, "fill") == []
    windows = make_windows(checkpoint)
    expected = [oracle.logits(path, "fill", window)[list(window.masks)] for window in windows]
    answers = engine.forward(windows, MaskLogits(checkpoint.head("fill")))
    assert oracle.difference(answers, expected) < TOLERANCE


@pytest.mark.parametrize("family", OF_THE_FAMILY)
def test_a_projection_of_its_own(checkpoints: Make, family: str) -> None:
    path = checkpoints(family, "fill", tie_word_embeddings=False)
    engine, checkpoint = make_engine(path)
    windows = make_windows(checkpoint)
    expected = [oracle.logits(path, "fill", window)[list(window.masks)] for window in windows]
    answers = engine.forward(windows, MaskLogits(checkpoint.head("fill")))
    assert oracle.difference(answers, expected) < TOLERANCE


@pytest.mark.parametrize("family", FAMILIES)
def test_a_projection_of_its_own_is_used_though_the_configuration_ties_it(
    checkpoint_copy: Make, family: str
) -> None:
    path = checkpoint_copy(family, "fill", tie_word_embeddings=False)
    edit_json(path / "config.json", tie_word_embeddings=True)
    engine, checkpoint = make_engine(path)
    windows = make_windows(checkpoint)
    expected = [oracle.logits(path, "fill", window)[list(window.masks)] for window in windows]
    answers = engine.forward(windows, MaskLogits(checkpoint.head("fill")))
    assert oracle.difference(answers, expected) < TOLERANCE


def test_named_heads(checkpoints: Make) -> None:
    path = checkpoints("skills")
    engine, checkpoint = make_engine(path)
    windows = make_windows(checkpoint)
    for name, head in checkpoint.heads.items():
        if head.kind != "fill":
            ask = SequenceLogits(head) if head.kind == "label" else TokenLogits(head)
            expected = [oracle.skill(path, checkpoint, name, window) for window in windows]
            assert oracle.difference(engine.forward(windows, ask), expected) < TOLERANCE, name


@pytest.mark.parametrize(
    "settings", [{"inner_group_num": 2}, {"num_hidden_groups": 2, "num_hidden_layers": 4}]
)
def test_albert_shares_layers_as_its_configuration_says(checkpoints: Make, settings: dict[str, int]) -> None:
    path = checkpoints("albert", **settings)
    engine, checkpoint = make_engine(path)
    windows = make_windows(checkpoint)
    expected = [oracle.hidden(path, "base", window) for window in windows]
    assert oracle.difference(engine.forward(windows, Hidden()), expected) < TOLERANCE


@pytest.mark.parametrize("activation", ["gelu", "mish"])  # the family's own model, and transformers'
@pytest.mark.parametrize("family", ["bert", "roberta", "xlm-roberta", "camembert", "electra"])
def test_a_token_of_the_text_that_is_the_padding(checkpoints: Make, family: str, activation: str) -> None:
    """RoBERTa counts positions without it; XLM-R models with one token for both the padding and the unknown
    have it in their texts."""
    path = checkpoints(family, pad_token_id=3, max_position_embeddings=70, hidden_act=activation)
    engine, checkpoint = make_engine(path)
    lengths = (7, 3, 12, 7)
    windows = [
        replace(window, ids=[3 if place % 4 == 1 else each for place, each in enumerate(window.ids)])
        for window in make_windows(checkpoint, lengths)
    ]
    windows.append(replace(windows[0], ids=[3] * 7))
    expected = [oracle.hidden(path, "base", window) for window in windows]
    assert oracle.difference(engine.forward(windows, Hidden()), expected) < TOLERANCE


@pytest.mark.parametrize("mode", ["mean", "max", "cls"])
@pytest.mark.parametrize("family", ["bert", "mpnet"])
def test_pooling_runs_over_fresh_positions(checkpoints: Make, family: str, mode: str) -> None:
    engine, checkpoint = make_engine(checkpoints(family))
    windows = make_windows(checkpoint)
    states = engine.forward(windows, Hidden(1))
    expected = [oracle.pooled(state, window, mode) for state, window in zip(states, windows, strict=True)]
    assert oracle.difference(engine.forward(windows, Pooled(mode, 1)), expected) < TOLERANCE  # type: ignore[arg-type]


@pytest.mark.parametrize("family", ["bert", "distilbert", "albert"])
def test_torchs_own_operations_give_the_same(
    checkpoints: Make, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = checkpoints(family)
    monkeypatch.setattr(linear, "onednn_takes", lambda dtype, device: False)
    engine, checkpoint = make_engine(path)
    windows = make_windows(checkpoint)
    expected = [oracle.hidden(path, "base", window) for window in windows]
    assert oracle.difference(engine.forward(windows, Hidden()), expected) < TOLERANCE


@pytest.mark.parametrize("family", ["bert", "modernbert", "deberta-v2"])
def test_settings_of_other_devices_give_the_same(
    checkpoints: Make, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = checkpoints(family)
    engine, checkpoint = make_engine(path)
    windows = make_windows(checkpoint)
    expected = [oracle.hidden(path, "base", window) for window in windows]
    for other in ("cuda", "mps"):
        for table in (device.ATTENTION_STEP, device.UNEVEN, device.ROUND_ROWS):
            monkeypatch.setitem(table, "cpu", table[other])
        assert oracle.difference(engine.forward(windows, Hidden()), expected) < TOLERANCE, other


@pytest.fixture(scope="module", params=["bert", "modernbert", "mpnet"])
def some(checkpoints: Make, request: pytest.FixtureRequest) -> tuple[Packed, Checkpoint]:
    return make_engine(checkpoints(request.param))


@settings(deadline=None, max_examples=15)
@given(lengths=st.lists(st.integers(3, 30), max_size=8), seed=st.integers(0, 3))
def test_company_never_changes_an_answer(
    some: tuple[Packed, Checkpoint], lengths: list[int], seed: int
) -> None:
    engine, checkpoint = some
    windows = make_windows(checkpoint, lengths, seed)
    alone = [engine.forward([window], Hidden())[0] for window in windows]
    assert oracle.difference(engine.forward(windows, Hidden()), alone) < 1e-5


@pytest.mark.parametrize("family", OF_THE_FAMILY)
def test_a_pack_with_one_read_row_in_each_window_is_answered_as_one_with_more(
    checkpoints: Make, family: str
) -> None:
    engine, checkpoint = make_engine(checkpoints(family, "fill"))
    ask = MaskLogits(checkpoint.head("fill"))
    two = make_windows(checkpoint)
    one = [replace(window, masks=window.masks[number % 2 :][:1]) for number, window in enumerate(two)]
    expected = [rows[number % 2 :][:1] for number, rows in enumerate(engine.forward(two, ask))]
    answers = engine.forward(one, ask)
    assert [len(rows) for rows in answers] == [1] * len(one)
    assert oracle.difference(answers, expected) < TOLERANCE


def test_threads_do_not_disturb_each_other(checkpoints: Make) -> None:
    engine, checkpoint = make_engine(checkpoints("bert"))
    packs = [make_windows(checkpoint, range(3, 3 + size), size) for size in range(1, 25)]
    expected = [engine.forward(pack, Hidden()) for pack in packs]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda pack: engine.forward(pack, Hidden()), packs * 3))
    for answer, each in zip(answers, expected * 3, strict=True):
        assert oracle.difference(answer, each) < 1e-5


def test_a_worker_has_one_torch_thread(checkpoints: Make) -> None:
    engine, checkpoint = make_engine(checkpoints("bert"))
    with ThreadPoolExecutor(1) as pool:
        pool.submit(engine.forward, make_windows(checkpoint), Hidden()).result()
        assert pool.submit(torch.get_num_threads).result() == 1


class Sizes(TorchDispatchMode):
    """Notes the sizes of matrix products: rows of those with weights, counts and lengths of attention's."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: set[int] = set()
        self.attention: set[tuple[int, int]] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func)
        if name.startswith(("mkldnn._linear_pointwise", "aten.addmm", "aten.mm")):
            self.rows.add(args[0].shape[:-1].numel() if name.startswith("mkldnn") else args[-2].shape[0])
        elif name.startswith(("aten.bmm", "aten.baddbmm")):
            self.attention.add(tuple(args[-2].shape[:2]))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("family", ["skills", "roberta", "modernbert", "mpnet"])
def test_products_have_few_sizes(checkpoints: Make, family: str) -> None:
    """oneDNN keeps a kernel for each: with sizes as they come, memory grew with the input."""
    engine, checkpoint = make_engine(checkpoints(family), "bfloat16")
    chance = np.random.default_rng(0)
    heads = [head for head in checkpoint.heads.values() if head.kind in ("label", "tag")]
    asks = [SequenceLogits(head) if head.kind == "label" else TokenLogits(head) for head in heads]
    with Sizes() as sizes:
        for _ in range(40):
            lengths = chance.integers(3, 60, chance.integers(1, 90))
            engine.forward_all(make_windows(checkpoint, lengths.tolist()), asks or [Pooled("mean")])
    assert 1 < len(sizes.rows) < 60
    assert all(length == rounded_length(length) for _, length in sizes.attention)
    assert len(sizes.attention) < 110
    assert sizes.attention or family == "mpnet"  # whose attention is torch's own


@pytest.mark.parametrize("family", FAMILIES)
def test_bfloat16_points_the_same_way(checkpoints: Make, family: str) -> None:
    path = checkpoints(family)
    engine, checkpoint = make_engine(path, "bfloat16")
    windows = make_windows(checkpoint)
    for window, answer in zip(windows, engine.forward(windows, Pooled("mean")), strict=True):
        expected = oracle.pooled(oracle.hidden(path, "base", window), window, "mean")
        cosine = answer @ expected / np.linalg.norm(answer) / np.linalg.norm(expected)
        assert cosine > 0.995
    assert engine.dtype == "bfloat16"


@pytest.mark.parametrize("family", OF_THE_FAMILY)
def test_int8_points_nearly_the_same_way(checkpoints: Make, family: str) -> None:
    path = checkpoints(family)
    engine, checkpoint = make_engine(path, "int8")
    windows = make_windows(checkpoint)
    for window, answer in zip(windows, engine.forward(windows, Pooled("mean")), strict=True):
        expected = oracle.pooled(oracle.hidden(path, "base", window), window, "mean")
        cosine = answer @ expected / np.linalg.norm(answer) / np.linalg.norm(expected)
        assert cosine > 0.99
    assert engine.dtype == "int8"


def test_int8_is_for_architectures_like_bert_and_for_cpus(checkpoints: Make) -> None:
    with pytest.raises(EngineError, match="int8 is for architectures like BERT"):
        make_engine(checkpoints("mpnet"), "int8")
    with pytest.raises(EngineError, match="int8 is for CPUs"):
        device.choose_dtype("int8", torch.device("cuda"))


def test_nothing_asked_nothing_answered(some: tuple[Packed, Checkpoint]) -> None:
    assert some[0].forward([], Hidden()) == []


def test_a_layer_that_is_not_there(some: tuple[Packed, Checkpoint]) -> None:
    with pytest.raises(EngineError, match="no layer 3"):
        some[0].forward(make_windows(some[1]), Hidden(3))


def drop_weight(path: Path, ending: str) -> None:
    weights = load_file(path / "model.safetensors")
    kept = {name: weight for name, weight in weights.items() if not name.endswith(ending)}
    assert len(kept) == len(weights) - 1
    save_file(kept, path / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize("kind", ["label", "fill"])
def test_weights_are_never_made_up(checkpoint_copy: Make, kind: str) -> None:
    path = checkpoint_copy("bert", kind)
    drop_weight(path, "encoder.layer.1.output.dense.weight")
    with pytest.raises(EngineError, match=r"lacks weights .*encoder\.layer\.1\.output\.dense\.weight"):
        make_engine(path)


def test_a_head_that_was_never_trained_is_not_made_up(checkpoints: Make, checkpoint_copy: Make) -> None:
    path = checkpoint_copy("bert", "label")
    drop_weight(path, "classifier.weight")
    engine, checkpoint = make_engine(path)
    windows = make_windows(checkpoint)
    assert len(engine.forward(windows, Hidden())) == len(windows)
    with pytest.raises(EngineError, match=r"lacks weights .*classifier\.weight"):
        engine.forward(windows, SequenceLogits(checkpoint.head("label")))


def test_loading_is_silent(checkpoints: Make, capfd: pytest.CaptureFixture[str]) -> None:
    path = checkpoints("bert", "fill")  # has no pooler: transformers would report it
    engine, checkpoint = make_engine(path)
    engine.forward(make_windows(checkpoint), Hidden())
    assert capfd.readouterr() == ("", "")


def test_several_asks_are_answered_as_one_by_one(checkpoints: Make) -> None:
    path = checkpoints("skills")
    checkpoint = open_checkpoint(path)
    engine = Packed(checkpoint, device="cpu", dtype="float32")
    windows = make_windows(checkpoint)
    sentiment, topics = checkpoint.heads_of("label")
    asks = [SequenceLogits(sentiment), Pooled("mean"), SequenceLogits(topics), Hidden(1), Pooled("cls", 0)]
    asks += [MaskLogits(checkpoint.head("fill"))]
    for ask, found in zip(asks, engine.forward_all(windows, asks), strict=True):
        assert oracle.difference(found, engine.forward(windows, ask)) < 1e-5, ask
