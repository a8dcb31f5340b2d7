"""Windows with some of their pieces hidden behind masks, and how likely a model holds what is hidden."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bertcli.records import Window

if TYPE_CHECKING:
    from bertcli.engines import Array

MOST_MASKS = 1024  # whose logits over the vocabulary are held at once


@dataclass(frozen=True, slots=True)
class Hidden(Window):
    """A window with the pieces that its masks hide."""

    pieces: tuple[int, ...] = ()


def in_parts(windows: Sequence[Hidden]) -> Iterator[Sequence[Hidden]]:
    """The windows in groups of at most `MOST_MASKS` masks (a window with more is a group of its own)."""
    start = masks = 0
    for end, window in enumerate(windows):
        if end > start and masks + len(window.masks) > MOST_MASKS:
            yield windows[start:end]
            start, masks = end, 0
        masks += len(window.masks)
    if start < len(windows):
        yield windows[start:]


def log_probs(logits: Array, pieces: Sequence[int]) -> Array:
    """The log-probability (masks,) of a piece a row among logits (masks, vocabulary), in nats."""
    most = logits.max(axis=1)  # so that nothing overflows
    own = logits[np.arange(len(pieces)), list(pieces)]
    log_sums = most + np.log(np.exp(logits - most[:, None]).sum(axis=1))
    result: Array = own - log_sums
    return result
