"""Windows with some of their pieces hidden behind masks, and how likely a model holds what is hidden."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice, repeat
from typing import TYPE_CHECKING, overload

import numpy as np

from bertcli.errors import ModelError
from bertcli.records import Window

if TYPE_CHECKING:
    from bertcli.engines import Array
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.models.tokenizer import Tokenizer

MOST_MASKS = 1024  # whose logits over the vocabulary are in memory at once


def mask_of(checkpoint: Checkpoint, tokenizer: Tokenizer) -> tuple[str, int]:
    """The model's mask token and its id. Raises ModelError for a model without one."""
    if tokenizer.mask_token is None or tokenizer.mask_id is None:
        raise ModelError(f"{checkpoint.name} has no mask token", hint="use a masked language model")
    return tokenizer.mask_token, tokenizer.mask_id


@dataclass(frozen=True, slots=True)
class ScoringWindow(Window):
    """A window with the pieces that its masks hide."""

    pieces: tuple[int, ...] = ()


class MaskedIds(Sequence[int]):
    """Token ids, those from `first` to before `stop` hidden behind masks.

    The others are not copied: a text of n tokens asked about token by token has n windows, and n² ids.
    """

    __slots__ = ("_first", "_ids", "_mask", "_stop")

    def __init__(self, ids: Sequence[int], first: int, stop: int, mask: int) -> None:
        self._ids, self._first, self._stop, self._mask = ids, first, stop, mask

    def __len__(self) -> int:
        return len(self._ids)

    def __iter__(self) -> Iterator[int]:
        hidden = repeat(self._mask, self._stop - self._first)
        return chain(islice(self._ids, self._first), hidden, islice(self._ids, self._stop, None))

    @overload
    def __getitem__(self, place: int) -> int: ...
    @overload
    def __getitem__(self, place: slice) -> list[int]: ...
    def __getitem__(self, place: int | slice) -> int | list[int]:
        return list(self)[place]


def in_parts(windows: Sequence[ScoringWindow]) -> Iterator[Sequence[ScoringWindow]]:
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
