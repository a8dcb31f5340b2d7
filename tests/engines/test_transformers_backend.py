"""Encoders that only transformers knows: padded where that is known to change nothing, and nowhere else."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bertcli import cli
from bertcli.architectures import ARCHITECTURES
from bertcli.engines import Hidden, SequenceLogits, device
from bertcli.engines.packed import Packed
from bertcli.engines.transformers_backend import _PADDED, TransformersModel
from bertcli.errors import EngineError
from bertcli.models.checkpoint import Checkpoint, open_checkpoint
from tests.checkpoints import FAMILIES, FOREIGN
from tests.conftest import Make
from tests.engines import oracle
from tests.engines.windows import make_windows

pytestmark = pytest.mark.slow

TOLERANCE = 1e-4
FLOAT32_ALONE = ("fnet",)
MIXING = ("convbert", "fnet")  # neighbouring positions, by convolution or Fourier transform


def make_engine(path: Path, dtype: str = "float32") -> tuple[Packed, Checkpoint]:
    checkpoint = open_checkpoint(path)
    engine = Packed(checkpoint, device="cpu", dtype=dtype)
    assert type(engine._model) is TransformersModel
    return engine, checkpoint


def test_every_padded_architecture_is_held_to_transformers() -> None:
    assert FOREIGN.keys() | FAMILIES.keys() >= _PADDED


@pytest.mark.parametrize("model_type", sorted(FOREIGN.keys() - ARCHITECTURES.keys() - {"big_bird"}))
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


def test_bigbird_is_sparse_whatever_ran_before(checkpoints: Make) -> None:
    """transformers itself is asked by a fresh model for each window: a short one makes it forget."""
    path = checkpoints("big_bird")
    engine, checkpoint = make_engine(path)
    windows = make_windows(checkpoint)
    for layer in (1, -1):
        expected = []
        for window in windows:
            oracle.load.cache_clear()
            expected.append(oracle.hidden(path, "base", window, layer)[: len(window)])
        assert oracle.difference(engine.forward(windows, Hidden(layer)), expected) < TOLERANCE, layer
        with ThreadPoolExecutor(4) as pool:
            alone = [pool.submit(engine.forward, [window], Hidden(layer)) for window in windows]
        assert oracle.difference([each.result()[0] for each in alone], expected) < TOLERANCE, layer


def test_a_bigbird_is_proved_right(checkpoints: Make, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["models", "check", str(checkpoints("big_bird")), "--deep", "--device", "cpu"]) == 0
    assert "proved" in capsys.readouterr().out


@pytest.fixture
def native_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device whose dtype is bfloat16 unless it is told otherwise."""
    monkeypatch.setattr(device, "_multiplies_bfloat16", lambda device: True)


@pytest.mark.usefixtures("native_bfloat16")
@pytest.mark.parametrize("model_type", FLOAT32_ALONE)
def test_what_cannot_compute_in_bfloat16_is_run_in_float32(checkpoints: Make, model_type: str) -> None:
    path = checkpoints(model_type)
    engine, checkpoint = make_engine(path, "auto")
    assert engine.dtype == "float32"
    windows = make_windows(checkpoint)
    expected = [oracle.hidden(path, "base", window) for window in windows]
    assert oracle.difference(engine.forward(windows, Hidden()), expected) < TOLERANCE
    assert cli.main(["models", "check", str(path), "--deep", "--device", "cpu"]) == 0


@pytest.mark.parametrize("model_type", FLOAT32_ALONE)
def test_bfloat16_asked_of_what_cannot_is_refused(checkpoints: Make, model_type: str) -> None:
    with pytest.raises(EngineError, match=f"a {model_type} model does not compute in bfloat16"):
        make_engine(checkpoints(model_type), "bfloat16")


@pytest.mark.usefixtures("native_bfloat16")
def test_what_can_compute_in_bfloat16_does(checkpoints: Make) -> None:
    assert make_engine(checkpoints("convbert"), "auto")[0].dtype == "bfloat16"
