"""How a record's tokens become windows of a length the model can take.

A text of n tokens meets a model that takes `length` positions, of which some go to the special tokens; `room`
is what is left. When n > room, `--long` says what happens:

    window    slices of `room` tokens, each beginning `overlap` tokens before the end of the one before:

              tokens   0 1 2 3 4 5 6 7 8 9        room 4, overlap 1
              window 0 0 1 2 3                    fresh: 0 1 2 3
              window 1       3 4 5 6              fresh:   4 5 6
              window 2             6 7 8 9        fresh:   7 8 9

    truncate  the first `room` tokens, or the last ones where the model's tokenizer has `truncation_side`
              left; the record says `truncated`
    error     the record fails with `too-long`

`fresh` ranges are what makes an average over windows an average over the text: over a record they hold each
position of the one long sequence `[CLS] text [SEP]` exactly once. A record of one window is fresh as a
whole, special tokens included (so a mean over it is the mean that sentence-transformers takes); of several
windows the first brings its leading special tokens and the last its closing ones.

A pair of texts shares a window. The longer one is cut into windows and the other is whole in each of
them; fresh are then the positions of the text that is cut. Cutting a pair (`truncate`) shortens the longer
text first, as transformers' `longest_first` does.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

from bertcli.errors import RecordError, UsageError
from bertcli.records import Window
from bertcli.tasks import EncodedRecord

if TYPE_CHECKING:
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.models.tokenizer import Tokenizer
    from bertcli.models.tokens import Tokens
    from bertcli.requests import LongOptions

Slice = tuple[int, int, int]
"""(start, stop, fresh): tokens from start to stop, of which those from `fresh` on are new."""

LEAST_SHARE = 8
"""A pair is refused when the text that stays whole leaves the other less than an eighth of the window."""


class Windowing:
    """Cuts texts for one model under one `--long`.

    `length` is how long a window is unless `--max-length` says otherwise, `most` how long it may be; both
    with special tokens. Raises UsageError for a `max_length` or `overlap` that cannot be meant.
    """

    def __init__(self, tokenizer: Tokenizer, long: LongOptions, *, length: int, most: int) -> None:
        self.mode = long.long
        self._alone = tokenizer.frame(False)
        self._paired = tokenizer.frame(True)
        specials = len(self._alone)
        self.leading = len(self._alone.before)
        self.length = length if long.max_length is None else _length(long.max_length, most, specials)
        self.capacity = self.length - specials
        self.pair_capacity = self.length - len(self._paired)
        self.overlap = _overlap(long.overlap, self.length, self.capacity)
        self._cuts_left = tokenizer.cuts_left

    @classmethod
    def of(cls, checkpoint: Checkpoint, tokenizer: Tokenizer, long: LongOptions) -> Windowing:
        """As long as the checkpoint's positions reach, which is not what it makes vectors from."""
        return cls(tokenizer, long, length=checkpoint.max_length, most=checkpoint.position_limit)

    def single(self, tokens: Tokens, *, offsets: bool = False) -> EncodedRecord:
        """The windows of one text. Raises RecordError `too-long` under `--long error`."""
        ids, spread = tokens.ids, tokens.offsets if offsets else None
        if len(ids) <= self.capacity and spread is None:  # most texts, and the shortest way to their window
            built, types, _, _ = self._alone.build(ids)
            return EncodedRecord([Window(built, types, (0, len(built)))])
        slices, truncated = self.slices(len(ids), self.capacity)
        return EncodedRecord([self.window(ids, cut, spread) for cut in slices], truncated)

    def pair(self, first: Tokens, second: Tokens) -> EncodedRecord:
        """The windows of a pair. Raises RecordError `too-long` when the shorter text alone leaves no room."""
        a, b = first.ids, second.ids
        if len(a) + len(b) <= self.pair_capacity:
            return EncodedRecord([self._whole_pair(a, b)])
        if self.mode == "error" or self.pair_capacity < 2:
            raise self.too_long(len(a) + len(b), self.pair_capacity)
        if self.mode == "truncate":
            a_stays, b_stays = self.pair_stays(len(a), len(b))
            a, b = a[self.stays(len(a), a_stays)], b[self.stays(len(b), b_stays)]
            return EncodedRecord([self._whole_pair(a, b)], truncated=True)
        space = self.pair_space(min(len(a), len(b)))
        slices, _ = self.slices(max(len(a), len(b)), space)
        if len(a) >= len(b):
            return EncodedRecord([self.pair_window(a, b, cut) for cut in slices])
        return EncodedRecord([self.second_window(a, b, cut) for cut in slices])

    def stays(self, count: int, capacity: int) -> slice:
        """Which of `count` tokens `--long truncate` keeps where there is room for `room`."""
        return slice(max(0, count - capacity), count) if self._cuts_left else slice(0, min(capacity, count))

    def pair_stays(self, a: int, b: int) -> tuple[int, int]:
        """How many tokens of each text of a pair `--long truncate` keeps."""
        return (a, b) if a + b <= self.pair_capacity else _longest_first(a, b, self.pair_capacity)

    def pair_space(self, kept: int) -> int:
        """The tokens a window has for one text of a pair while the other stays whole with `kept` tokens."""
        space = self.pair_capacity - kept
        if space < max(1, self.length // LEAST_SHARE):
            hint = "" if self.mode == "truncate" else " or use --long truncate"
            raise RecordError(
                "too-long",
                f"the text that must stay whole has {kept} tokens, which leaves {max(0, space)} of"
                f" {self.length} for the other; shorten it{hint}",
            )
        return space

    def slices(self, count: int, capacity: int) -> tuple[list[Slice], bool]:
        """How `count` tokens are cut into `room` at a time, and whether the rest is lost."""
        if count <= capacity:
            return [(0, count, 0)], False
        if self.mode == "truncate":
            stays = self.stays(count, capacity)
            return [(stays.start, stays.stop, stays.start)], True
        if self.mode == "error":
            raise self.too_long(count, capacity)
        overlap = self.overlap if capacity == self.capacity else min(self.overlap, capacity // 2)
        return list(_overlapping(count, capacity, overlap)), False

    def window(
        self, ids: Sequence[int], cut: Slice, offsets: Sequence[tuple[int, int]] | None = None
    ) -> Window:
        """One slice of a text between its special tokens. `offsets` are those of all `ids`."""
        start, stop, fresh = cut
        built, types, at, _ = self._alone.build(ids[start:stop], None)
        spread = None
        if offsets is not None:
            after = len(built) - at - (stop - start)
            spread = [(0, 0)] * at + list(offsets[start:stop]) + [(0, 0)] * after
        begin = 0 if fresh == 0 or self.mode == "truncate" else at + fresh - start
        end = len(built) if stop == len(ids) or self.mode == "truncate" else at + stop - start
        if stop - start == len(ids):
            return Window(built, types, (begin, end), offsets=spread)
        return _one_of_several(built, types, (begin, end), spread)

    def with_types(self, window: Window, types: Sequence[int], cut: Slice) -> Window:
        """The window of a slice of a text whose tokens have these `types`; special tokens have type 0."""
        start, stop, _ = cut
        after = len(window) - self.leading - (stop - start)
        return replace(window, types=array("i", [*[0] * self.leading, *types[start:stop], *[0] * after]))

    def fresh_tokens(self, window: Window) -> range:
        """The positions of a text's window that hold new tokens of it: fresh ones, but no special ones."""
        start, stop = window.fresh
        return range(max(start, self.leading), min(stop, len(window) - len(self._alone.after)))

    def pair_window(self, ids: Sequence[int], kept: Sequence[int], cut: Slice) -> Window:
        """One slice of the first text of a pair beside the whole second one."""
        start, stop, fresh = cut
        built, types, at, _ = self._paired.build(ids[start:stop], kept)
        if stop - start == len(ids):
            return Window(built, types, (0, len(built)))
        return _one_of_several(built, types, (at + fresh - start, at + stop - start))

    def second_window(self, kept: Sequence[int], ids: Sequence[int], cut: Slice) -> Window:
        """The whole first text of a pair beside one slice of the second."""
        start, stop, fresh = cut
        built, types, _, _ = self._paired.build(kept, ids[start:stop])
        at = len(built) - len(self._paired.after) - (stop - start)
        return _one_of_several(built, types, (at + fresh - start, at + stop - start))

    def _whole_pair(self, a: Sequence[int], b: Sequence[int]) -> Window:
        built, types, _, _ = self._paired.build(a, b)
        return Window(built, types, (0, len(built)))

    def too_long(self, count: int, capacity: int) -> RecordError:
        """The error of a record that `--long error` does not cut."""
        return RecordError(
            "too-long", f"{count} tokens, and the limit is {max(0, capacity)} beside the special tokens"
        )


def _one_of_several(
    ids: list[int],
    types: list[int] | None,
    fresh: tuple[int, int],
    offsets: Sequence[tuple[int, int]] | None = None,
) -> Window:
    """A window at four bytes a token: all those of a huge text are in memory until it is answered."""
    return Window(array("i", ids), None if types is None else array("i", types), fresh, offsets=offsets)


def fresh_shares(windows: Sequence[Window]) -> list[int]:
    """How many new positions each window brings: the weights of an average over windows."""
    return [window.fresh[1] - window.fresh[0] for window in windows]


def borders(slices: Sequence[Slice], begins: Sequence[int]) -> list[int]:
    """The tokens at which one window hands over to the next, with the first and the end of all around them.

    Of the tokens where a word `begins` in the overlap of two windows it is the one nearest to the middle; the
    middle itself where there is none.
    """
    found = [slices[0][0]]
    for (_, stop, _), (start, _, _) in pairwise(slices):
        middle = (start + stop) // 2
        inside = begins[bisect_left(begins, start) : bisect_right(begins, stop)]
        border = min(inside, key=lambda place: abs(place - middle), default=middle)
        found.append(max(found[-1], border))
    return [*found, slices[-1][1]]


def _length(asked: int, most: int, specials: int) -> int:
    if asked > most:
        raise UsageError(
            f"--max-length {asked} is more than the model takes", hint=f"its limit is {most} tokens"
        )
    if asked <= specials:
        raise UsageError(
            f"--max-length {asked} leaves no room for text",
            hint=f"the special tokens alone take {specials}; the model takes up to {most}",
        )
    return asked


def _overlap(asked: int | None, length: int, capacity: int) -> int:
    if asked is None:
        return min(length // 8, capacity // 2)
    if not 0 <= asked < capacity:
        raise UsageError(
            f"--overlap {asked} does not fit windows of {capacity} tokens",
            hint=f"give a number from 0 to {capacity - 1}",
        )
    return asked


def _overlapping(count: int, capacity: int, overlap: int) -> Iterator[Slice]:
    start = fresh = 0
    while fresh < count:
        stop = min(start + capacity, count)
        yield start, stop, fresh
        fresh = stop
        start = stop - overlap


def _longest_first(a: int, b: int, capacity: int) -> tuple[int, int]:
    """Lengths after taking tokens from the longer text until both fit (an odd one goes to the longer)."""
    shorter, longer = min(a, b), max(a, b)
    if shorter <= capacity // 2:
        longer = capacity - shorter
    else:
        shorter, longer = capacity // 2, capacity - capacity // 2
    return (longer, shorter) if a > b else (shorter, longer)
