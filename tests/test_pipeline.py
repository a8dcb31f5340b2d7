from __future__ import annotations

import queue
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bertcli import lookahead, pipeline
from bertcli.errors import InputError, StoppedEarlyError
from bertcli.feed import Feed, LiveFeed
from bertcli.pipeline import run
from bertcli.planning import Plan, SeenTexts
from bertcli.records import Problem, Record
from tests.fakes import AheadTask, Count, EchoEngine, LetterTask, ListSink, records


@pytest.fixture(autouse=True, scope="module")
def _small_chunks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lookahead, "FIRST_CHUNK", 2)
        patch.setattr(lookahead, "LARGEST_CHUNK", 7)
        yield


TEXTS = st.lists(st.text(alphabet="abc x!é", max_size=12) | st.none(), max_size=40)


def carry(texts, *, engine=None, plan=None, live=False, max_errors=None, count=None, task=None) -> ListSink:
    sink = ListSink()
    source = texts if isinstance(texts, Iterator) else records(texts)
    run(
        LiveFeed(source) if live else Feed(source),
        task=task or LetterTask(),
        engine=engine or EchoEngine(),
        plan=plan or Plan(16),
        sink=sink,
        receipt=count or Count(),
        max_errors=max_errors,
    )
    return sink


@given(
    texts=TEXTS,
    budget=st.integers(1, 40),
    ahead=st.integers(1, 200),
    workers=st.integers(1, 3),
    most=st.integers(1, 9),
    live=st.booleans(),
    task=st.sampled_from([LetterTask, AheadTask]),
)
def test_every_record_comes_out_once_in_order_with_its_own_answer(
    texts, budget, ahead, workers, most, live, task
):
    plan = Plan(budget, workers, ahead, most)
    engine = EchoEngine(workers=workers)
    results = carry(texts, engine=engine, plan=plan, live=live, task=task()).results
    assert [result.record.index for result in results] == list(range(len(texts)))
    for text, result in zip(texts, results, strict=True):
        if text is None or not text.strip():
            assert result.status == "blank"
            assert result.values == {"echo": None}
        elif "!" in text:
            assert result.problem == Problem("shout", "no shouting")
        else:
            assert result.values == {"echo": text}
            assert result.windows == -(-len(text) // 4)


@given(
    texts=st.lists(st.text(alphabet="abcdef", min_size=1, max_size=9), max_size=30), budget=st.integers(1, 30)
)
def test_batches_respect_the_budget_and_hold_neighbours_in_length(texts, budget):
    engine = EchoEngine()
    carry(texts, engine=engine, plan=Plan(budget, look_ahead=10_000, begun=99))  # all in one block
    for windows in engine.calls:
        assert len(windows) == 1 or sum(map(len, windows)) <= budget
    lengths = [len(window) for windows in engine.calls for window in windows]
    assert lengths == sorted(lengths, reverse=True)


@given(texts=TEXTS, budget=st.integers(1, 40), remembers=st.booleans())
def test_batches_are_the_same_where_texts_are_tokenised_ahead(texts, budget, remembers):
    calls = []
    for task in (LetterTask(), AheadTask()):
        engine = EchoEngine()
        carry(texts, engine=engine, plan=Plan(budget, remembers=remembers), task=task)
        calls.append(engine.calls)
    assert calls[0] == calls[1]


@pytest.mark.parametrize(("live", "ahead"), [(False, 35), (True, 0)])
def test_texts_of_a_file_are_tokenised_ahead_once(live, ahead):
    """But for the first two, which would wait for others, and those that are known."""
    task = AheadTask()
    carry([*map(str, range(36)), " ", "0", "5", "0", "last"], plan=Plan(1000), live=live, task=task)
    assert len(task.ahead) == len(set(task.ahead)) == ahead


def test_records_are_expected_batch_by_batch_and_seen_block_by_block():
    count = Count()
    sink = carry(
        ["abc"] * 2 + [f"{number:03}" for number in range(6)], plan=Plan(6, look_ahead=21), count=count
    )
    assert count.expected == [3, 5, 7, 8]  # blocks of 3, 4 and 1 records in batches of 2 texts
    assert count.seen == 8
    assert sink.flushes == [3, 7, 8]


@pytest.mark.parametrize(
    ("budget", "workers", "sizes"),
    [(30, 2, [18, 18]), (30, 4, [9] * 4), (15, 2, [9] * 4), (36, 1, [36]), (1, 2, [3] * 12)],
)
def test_every_worker_has_the_same_to_do(budget, workers, sizes):
    engine = EchoEngine()
    texts = [f"{number:03}" for number in range(12)]
    plan = Plan(budget, workers, least_tokens=1, begun=9)
    carry(texts, engine=engine, plan=plan)
    assert [sum(map(len, windows)) for windows in engine.calls] == sizes


@pytest.mark.parametrize(
    ("workers", "budgets"), [(1, [10, 20, 40, 80, 100, 100]), (4, [40, 80, 160, 160, 160, 160])]
)
def test_blocks_grow_until_every_worker_has_some_batches(workers, budgets):
    plan = Plan(10, workers, look_ahead=100)
    assert [plan.budget(filled) for filled in range(6)] == budgets
    assert plan.budget(10**9) == budgets[-1]


@pytest.mark.parametrize(("workers", "ahead"), [(1, 2), (4, 2), (10, 2), (11, 3), (200, 21)])
def test_more_blocks_are_computed_at_once_where_batches_are_made_for_fewer_workers(workers, ahead):
    assert Plan(10, 2, look_ahead=100).blocks_ahead(workers) == ahead
    assert Plan(10, workers, look_ahead=100).blocks_ahead(workers) == 2


def test_batches_are_not_cut_too_small_for_the_sake_of_workers():
    engine = EchoEngine()
    carry([f"{number:03}" for number in range(12)], engine=engine, plan=Plan(36, 4, least_tokens=12, begun=9))
    assert [sum(map(len, windows)) for windows in engine.calls] == [12, 12, 12]


def test_within_a_block_batches_go_from_long_to_short():
    engine = EchoEngine()
    carry(["a", "bbbb", "cc", "ddd"], engine=engine, plan=Plan(4, look_ahead=100, most_records=4, workers=25))
    assert [len(window) for windows in engine.calls for window in windows] == [4, 3, 2, 1]


def test_equal_texts_of_a_block_are_computed_once():
    engine = EchoEngine()
    results = carry(["aa", "bb", "aa", "aa"], engine=engine, plan=Plan(100)).results
    assert sum(len(windows) for windows in engine.calls) == 2
    assert [result.duplicate for result in results] == [False, False, True, True]
    assert [result.values["echo"] for result in results] == ["aa", "bb", "aa", "aa"]


def test_equal_texts_with_different_pairs_are_different():
    engine = EchoEngine()
    carry(iter([Record(0, {}, "aa", "x"), Record(1, {}, "aa", "y")]), engine=engine)
    assert sum(len(windows) for windows in engine.calls) == 2


def test_equal_texts_that_are_split_differently_are_different():
    engine = EchoEngine()
    carry(iter([Record(0, {}, "a b", words=("a b",)), Record(1, {}, "a b", words=("a", "b"))]), engine=engine)
    assert sum(len(windows) for windows in engine.calls) == 2


@given(texts=st.lists(st.text(alphabet="abz", min_size=1, max_size=9), max_size=30))
def test_a_window_that_breaks_the_engine_fails_alone(texts):
    results = carry(texts, engine=EchoEngine(poison="z"), plan=Plan(50)).results
    for text, result in zip(texts, results, strict=True):
        assert result.status == ("failed" if "z" in text else "done")
    assert all(r.problem == Problem("engine", "RuntimeError: poisoned") for r in results if r.problem)


def test_a_problem_of_the_source_stays_in_its_place():
    broken = Record(1, {"text": "{"}, None, problem=Problem("json", "not JSON"))
    results = carry(iter([Record(0, {}, "a"), broken, Record(2, {}, "b")])).results
    assert [result.status for result in results] == ["done", "failed", "done"]


def test_a_record_that_brings_a_result_field_is_refused_alone():
    with_clash = Record(1, {"text": "b", "echo": "mine"}, "b")
    plan = Plan(16, reserved=frozenset({"echo"}))
    results = carry(iter([Record(0, {"text": "a"}, "a"), with_clash]), plan=plan).results
    assert [result.status for result in results] == ["done", "failed"]
    assert results[1].row() == {
        "text": "b",
        "echo": "mine",
        "error": {"type": "clash", "message": "the input already has a field named 'echo'; use --prefix"},
    }


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_the_run_stops_after_the_allowed_number_of_failures(limit):
    sink = ListSink()
    texts = ["a", "!", "b", "!", "c", "!", "d"]
    with pytest.raises(StoppedEarlyError):
        run(
            Feed(records(texts)),
            task=LetterTask(),
            engine=EchoEngine(),
            plan=Plan(16),
            sink=sink,
            receipt=Count(),
            max_errors=limit,
        )
    assert len(sink.results) == 2 * limit
    assert sink.results[-1].status == "failed"


def computed(engine: EchoEngine) -> list[str]:
    return ["".join(map(chr, window.ids)) for windows in engine.calls for window in windows]


@pytest.mark.parametrize("remembers", [True, False])
def test_a_text_of_an_earlier_block_is_known(remembers):
    """And the blocks are the same, whether it is or not."""
    engine, plan = EchoEngine(), Plan(4, look_ahead=8, remembers=remembers)
    texts = ["aa", "bb", "cc", "aa", "dd", "ee", "aa", "cc", "ff"]
    sink = carry(texts, engine=engine, plan=plan)
    assert [result.values["echo"] for result in sink.results] == texts
    assert sink.flushes == [2, 6, 9]
    assert [number for number, result in enumerate(sink.results) if result.duplicate] == [3, 6, 7]
    assert sorted(computed(engine)) == sorted(set(texts) if remembers else texts)


def test_only_the_texts_seen_last_are_known():
    engine = EchoEngine()
    texts = ["aa", "bb", "aa", "cc", "aa", "bb"]  # when bb comes again, cc and aa have been seen since
    sink = carry(texts, engine=engine, plan=Plan(2, look_ahead=2, seen=SeenTexts(2)))
    assert computed(engine) == ["aa", "bb", "cc", "bb"]
    assert [result.duplicate for result in sink.results] == [False, False, True, False, True, False]


@pytest.mark.slow
@settings(max_examples=25)
@given(
    st.lists(st.sampled_from(["a", "bb", "ccc", "", "long" * 1100, None]), max_size=40), st.integers(0, 40)
)
def test_a_run_that_reads_past_answered_records_counts_the_same_duplicates(texts, passed):
    """At the end of any block: the records before it are only seen."""
    passed = min(passed, len(texts))
    whole = [
        result.duplicate for result in carry(texts, plan=Plan(1, look_ahead=1, seen=SeenTexts(2))).results
    ]
    seen = SeenTexts(2)
    for record in records(texts[:passed]):
        seen.see(record)
    rest = carry(texts[passed:], plan=Plan(1, look_ahead=1, begun=passed, seen=seen)).results
    assert [result.duplicate for result in rest] == whole[passed:]


class Interrupting(ListSink):
    """Ctrl-C comes while the second result is written, which takes `seconds`."""

    seconds = 0.0

    def write(self, result):
        super().write(result)
        if len(self.results) == 2:
            time.sleep(self.seconds)
            signal.raise_signal(signal.SIGINT)


@dataclass
class Progress:
    is_active: bool
    blocks: list[int] = field(default_factory=list)

    def add_block(self, block):
        self.blocks.append(len(block.entries))


@pytest.mark.parametrize(
    ("resumable", "seconds", "written", "blocks"), [(True, 0, 3, [3]), (True, 0.2, 2, []), (False, 0, 2, [])]
)
def test_ctrl_c_waits_for_the_rest_of_a_block_where_the_run_can_be_resumed(
    resumable, seconds, written, blocks, monkeypatch
):
    monkeypatch.setattr(pipeline, "WRITING", 0.1)
    sink, progress, count = Interrupting(), Progress(resumable), Count()
    sink.seconds = seconds
    with pytest.raises(KeyboardInterrupt):
        run(
            Feed(records(["aa", "bb", "cc", "dd", "ee"])),
            task=LetterTask(),
            engine=EchoEngine(),
            plan=Plan(6, look_ahead=6),
            sink=sink,
            receipt=count,
            progress=progress,
        )
    assert (len(sink.results), progress.blocks) == (written, blocks)
    assert count.seen == (len(sink.results) if resumable else 1)


def test_what_failed_and_what_is_large_is_computed_anew():
    engine = EchoEngine(poison="p")
    long = "long" * 2000
    texts = ["p", long, "a", "b", "c", "p", long, "a"]  # by the second p the answer to the first is there
    results = carry(texts, engine=engine, plan=Plan(1, look_ahead=1)).results
    assert [result.status for result in results] == ["failed", *["done"] * 4, "failed", "done", "done"]
    assert computed(engine).count("p") == 2
    assert computed(engine).count("a") == 1
    assert computed(engine).count("long") == 2 * 2000


def test_large_fields_end_a_block():
    """Equal texts make no tokens, and yet they are in memory."""
    fields = {"text": "a", "page": "x" * 50, "tags": ["y" * 25] * 2}
    sink = ListSink()
    run(
        Feed(Record(index, fields, "a") for index in range(7)),
        task=LetterTask(),
        engine=EchoEngine(),
        plan=Plan(1000, most_bytes=300),
        sink=sink,
        receipt=Count(),
    )
    assert sink.flushes == [3, 6, 7]


def test_a_run_that_goes_on_with_failures_stops_at_the_next_one():
    count = Count(failed=3)
    with pytest.raises(StoppedEarlyError) as caught:
        carry(["a", "b", "!", "c"], max_errors=2, count=count)
    assert caught.value.where == "test:3"
    assert count.seen == 3


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("task", [LetterTask, AheadTask])
def test_records_before_a_broken_input_come_out(live, task):
    def broken() -> Iterator[Record]:
        yield from records(["a", "b", "c"])
        raise InputError("ends in the middle")

    sink = ListSink()
    with pytest.raises(InputError):
        run(
            (LiveFeed if live else Feed)(broken()),
            task=LetterTask(),
            engine=EchoEngine(),
            plan=Plan(100),
            sink=sink,
            receipt=Count(),
        )
    assert [result.values["echo"] for result in sink.results] == ["a", "b", "c"]


def test_a_live_input_is_answered_at_every_pause():
    """The source hands out the next text only after the answer to the last one has been written."""
    lines: queue.Queue[str | None] = queue.Queue()
    sink = ListSink()

    def tail() -> Iterator[Record]:
        index = 0
        while (line := lines.get()) is not None:
            yield Record(index, {"text": line}, line)
            index += 1

    worker = threading.Thread(
        target=run,
        args=(LiveFeed(tail()),),
        kwargs={
            "task": LetterTask(),
            "engine": EchoEngine(),
            "plan": Plan(1000),
            "sink": sink,
            "receipt": Count(),
        },
    )
    worker.start()
    for count, line in enumerate(["one", "two", "three"], start=1):
        lines.put(line)
        with sink.written:
            assert sink.written.wait_for(lambda count=count: len(sink.results) == count, timeout=10)
    lines.put(None)
    worker.join(10)
    assert not worker.is_alive()
    assert {1, 2, 3} <= set(sink.flushes)


def test_no_more_than_two_blocks_are_read_ahead():
    taken = 0

    def counted() -> Iterator[Record]:
        nonlocal taken
        for record in records(f"text {number}" for number in range(10_000)):
            taken += 1
            yield record

    class Stop(ListSink):
        def write(self, result):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(
            Feed(counted()),
            task=LetterTask(),
            engine=EchoEngine(),
            plan=Plan(16, look_ahead=64),
            sink=Stop(),
            receipt=Count(),
        )
    assert taken < 40
