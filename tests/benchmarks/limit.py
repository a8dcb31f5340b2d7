"""What the machine could do at best: its matrix product, and how many of its operations a text takes.

    products     2 · layers · (4 h² + 2 h·i) operations a token
    attention    4 · layers · h · n² a text of n tokens

Equal texts and texts that are cut count as what has to be computed of them. Heads are left out.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch

from bertcli.models.checkpoint import open_checkpoint
from bertcli.models.tokenizer import Tokenizer

SIZE = 2048
SECONDS = 2.0


@cache
def matrix_rate(dtype: str) -> float:
    """The best operations a second of a square matrix product, on all cores."""
    one, other = (torch.randn(SIZE, SIZE).to(getattr(torch, dtype)) for _ in range(2))
    best, deadline = float("inf"), time.perf_counter() + SECONDS
    while time.perf_counter() < deadline:
        began = time.perf_counter()
        one @ other
        best = min(best, time.perf_counter() - began)
    return 2 * SIZE**3 / best


def operations(model: Path, task: str, texts: Sequence[str]) -> tuple[int, int]:
    """(tokens, operations) of the encoder for the distinct texts, cut to the model's length."""
    checkpoint = open_checkpoint(model)
    tokenizer = Tokenizer.of(checkpoint)
    limit = checkpoint.embed_max_length if task == "embed" else checkpoint.max_length
    frame = len(tokenizer.frame(pair=False))
    lengths = [min(limit, len(tokenizer.encode(text, mask=True)) + frame) for text in set(texts)]
    hidden, layers = checkpoint.hidden_size, checkpoint.layers
    inner = checkpoint.config.get("intermediate_size", 4 * hidden)
    products = 2 * layers * (4 * hidden**2 + 2 * hidden * inner) * sum(lengths)
    return sum(lengths), products + 4 * layers * hidden * sum(length**2 for length in lengths)
