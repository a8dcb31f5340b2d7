"""The packed engine on a GPU says what transformers says in float32 on the CPU.

Skipped where torch sees no GPU; BERTCLI_TEST_DEVICE names another device. Needs no fixture of conftest.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from bertcli.engines import Ask, Hidden, MaskLogits, Pooled, SequenceLogits, TokenLogits
from bertcli.engines.packed import Packed
from bertcli.models.checkpoint import open_checkpoint
from tests.checkpoints import FAMILIES, build
from tests.engines import oracle
from tests.engines.windows import make_windows

DEVICE = os.environ.get("BERTCLI_TEST_DEVICE", "cuda")
ALLOWED = {"float32": 1e-4, "float16": 0.02, "bfloat16": 0.15}  # of the largest number there, at least 1
LENGTHS = (*(3 + 7 * number % 60 for number in range(30)), 64, 64, 33)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        DEVICE.startswith("cuda") and not torch.cuda.is_available(), reason="torch sees no GPU here"
    ),
]


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module", params=["base", "label", "tag", "fill"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def path(family: str, kind: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp(f"{family}-{kind}")
    labels = {"labels": ("O", "B", "I")} if kind in ("label", "tag") else {}
    build(family, kind, path, **labels)
    return path


@pytest.fixture(scope="module")
def expected(path: Path, kind: str) -> dict[Ask, list[np.ndarray]]:
    """What can be asked of the checkpoint, and transformers' answers."""
    checkpoint = open_checkpoint(path)
    windows = make_windows(checkpoint, LENGTHS)
    if kind == "base":
        states = {
            layer: [oracle.hidden(path, kind, window, layer) for window in windows] for layer in (1, -1)
        }
        answers: dict[Ask, list[np.ndarray]] = {Hidden(layer): found for layer, found in states.items()}
        for mode in ("mean", "max", "cls"):
            answers[Pooled(mode)] = [
                oracle.pooled(state, window, mode) for state, window in zip(states[-1], windows, strict=True)
            ]
        return answers
    logits = [oracle.logits(path, kind, window) for window in windows]
    match kind:
        case "label":
            return {SequenceLogits(checkpoint.head("label")): logits}
        case "tag":
            return {TokenLogits(checkpoint.head("tag")): logits}
        case _:
            masked = [each[list(window.masks)] for each, window in zip(logits, windows, strict=True)]
            return {MaskLogits(checkpoint.head("fill")): masked}


@pytest.mark.parametrize("dtype", ALLOWED)
def test_answers_are_those_of_transformers(
    path: Path, expected: dict[Ask, list[np.ndarray]], dtype: str
) -> None:
    if dtype == "float16" and DEVICE == "cpu":
        pytest.skip("a CPU does not compute in float16")
    checkpoint = open_checkpoint(path)
    engine = Packed(checkpoint, device=DEVICE, dtype=dtype)
    found = engine.forward_all(make_windows(checkpoint, LENGTHS), list(expected))
    for (ask, answers), mine in zip(expected.items(), found, strict=True):
        scale = max(1.0, *(float(np.abs(each).max()) for each in answers))
        assert oracle.difference(mine, answers) < ALLOWED[dtype] * scale, ask
