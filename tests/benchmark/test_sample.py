"""What is told of an input adds up, and what is timed of it stands for all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertcli.benchmark.sample import Sample, take, with_mask
from bertcli.records import Problem, Record
from tests.fakes import LetterTask, records


@dataclass
class Texts:
    """A source of `size` bytes, of which those before the next record have been read."""

    texts: Iterable[str | None]
    size: int | None = None
    position: int = 0
    extra: list[Record] = field(default_factory=list)

    def __iter__(self) -> Iterator[Record]:
        for record in [*records(self.texts), *self.extra]:
            self.position += 10
            yield record


class Letters:
    """A tokenizer: a token a letter, and two around a text."""

    def encode(self, text: str) -> str:
        return text

    def frame(self, pair: bool) -> str:
        return "[]"


def sample(source: Any, seconds: float = 100, ticks: Iterable[float] | None = None, **options: Any) -> Sample:
    clock = iter(ticks).__next__ if ticks is not None else lambda: 0.0
    return take(source, Letters(), LetterTask(), limit=6, seconds=seconds, clock=clock, **options)  # type: ignore[arg-type]


@given(texts=st.lists(st.none() | st.text("ab !", max_size=6), min_size=1, max_size=30))
def test_the_counts_add_up(texts: list[str | None]) -> None:
    broken = Record(99, {}, None, problem=Problem("json", "broken"))
    found = sample(Texts(texts, extra=[broken]))
    assert found.read == len(texts) + 1 == found.records
    assert found.read == found.blank + found.failed + found.duplicates + len(found.lengths)
    assert found.failed == 1
    kept = [text for text in texts if text and text.strip()]
    assert len(found.lengths) == len(set(kept))
    assert found.duplicates == len(kept) - len(set(kept))
    if found.lengths:
        assert sum(count for _, count in found.histogram()) == len(found.lengths)
        assert found.quantile(1.0) == max(found.lengths)
        assert found.long == sum(len(text) + 2 > 6 for text in set(kept))


@given(lengths=st.lists(st.integers(1, 5000), min_size=1, max_size=50))
def test_every_length_is_in_the_bin_that_holds_it(lengths: list[int]) -> None:
    least = 0
    for most, count in Sample(limit=9, lengths=lengths).histogram():
        assert count == sum(least < length <= most for length in lengths) or least == 0
        least = most
    assert least >= max(lengths)


@given(lengths=st.lists(st.integers(1, 50), min_size=1), share=st.floats(0, 0.99))
def test_a_quantile_is_not_exceeded_by_its_share(lengths: list[int], share: float) -> None:
    length = Sample(limit=9, lengths=lengths).quantile(share)
    assert length in lengths
    assert sum(other <= length for other in lengths) >= share * len(lengths)


def test_what_fails_is_not_timed_and_no_text_is_timed_twice() -> None:
    found = sample(Texts(["abcdef", "no!", "xy", "xy", "", None]))
    assert {timed.record.text: timed.tokens for timed in found.timed} == {"abcdef": 6, "xy": 2}


def test_an_input_that_is_cut_short_tells_about_how_much_there_is() -> None:
    found = sample(Texts(["a", "b", "c", "d"], size=1000), seconds=5, ticks=[0, 1, 2, 9, *[10] * 4])
    assert (found.read, found.share, found.records) == (3, 0.03, 100)
    assert sample(Texts(["a", "b"]), seconds=5, ticks=[0, 9, 10, 11]).records is None


def test_texts_to_time_are_chosen_for_as_long_as_reading_took() -> None:
    found = sample(Texts(["a", "b", "c", "d"]), seconds=5, ticks=[*[0] * 6, 4, 6, 7])
    assert (found.read, len(found.timed)) == (4, 2)


def test_the_timed_texts_are_in_no_order_and_the_same_each_time() -> None:
    texts = ["a" * length for length in range(1, 50)]
    one, again = (sample(Texts(texts)).timed for _ in range(2))
    assert one == again
    lengths = [timed.tokens for timed in one]
    assert sorted(lengths) == list(range(1, 50)) != lengths


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("one two three", "one [MASK] three"),
        ("one two", "one [MASK]"),
        ("one", "[MASK]"),
        ("a <mask> c", "a <mask> c"),
        ("", ""),
        (None, None),
    ],
)
def test_a_word_is_hidden_where_none_is_missing(text: str | None, masked: str | None) -> None:
    assert with_mask(Record(0, {}, text), ("[MASK]", "<mask>")).text == masked
