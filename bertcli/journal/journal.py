"""The journal of an output: what a run depends on, and how far it has come.

`NAME.journal` is beside `NAME.part` until the run is complete. It has one JSON object per line: first what the
run depends on, then one Point per line. A line is written after everything it describes has been synced to disk,
and is synced before the next. A torn last line is ignored. A run locks the file until the process ends.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
import time
import zlib
from collections.abc import Callable, Mapping
from typing import Any

from bertcli.errors import OutputError
from bertcli.journal.locks import try_lock
from bertcli.journal.outputs import (
    JOURNAL_BEGINS,
    FileOutput,
    cannot_open,
    is_full,
    journal_of,
    part_of,
    reason_of,
    sync_directory,
)
from bertcli.journal.points import Mark, Point

FORMAT = 1
REST = 1.0  # seconds from one line to the next, at least
SHARE = 20  # and that many times as long as writing it took, so that slow disks do not slow the run


class Journal:
    """Raises OutputError where it cannot be written, and when another run is writing the same output.

    `begun` is the first line of what an interrupted run left, None without one; `point` the last position
    it can be resumed from.
    """

    def __init__(self, output: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._given = output
        self._path = journal_of(output)
        self._clock = clock
        self._due = clock()
        self._latest: Point | None = None
        self._added: list[Any] = []
        self._descriptor = self._lock()
        self._end = 0  # of the last whole line
        self.begun: dict[str, Any] | None = None
        self.point: Point | None = None
        self._read()

    def begin(self, facts: Mapping[str, Any]) -> None:
        """Start the journal of a new run, which depends on `facts`."""
        self.begun, self.point, self._end = dict(facts), None, 0
        self._write_line({"journal": FORMAT, **facts})
        sync_directory(self._path.parent)

    def keep(self, point: Point, sync: Callable[[], None]) -> None:
        """Set the position to resume from. It is written at intervals, after `sync` has synced the output to
        disk."""
        self._added += point.mark.added
        self._latest = point
        if self._clock() >= self._due:
            self._write_latest(sync)

    def catch_up(self, sync: Callable[[], None]) -> None:
        """Write the last position if it is not written yet. A full disk has been reported before."""
        if self._latest is not None:
            with contextlib.suppress(OSError, OutputError):
                self._write_latest(sync)

    def close(self) -> None:
        """Release the lock, and remove a journal that is empty or has no `NAME.part`."""
        if self._descriptor < 0:
            return
        with contextlib.suppress(OSError):
            if not part_of(self._given).exists() or not os.fstat(self._descriptor).st_size:
                self._path.unlink()
        os.close(self._descriptor)
        self._descriptor = -1

    def _write_latest(self, sync: Callable[[], None]) -> None:
        assert self._latest is not None
        began = self._clock()
        sync()
        point = self._latest
        line = {
            "records": point.records,
            "digest": point.digest,
            "blocks": point.blocks,
            "counts": dict(point.counts),
            "state": dict(point.mark.state),
            "added": self._added,
        }
        self._write_line(line)
        self.point, self._latest, self._added = point, None, []
        now = self._clock()
        self._due = now + max(REST, SHARE * (now - began))

    def _write_line(self, line: Mapping[str, Any]) -> None:
        """Write a line behind the last whole one, over a torn one."""
        data = sealed(line)
        try:
            os.ftruncate(self._descriptor, self._end)
            written = 0
            while written < len(data):
                written += os.pwrite(self._descriptor, data[written:], self._end + written)
            os.fsync(self._descriptor)
        except OSError as error:
            hint = FileOutput.full_hint if is_full(error) else "--resume continues from there"
            message = f"cannot write: {reason_of(error)}"
            raise OutputError(message, where=f"{self._given}.journal", hint=hint) from error
        self._end += len(data)

    def _lock(self) -> int:
        """Open the file and lock it. The previous owner of the lock may have removed it meanwhile."""
        while True:
            try:
                descriptor = os.open(
                    self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666
                )
            except OSError as error:
                if error.errno == errno.ELOOP:
                    raise self._strange("is a symbolic link, which no run has made") from error
                raise cannot_open(self._given, error) from error
            self._refuse_strange(descriptor)
            if not try_lock(descriptor):
                os.close(descriptor)
                raise OutputError(
                    "is being written by another run",
                    where=self._given,
                    hint="wait for its end, or write to another file",
                )
            with contextlib.suppress(OSError):
                if os.path.samestat(os.fstat(descriptor), os.stat(self._path)):
                    return descriptor
            os.close(descriptor)

    def _refuse_strange(self, descriptor: int) -> None:
        """Raise OutputError for a file of this name that is not a journal."""
        begin = (
            os.pread(descriptor, len(JOURNAL_BEGINS), 0)
            if stat.S_ISREG(os.fstat(descriptor).st_mode)
            else b"?"
        )
        if begin and not JOURNAL_BEGINS.startswith(begin):
            os.close(descriptor)
            raise self._strange("is not a journal of bertcli, so it is not replaced")

    def _strange(self, message: str) -> OutputError:
        return OutputError(
            message, where=f"{self._given}.journal", hint="move it away, or write to another file"
        )

    def _read(self) -> None:
        data = _contents(self._descriptor)
        lines = data.split(b"\n")[:-1]  # the rest is torn
        added: list[Any] = []
        for number, line in enumerate(lines):
            try:
                read = _unsealed(line)
                if number == 0:
                    self.begun = _first(read)
                else:
                    added += read["added"]
                    self.point = _point(read, tuple(added))
            except (ValueError, KeyError, TypeError, RecursionError):
                break  # damage: the lines before it are used
            self._end += len(line) + 1


def sealed(line: Mapping[str, Any]) -> bytes:
    """The line as it is written: the last of its fields is a checksum of the others."""
    data = json.dumps(line, separators=(",", ":")).encode()
    return data[:-1] + _checksum(data) + b"\n"


def _unsealed(line: bytes) -> Any:
    """What such a line says. Raises ValueError when it is not as it was written."""
    size = len(_checksum(b""))
    data = line[:-size] + b"}"
    if line[-size:] != _checksum(data):
        raise ValueError("damaged")
    return json.loads(data)


def _checksum(data: bytes) -> bytes:
    return b',"check":"%08x"}' % zlib.crc32(data)


def _contents(descriptor: int) -> bytes:
    pieces = []
    size = 0
    while piece := os.pread(descriptor, 1 << 20, size):
        pieces.append(piece)
        size += len(piece)
    return b"".join(pieces)


def _first(line: Any) -> dict[str, Any]:
    if not isinstance(line, dict) or line.pop("journal") != FORMAT:
        raise ValueError("not a journal of this version")
    facts: dict[str, Any] = line
    return facts


def _point(line: Any, added: tuple[Any, ...]) -> Point:
    records, blocks, counts, state = line["records"], line["blocks"], line["counts"], line["state"]
    numbers = [records, blocks, *counts.values()] if isinstance(counts, dict) else [None]
    if not isinstance(state, dict) or any(type(number) is not int or number < 0 for number in numbers):
        raise ValueError("not a point")
    return Point(records, str(line["digest"]), blocks, counts, Mark(state, added))
