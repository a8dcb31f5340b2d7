"""Stand-ins for the rooms around the pipeline: a task that counts letters, an engine that may fail."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from bertcli.errors import RecordError
from bertcli.records import Record, Result, Window
from bertcli.tasks import BulkTask, EncodedRecord, Task, TokenizedTask


def records(texts: Iterable[str | None]) -> Iterator[Record]:
    for index, text in enumerate(texts):
        yield Record(index, {"text": text}, text, where=f"test:{index + 1}")


@dataclass
class LetterTask(Task):
    """Cuts a text into windows of `width` letters; its answer is the text put together again."""

    width: int = 4
    fields: tuple[str, ...] = ("echo",)

    def encode(self, record: Record) -> EncodedRecord:
        text = record.text or ""
        if "!" in text:
            raise RecordError("shout", "no shouting")
        letters = [ord(letter) for letter in text]
        cuts = range(0, len(letters), self.width)
        return EncodedRecord([Window(letters[start : start + self.width]) for start in cuts])

    def forward(self, engine: Any, windows: Sequence[Window]) -> list[Any]:
        return engine.forward(windows, None)

    def decode(self, record: Record, encoded: EncodedRecord, outputs: Sequence[Any]) -> dict[str, Any]:
        return {"echo": "".join(outputs)}


@dataclass
class AheadTask(LetterTask, TokenizedTask, BulkTask):
    """The same task, whose texts are tokenised ahead and decoded together. `ahead` are those that were; it decodes none
    of several with the letter x."""

    ahead: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tokenizer: Any = self

    def texts(self, record: Record) -> tuple[str, ...]:
        return (record.text or "",)

    @contextmanager
    def tokenized(self, texts: Sequence[str]) -> Iterator[None]:
        self.ahead += texts
        yield

    def decode_all(self, outputs: Sequence[Any]) -> list[dict[str, Any]]:
        if any("x" in output for output in outputs):
            raise RecordError("x", "no x")
        return [{"echo": output} for output in outputs]


@dataclass
class EchoEngine:
    """Gives ids back as text, and raises for any batch that holds the letter `poison`."""

    poison: str = "\0"
    workers: int = 1
    batch_tokens: int = 16
    name: str = "echo"
    device: str = "cpu"
    dtype: str = "float32"
    batch_invariant: bool = True
    calls: list[list[Window]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def forward(self, windows: Sequence[Window], ask: Any) -> list[Any]:
        with self.lock:
            self.calls.append(list(windows))
        if any(ord(self.poison) in window.ids for window in windows):
            raise RuntimeError("poisoned")
        return ["".join(map(chr, window.ids)) for window in windows]


@dataclass
class ListSink:
    results: list[Result] = field(default_factory=list)
    flushes: list[int] = field(default_factory=list)
    written: threading.Condition = field(default_factory=threading.Condition)

    def write(self, result: Result) -> None:
        with self.written:
            self.results.append(result)
            self.written.notify_all()

    def flush(self) -> None:
        self.flushes.append(len(self.results))

    def close(self, complete: bool) -> None:
        """Nothing to close."""


@dataclass
class Count:
    failed: int = 0
    seen: int = 0
    expected: list[int] = field(default_factory=list)

    def add(self, result: Result) -> None:
        self.seen += 1
        self.failed += result.status == "failed"

    def expect(self, more: int) -> None:
        self.expected.append(self.seen + more)
