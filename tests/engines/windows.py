"""Windows to ask engines about: random tokens, as many as wanted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bertcli.models.checkpoint import Checkpoint
from bertcli.records import Window

LENGTHS = (7, 3, 12, 40, 7, 64, 3, 20, 22, 40, 21)


def make_windows(checkpoint: Checkpoint, lengths: Sequence[int] = LENGTHS, seed: int = 0) -> list[Window]:
    """Windows of these lengths; every second one is a pair where the model knows token types, every one has
    masks at its second and last but one positions, and half of them begin with tokens that are not fresh."""
    random = np.random.default_rng(seed)
    windows = []
    for number, length in enumerate(lengths):
        ids = random.integers(5, checkpoint.vocab_size, length).tolist()
        pair = number % 2 == 1 and checkpoint.token_types > 1
        types = [0] * (length // 2) + [1] * (length - length // 2) if pair else None
        fresh = (length // 3 if number % 4 > 1 else 0, length)
        windows.append(Window(ids, types, fresh, masks=(1, length - 2)))
    return windows
