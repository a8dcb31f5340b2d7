"""Outputs that are written whole or not at all.

A file is written as `NAME.part`, and renamed when it is complete. An interrupted run leaves a `NAME.part` with the
finished results, or none if there are none. An existing `NAME` or `NAME.part` is replaced with `--overwrite` only
(or if `NAME.part` is empty). A resumed run continues `NAME.part` at the position in its journal. A `NAME.part`
without a journal may not be bertcli's and is never replaced. Files beside `NAME` are created exclusively, and
never through a symbolic link.

Pipes, devices and standard output are written directly. An object in storage appears when it is complete; an
interrupted run leaves nothing of it.
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
from typing import BinaryIO, cast

from bertcli import console
from bertcli.errors import OutputError
from bertcli.journal.points import Mark
from bertcli.storage import Upload, exists, is_remote

BUFFER = 1 << 17  # bytes in one write
JOURNAL_BEGINS = b'{"journal":'
STDOUT_NAMES = ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")


def is_stdout(path: str | None) -> bool:
    """Whether an output path means standard output (whose descriptor 1 is no longer: see `claim_stdout`)."""
    return path is None or path in STDOUT_NAMES


def is_regular(path: str) -> bool:
    """Whether the path is, or would become, an ordinary file: not a fifo, a device, a socket, and no URL."""
    if is_remote(path):
        return False
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
    if is_remote(path):
        return RemoteOutput(path, overwrite=overwrite)
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


def _identity(file: str | Path | BinaryIO) -> tuple[int, int] | str | None:
    """What an ordinary file has under any of its names, and no other file; the URL of an object; None for all
    else."""
    if isinstance(file, str) and is_remote(file):
        return file
    try:
        status = os.stat(file if isinstance(file, str | Path) else file.fileno())
    except (OSError, ValueError):
        return None
    return (status.st_dev, status.st_ino) if stat.S_ISREG(status.st_mode) else None


class Output:
    """A pipe, a device or a terminal that is written to. Raises OutputError, and BrokenPipeError when the reader
    has closed it."""

    regular = False
    full_hint = "free some space, or write to another disk"

    def __init__(self, file: BinaryIO, name: str, *, eager: bool = False, owned: bool = False) -> None:
        self.name = name
        self._file = file
        self._eager = eager
        self._owned = owned
        self._size = 0

    @property
    def closed(self) -> bool:
        """pyarrow needs this and `tell` of a file."""
        return self._file.closed

    def tell(self) -> int:
        """Bytes written so far."""
        return self._size

    def mark(self) -> Mark:
        """The position to resume from: behind the last byte."""
        return Mark({"size": self._size})

    def sync(self) -> None:
        """Sync everything written so far to disk, where that is possible."""
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
        """Write the `rest` and finish. Errors are ignored when the run is not `complete`."""
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
    """A file that is renamed when it is complete. A symbolic link stays, its target is replaced.

    `mark` is where an interrupted run is resumed: bytes behind it are cut off.
    """

    regular = True
    full_hint = "free some space, then continue with --resume"

    def __init__(
        self, path: str, *, overwrite: bool, mark: Mark | None = None, owner: str | None = None
    ) -> None:
        """`owner` is the output that the journal belongs to, where it is not this one."""
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
        """The bytes of the interrupted run that is resumed."""
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
        """Sync everything written so far to disk. Raises OutputError when the file is no longer where it was
        created: further results would be lost."""
        if self.closed:
            return
        self.flush()
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._failed(error) from error
        self._refuse_vanished()

    def close(self, complete: bool, rest: bytes = b"") -> None:
        """Rename the file when `complete`, else leave `NAME.part`."""
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
        """Call `write(part, target)` to make the final file `target` from what was written. The part stays as it is
        until then, so that an interrupted run can be resumed from it."""
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
        self._refuse_existing(part=False)  # another program may have written it meanwhile
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
                "has no journal, so it may not be bertcli's, and is not replaced",
                where=f"{self._given}.part",
                hint="move it away, or remove it if you know that an interrupted run left it",
            )
        if not self._overwrite:
            raise OutputError(
                "has the finished records of an interrupted run",
                where=f"{self._given}.part",
                hint="--resume continues it, --overwrite starts again",
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
            hint="its directory was moved; put it back, then continue with --resume",
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
                hint="another program has changed it; --overwrite without --resume starts again",
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
        """Report a `NAME.part` that remains, unless it is empty."""
        with contextlib.suppress(OSError):  # it was renamed, or the directory is gone
            if self._part.stat().st_size == 0:
                self._part.unlink()
            else:
                console.say(f"{self._given}.part has the finished records")


class RemoteOutput(Output):
    """An object in storage, which appears when it is complete."""

    full_hint = "free some space, or write to another place"

    def __init__(self, url: str, *, overwrite: bool) -> None:
        self._overwrite = overwrite
        self.name = url
        try:
            self._refuse_existing()
            self._upload = Upload(url)
        except OSError as error:
            raise self._failed(error) from error
        super().__init__(cast(BinaryIO, self._upload), url, owned=True)

    def close(self, complete: bool, rest: bytes = b"") -> None:
        """Give the object its name when `complete`, else discard it."""
        if self.closed:
            return
        try:
            if complete:
                self.write(rest)
                self._refuse_existing()  # another program may have written it meanwhile
                self._upload.commit()
        except OSError as error:
            raise self._failed(error) from error
        finally:
            self._upload.close()

    def _refuse_existing(self) -> None:
        if not self._overwrite and exists(self.name):
            raise OutputError("exists already", where=self.name, hint="--overwrite replaces it")

    def _failed(self, error: OSError) -> Exception:
        hint = self.full_hint if is_full(error) else "check the name, the credentials and the endpoint"
        return OutputError(f"cannot be written: {reason_of(error)}", where=self.name, hint=hint)


def damaged_journal(path: str) -> OutputError:
    """The error for a damaged journal."""
    return OutputError(
        "is damaged, or another version's",
        where=f"{path}.journal",
        hint="--overwrite without --resume starts again",
    )


def part_of(path: str) -> Path:
    """The path of an output until it is complete."""
    target = Path(os.path.realpath(path))
    return target.with_name(target.name + ".part")


def journal_of(output: str) -> Path:
    """The path of the journal of an output."""
    target = Path(os.path.realpath(output))
    return target.with_name(target.name + ".journal")


def has_journal(output: str) -> bool:
    """Whether the output has a journal that bertcli wrote."""
    try:
        descriptor = os.open(journal_of(output), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    with os.fdopen(descriptor, "rb") as file:
        return file.read(len(JOURNAL_BEGINS)) == JOURNAL_BEGINS


def sync_directory(folder: Path) -> None:
    """Sync a directory after a rename in it. Some file systems do not support it."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def cannot_open(path: str, error: OSError) -> OutputError:
    """The error for an output that cannot be opened."""
    if isinstance(error, FileNotFoundError):
        parent = os.path.dirname(path) or "."
        if os.path.isdir(parent):  # the path is a link that leads to where there is nothing
            parent = os.path.dirname(os.path.realpath(path))
        return OutputError(f"directory '{parent}' does not exist", where=path, hint=f"mkdir -p '{parent}'")
    return OutputError(
        f"cannot be written: {reason_of(error)}", where=path, hint="choose another place by -o FILE"
    )


def is_full(error: OSError) -> bool:
    """Whether the disk or the quota is full."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def reason_of(error: OSError) -> str:
    reason = error.strerror or str(error)
    return reason[:1].lower() + reason[1:]
