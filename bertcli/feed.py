"""Records as they arrive: taken one by one, with a word when none is there yet.

A file never makes anybody wait, so its records are read where they are needed. A pipe may pause: a thread
reads it ahead, so that a pause can be noticed and everything read so far answered at once. At a prompt the
next line is asked for only when the last one has been answered.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from bertcli.records import Record

END: Final = Record(-1, {}, None)
PAUSE: Final = Record(-2, {}, None)


RECORD_BYTES = 8_192
"""Bytes of fields that make a record read ahead count as two."""


MEASURED_BYTES = 1 << 25
"""Bytes of fields that are held at most to learn how much there is to do."""


def characters(record: Record) -> int:
    """How many characters a record has to be read."""
    return len(record.text or "") + len(record.pair or "")


def _is_last(item: Record | BaseException) -> bool:
    """Whether nothing comes behind it."""
    return item is END or isinstance(item, BaseException)


class Feed:
    """Hands out the records of an input that never pauses.

    `take` returns the next record, END after the last one, or PAUSE when there is none yet and the caller
    does not want to wait. What the source raises is raised by `take`, after the records before it. `taken`
    counts the records handed out.
    """

    def __init__(self, records: Iterable[Record]) -> None:
        self.taken = 0
        self._records = (record for record in records)  # begun with the first `take`, not before
        self._ahead: deque[Record | BaseException] = deque()

    def take(self, *, wait: bool = True) -> Record:
        item = self._ahead.popleft() if self._ahead else self._next(wait)
        if isinstance(item, BaseException):
            raise item
        self.taken += item is not PAUSE and item is not END
        return item

    def first(self, *, wait: bool = True) -> Record:
        """The record that `take` will return next."""
        if not self._ahead:
            item = self._next(wait)
            if item is PAUSE:
                return PAUSE
            self._ahead.append(item)
        item = self._ahead[0]
        if isinstance(item, BaseException):
            raise item
        return item

    def measure(
        self, enough: int, patience: float, weigh: Callable[[Record], int] = characters
    ) -> int | None:
        """Look ahead to learn how much there is to do: the number of characters until the end of the input
        (of each record as many as `weigh` says), or None when there are more than `enough`, when their fields
        take more than `MEASURED_BYTES`, or when a live input has not ended within `patience` seconds."""
        held = [item for item in self._ahead if isinstance(item, Record)]
        amount, size = sum(map(weigh, held)), sum(item.size for item in held)
        deadline = time.monotonic() + patience
        while amount <= enough and size <= MEASURED_BYTES:
            if self._ahead and _is_last(self._ahead[-1]):
                return amount
            item = self._next_until(deadline)
            if item is PAUSE:
                return None
            self._ahead.append(item)
            if isinstance(item, Record):
                amount += weigh(item)
                size += item.size
        return None

    def _next(self, wait: bool) -> Record | BaseException:
        return next(self._records, END)

    def _next_until(self, deadline: float) -> Record | BaseException:
        try:
            return self._next(wait=True)
        except Exception as error:  # kept in its place: `take` raises it
            return error


class _Ahead(queue.Queue[Record | BaseException]):
    """Records read ahead: at most `maxsize`, and fewer where they are large, each `RECORD_BYTES` of their
    fields counting as one more."""

    def _init(self, maxsize: int) -> None:
        super()._init(maxsize)
        self._sizes: deque[int] = deque()
        self._bytes = 0

    def _qsize(self) -> int:
        return super()._qsize() + self._bytes // RECORD_BYTES

    def _put(self, item: Record | BaseException) -> None:
        super()._put(item)
        self._sizes.append(item.size if isinstance(item, Record) else 0)
        self._bytes += self._sizes[-1]

    def _get(self) -> Record | BaseException:
        self._bytes -= self._sizes.popleft()
        return super()._get()


class LiveFeed(Feed):
    """Reads an input that may pause with a thread of its own, a bounded number of records ahead.

    The thread is a daemon: it may hang in a read for ever, and must not keep the process alive. `patience` is
    how many seconds without a record make a pause.
    """

    def __init__(self, records: Iterable[Record], most_ahead: int = 1024, patience: float = 0.0) -> None:
        super().__init__(())
        self._patience = patience
        self._queue = _Ahead(most_ahead)
        threading.Thread(target=self._read, args=(records,), name="reader", daemon=True).start()

    def _read(self, records: Iterable[Record]) -> None:
        try:
            for record in records:
                self._queue.put(record)
        except BaseException as error:  # whatever ended the reading belongs to the thread that waits for it
            self._queue.put(error)
        else:
            self._queue.put(END)

    def _next(self, wait: bool) -> Record | BaseException:
        try:
            return self._queue.get(block=wait or self._patience > 0, timeout=None if wait else self._patience)
        except queue.Empty:
            return PAUSE

    def _next_until(self, deadline: float) -> Record | BaseException:
        try:
            return self._queue.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            return PAUSE


class PromptFeed(Feed):
    """Asks for the next record only when the caller is ready to wait for it."""

    def _next(self, wait: bool) -> Record | BaseException:
        return next(self._records, END) if wait else PAUSE

    def measure(
        self, enough: int, patience: float, weigh: Callable[[Record], int] = characters
    ) -> int | None:
        """Nobody types much."""
        return 0
