"""Vectors are those of sentence-transformers, whatever modules its files list."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import (
    Dense,
    LayerNorm,
    Normalize,
    Pooling,
    Transformer,
)

from bertcli.engines import Hidden
from bertcli.engines.instant import Instant
from bertcli.engines.packed import Packed
from bertcli.errors import UsageError
from bertcli.models.check import quick_check
from bertcli.models.checkpoint import open_checkpoint
from bertcli.models.pooling import MODES
from bertcli.models.tokenizer import Tokenizer
from bertcli.requests import LongOptions
from bertcli.tasks.embed import Embed
from bertcli.tasks.pooling import TextVector
from tests.checkpoints import TEXTS, edit_json, write_json
from tests.conftest import Make
from tests.tasks.reference import answers

pytestmark = pytest.mark.slow

HIDDEN = 32
LONG = " ".join(TEXTS[:4])
FLAGS = {
    "cls": "pooling_mode_cls_token",
    "max": "pooling_mode_max_tokens",
    "mean": "pooling_mode_mean_tokens",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}


def save(
    base: Path,
    path: Path,
    modes: Sequence[str] = ("mean",),
    *modules: torch.nn.Module,
    prompt: str | None = None,
) -> SentenceTransformer:
    """A model of these modules, saved in `path`, and loaded again as its users do."""
    torch.manual_seed(1)
    for module in modules:
        for weight in module.parameters():
            torch.nn.init.normal_(weight, 0, 0.3)
    encoder = Transformer(str(base), max_seq_length=60)
    pooling = Pooling(HIDDEN, pooling_mode=list(modes), include_prompt=prompt is None)
    prompts = {} if prompt is None else {"ask": prompt}
    model = SentenceTransformer(
        modules=[encoder, pooling, *modules],
        device="cpu",
        prompts=prompts,
        default_prompt_name="ask" if prompts else None,
    )
    model.save_pretrained(str(path))
    return SentenceTransformer(str(path), device="cpu", local_files_only=True)


def assert_same(model: SentenceTransformer, path: Path) -> None:
    """Both engines give the vectors of sentence-transformers."""
    expected = model.encode(list(TEXTS), convert_to_numpy=True)
    checkpoint = open_checkpoint(path)
    assert quick_check(checkpoint, "embed") == []
    engines = [Packed(checkpoint, device="cpu", dtype="float32")]
    if Instant.supports(checkpoint) is None:
        engines.append(Instant(checkpoint))  # type: ignore[arg-type]
    for engine in engines:
        task = Embed(checkpoint, Tokenizer.of(checkpoint), LongOptions(long="truncate"))
        found = np.stack([each["embedding"] for each in answers(task, engine, TEXTS)])
        assert found.shape == expected.shape
        assert found == pytest.approx(expected, abs=1e-5), engine.name


def dense(into: int, out: int, **settings: Any) -> Dense:
    return Dense(into, out, **settings)


@pytest.mark.parametrize("family", ["bert", "mpnet"])
@pytest.mark.parametrize("mode", MODES)
def test_each_pooling(checkpoints: Make, tmp_path: Path, family: str, mode: str) -> None:
    assert_same(save(checkpoints(family), tmp_path, [mode]), tmp_path)


@pytest.mark.parametrize(
    "modes", [*itertools.combinations(MODES, 2), ("lasttoken", "mean", "cls"), MODES, MODES[::-1]]
)
def test_poolings_stand_side_by_side_in_their_order(
    checkpoints: Make, tmp_path: Path, modes: tuple[str, ...]
) -> None:
    assert_same(save(checkpoints("bert"), tmp_path, modes), tmp_path)


@pytest.mark.parametrize("modes", [["weightedmean"], ["lasttoken", "cls"], list(FLAGS)])
def test_flags_of_older_versions(checkpoints: Make, tmp_path: Path, modes: list[str]) -> None:
    save(checkpoints("bert"), tmp_path)
    flags = {flag: mode in modes for mode, flag in FLAGS.items()}
    write_json(tmp_path / "1_Pooling" / "config.json", {"word_embedding_dimension": HIDDEN, **flags})
    assert_same(SentenceTransformer(str(tmp_path), device="cpu", local_files_only=True), tmp_path)


@pytest.mark.parametrize("modes", [[mode] for mode in MODES] + [list(MODES)])
def test_prompts_that_are_not_pooled(checkpoints: Make, tmp_path: Path, modes: list[str]) -> None:
    assert_same(save(checkpoints("bert"), tmp_path, modes, prompt="the query: "), tmp_path)


CHAINS: dict[str, Callable[[], list[torch.nn.Module]]] = {
    "as LaBSE": lambda: [dense(HIDDEN, HIDDEN), Normalize()],
    "as distiluse": lambda: [dense(HIDDEN, 20)],
    "as sentence-t5": lambda: [
        dense(HIDDEN, 48, bias=False, activation_function=torch.nn.Identity()),
        Normalize(),
    ],
    "layer norm": lambda: [LayerNorm(HIDDEN)],
    "layer norm of several": lambda: [dense(HIDDEN, 12), LayerNorm(12), dense(12, 7), Normalize()],
    "a length in between": lambda: [Normalize(), dense(HIDDEN, 9)],
    "residual": lambda: [dense(HIDDEN, HIDDEN, use_residual=True)],
    "residual of another size": lambda: [dense(HIDDEN, 10, use_residual=True), Normalize(), Normalize()],
}


@pytest.mark.parametrize("chain", CHAINS)
def test_modules_behind_the_pooling(checkpoints: Make, tmp_path: Path, chain: str) -> None:
    assert_same(save(checkpoints("bert"), tmp_path, ["mean"], *CHAINS[chain]()), tmp_path)


@pytest.mark.parametrize("name", ["Identity", "Tanh", "ReLU", "GELU", "SiLU", "Sigmoid"])
def test_activations(checkpoints: Make, tmp_path: Path, name: str) -> None:
    module = dense(HIDDEN, 20, activation_function=getattr(torch.nn, name)())
    assert_same(save(checkpoints("bert"), tmp_path, ["mean"], module), tmp_path)


@pytest.mark.parametrize("path", [None, "custom.activations.Tanh", "os.system"])
def test_an_activation_that_is_not_torchs_is_tanh(
    checkpoints: Make, tmp_path: Path, path: str | None
) -> None:
    save(checkpoints("bert"), tmp_path, ["mean"], dense(HIDDEN, 20))
    config = json.loads((tmp_path / "2_Dense" / "config.json").read_text())
    del config["activation_function"]
    extra = {} if path is None else {"activation_function": path}
    write_json(tmp_path / "2_Dense" / "config.json", config | extra)
    assert_same(SentenceTransformer(str(tmp_path), device="cpu", local_files_only=True), tmp_path)


def test_a_wide_pooling_behind_a_narrow_module(checkpoints: Make, tmp_path: Path) -> None:
    model = save(checkpoints("bert"), tmp_path, ["cls", "max"], dense(2 * HIDDEN, 5))
    assert_same(model, tmp_path)
    checkpoint = open_checkpoint(tmp_path)
    with pytest.raises(UsageError, match="Dense module takes vectors of 64, and these have 32"):
        TextVector(checkpoint, Tokenizer.of(checkpoint), LongOptions(), pooling="mean")
    with pytest.raises(UsageError, match="not in the vectors") as caught:
        Embed(checkpoint, Tokenizer.of(checkpoint), LongOptions(), dim=6)
    assert caught.value.hint == "they have 5 dimensions"


# What cannot be


def change_dense(**changes: Any) -> Callable[[Path], None]:
    return lambda path: edit_json(path / "2_Dense" / "config.json", **changes)


def change_kind(kind: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        modules = json.loads((path / "modules.json").read_text())
        modules[2]["type"] = f"sentence_transformers.models.{kind}"
        write_json(path / "modules.json", modules)

    return change


def cut_weights(path: Path) -> None:
    file = path / "2_Dense" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-4])


def as_pickle(path: Path) -> None:
    (path / "2_Dense" / "model.safetensors").rename(path / "2_Dense" / "pytorch_model.bin")


REFUSED: dict[str, tuple[Callable[[Path], None], str]] = {
    "another module": (change_kind("CNN"), "a CNN module after the pooling"),
    "weights of another": (change_kind("LayerNorm"), "weights lack norm.weight (2_Dense)"),
    "activation": (
        change_dense(activation_function="torch.nn.modules.activation.Softplus"),
        "the activation torch.nn.modules.activation.Softplus",
    ),
    "tokens": (change_dense(module_input_name="token_embeddings"), "a Dense module from token_embeddings"),
    "elsewhere": (change_dense(module_output_name="other"), "from sentence_embedding to other"),
    "sizes": (change_dense(in_features=31), "differ in size (2_Dense)"),
    "no residual": (change_dense(use_residual=True), "weights lack residual.weight"),
    "no weights": (
        lambda path: (path / "2_Dense" / "model.safetensors").unlink(),
        "without weights (2_Dense)",
    ),
    "cut": (cut_weights, "weights are damaged (2_Dense: model.safetensors is cut short"),
    "pickle": (as_pickle, "weights are a pickle (2_Dense/pytorch_model.bin"),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_is_not_computed_is_refused_by_name(checkpoints: Make, tmp_path: Path, reason: str) -> None:
    save(checkpoints("bert"), tmp_path, ["mean"], dense(HIDDEN, 20))
    edit, words = REFUSED[reason]
    edit(tmp_path)
    (finding,) = quick_check(open_checkpoint(tmp_path), "embed")
    assert finding.refuses
    assert words in finding.message


def test_a_module_that_changed_changes_the_fingerprint(checkpoints: Make, tmp_path: Path) -> None:
    save(checkpoints("bert"), tmp_path, ["mean"], dense(HIDDEN, 20))
    before = open_checkpoint(tmp_path).fingerprint()
    file = tmp_path / "2_Dense" / "model.safetensors"
    data = file.read_bytes()
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert open_checkpoint(tmp_path).fingerprint() != before


# Long texts


@pytest.mark.parametrize("overlap", [0, 5])
@pytest.mark.parametrize("mode", MODES)
def test_a_long_text_is_pooled_as_a_whole(checkpoints: Make, mode: Any, overlap: int) -> None:
    """Each token counts once, with its place in the whole text."""
    checkpoint = open_checkpoint(checkpoints("bert"))
    tokenizer = Tokenizer.of(checkpoint)
    text = TextVector(checkpoint, tokenizer, LongOptions(max_length=20, overlap=overlap), pooling=mode)
    windows = text.encode(LONG).windows
    assert len(windows) > 3
    for engine in (Packed(checkpoint, device="cpu", dtype="float32"), Instant(checkpoint)):
        states = engine.forward(windows, Hidden())
        fresh = [state[slice(*window.fresh)] for state, window in zip(states, windows, strict=True)]
        whole = np.concatenate(fresh)
        assert len(whole) == len(tokenizer.encode(LONG).ids) + 2
        places = np.arange(1, len(whole) + 1)[:, None]
        expected = {
            "mean": whole.mean(0),
            "mean_sqrt_len_tokens": whole.sum(0) / np.sqrt(len(whole)),
            "weightedmean": (whole * places).sum(0) / places.sum(),
            "max": whole.max(0),
            "cls": whole[0],
            "lasttoken": whole[-1],
        }[mode]
        found = text.combine(windows, engine.forward(windows, text.ask))
        assert found == pytest.approx(expected, abs=1e-5), engine.name
