"""What transformers itself says in float32, one text at a time, without padding."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
import transformers

from bertcli.models.checkpoint import Checkpoint
from bertcli.records import Window
from tests.checkpoints import AUTO_CLASSES

torch.set_num_threads(1)  # the models are tiny


@cache
def load(path: Path, kind: str) -> torch.nn.Module:
    return AUTO_CLASSES[kind].from_pretrained(path, attn_implementation="eager", dtype=torch.float32).eval()


def ask(path: Path, kind: str, window: Window) -> transformers.utils.ModelOutput:
    model = load(path, kind)
    inputs = {"input_ids": torch.tensor([list(window.ids)])}
    if window.types is not None:
        inputs["token_type_ids"] = torch.tensor([list(window.types)])
    with torch.inference_mode():
        return model(**inputs, output_hidden_states=True)


def hidden(path: Path, kind: str, window: Window, layer: int = -1) -> np.ndarray:
    """(tokens, hidden)"""
    return ask(path, kind, window).hidden_states[layer][0].numpy()


def logits(path: Path, kind: str, window: Window) -> np.ndarray:
    """(labels,) of a label head, (tokens, labels) of a tag head, (tokens, vocabulary) of a fill head."""
    return ask(path, kind, window).logits[0].numpy()


def skill(path: Path, checkpoint: Checkpoint, name: str, window: Window) -> np.ndarray:
    """What a named head makes of transformers' hidden states: (labels,), or (tokens, labels) for tags."""
    head, weights = checkpoint.heads[name], checkpoint.weights
    x = hidden(path, "fill", window)
    if head.kind == "label":
        x = x[0] if head.pooling == "cls" else x.mean(axis=0)
        if f"heads.{name}.dense.weight" in weights:
            dense = weights.read(f"heads.{name}.dense.weight")
            x = np.tanh(dense @ x + weights.read(f"heads.{name}.dense.bias"))
    return x @ weights.read(f"heads.{name}.classifier.weight").T + weights.read(
        f"heads.{name}.classifier.bias"
    )


def pooled(states: np.ndarray, window: Window, mode: str) -> np.ndarray:
    """One vector of a window's hidden states: (hidden,)"""
    fresh = states[slice(*window.fresh)]
    return {"cls": states[0], "mean": fresh.mean(axis=0), "max": fresh.max(axis=0)}[mode]


def difference(mine: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> float:
    """The largest difference anywhere; infinite when shapes differ."""
    pairs = list(zip(mine, theirs, strict=True))
    if any(a.shape != b.shape or a.dtype != np.float32 for a, b in pairs):
        return float("inf")
    return max((float(np.abs(a - b).max(initial=0)) for a, b in pairs), default=0.0)
