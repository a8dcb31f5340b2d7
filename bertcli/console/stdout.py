"""stdout belongs to results alone: nothing else in the process may reach it, native code included."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import select
import sys
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from bertcli.console.drawing import When, terminal_width, wants_color


@dataclass(frozen=True, slots=True)
class Terminal:
    """What results are shown on. `width` is in cells, None for a pipe or file: lines of any length."""

    is_tty: bool = False
    width: int | None = None
    color: bool = False


class ClosedStdout:
    """A stdout that was closed before the program began (`>&-`), or that a library does not have: every write fails."""

    closed = False  # so that a write is tried, and its failure reported

    def write(self, data: bytes) -> int:
        raise OSError(errno.EBADF, "it is closed")

    def flush(self) -> None:
        """There is nothing to flush."""

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        raise OSError(errno.EBADF, "it is closed")

    def close(self) -> None:
        """Closed already."""


class _Waiting(io.FileIO):
    """A file whose writes block, also on a pipe that was made non-blocking."""

    def write(self, data: Any, /) -> int:
        view = memoryview(data).cast("B")
        written = 0
        while written < len(view):
            count = super().write(view[written:])
            if count is None:
                select.select([], [self], [])
            else:
                written += count
        return written


@dataclass(frozen=True, slots=True)
class _Claim:
    stream: BinaryIO
    replaced: object  # what sys.stdout was
    private: int | None  # our duplicate of file descriptor 1


_claim: _Claim | None = None


def claim_stdout() -> BinaryIO:
    """Reserve stdout for results: from now on, other output to it goes to stderr.

    File descriptor 1 is duplicated and then points at stderr, so that native code is caught too. A host that
    has put a `sys.stdout` of its own in place (a notebook, a test runner) gets the results there. Calling it
    again returns the same stream; `release_stdout` undoes it.
    """
    global _claim
    if _claim is None:
        closed = _fill_standard_descriptors()
        stream = sys.stdout
        hosted = stream is not None and not _is_descriptor(stream, 1)
        if stream is not None:
            stream.flush()
        private = None if hosted or 1 in closed else os.dup(1)
        if hosted:
            results = stream.buffer
        elif private is None:
            results = cast(BinaryIO, ClosedStdout())
        else:
            results = cast(BinaryIO, io.BufferedWriter(_Waiting(private, "wb"), 1 << 17))
        if not hosted:
            os.dup2(2, 1)
        _claim = _Claim(results, stream, private)
        sys.stdout = sys.stderr
    return _claim.stream


def release_stdout() -> None:
    """Give stdout back as it was before `claim_stdout`."""
    global _claim
    if _claim is None:
        return
    claim, _claim = _claim, None
    sys.stdout = claim.replaced
    with contextlib.suppress(OSError, ValueError):  # the reader has closed the pipe, or the host its stream
        claim.stream.flush()
    if claim.private is not None:
        os.dup2(claim.private, 1)
        with contextlib.suppress(OSError):
            claim.stream.close()


def silence_descriptors() -> None:
    """Drop what native code prints from now on: messages of bertcli go to a duplicate of stderr. Does nothing unless
    stdout is claimed: the descriptors of another program are its own."""
    if _claim is None or sys.stderr is None or not _is_descriptor(sys.stderr, 2):
        return
    ours = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    sys.stderr.flush()
    for descriptor in (1, 2):
        os.dup2(null, descriptor)
    os.close(null)
    sys.stderr = open(ours, "w", encoding=sys.stderr.encoding, errors=sys.stderr.errors, buffering=1)  # noqa: SIM115


def terminal(stdout: BinaryIO, color: When = "auto") -> Terminal:
    """What stdout is: a terminal of some width (`COLUMNS` wins), or a pipe or file of any width."""
    is_tty = stdout.isatty()
    return Terminal(is_tty, terminal_width(stdout.fileno()) if is_tty else None, wants_color(is_tty, color))


def _fill_standard_descriptors() -> set[int]:
    """Open the null device where descriptor 0, 1 or 2 is closed, or the next file opened would take its
    place and receive what others print. Returns those that were closed."""
    closed = set()
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, so this one
            closed.add(descriptor)
    return closed


def _is_descriptor(stream: object, number: int) -> bool:
    try:
        return cast(BinaryIO, stream).fileno() == number
    except (OSError, AttributeError, ValueError):
        return False
