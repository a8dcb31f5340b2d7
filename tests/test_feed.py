from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertcli.errors import InputError
from bertcli.feed import END, PAUSE, Feed, LiveFeed, PromptFeed
from bertcli.records import Record
from tests.fakes import records


def drain(feed: Feed) -> list[str | None]:
    texts = []
    while (record := feed.take()) is not END:
        texts.append(record.text)
    return texts


@given(texts=st.lists(st.text(max_size=5), max_size=20), enough=st.integers(0, 60), live=st.booleans())
def test_looking_ahead_loses_nothing(texts, enough, live):
    feed = (LiveFeed if live else Feed)(records(texts))
    total = sum(map(len, texts))
    assert feed.measure(enough, patience=10) == (total if total <= enough else None)
    assert (feed.first().text if texts else feed.first() is END) == (texts[0] if texts else True)
    assert drain(feed) == texts


def fat(count: int, taken: list[int], size: int = 1 << 20) -> Iterator[Record]:
    """Records of few characters to read and large fields beside them."""
    for index in range(count):
        taken.append(index)
        yield Record(index, {"text": "a", "page": "x" * size}, "a")


def test_records_ahead_are_taken_afterwards():
    feed = Feed(Record(number, {}, "text") for number in range(5))
    feed.first()
    assert [record.index for record in feed.ahead(3, patience=10)] == [0, 1, 2]
    assert [record.index for record in feed.ahead(9, patience=10)] == [0, 1, 2, 3, 4]
    assert [feed.take().index for _ in range(5)] == [0, 1, 2, 3, 4]
    assert feed.take() is END
    assert feed.ahead(3, patience=10) == []


def test_records_with_large_fields_are_not_hoarded_to_be_measured():
    taken: list[int] = []
    feed = Feed(fat(200, taken))
    assert feed.measure(10**6, patience=10) is None
    assert len(taken) < 40
    assert sum(1 for _ in iter(feed.take, END)) == 200
    assert Feed(fat(20, [])).measure(10**6, patience=10) == 20


def test_a_pipe_is_read_less_far_ahead_where_its_records_are_large():
    for size, most in ((1 << 20, 20), (0, 1100)):
        taken: list[int] = []
        feed = LiveFeed(fat(5000, taken, size))
        feed.first()
        seen = -1
        while seen != len(taken):  # until the thread that reads has to wait
            seen = len(taken)
            time.sleep(0.05)
        assert most / 3 < seen < most
        assert sum(1 for _ in iter(feed.take, END)) == 5000


def test_an_input_that_is_over_is_waited_for_no_longer():
    feed = LiveFeed(records([]))
    assert feed.first() is END
    assert feed.measure(1000, patience=1000) == 0


def test_a_live_input_that_does_not_end_is_of_unknown_size():
    more = threading.Event()

    def tail() -> Iterator[Record]:
        yield from records(["one"])
        more.wait(10)

    feed = LiveFeed(tail())
    assert feed.measure(1000, patience=0.01) is None
    assert feed.take(wait=False).text == "one"
    assert feed.take(wait=False) is PAUSE
    assert feed.first(wait=False) is PAUSE
    more.set()
    assert feed.take() is END


@pytest.mark.parametrize("kind", [Feed, LiveFeed])
def test_an_error_of_the_source_waits_for_its_turn(kind):
    def broken() -> Iterator[Record]:
        yield from records(["a", "b"])
        raise InputError("gone")

    feed = kind(broken())
    assert feed.measure(100, patience=10) == 2
    assert [feed.take().text, feed.take().text] == ["a", "b"]
    with pytest.raises(InputError):
        feed.first()
    with pytest.raises(InputError):
        feed.take()


def test_a_prompt_asks_only_when_somebody_waits():
    asked = []

    def prompt() -> Iterator[Record]:
        for record in records(["a", "b"]):
            asked.append(record.text)
            yield record

    feed = PromptFeed(prompt())
    assert feed.measure(100, patience=10) == 0
    assert feed.take(wait=False) is PAUSE
    assert asked == []
    assert feed.take().text == "a"
    assert feed.take(wait=False) is PAUSE
    assert asked == ["a"]


def test_a_record_may_weigh_more_than_its_letters() -> None:
    feed = Feed(records(["ab", None, "cde"]))
    feed.first()
    assert feed.measure(1000, patience=10, weigh=lambda record: 10 * len(record.text or "")) == 50
    assert feed.measure(40, patience=10, weigh=lambda record: 10 * len(record.text or "")) is None
