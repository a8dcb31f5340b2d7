"""Every token in some window, every position counted once, nothing lost without a word."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from bertcli.errors import RecordError, UsageError
from bertcli.models.tokens import Frame
from bertcli.requests import LongOptions
from bertcli.tasks.windowing import Windowing, fresh_shares

CLS, SEP = -1, -2


@dataclass
class Numbers:
    """A text whose tokens are 0, 1, 2 …, so that each is known by its place."""

    count: int
    first: int = 0

    @cached_property
    def ids(self) -> list[int]:
        return list(range(self.first, self.first + self.count))

    @property
    def offsets(self) -> list[tuple[int, int]]:
        return [(place * 2, place * 2 + 1) for place in self.ids]


class Frames:
    cuts_left = False

    def frame(self, pair: bool) -> Frame:
        between = (SEP,) if pair else ()
        return Frame((CLS,), between, (SEP,), ((0,), 0, (0,) * len(between), 1, (1 if pair else 0,)))


def cutting(length: int, **long: Any) -> Windowing:
    return Windowing(Frames(), LongOptions(**long), length=length, most=10_000)  # type: ignore[arg-type]


sizes = st.integers(3, 40).flatmap(
    lambda length: st.tuples(st.just(length), st.one_of(st.none(), st.integers(0, length - 3)))
)


@given(st.integers(0, 300), sizes)
def test_fresh_ranges_hold_every_position_of_the_framed_text_once(
    count: int, size: tuple[int, int | None]
) -> None:
    length, overlap = size
    windows = cutting(length, overlap=overlap).single(Numbers(count)).windows  # type: ignore[arg-type]
    assert all(len(window) <= length for window in windows)
    fresh = [token for window in windows for token in window.ids[slice(*window.fresh)]]
    assert fresh == [CLS, *range(count), SEP]
    assert sum(fresh_shares(windows)) == count + 2


@given(st.integers(1, 300), sizes)
def test_neighbours_share_the_overlap_and_only_the_last_window_is_short(
    count: int, size: tuple[int, int | None]
) -> None:
    length, overlap = size
    windowing = cutting(length, overlap=overlap)
    windows = windowing.single(Numbers(count)).windows  # type: ignore[arg-type]
    for before, after in pairwise(windows):
        assert len(before) == length
        assert len(set(before.ids) & set(after.ids) - {CLS, SEP}) == windowing.overlap


def test_the_number_of_tokens_over_all_windows_is_linear_in_the_text() -> None:
    windows = cutting(512).single(Numbers(1_000_000)).windows  # type: ignore[arg-type]
    assert sum(map(len, windows)) < 1.2 * 1_000_000


def test_offsets_follow_their_tokens() -> None:
    for window in cutting(6, overlap=1).single(Numbers(9), offsets=True).windows:  # type: ignore[arg-type]
        assert window.offsets is not None
        for token, (start, end) in zip(window.ids, window.offsets, strict=True):
            assert (start, end) == ((0, 0) if token < 0 else (token * 2, token * 2 + 1))


def test_truncate_keeps_the_beginning_and_says_so() -> None:
    encoded = cutting(6, long="truncate").single(Numbers(9))  # type: ignore[arg-type]
    assert encoded.truncated
    assert [list(window.ids) for window in encoded.windows] == [[CLS, 0, 1, 2, 3, SEP]]
    assert encoded.windows[0].fresh == (0, 6)
    assert not cutting(6, long="truncate").single(Numbers(4)).truncated  # type: ignore[arg-type]


def test_error_names_the_tokens_and_the_limit() -> None:
    with pytest.raises(RecordError, match="9 tokens, and the limit is 4") as caught:
        cutting(6, long="error").single(Numbers(9))  # type: ignore[arg-type]
    assert caught.value.type == "too-long"
    assert len(cutting(6, long="error").single(Numbers(4)).windows) == 1  # type: ignore[arg-type]


@pytest.mark.parametrize(("mode", "helps"), [("window", True), ("truncate", False)])
def test_nobody_is_told_to_do_what_they_do(mode: str, helps: bool) -> None:
    with pytest.raises(RecordError, match="must stay whole") as caught:
        cutting(32, long=mode).pair_space(28)  # type: ignore[arg-type]
    assert ("--long truncate" in caught.value.message) is helps


@given(st.integers(0, 90), st.integers(0, 90))
def test_a_pair_is_cut_on_its_longer_side_and_the_other_stands_whole(first: int, second: int) -> None:
    a, b = Numbers(first), Numbers(second, first=1000)
    room, least = 32 - 3, 32 // 8
    if first + second > room and min(first, second) > room - least:
        with pytest.raises(RecordError, match="must stay whole"):
            cutting(32).pair(a, b)  # type: ignore[arg-type]
        return
    windows = cutting(32).pair(a, b).windows  # type: ignore[arg-type]
    cut, whole = (a, b) if first >= second else (b, a)
    for window in windows:
        assert len(window) <= 32
        assert set(whole.ids) <= set(window.ids)
        assert window.types is not None
        assert [kind for token, kind in zip(window.ids, window.types, strict=True) if token >= 0] == [
            int(token >= 1000) for token in window.ids if token >= 0
        ]
    fresh = [token for window in windows for token in window.ids[slice(*window.fresh)]]
    if len(windows) > 1:
        assert fresh == cut.ids
    else:
        assert fresh == [CLS, *a.ids, SEP, *b.ids, SEP]


@given(st.integers(0, 40), st.integers(0, 40), st.integers(5, 30))
def test_a_pair_is_truncated_as_tokenizers_truncates_it(first: int, second: int, length: int) -> None:
    native = tokenizers.Tokenizer(tokenizers.models.WordLevel({"x": 0, "y": 1, "?": 2}, unk_token="?"))
    native.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    native.enable_truncation(length - 3, strategy="longest_first")
    kept = native.encode(" ".join("x" * first), " ".join("y" * second)).ids
    encoded = cutting(length, long="truncate").pair(Numbers(first), Numbers(second, 1000))  # type: ignore[arg-type]
    ids = encoded.windows[0].ids
    assert sum(0 <= token < 1000 for token in ids) == kept.count(0)
    assert sum(token >= 1000 for token in ids) == kept.count(1)
    assert encoded.truncated == (first + second > length - 3)


def test_a_pair_whose_shorter_text_fills_the_window_fails() -> None:
    with pytest.raises(RecordError, match="26 tokens, which leaves 3 of 32"):
        cutting(32).pair(Numbers(26), Numbers(27, 1000))  # type: ignore[arg-type]
    with pytest.raises(RecordError, match="53 tokens"):
        cutting(32, long="error").pair(Numbers(26), Numbers(27, 1000))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("long", "message"),
    [
        ({"max_length": 2}, "leaves no room for text"),
        ({"max_length": -1}, "leaves no room for text"),
        ({"max_length": 10_001}, "more than the model takes"),
        ({"overlap": -1}, "does not fit"),
        ({"overlap": 30}, "does not fit"),
        ({"max_length": 8, "overlap": 6}, "does not fit"),
    ],
)
def test_limits_that_cannot_be_meant_are_refused(long: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        cutting(32, **long)
    assert caught.value.hint


def test_max_length_may_go_beyond_the_usual_length_up_to_the_positions() -> None:
    assert cutting(32, max_length=64).length == 64
    assert cutting(32).length == 32
