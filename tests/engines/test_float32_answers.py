"""An answer keeps its digits whatever the encoder computes in: heads, scores and pooling are float32."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from bertcli.engines import SequenceLogits
from bertcli.engines.packed import Packed
from bertcli.models.checkpoint import open_checkpoint
from tests.conftest import Make
from tests.engines.windows import make_windows

FAMILIES = ["bert", "roberta", "distilbert", "electra", "albert", "mpnet", "deberta-v2", "modernbert"]
BIAS, SCALE = 1950.0, 30.0


def years(folder: Path) -> Path:
    """Give the label head of a checkpoint one output that predicts a year."""
    file = folder / "model.safetensors"
    weights = load_file(file)
    config = json.loads((folder / "config.json").read_text())
    rows = [name for name, tensor in weights.items() if "classifier" in name or "out_proj" in name]
    last = sorted(name for name in rows if weights[name].shape[0] == len(config["id2label"]))
    for name in last:
        weights[name] = weights[name][:1] * SCALE if name.endswith("weight") else torch.tensor([BIAS])
    save_file(weights, file, metadata={"format": "pt"})
    config |= {"id2label": {"0": "year"}, "label2id": {"year": 0}, "problem_type": "regression"}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("family", FAMILIES)
def test_a_regression_keeps_its_digits_in_bfloat16(family: str, checkpoint_copy: Make) -> None:
    checkpoint = open_checkpoint(years(checkpoint_copy(family, "label", labels=("a", "b", "c"))))
    head = checkpoint.head("label")
    windows = make_windows(checkpoint, [3 + number % 30 for number in range(400)])
    exact, rounded = (
        np.concatenate(Packed(checkpoint, dtype=dtype, threads=1).forward(windows, SequenceLogits(head)))
        for dtype in ("float32", "bfloat16")
    )
    assert len(set(rounded.tolist())) >= 0.98 * len(set(exact.tolist()))
    assert abs(exact.mean() - rounded.mean()) < 0.01 * np.ptp(exact)
