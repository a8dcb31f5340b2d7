"""Records one by one, and whether the input pauses.

Records of a file are read when they are taken. A pipe may pause: a thread reads ahead, so that a pause is
noticed and everything read so far can be answered at once. A prompt asks for the next line when the last one
has been answered.
"""

from __future__ import annotations

import contextvars
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
"""Bytes of fields that count as one more record in the read-ahead queue."""


MEASURED_BYTES = 1 << 25
"""Most bytes of fields that `measure` reads ahead."""


def characters(record: Record) -> int:
    """The number of characters of a record that a task reads."""
    return len(record.text or "") + len(record.pair or "")


def _is_last(item: Record | BaseException) -> bool:
    """Whether it is the last item: the end or an error."""
    return item is END or isinstance(item, BaseException)


class Feed:
    """Hands out the records of an input that never pauses.

    `take` returns the next record, END after the last one, or PAUSE when none has arrived and `wait` is False.
    Errors of the source are raised by `take`, after the records before them. `taken` counts the records.
    """

    may_pause = False

    def __init__(self, records: Iterable[Record]) -> None:
        self.taken = 0
        self._records = (record for record in records)  # the iterator starts with the first `take`
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
        """Read ahead to find the amount of work: the sum of `weigh` over all records of the input. None where it
        exceeds `enough`, where the fields take more than `MEASURED_BYTES`, or where a live input has not ended
        within `patience` seconds."""
        read = [item for item in self._ahead if isinstance(item, Record)]
        amount, size = sum(map(weigh, read)), sum(item.size for item in read)
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

    def ahead(self, count: int, patience: float) -> list[Record]:
        """Up to `count` records that `take` will return next: fewer at the end of the input, where the fields take more
        than `MEASURED_BYTES`, or where a live input has not sent them within `patience` seconds."""
        deadline = time.monotonic() + patience
        size = sum(item.size for item in self._ahead if isinstance(item, Record))
        while len(self._ahead) < count and size <= MEASURED_BYTES:
            if self._ahead and _is_last(self._ahead[-1]):
                break
            item = self._next_until(deadline)
            if item is PAUSE:
                break
            self._ahead.append(item)
            size += item.size if isinstance(item, Record) else 0
        return [item for item in self._ahead if isinstance(item, Record) and item is not END][:count]

    def _next(self, wait: bool) -> Record | BaseException:
        return next(self._records, END)

    def _next_until(self, deadline: float) -> Record | BaseException:
        try:
            return self._next(wait=True)
        except Exception as error:  # `take` raises it after the records before it
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

    The thread is a daemon: it may block in a read, and must not keep the process alive. `patience` is the
    number of seconds without a record that count as a pause.
    """

    may_pause = True

    def __init__(self, records: Iterable[Record], most_ahead: int = 1024, patience: float = 0.0) -> None:
        super().__init__(())
        self._patience = patience
        self._queue = _Ahead(most_ahead)
        context = contextvars.copy_context()  # warnings of the reader go where those of the run go
        threading.Thread(target=context.run, args=(self._read, records), name="reader", daemon=True).start()

    def _read(self, records: Iterable[Record]) -> None:
        try:
            for record in records:
                self._queue.put(record)
        except BaseException as error:  # raised by the thread that takes the records
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
    """Reads the next record only when the caller waits for it."""

    may_pause = True

    def _next(self, wait: bool) -> Record | BaseException:
        return next(self._records, END) if wait else PAUSE

    def measure(
        self, enough: int, patience: float, weigh: Callable[[Record], int] = characters
    ) -> int | None:
        """Typed input is always small."""
        return 0
