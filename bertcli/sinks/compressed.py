"""Text formats through gzip or zstandard. The bytes depend on the results and on the ends of blocks, not on the
time or the file name. Runs with other blocks (more workers, say) write other bytes with the same content.

A file is one compressed stream, also after an interruption: some readers stop after the first stream. The state
of a compressor cannot be saved, so resuming decompresses the file and compresses its content again, without
writing, to restore the state.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from bertcli.errors import OutputError, UsageError
from bertcli.journal import FileOutput, Mark, Output

SUFFIXES = (".gz", ".zst")
BLOCK = 1 << 18  # bytes of text in a block that ends with a mark, at least: ending one costs compression
CHUNK = 1 << 16  # what a compressor is given at a time, so that its bytes depend on the text alone


class ByteSink(Protocol):
    """The output of a text format: a `journal.Output`, or one that compresses before it."""

    name: str

    def write(self, data: bytes) -> int: ...

    def flush(self) -> None: ...

    def mark(self) -> Mark | None: ...

    def sync(self) -> None: ...

    def close(self, complete: bool, rest: bytes = b"") -> None: ...


class Compressor(Protocol):
    """What zlib and zstandard have in common; `flush(mode)` ends a block, `flush()` the stream."""

    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self, mode: int = ..., /) -> bytes: ...


class StreamDecompressor(Protocol):
    def decompress(self, data: bytes, /) -> bytes: ...


class Codec(NamedTuple):
    """A compressor, the flush mode that ends a block, a decompressor, and the error that it raises."""

    compressor: Compressor
    block_end: int
    decompressor: StreamDecompressor
    damage: type[Exception]


def open_codec(suffix: str) -> Codec:
    """The codec for `.gz` or `.zst`."""
    if suffix == ".gz":
        import zlib

        wide = 16 + zlib.MAX_WBITS
        return Codec(
            zlib.compressobj(wbits=wide), zlib.Z_SYNC_FLUSH, zlib.decompressobj(wbits=wide), zlib.error
        )
    try:
        import zstandard
    except ImportError:
        raise UsageError(
            "zstandard is not installed", hint="pip install 'bertcli[zstd]', or write .gz"
        ) from None
    return Codec(
        zstandard.ZstdCompressor().compressobj(),
        zstandard.COMPRESSOBJ_FLUSH_BLOCK,
        zstandard.ZstdDecompressor().decompressobj(),
        zstandard.ZstdError,
    )


class CompressedOutput:
    """Compresses what is written.

    A pause ends a block in a pipe only: the bytes of a file must not depend on pauses. An interrupted file is
    finished, so that it can be read.
    """

    def __init__(self, output: Output, codec: Codec, mark: Mark | None = None) -> None:
        self.name = output.name
        self._output = output
        self._compressor = codec.compressor
        self._block_end = codec.block_end
        self._waiting = bytearray()  # text the compressor has not been given
        self._text = 0  # bytes of text so far
        self._ends: list[int] = [
            0
        ]  # where blocks of it ended: the last one reported, and those not reported yet
        if mark is not None:
            assert isinstance(output, FileOutput)  # nothing else has a mark
            self._catch_up(output, codec, mark)

    def write(self, data: bytes) -> int:
        self._take(data, self._output.write)
        return len(data)

    def flush(self) -> None:
        if not self._output.regular:
            self._output.write(self._block())
            self._output.flush()

    def mark(self) -> Mark | None:
        """Only the end of a block can be gone on from."""
        if self._text - self._ends[-1] < BLOCK:
            return None
        self._output.write(self._block())
        self._ends.append(self._text)
        ended, self._ends = self._ends[1:], self._ends[-1:]
        return Mark(self._output.mark().state, tuple(ended))

    def sync(self) -> None:
        self._output.sync()

    def close(self, complete: bool, rest: bytes = b"") -> None:
        if complete or rest or self._text:
            self._waiting += rest
            rest = self._given() + self._compressor.flush()
        self._output.close(complete, rest)

    def _take(self, data: bytes, put: Callable[[bytes], object]) -> None:
        self._text += len(data)
        self._waiting += data
        while len(self._waiting) >= CHUNK:
            if packed := self._compressor.compress(bytes(self._waiting[:CHUNK])):
                put(packed)
            del self._waiting[:CHUNK]

    def _given(self) -> bytes:
        """What comes of giving the compressor the last text."""
        packed = self._compressor.compress(bytes(self._waiting))
        self._waiting.clear()
        return packed

    def _block(self) -> bytes:
        """The bytes that end a block."""
        return self._given() + self._compressor.flush(self._block_end)

    def _catch_up(self, output: FileOutput, codec: Codec, mark: Mark) -> None:
        """Bring the compressor to where it was at the mark. Raises OutputError when it would not have written
        what is there."""
        size = 0

        def count(packed: bytes) -> None:
            nonlocal size
            size += len(packed)

        ends = iter(mark.added)
        end = next(ends, None)
        try:
            for packed in output.written():
                text = memoryview(codec.decompressor.decompress(packed))
                while end is not None and self._text + len(text) >= end:
                    cut = end - self._text
                    self._take(bytes(text[:cut]), count)
                    count(self._block())
                    text, end = text[cut:], next(ends, None)
                self._take(bytes(text), count)
        except codec.damage as error:
            raise self._differs() from error
        if end is not None or size != mark.state["size"]:
            raise self._differs()
        self._ends = [self._text]

    def _differs(self) -> OutputError:
        return OutputError(
            "is not what this version of the compressor writes",
            where=f"{self.name}.part",
            hint="resume with the installation that started it, or start again with --overwrite",
        )
