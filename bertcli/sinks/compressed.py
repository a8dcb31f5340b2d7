"""Text forms through gzip or zstandard. The bytes depend on the results alone: no time, no file name."""

from __future__ import annotations

from typing import Protocol

from bertcli.errors import UsageError
from bertcli.journal import Output

SUFFIXES = (".gz", ".zst")


class ByteSink(Protocol):
    """Where a text form puts its bytes: a `journal.Output`, or one that compresses on the way to it."""

    name: str

    def write(self, data: bytes) -> int: ...

    def flush(self) -> None: ...

    def close(self, complete: bool, rest: bytes = b"") -> None: ...


class Compressor(Protocol):
    """What zlib and zstandard have in common; `flush(mode)` ends a block, `flush()` the stream."""

    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self, mode: int = ..., /) -> bytes: ...


def compressor(suffix: str) -> tuple[Compressor, int]:
    """A compressor for `.gz` or `.zst`, and the flush mode that ends a block of its format."""
    if suffix == ".gz":
        import zlib

        return zlib.compressobj(wbits=16 + zlib.MAX_WBITS), zlib.Z_SYNC_FLUSH
    try:
        import zstandard
    except ImportError:
        raise UsageError(
            "zstandard is not installed", hint="pip install 'bertcli[zstd]', or write .gz"
        ) from None
    return zstandard.ZstdCompressor().compressobj(), zstandard.COMPRESSOBJ_FLUSH_BLOCK


class CompressedOutput:
    """Compresses what is written.

    A pause ends a block only where somebody may read along (a pipe): in a file, where pauses fell must not
    show. An interrupted file is ended properly, so that it can be read.
    """

    def __init__(self, output: Output, compressor: Compressor, block_end: int) -> None:
        self.name = output.name
        self._output = output
        self._compressor = compressor
        self._block_end = block_end
        self._empty = True

    def write(self, data: bytes) -> int:
        self._empty = False
        compressed = self._compressor.compress(data)
        if compressed:
            self._output.write(compressed)
        return len(data)

    def flush(self) -> None:
        if not self._output.regular:
            self._output.write(self._compressor.flush(self._block_end))
            self._output.flush()

    def close(self, complete: bool, rest: bytes = b"") -> None:
        if complete or rest or not self._empty:
            rest = self._compressor.compress(rest) + self._compressor.flush()
        self._output.close(complete, rest)
