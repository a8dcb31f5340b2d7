"""The parts of a run that all runs share."""

from __future__ import annotations

import pytest

from bertcli.cli import main
from bertcli.engines import device
from tests.conftest import Make

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("labels", "problem", "option", "dtype"),
    [
        (["LABEL_0"], "regression", "auto", "float32"),
        (["LABEL_0"], "regression", "bfloat16", "bfloat16"),
        (["good", "bad"], "single_label_classification", "auto", "bfloat16"),
    ],
)
def test_a_regression_is_computed_in_float32_by_default(
    labels: list[str],
    problem: str,
    option: str,
    dtype: str,
    checkpoints: Make,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
) -> None:
    monkeypatch.setattr(device, "_multiplies_bfloat16", lambda device: True)
    path = str(checkpoints("bert", "label", labels=labels, problem_type=problem))
    assert main(["label", "-m", path, "--engine", "packed", "--dtype", option, "-t", "a", "-t", "b"]) == 0
    assert capsys.readouterr().err.rstrip().endswith(f"packed cpu {dtype}")
