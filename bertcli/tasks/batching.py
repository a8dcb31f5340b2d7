"""Many windows, computed in batches that fit the engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bertcli.engines import Array, Ask, Engine
    from bertcli.records import Window


def forward_in_batches(engine: Engine, windows: Sequence[Window], ask: Ask) -> Iterator[Array]:
    """One answer a window, in order, from calls of at most `batch_tokens` tokens each; one batch of answers is
    in memory at a time.

    For windows a task makes itself (the beams of fill, the labels of zero-shot): those of records are cut
    into batches by `planning`.
    """
    start = tokens = 0
    for end, window in enumerate(windows):
        if end > start and tokens + len(window) > engine.batch_tokens:
            yield from engine.forward(windows[start:end], ask)
            start, tokens = end, 0
        tokens += len(window)
    if start < len(windows):
        yield from engine.forward(windows[start:], ask)
