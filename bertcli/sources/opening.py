"""What the command line names -> blocks of bytes, counted as they are read."""

from __future__ import annotations

import errno
import io
import os
import select
import shlex
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import BinaryIO, Protocol, cast

from bertcli.console.drawing import grouped
from bertcli.errors import InputError
from bertcli.sources.compression import SUFFIXES, decompress, may_become_compressed, sniff_compression
from bertcli.sources.contents import look
from bertcli.sources.prompt import Prompt
from bertcli.storage import is_remote, object_size, open_file

BLOCK = 1 << 18
LEAST_BLOCK = 1 << 10
MOST_SHOWN = 60


class Reader(Protocol):
    """`read` returns what is there, waiting only while there is nothing; b"" at the end."""

    def read(self, size: int, /) -> bytes: ...

    def close(self) -> None: ...


class SeekableReader(Reader, Protocol):
    def seek(self, offset: int, /) -> int: ...


class Input:
    """One input: a file or a pipe.

    `path` is what the user called it, fit to be shown (`-` for stdin); `label` is its name in messages.
    `live`, `prompt`, `size` and `position` are as in `Source`. `regular` is the path or the URL of a file that can
    be read in any order, None for everything else. `begin` is the offset of the first byte, more than 0 in a part of a
    file (see `parts`); a part has a `size`. `resources` are closed with the input.
    """

    def __init__(
        self,
        path: str,
        opener: Callable[[], Reader],
        *,
        live: bool = False,
        prompt: bool = False,
        size: int | None = None,
        regular: str | None = None,
    ) -> None:
        self.path = path
        self.label = "stdin" if path == "-" else path
        self.live = live
        self.prompt = prompt
        self.size = size
        self.regular = regular
        self.begin: int | None = None
        self.position = 0
        self.resources = ExitStack()
        self._opener = opener
        self._reader: Reader | None = None
        self._closed = False

    def chunks(self) -> Iterator[bytes]:
        """The bytes as stored, each piece as soon as it is there. Raises InputError where reading fails."""
        try:
            self._reader = self._opener()
            if self.begin:
                cast(SeekableReader, self._reader).seek(self.begin)
            # never much more than before: of what is read, the bar takes it that it has been handed on
            while chunk := self._reader.read(self._next_size()):
                self.position += len(chunk)
                yield chunk
            if self.size is not None and self.position < self.size and not self._closed:
                raise InputError(
                    f"ends after {grouped(self.position)} of {grouped(self.size)} bytes",
                    where=self.label,
                    hint="it was truncated while it was read",
                )
        except OSError as error:
            raise InputError(
                f"cannot be read: {_reason(error)}",
                where=self.label,
                hint="check that it is still there, and who may read it",
            ) from error
        except ValueError:
            if not self._closed:  # else `close` was called while another thread was reading
                raise
        finally:
            if self._reader is not None:
                self._reader.close()

    def _next_size(self) -> int:
        size = min(BLOCK, max(LEAST_BLOCK, self.position // 8))
        if self.begin is not None and self.size is not None:
            return min(size, self.size - self.position)
        return size

    def unpacked(self) -> Iterator[bytes]:
        """The bytes behind the compression that the first bytes show."""
        head, chunks = look(self.chunks(), may_become_compressed)
        kind = sniff_compression(head)
        suffix = os.path.splitext(self.path)[1].lower()
        if kind is None and suffix in SUFFIXES:
            what = f"is not {SUFFIXES[suffix]} data, in spite of its name" if head else "is empty"
            hint = f"a file that is not compressed should not end in {suffix}"
            raise InputError(what, hint=hint, where=self.label)
        yield from chunks if kind is None else decompress(chunks, kind)

    def close(self) -> None:
        """Stop reading; harmless at any time, from any thread."""
        self._closed = True
        self.resources.close()
        if self._reader is not None:
            self._reader.close()


def file_input(path: str, *, bare_texts: bool = True) -> Input:
    """A file that exists and may be read; raises InputError for anything else, whose hint mentions --text if
    there may be `bare_texts`."""
    hint = _hint_text(path) if bare_texts else "check the path"
    if is_remote(path):
        return _remote_input(path)
    shown = os.fsencode(path).decode("utf-8", "replace")
    if len(shown) > MOST_SHOWN and " " in shown:
        shown = shown[:MOST_SHOWN] + "…"
    try:
        info = os.stat(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"there is no file '{shown}'", hint=hint) from error
    except OSError as error:
        raise InputError(f"'{shown}' cannot be opened: {_reason(error)}", hint=hint) from error
    if stat.S_ISDIR(info.st_mode):
        inside = shlex.quote(shown.rstrip("/")) + "/*"
        raise InputError("is a directory", hint=f"name the files in it, as in {inside}", where=shown)
    _refuse_endless(info, shown)
    if not os.access(path, os.R_OK):
        raise InputError("cannot be read: permission denied", hint="chmod +r, or ask its owner", where=shown)
    regular = stat.S_ISREG(info.st_mode)
    return Input(
        shown,
        lambda: _File(path, opener=_without_waiting if regular and not info.st_size else None),
        live=_pauses(info.st_mode),
        size=info.st_size if regular else None,
        regular=path if regular else None,
    )


def _remote_input(url: str) -> Input:
    """An object in storage. Raises InputError where it cannot be read."""
    try:
        size = object_size(url)
    except FileNotFoundError as error:
        raise InputError("does not exist", where=url, hint="check the bucket and the name") from error
    except OSError as error:
        raise InputError(
            f"cannot be read: {_reason(error)}", where=url, hint="check the credentials and the endpoint"
        ) from error
    if size is None:
        raise InputError("is a directory", where=url, hint="name the objects in it")
    return Input(url, lambda: open_file(url), size=size, regular=url)


def stream_input(stream: BinaryIO) -> Input:
    """Standard input, or its replacement; it is never closed."""
    try:
        descriptor = stream.fileno()
    except OSError:
        return Input("-", lambda: _Borrowed(stream))
    info = os.fstat(descriptor)
    if not os.isatty(descriptor):
        _refuse_endless(info, "stdin")
    size = info.st_size - os.lseek(descriptor, 0, os.SEEK_CUR) if stat.S_ISREG(info.st_mode) else None
    return Input(
        "-",
        lambda: _File(descriptor, closefd=False),
        live=_pauses(info.st_mode) or os.isatty(descriptor),
        size=size,
    )


def prompt_input(stream: BinaryIO, end: bytes) -> Input:
    """A person at a terminal, who ends each answer with Enter."""
    return Input("-", lambda: Prompt(stream, end), live=True, prompt=True)


class _File(io.FileIO):
    """A file whose reads wait, also when somebody made the pipe non-blocking."""

    def read(self, size: int | None = -1, /) -> bytes:
        while (chunk := super().read(size)) is None:
            if stat.S_ISREG(os.fstat(self.fileno()).st_mode):  # as /proc/kmsg, which never ends
                raise OSError(errno.EAGAIN, "it gives no more, and has no end")
            select.select([self], [], [])
        return chunk


def _without_waiting(path: str, flags: int) -> int:
    """Open a file of no size, as those of /proc: some of them would make a reader wait for ever."""
    return os.open(path, flags | os.O_NONBLOCK)


class _Borrowed:
    """A stream that belongs to somebody else and has no file descriptor."""

    def __init__(self, stream: BinaryIO) -> None:
        self._read = getattr(stream, "read1", stream.read)

    def read(self, size: int, /) -> bytes:
        chunk: bytes = self._read(size)
        return chunk

    def close(self) -> None:
        """It stays open."""


def _refuse_endless(info: os.stat_result, shown: str) -> None:
    """Raise InputError for a device other than a terminal or the null device, which may give bytes without end."""
    if stat.S_ISBLK(info.st_mode):
        raise InputError("is a disk, not a file", where=shown, hint="name a file on it")
    if stat.S_ISCHR(info.st_mode) and info.st_rdev != os.stat(os.devnull).st_rdev and not _is_terminal(info):
        raise InputError(
            "is a device, not a file: it may never end", where=shown, hint="name a file or a pipe"
        )


def _is_terminal(info: os.stat_result) -> bool:
    """Whether a character device is a terminal: /dev/tty, a console, or a pseudo-terminal."""
    return os.major(info.st_rdev) in (4, 5) or 136 <= os.major(info.st_rdev) <= 143


def _pauses(mode: int) -> bool:
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def _hint_text(path: str) -> str:
    if " " in path.strip():
        return "it looks like text: write --text before it, and quotes around it"
    if path.startswith(("http://", "https://")):
        return f"nothing is downloaded: curl -s {shlex.quote(path)} | bertcli …"
    return "check the path; literal text goes behind --text"


def _reason(error: OSError) -> str:
    reason = error.strerror or str(error)
    return reason[:1].lower() + reason[1:]
