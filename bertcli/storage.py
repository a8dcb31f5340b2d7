"""Files by path or by URL: on this machine, or in object storage through fsspec (`s3://`, `gs://`, `hdfs://` …).

Only what the user names is opened. Whatever a storage library raises becomes an OSError with a short reason.
"""

from __future__ import annotations

import errno
import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from bertcli.errors import UsageError, first_line

if TYPE_CHECKING:
    from fsspec.spec import AbstractFileSystem

# Object storage only: pages of the web are never fetched, and a query may begin with the address of one.
URL = re.compile(r"(?!(https?|ftp)://)[A-Za-z][A-Za-z0-9+.-]+://")
BLOCK = 8 << 20  # bytes of a request to an object store
PARALLEL = 16  # ranges that are asked for together
COMMITTING = frozenset({"s3", "s3a", "gs", "gcs"})  # where an object appears when its upload is completed


def is_remote(path: str) -> bool:
    """Whether a path is a URL."""
    return URL.match(path) is not None


def open_file(path: str) -> BinaryIO:
    """A file or an object to be read from any offset. Raises OSError."""
    return cast(BinaryIO, _RemoteFile(path) if is_remote(path) else open(path, "rb", buffering=0))


def object_size(url: str) -> int | None:
    """The size of an object; None for what is none, as a directory or bucket. Raises OSError."""
    system, path = _locate(url)
    with _os_errors():
        info = system.info(path)
    return info["size"] if info["type"] == "file" else None


def exists(url: str) -> bool:
    """Whether there is an object of that name. Raises OSError where that cannot be known."""
    system, path = _locate(url)
    with _os_errors():
        system.invalidate_cache()
        return bool(system.exists(path))


def read_ranges(url: str, ranges: list[tuple[int, int]]) -> Iterator[bytes]:
    """The bytes of an object in each of the ranges (first, last), several at a time. Raises OSError."""
    system, path = _locate(url)
    for at in range(0, len(ranges), PARALLEL):
        begins, ends = zip(*ranges[at : at + PARALLEL], strict=True)
        with _os_errors():
            yield from system.cat_ranges([path] * len(begins), list(begins), list(ends), on_error="raise")


class Upload:
    """An object that appears under its name when `commit` is called, whole, and not before.

    Where the storage has no such uploads it is written under another name in the same place, and renamed. Raises
    OSError.
    """

    def __init__(self, url: str) -> None:
        self._system, self._path = _locate(url)
        protocols = self._system.protocol
        self._commits = not COMMITTING.isdisjoint([protocols] if isinstance(protocols, str) else protocols)
        self._written = self._path if self._commits else f"{self._path}.{os.urandom(4).hex()}.part"
        with _os_errors():
            bucket = self._path.partition("/")[0]
            if self._commits and not self._system.exists(bucket):
                raise FileNotFoundError(errno.ENOENT, f"there is no bucket '{bucket}'")
            self._file: Any = self._system.open(
                self._written, "wb", block_size=BLOCK, autocommit=not self._commits
            )

    @property
    def closed(self) -> bool:
        return self._file is None

    def write(self, data: bytes) -> int:
        with _os_errors():
            self._file.write(data)
        return len(data)

    def flush(self) -> None:
        """What is written is visible when all of it is."""

    def commit(self) -> None:
        """Give the object its name."""
        with _os_errors():
            self._file.close()
            if self._commits:
                self._file.commit()
            else:
                self._system.mv(self._written, self._path)
            self._file = None

    def close(self) -> None:
        """Discard what was written, if it was not committed."""
        if self._file is None:
            return
        file, self._file = self._file, None
        with suppress(Exception):  # of whatever library: the upload has failed or is not wanted
            if self._commits:
                file.discard()
                file.closed = True  # or the garbage collector would upload the rest
            else:
                file.close()
                self._system.rm_file(self._written)


class _RemoteFile(io.RawIOBase):
    """An object, read in blocks of `BLOCK` bytes from where it is read."""

    def __init__(self, url: str) -> None:
        system, path = _locate(url)
        with _os_errors():
            self._file = system.open(path, "rb", block_size=BLOCK, cache_type="readahead")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with _os_errors():
            data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        with _os_errors():
            return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


def _locate(url: str) -> tuple[AbstractFileSystem, str]:
    """The file system of a URL and the path in it. Raises UsageError where there is none."""
    scheme = url.partition("://")[0]
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise _not_installed(scheme, "fsspec") from None
    try:
        with _os_errors(ImportError, ValueError):
            found: tuple[AbstractFileSystem, str] = url_to_fs(url)
            return found
    except ImportError as error:
        raise _not_installed(scheme, first_line(error)) from None
    except ValueError:
        raise UsageError(
            f"no storage is known by {scheme}://", where=url, hint="s3://, gs:// and hdfs:// are, for example"
        ) from None


def _not_installed(scheme: str, reason: str) -> UsageError:
    return UsageError(
        f"reading and writing {scheme}:// needs a package that is not installed ({reason})",
        hint='pip install "bertcli[cloud]"',
    )


@contextmanager
def _os_errors(*others: type[Exception]) -> Iterator[None]:
    """Turn whatever a storage library raises into an OSError with a `strerror`, but for `others`."""
    try:
        yield
    except others:
        raise
    except OSError as error:
        if error.strerror is not None:
            raise
        if isinstance(error, FileNotFoundError):
            raise FileNotFoundError(errno.ENOENT, "it does not exist") from error
        raise type(error)(error.errno or errno.EIO, first_line(error)) from error
    except Exception as error:
        raise OSError(errno.EIO, first_line(error)) from error
