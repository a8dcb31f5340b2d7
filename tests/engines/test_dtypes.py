"""Answers in bfloat16 and int8: the encoder computes in them, heads and pooling in float32."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from bertcli.engines import Hidden, MaskLogits, Pooled, SequenceLogits, TokenLogits
from bertcli.engines.loading import load_encoder_and_head
from bertcli.engines.packed import Packed
from bertcli.models.checkpoint import Checkpoint, open_checkpoint
from bertcli.models.heads import Kind
from bertcli.records import Window
from tests.checkpoints import FAMILIES, FOREIGN
from tests.conftest import Make
from tests.engines import oracle
from tests.engines.calibrated import open_packed
from tests.engines.test_packed import OF_THE_FAMILY
from tests.engines.test_transformers_backend import FLOAT32_ALONE
from tests.engines.windows import make_windows

LAST_ROWS_ALONE = ("data2vec-text", "ernie")
"""Like BERT: the last layer computes only the rows that a head reads, which round otherwise than among all rows."""

pytestmark = pytest.mark.slow

LENGTHS = [3 + number % 30 for number in range(60)]
NOISE = {"bfloat16": 0.05, "int8": 0.1}  # of the answers' range: what an encoder of two layers adds
DTYPES = [(family, "bfloat16") for family in FAMILIES] + [(family, "int8") for family in OF_THE_FAMILY]


def states_of(engine: Packed, windows: list[Window]) -> list[np.ndarray]:
    """The hidden states that the heads read, (tokens, hidden)."""
    return engine.forward(windows, Hidden())


def by_transformers(checkpoint: Checkpoint, kind: Kind, states: list[np.ndarray]) -> list[np.ndarray]:
    """What transformers' own head makes of hidden states in float32."""
    _, head = load_encoder_and_head(checkpoint, kind, torch.float32, torch.device("cpu"), None)
    with torch.inference_mode():
        return [head(inputs_embeds=torch.tensor(each)[None]).logits[0].numpy() for each in states]


def scale_head(path: Path, scale: float, bias: float) -> None:
    """Multiply the weight of the layer with one output, and set its bias."""
    weights = load_file(path / "model.safetensors")
    (name,) = [name for name, weight in weights.items() if weight.shape == (1,)]
    weights[name].fill_(bias)
    weights[name.replace("bias", "weight")] *= scale
    save_file(weights, path / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize(("family", "dtype"), DTYPES)
def test_a_regression_keeps_its_digits(checkpoint_copy: Make, family: str, dtype: str) -> None:
    """Years: a bias of 1950, where two numbers of bfloat16 are 8 apart, and a scale of 30."""
    path = checkpoint_copy(family, "label", labels=("year",), problem_type="regression")
    scale_head(path, 30, 1950)
    checkpoint = open_checkpoint(path)
    windows = make_windows(checkpoint, LENGTHS)
    ask = SequenceLogits(checkpoint.head("label"))
    expected = np.concatenate(Packed(checkpoint, dtype="float32").forward(windows, ask))
    engine = open_packed(checkpoint, dtype, windows, ask)
    answers = np.concatenate(engine.forward(windows, ask))
    assert len(set(answers.tolist())) == len(set(expected.tolist())) == len(windows)
    first = [state[None] for state in engine.forward(windows, Pooled("cls"))]  # what the head reads
    exact = np.concatenate(by_transformers(checkpoint, "label", first))
    assert np.abs(answers - exact).max() < 1e-3 * np.ptp(expected)
    assert np.abs(answers - expected).max() < NOISE[dtype] * np.ptp(expected)


@pytest.mark.parametrize(("family", "dtype"), DTYPES)
def test_tag_and_fill_heads_compute_in_float32(checkpoints: Make, family: str, dtype: str) -> None:
    for kind in ("tag", "fill"):
        checkpoint = open_checkpoint(checkpoints(family, kind))
        engine = open_packed(checkpoint, dtype)
        windows = make_windows(checkpoint)
        head = checkpoint.head(kind)  # type: ignore[arg-type]
        exact = by_transformers(checkpoint, kind, states_of(engine, windows))  # type: ignore[arg-type]
        if kind == "tag":
            answers = engine.forward(windows, TokenLogits(head))
        else:
            answers = engine.forward(windows, MaskLogits(head))
            exact = [each[list(window.masks)] for each, window in zip(exact, windows, strict=True)]
        assert oracle.difference(answers, exact) < 1e-4, kind


@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
def test_named_heads_compute_in_float32(checkpoints: Make, dtype: str) -> None:
    path = checkpoints("skills")
    checkpoint = open_checkpoint(path)
    engine = open_packed(checkpoint, dtype)
    windows = make_windows(checkpoint)
    states = states_of(engine, windows)
    weights = checkpoint.weights
    topics = [
        weights.read("heads.topics.classifier.weight") @ each.mean(axis=0)
        + weights.read("heads.topics.classifier.bias")
        for each in states
    ]
    answers = engine.forward(windows, SequenceLogits(checkpoint.heads["topics"]))
    assert oracle.difference(answers, topics) < 1e-4


@pytest.mark.parametrize("layer", [0, 1, 2])
@pytest.mark.parametrize("family", OF_THE_FAMILY)
def test_hidden_states_leave_the_encoder_in_float32(checkpoints: Make, family: str, layer: int) -> None:
    """A vector of the first token, and of every token, is an answer by itself."""
    if layer == 0 and family in ("electra", "albert"):
        pytest.skip("the projection of the embeddings computes in bfloat16")
    checkpoint = open_checkpoint(checkpoints(family))
    engine = Packed(checkpoint, dtype="bfloat16")
    for ask in (Hidden(layer), Pooled("cls", layer)):
        numbers = np.concatenate([each.ravel() for each in engine.forward(make_windows(checkpoint), ask)])
        rounded = torch.tensor(numbers).bfloat16().float().numpy()
        assert (rounded != numbers).mean() > 0.9


@pytest.mark.parametrize(
    "model_type", sorted(FOREIGN.keys() - {*FLOAT32_ALONE, *LAST_ROWS_ALONE, "longformer", "luke"})
)
def test_label_heads_of_other_encoders(checkpoints: Make, model_type: str) -> None:
    checkpoint = open_checkpoint(checkpoints(model_type, "label", id2label={0: "a", 1: "b", 2: "c"}))
    engine = Packed(checkpoint, dtype="bfloat16")
    windows = [replace(window, masks=()) for window in make_windows(checkpoint)]
    answers = engine.forward(windows, SequenceLogits(checkpoint.head("label")))
    exact = by_transformers(checkpoint, "label", states_of(engine, windows))
    assert oracle.difference(answers, exact) < 1e-4
