from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bertcli.engines import Hidden, MaskLogits, Pooled, SequenceLogits, TokenLogits
from bertcli.engines.instant import Instant
from bertcli.engines.instant.arithmetic import ACTIVATIONS, gelu, softmax
from bertcli.errors import EngineError
from bertcli.models.checkpoint import Checkpoint, open_checkpoint
from tests.checkpoints import edit_json
from tests.conftest import Make
from tests.engines import oracle
from tests.engines.windows import make_windows

TOLERANCE = 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("layers", [1, 2, 12])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_hidden_states_are_those_of_transformers(checkpoints: Make, layers: int, dtype: str) -> None:
    path = checkpoints("bert", num_hidden_layers=layers, dtype=dtype)
    checkpoint = open_checkpoint(path)
    windows = make_windows(checkpoint)
    for layer in (0, layers // 2, -1):
        expected = [oracle.hidden(path, "base", window, layer) for window in windows]
        assert oracle.difference(Instant(checkpoint).forward(windows, Hidden(layer)), expected) < TOLERANCE


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_every_activation_is_that_of_transformers(checkpoints: Make, activation: str) -> None:
    path = checkpoints("bert", hidden_act=activation)
    checkpoint = open_checkpoint(path)
    windows = make_windows(checkpoint)
    expected = [oracle.hidden(path, "base", window) for window in windows]
    assert oracle.difference(Instant(checkpoint).forward(windows, Hidden()), expected) < TOLERANCE


def test_label_head(checkpoints: Make) -> None:
    path = checkpoints("bert", "label", labels=("a", "b", "c"))
    checkpoint = open_checkpoint(path)
    windows = make_windows(checkpoint)
    expected = [oracle.logits(path, "label", window) for window in windows]
    answers = Instant(checkpoint).forward(windows, SequenceLogits(checkpoint.head("label")))
    assert oracle.difference(answers, expected) < TOLERANCE


def test_tag_head(checkpoints: Make) -> None:
    path = checkpoints("bert", "tag", labels=("O", "B", "I"))
    checkpoint = open_checkpoint(path)
    windows = make_windows(checkpoint)
    expected = [oracle.logits(path, "tag", window) for window in windows]
    answers = Instant(checkpoint).forward(windows, TokenLogits(checkpoint.head("tag")))
    assert oracle.difference(answers, expected) < TOLERANCE


@pytest.mark.parametrize("tied", [True, False])
def test_fill_head(checkpoints: Make, tied: bool) -> None:
    path = checkpoints("bert", "fill", tie_word_embeddings=tied)
    checkpoint = open_checkpoint(path)
    windows = make_windows(checkpoint)
    expected = [oracle.logits(path, "fill", window)[list(window.masks)] for window in windows]
    answers = Instant(checkpoint).forward(windows, MaskLogits(checkpoint.head("fill")))
    assert oracle.difference(answers, expected) < TOLERANCE


def test_a_projection_of_its_own_is_used_though_the_configuration_ties_it(checkpoint_copy: Make) -> None:
    path = checkpoint_copy("bert", "fill", tie_word_embeddings=False)
    edit_json(path / "config.json", tie_word_embeddings=True)
    checkpoint = open_checkpoint(path)
    windows = make_windows(checkpoint)
    expected = [oracle.logits(path, "fill", window)[list(window.masks)] for window in windows]
    answers = Instant(checkpoint).forward(windows, MaskLogits(checkpoint.head("fill")))
    assert oracle.difference(answers, expected) < TOLERANCE


def test_named_heads(checkpoints: Make) -> None:
    path = checkpoints("skills")
    checkpoint = open_checkpoint(path)
    windows = make_windows(checkpoint)
    engine = Instant(checkpoint)
    for name, head in checkpoint.heads.items():
        if head.kind == "fill":
            continue
        ask = SequenceLogits(head) if head.kind == "label" else TokenLogits(head)
        expected = [oracle.skill(path, checkpoint, name, window) for window in windows]
        assert oracle.difference(engine.forward(windows, ask), expected) < TOLERANCE, name


@pytest.fixture(scope="module")
def small(checkpoints: Make) -> Checkpoint:
    return open_checkpoint(checkpoints("bert"))


@pytest.mark.parametrize("mode", ["mean", "max", "cls"])
def test_pooling_runs_over_fresh_positions(small: Checkpoint, mode: str) -> None:
    windows = make_windows(small)
    engine = Instant(small)
    states = engine.forward(windows, Hidden(1))
    expected = [oracle.pooled(state, window, mode) for state, window in zip(states, windows, strict=True)]
    assert oracle.difference(engine.forward(windows, Pooled(mode, 1)), expected) < TOLERANCE  # type: ignore[arg-type]


@settings(deadline=None, max_examples=25)
@given(lengths=st.lists(st.integers(3, 30), max_size=8), seed=st.integers(0, 3))
def test_company_never_changes_an_answer(small: Checkpoint, lengths: list[int], seed: int) -> None:
    windows = make_windows(small, lengths, seed)
    engine = Instant(small)
    alone = [engine.forward([window], Hidden())[0] for window in windows]
    assert oracle.difference(engine.forward(windows, Hidden()), alone) < 1e-5


def test_a_later_call_changes_no_earlier_answer(small: Checkpoint) -> None:
    engine = Instant(small)
    first, second = make_windows(small, [9, 9])
    (answer,) = engine.forward([first], Hidden(0))
    copy = answer.copy()
    engine.forward([second], Hidden())
    assert (answer == copy).all()


@pytest.mark.parametrize("layer", [3, -4])
def test_a_layer_that_is_not_there(small: Checkpoint, layer: int) -> None:
    with pytest.raises(EngineError, match=f"no layer {layer}"):
        Instant(small).forward(make_windows(small), Hidden(layer))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model_type": "xmod"}, "xmod model"),
        ({"is_decoder": True}, "decoder"),
        ({"position_embedding_type": "relative_key"}, "relative"),
        ({"hidden_act": "mish"}, "mish"),
    ],
)
def test_what_it_cannot_run_is_said(checkpoint_copy: Make, change: dict[str, object], reason: str) -> None:
    path = checkpoint_copy("bert")
    edit_json(path / "config.json", **change)
    checkpoint = open_checkpoint(path)
    assert reason in (Instant.supports(checkpoint) or "")
    with pytest.raises(EngineError, match=reason):
        Instant(checkpoint)


def test_it_imports_neither_torch_nor_transformers(checkpoints: Make) -> None:
    program = (
        "import sys; from pathlib import Path;"
        "from bertcli.engines import Hidden; from bertcli.engines.instant import Instant;"
        "from bertcli.models.checkpoint import open_checkpoint; from bertcli.records import Window;"
        "Instant(open_checkpoint(Path(sys.argv[1]))).forward([Window([5, 6, 7])], Hidden());"
        "print({'torch', 'transformers', 'scipy'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, checkpoints("bert")], capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("set()\n", "")


def test_gelu_is_exact_to_the_precision_of_float32() -> None:
    x = np.linspace(-12, 12, 100_001, dtype=np.float32)
    exact = np.array([value / 2 * (1 + math.erf(value / math.sqrt(2))) for value in x.tolist()])
    assert np.abs(gelu(x) - exact).max() < 1e-6


def test_softmax_survives_large_numbers() -> None:
    x = np.array([[1e4, 1e4 - 1, -1e4], [-1e4, -1e4, -1e4]], dtype=np.float32)
    expected = torch.softmax(torch.tensor(x), -1).numpy()
    assert np.allclose(softmax(x), expected, atol=1e-6)


def test_several_asks_are_answered_as_one_by_one(checkpoints: Make) -> None:
    path = checkpoints("skills")
    checkpoint = open_checkpoint(path)
    engine = Instant(checkpoint)
    windows = make_windows(checkpoint)
    sentiment, topics = checkpoint.heads_of("label")
    asks = [SequenceLogits(sentiment), Pooled("mean"), SequenceLogits(topics), Hidden(1), Pooled("cls", 0)]
    asks += [MaskLogits(checkpoint.head("fill"))]
    for ask, found in zip(asks, engine.forward_all(windows, asks), strict=True):
        assert oracle.difference(found, engine.forward(windows, ask)) < 1e-6, ask
