"""A terminal as an input: one line after the other, with a prompt."""

from __future__ import annotations

import os
import sys
from contextlib import redirect_stdout
from typing import BinaryIO

from bertcli import console

PROMPT = "> "
WELCOME = "Type a text and press Enter; Ctrl-D ends."


class Prompt:
    """Reads like a file, a line each time, after showing a prompt on stderr.

    Lines can be edited and earlier ones brought back with the arrow keys where Python has readline. Empty
    lines are asked for again. `end` is put behind each line in place of Enter; the bytes are UTF-8.
    """

    def __init__(self, stream: BinaryIO, end: bytes = b"\n") -> None:
        self._stream = stream
        self._end = end
        self._editing: bool | None = None

    def read(self, size: int, /) -> bytes:
        """The next line, however long; b"" after Ctrl-D."""
        if self._editing is None:
            self._editing = _can_edit(self._stream)
            console.say(WELCOME)
        try:
            while (line := self._ask()) is not None:
                if line.strip():
                    return line + self._end
        except KeyboardInterrupt:
            self._leave()
            raise
        self._leave()
        return b""

    def _leave(self) -> None:
        """Give what comes next, the shell's prompt or the receipt, a line of its own."""
        sys.stderr.write("\n")
        sys.stderr.flush()

    def _ask(self) -> bytes | None:
        if self._editing:
            return _edit()
        sys.stderr.write(PROMPT)
        sys.stderr.flush()
        line = self._stream.readline()
        return line.rstrip(b"\r\n") if line else None

    def close(self) -> None:
        """The terminal stays open."""


def _can_edit(stream: BinaryIO) -> bool:
    """Whether `input` may be used: it writes its prompt to file descriptor 1, which must be stderr's twin
    (see `console.claim_stdout`), or the prompt would end up among the results."""
    try:
        if (
            (stream.fileno(), sys.stdin.fileno()) != (0, 0)
            or not os.isatty(1)
            or not os.path.sameopenfile(1, 2)
        ):
            return False
        import readline  # noqa: F401 (importing it is what gives `input` its editing and history)
    except (ImportError, OSError, ValueError, AttributeError):
        return False
    return True


def _edit() -> bytes | None:
    # `input` edits lines only when sys.stdout is file descriptor 1
    with open(1, "w", closefd=False) as screen, redirect_stdout(screen):
        try:
            return input(PROMPT).encode("utf-8", "surrogateescape")
        except EOFError:
            return None
