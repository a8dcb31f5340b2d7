"""Records of a file, tokenised ahead of the plan.

Records are read some chunks ahead. The texts of a chunk are tokenised at once in a thread, while the plan works on the
chunk before it: the tokenizer's native code does not hold Python's lock when it is given many texts. What the plan gets
is the same, in the same order. An input that may pause is not read ahead.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from bertcli.errors import ModelError, RecordError
from bertcli.feed import END, Feed
from bertcli.records import Problem, Record, Result
from bertcli.tasks import EncodedRecord, Task, TokenizedTask

Text: TypeAlias = tuple[str | None, str | None, tuple[str, ...] | None]
"""What makes two records equal to a task: text, pair, words."""

FIRST_CHUNK = 16  # records; the next has twice as many, so that answers show early
LARGEST_CHUNK = 256
CHARACTERS = 1 << 16  # that end a chunk
CHUNKS = 4  # in memory at once
THREADS = 2


@dataclass(slots=True)
class Work:
    """The computation for one text: its windows (`tokens` in all), their outputs so far, the result fields of those
    that were decoded together, or the problem that ended it. Records with equal texts share it and its `answer`, which
    does not depend on other fields."""

    encoded: EncodedRecord | None = None
    tokens: int = 0
    outputs: list[Any] = field(default_factory=list)
    values: Mapping[str, Any] | None = None
    problem: Problem | None = None
    answer: Result | None = None


def text_of(record: Record) -> Text:
    return record.text, record.pair, record.words


def begin_work(task: Task, record: Record) -> Work:
    """The work of a text that was not seen."""
    try:
        encoded = task.encode(record)
    except RecordError as error:
        return Work(problem=Problem(error.type, error.message))
    except ModelError as error:
        return Work(problem=Problem("engine", error.message))
    except MemoryError:
        return Work(problem=Problem("engine", "memory ran out while the text was cut into tokens"))
    windows = encoded.windows
    if len(windows) == 1:
        return Work(encoded, len(windows[0].ids), [None])
    return Work(encoded, sum(map(len, windows)), [None] * len(windows))


@dataclass(frozen=True, slots=True)
class _Chunk:
    records: deque[Record]
    works: Future[dict[Text, Work]] | None


class Lookahead:
    """Hands out the records of a feed, as its `take` does, and their works. `is_known` says that no work is needed for
    a text."""

    def __init__(self, feed: Feed, task: Task, is_known: Callable[[Text], bool]) -> None:
        self._feed, self._task, self._is_known = feed, task, is_known
        self._bulk = task if isinstance(task, TokenizedTask) and not feed.may_pause else None
        self._pool: ThreadPoolExecutor | None = None
        self._size = FIRST_CHUNK
        self._chunks: deque[_Chunk] = deque()
        self._records: deque[Record] = deque()
        self._works: dict[Text, Work] = {}
        self._end: Exception | None = None

    def take(self, *, wait: bool = True) -> Record:
        if self._bulk is None:
            return self._feed.take(wait=wait)
        if not self._records and not self._next_chunk(self._bulk):
            if self._end is not None:
                raise self._end
            return END
        return self._records.popleft()

    def work(self, record: Record, text: Text) -> Work:
        """The work of a record, whose text is this. Another record gets another work."""
        return self._works.pop(text, None) or begin_work(self._task, record)

    def close(self) -> None:
        """Stop tokenising."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def _next_chunk(self, task: TokenizedTask) -> bool:
        """Go on to the next chunk, and read until there are enough behind it. False at the end."""
        while len(self._chunks) < CHUNKS and (records := self._read()):
            works = None
            if len(records) > FIRST_CHUNK:  # else the first answer would wait for all of them
                self._pool = self._pool or ThreadPoolExecutor(THREADS, thread_name_prefix="tokenizer")
                works = self._pool.submit(_works, task, self._needed(records))
            self._chunks.append(_Chunk(deque(records), works))
        if not self._chunks:
            return False
        chunk = self._chunks.popleft()
        self._records = chunk.records
        self._works = chunk.works.result() if chunk.works is not None else {}
        return True

    def _read(self) -> list[Record]:
        records: list[Record] = []
        characters = 0
        while len(records) < self._size and characters < CHARACTERS and self._end is None:
            try:
                record = self._feed.take()
            except Exception as error:  # raised after the records before it
                self._end = error
                break
            if record is END:
                break
            records.append(record)
            characters += len(record.text or "") + len(record.pair or "")
        self._size = min(2 * self._size, LARGEST_CHUNK)
        return records

    def _needed(self, records: Sequence[Record]) -> dict[Text, Record]:
        """A record of each text that has to be tokenised."""
        usable = {
            text_of(record): record for record in records if record.problem is None and not record.blank
        }
        return {text: record for text, record in usable.items() if not self._is_known(text)}


def _works(task: TokenizedTask, records: dict[Text, Record]) -> dict[Text, Work]:
    texts = [text for record in records.values() for text in task.texts(record)]
    with task.tokenizer.tokenized(texts):
        return {text: begin_work(task, record) for text, record in records.items()}
