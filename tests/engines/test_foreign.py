"""Encoders that only transformers knows: padded where that is known to change nothing, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from bertcli.engines import Hidden, SequenceLogits
from bertcli.engines.foreign import _PADDED, Foreign
from bertcli.engines.packed import Packed
from bertcli.models.checkpoint import Checkpoint, open_checkpoint
from tests.checkpoints import FAMILIES, FOREIGN
from tests.conftest import Make
from tests.engines import oracle
from tests.engines.windows import make_windows

TOLERANCE = 1e-4
MIXING = ("convbert", "fnet")  # neighbouring positions, by convolution or Fourier transform


def make_engine(path: Path) -> tuple[Packed, Checkpoint]:
    checkpoint = open_checkpoint(path)
    engine = Packed(checkpoint, device="cpu", dtype="float32")
    assert type(engine._model) is Foreign
    return engine, checkpoint


def test_every_padded_architecture_is_held_to_transformers() -> None:
    assert FOREIGN.keys() | FAMILIES.keys() >= _PADDED


@pytest.mark.parametrize("model_type", FOREIGN)
def test_hidden_states_are_those_of_transformers(checkpoints: Make, model_type: str) -> None:
    path = checkpoints(model_type)
    engine, checkpoint = make_engine(path)
    windows = make_windows(checkpoint)
    for layer in (1, -1):
        expected = [oracle.hidden(path, "base", window, layer) for window in windows]
        assert oracle.difference(engine.forward(windows, Hidden(layer)), expected) < TOLERANCE, layer
        alone = [engine.forward([window], Hidden(layer))[0] for window in windows]
        assert oracle.difference(alone, expected) < TOLERANCE, layer


def test_a_convolution_that_minds_the_mask_is_padded(checkpoints: Make) -> None:
    path = checkpoints("deberta-v2", conv_kernel_size=3, conv_act="gelu")
    engine, checkpoint = make_engine(path)
    windows = make_windows(checkpoint)
    expected = [oracle.hidden(path, "base", window) for window in windows]
    assert oracle.difference(engine.forward(windows, Hidden()), expected) < TOLERANCE


@pytest.mark.parametrize("model_type", MIXING)
def test_label_heads_of_encoders_that_mix_neighbours(checkpoints: Make, model_type: str) -> None:
    path = checkpoints(model_type, "label", id2label={0: "a", 1: "b", 2: "c"})
    engine, checkpoint = make_engine(path)
    windows = make_windows(checkpoint)
    ask = SequenceLogits(checkpoint.head("label"))
    expected = [oracle.logits(path, "label", window) for window in windows]
    assert oracle.difference(engine.forward(windows, ask), expected) < TOLERANCE
    alone = [engine.forward([window], ask)[0] for window in windows]
    assert oracle.difference(alone, expected) < TOLERANCE
