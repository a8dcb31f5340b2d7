"""Outputs that are written whole or not at all.

A file is written as `NAME.part`, and takes its name when it is complete. What an interrupted run leaves is a
`NAME.part` with everything that was finished; when nothing was, there is none. Both names are guarded alike:
a `NAME` or a `NAME.part` that exists is replaced with `--overwrite` only, so that hours of work are never lost
to a second try. (An empty `NAME.part` holds no work and is replaced.) A run that is resumed takes the
`NAME.part` as far as its journal vouches for it. A `NAME.part` that no journal vouches for may be somebody's own file:
it is never replaced. Files beside `NAME` are created exclusively, and never through a symbolic link.

Pipes, devices and standard output have no name to take and are written straight through.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from bertcli import console
from bertcli.errors import OutputError
from bertcli.journal.points import Mark

BUFFER = 1 << 17  # bytes in one write
JOURNAL_BEGINS = b'{"journal":'
STDOUT_NAMES = ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")


def is_stdout(path: str | None) -> bool:
    """Whether an output path means standard output (whose descriptor 1 is no longer: see `claim_stdout`)."""
    return path is None or path in STDOUT_NAMES


def is_regular(path: str) -> bool:
    """Whether the path is, or would become, an ordinary file: not a fifo, a device, a socket."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return True


def open_output(
    path: str | None, stdout: BinaryIO, *, overwrite: bool, eager: bool = False, mark: Mark | None = None
) -> Output:
    """Open the place results go to; None and `-` are `stdout`.

    `eager` makes every write visible at once (for a terminal). `mark` is where a file is resumed. Raises
    OutputError for a place that cannot be written or, without `overwrite`, must not be overwritten.
    """
    if path is None or is_stdout(path):
        return Output(stdout, "standard output", eager=eager)
    if is_regular(path):
        return FileOutput(path, overwrite=overwrite, mark=mark)
    if os.path.isdir(path):
        raise OutputError("is a directory", where=path, hint="name a file in it")
    try:
        return Output(open(path, "wb", buffering=BUFFER), path, owned=True)
    except OSError as error:
        raise cannot_open(path, error) from error


def refuse_input(
    outputs: Sequence[str], stdout: BinaryIO, files: Sequence[str], *, stdin: BinaryIO | None = None
) -> None:
    """Raise OutputError when one of the input files, by whatever name, is one of the `outputs` (standard
    output, where there are none), or is written on the way to one. `-` is `stdin`, by default the process's own,
    which may be a file too."""
    if stdin is None and sys.stdin is not None:
        stdin = sys.stdin.buffer
    named = _identity(outputs[0] if outputs else stdout)
    others = {_identity(place) for output in outputs for place in _places(output)}
    for file in files:
        identity = _identity(file) if file != "-" else None if stdin is None else _identity(stdin)
        if identity is None:
            continue  # an input that is not there is for the source to report
        file = "standard input" if file == "-" else file
        if identity == named:
            raise OutputError("is an input and the output", where=file, hint="write to another file")
        if identity in others:
            raise OutputError(
                f"is an input, and would be written over on the way to {outputs[0]}",
                where=file,
                hint="write to another file",
            )


def _places(output: str) -> list[str | Path]:
    """The files that are written for an output; a pipe or a device has no others."""
    return [output, part_of(output), journal_of(output)] if is_regular(output) else [output]


def _identity(file: str | Path | BinaryIO) -> tuple[int, int] | None:
    """What an ordinary file has under any of its names, and no other file; None for all else."""
    try:
        status = os.stat(file if isinstance(file, str | Path) else file.fileno())
    except (OSError, ValueError):
        return None
    return (status.st_dev, status.st_ino) if stat.S_ISREG(status.st_mode) else None


class Output:
    """Bytes on their way to a pipe, a device or a terminal. Raises OutputError, and BrokenPipeError when the
    reader has gone."""

    regular = False
    full_hint = "make room, or write to another disk"

    def __init__(self, file: BinaryIO, name: str, *, eager: bool = False, owned: bool = False) -> None:
        self.name = name
        self._file = file
        self._eager = eager
        self._owned = owned
        self._size = 0

    @property
    def closed(self) -> bool:
        """Part of what pyarrow asks of a file, as `tell` is."""
        return self._file.closed

    def tell(self) -> int:
        """Bytes written so far."""
        return self._size

    def mark(self) -> Mark:
        """Where a file could be resumed: behind the last byte."""
        return Mark({"size": self._size})

    def sync(self) -> None:
        """Make everything written so far last, where that can be had."""
        self.flush()

    def write(self, data: bytes) -> int:
        try:
            self._file.write(data)
            if self._eager:
                self._file.flush()
        except OSError as error:
            raise self._failed(error) from error
        self._size += len(data)
        return len(data)

    def flush(self) -> None:
        """Make everything written so far visible to a reader."""
        try:
            self._file.flush()
        except OSError as error:
            raise self._failed(error) from error

    def close(self, complete: bool, rest: bytes = b"") -> None:
        """Write the `rest` and finish. When the run is not `complete`, failing to write is no news."""
        try:
            if not self.closed:
                self.write(rest)
                self.flush()
        except (OSError, OutputError):
            if complete:
                raise
        finally:
            self._release()

    def _release(self) -> None:
        """Close what was opened here; what could not be flushed has been reported."""
        if self._owned:
            with contextlib.suppress(OSError):
                self._file.close()

    def _failed(self, error: OSError) -> Exception:
        if not self._owned:
            self._abandon()
        if isinstance(error, BrokenPipeError):
            return error
        hint = self.full_hint if is_full(error) else None
        return OutputError(f"cannot write: {reason_of(error)}", where=self.name, hint=hint)

    def _abandon(self) -> None:
        """Let what is still buffered for standard output go to the null device: it has failed, and Python
        would try, and complain, once more at its end."""
        with contextlib.suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._file.fileno())
            os.close(null)


class FileOutput(Output):
    """A file that gets its name when it is complete. A symbolic link stays, its target is replaced.

    `mark` is where to go on with what an interrupted run left: bytes behind it are cut off.
    """

    regular = True
    full_hint = "make room, then go on with --resume"

    def __init__(
        self, path: str, *, overwrite: bool, mark: Mark | None = None, owner: str | None = None
    ) -> None:
        """`owner` is the output whose journal vouches for the part, where it is not this one."""
        self._overwrite = overwrite
        self._rewritten: Path | None = None
        self._owner = owner or path
        self._target = Path(os.path.realpath(path))
        self._part = part_of(path)
        self._given = path
        if mark is None:
            self._refuse_existing()
        super().__init__(self._open_part(mark), path, owned=True)
        self._size = 0 if mark is None else mark.state["size"]

    def written(self) -> Iterator[bytes]:
        """What is there before anything is written: the part of an interrupted run that is resumed."""
        left = self._size
        try:
            self._file.seek(0)
            while left and (piece := self._file.read(min(left, BUFFER))):
                left -= len(piece)
                yield piece
            self._file.seek(0, os.SEEK_END)
        except OSError as error:
            raise OutputError(
                f"cannot be read: {reason_of(error)}",
                where=f"{self._given}.part",
                hint="check who may read the file",
            ) from error

    def overwrite_start(self, data: bytes) -> None:
        """Replace the first bytes of the file, as a header that states a length must be."""
        try:
            self._file.seek(0)
            self._file.write(data)
            self._file.seek(0, os.SEEK_END)
        except OSError as error:
            raise self._failed(error) from error

    def sync(self) -> None:
        """Make everything written so far last, also through a loss of power. Raises OutputError when the file
        is no longer where it was made: what went on into it would be lost."""
        if self.closed:
            return
        self.flush()
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._failed(error) from error
        self._refuse_vanished()

    def close(self, complete: bool, rest: bytes = b"") -> None:
        """Give the file its name when `complete`, else leave what there is as `NAME.part`."""
        if self.closed:
            return
        try:
            if complete:
                self._commit(rest)
            else:
                super().close(complete, rest)
        finally:
            self._release()
            if self._rewritten is not None:
                self._rewritten.unlink(missing_ok=True)
            self._leave_part()

    def rewrite(self, write: Callable[[Path, Path], None]) -> None:
        """Have `write` make the file that gets the name, at the second path, from what was written, at the first.
        The part stays as it is until then: an interrupted run is resumed from it."""
        self.sync()
        try:
            descriptor, name = tempfile.mkstemp(prefix=f".{self._target.name}.", dir=self._target.parent)
            os.fchmod(descriptor, stat.S_IMODE(os.fstat(self._file.fileno()).st_mode))
            os.close(descriptor)
            self._rewritten = Path(name)
            write(self._part, self._rewritten)
        except OSError as error:
            raise self._failed(error) from error

    def _commit(self, rest: bytes) -> None:
        self._refuse_existing(part=False)  # somebody else may have written it meanwhile
        self.write(rest)
        self.sync()
        try:
            self._file.close()
            os.replace(self._rewritten or self._part, self._target)
            if self._rewritten is not None:
                self._part.unlink()
                self._rewritten = None
            sync_directory(self._target.parent)
        except OSError as error:
            raise self._failed(error) from error

    def _refuse_existing(self, *, part: bool = True) -> None:
        if os.path.exists(self._target) and not self._overwrite:
            raise OutputError("exists already", where=self._given, hint="--overwrite replaces it")
        if not part or not os.path.lexists(self._part):
            return
        if os.path.islink(self._part) or not is_regular(str(self._part)):
            raise OutputError(
                "is no regular file, so no run has made it", where=f"{self._given}.part", hint="move it away"
            )
        if not os.path.getsize(self._part):
            return
        if not has_journal(self._owner):
            raise OutputError(
                "has no journal, so it may be somebody's own file, which is never replaced",
                where=f"{self._given}.part",
                hint="move it away, or remove it if you know that an interrupted run left it",
            )
        if not self._overwrite:
            raise OutputError(
                "holds what an interrupted run finished",
                where=f"{self._given}.part",
                hint="--resume goes on with it, --overwrite begins anew",
            )

    def _refuse_vanished(self) -> None:
        try:
            if os.path.samestat(os.stat(self._part), os.fstat(self._file.fileno())):
                return
        except OSError:
            pass  # gone, or out of reach: all the same
        raise OutputError(
            "has disappeared while it was written",
            where=f"{self._given}.part",
            hint="whoever moved its directory has it; put it back, then go on with --resume",
        )

    def _open_part(self, mark: Mark | None) -> BinaryIO:
        size = 0 if mark is None else mark.state["size"]
        if type(size) is not int or size < 0:
            raise damaged_journal(self._given)
        try:
            if mark is None:
                return self._create_part()
            if not self._part.exists() and self._target.exists():
                os.replace(self._target, self._part)  # of two files, the first had got its name already
            if not size:
                return self._create_part()
            file = os.fdopen(os.open(self._part, os.O_RDWR | os.O_NOFOLLOW), "r+b", buffering=BUFFER)
        except OSError as error:
            raise cannot_open(self._given, error) from error
        if os.fstat(file.fileno()).st_size < size:
            file.close()
            raise OutputError(
                "is shorter than its journal says",
                where=f"{self._given}.part",
                hint="somebody else has changed it; --overwrite without --resume begins anew",
            )
        file.truncate(size)
        file.seek(0, os.SEEK_END)
        return file

    def _create_part(self) -> BinaryIO:
        """A new file: one of that name, which may be replaced, goes away first."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._part)
        descriptor = os.open(self._part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)
        return os.fdopen(descriptor, "w+b", buffering=BUFFER)

    def _leave_part(self) -> None:
        """Tell of what has no name of its own, if there is anything in it."""
        with contextlib.suppress(OSError):  # it has its name, or the directory has gone
            if self._part.stat().st_size == 0:
                self._part.unlink()
            else:
                console.say(f"{self._given}.part holds what was finished")


def damaged_journal(path: str) -> OutputError:
    """The error of a journal that does not say what a journal says."""
    return OutputError(
        "is damaged, or another version's",
        where=f"{path}.journal",
        hint="--overwrite without --resume begins anew",
    )


def part_of(path: str) -> Path:
    """Where an output is until it is complete."""
    target = Path(os.path.realpath(path))
    return target.with_name(target.name + ".part")


def journal_of(output: str) -> Path:
    """Where the journal of an output stands."""
    target = Path(os.path.realpath(output))
    return target.with_name(target.name + ".journal")


def has_journal(output: str) -> bool:
    """Whether the journal of an output is there, and one that bertcli wrote."""
    try:
        descriptor = os.open(journal_of(output), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    with os.fdopen(descriptor, "rb") as file:
        return file.read(len(JOURNAL_BEGINS)) == JOURNAL_BEGINS


def sync_directory(folder: Path) -> None:
    """Make a name given in this directory last. Some file systems know no such thing."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def cannot_open(path: str, error: OSError) -> OutputError:
    """The error of an output that cannot be, in our words."""
    if isinstance(error, FileNotFoundError):
        parent = os.path.dirname(path) or "."
        if os.path.isdir(parent):  # the path is a link that leads to where there is nothing
            parent = os.path.dirname(os.path.realpath(path))
        return OutputError(f"directory '{parent}' does not exist", where=path, hint=f"mkdir -p '{parent}'")
    return OutputError(
        f"cannot be written: {reason_of(error)}", where=path, hint="choose another place by -o FILE"
    )


def is_full(error: OSError) -> bool:
    """Whether there is no room left, on the disk or in the quota."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def reason_of(error: OSError) -> str:
    reason = error.strerror or str(error)
    return reason[:1].lower() + reason[1:]
