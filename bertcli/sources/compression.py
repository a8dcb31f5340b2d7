"""Compressed bytes -> the bytes inside, for gzip, bzip2, xz and Zstandard.

Several compressed streams one after another are one input, as for `zcat`. What has arrived is handed on at
once, so that a compressed pipe flows as far as its format allows, and in pieces of bounded size, so that a
small file that unpacks to a huge one does not fill the memory.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Protocol

from bertcli.errors import InputError

MOST_AT_ONCE = 1 << 20
MOST_MEMORY = 1 << 29  # what an archive may ask for: its window comes out of its own header
SUFFIXES = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".zst": "zstd", ".zstd": "zstd"}
MAGIC = {
    b"\x1f\x8b\x08": "gzip",
    # a block, or the end of an empty stream, follows: "BZh" alone could be the first word of a text
    **{b"BZh%d1AY&SY" % level: "bzip2" for level in range(1, 10)},
    **{b"BZh%d\x17rE8P\x90" % level: "bzip2" for level in range(1, 10)},
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    **{bytes([0x50 + kind]) + b"\x2a\x4d\x18": "zstd" for kind in range(16)},  # a skippable frame (pzstd)
}


class Decompressor(Protocol):
    """What bz2 and lzma offer: see `bz2.BZ2Decompressor`."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


def sniff_compression(head: bytes) -> str | None:
    """How bytes that begin with `head` are compressed; None when they are not."""
    return next((kind for magic, kind in MAGIC.items() if head.startswith(magic)), None)


def may_become_compressed(head: bytes) -> bool:
    """Whether more bytes are needed to decide."""
    return any(len(head) < len(magic) and magic.startswith(head) for magic in MAGIC)


def decompress(chunks: Iterator[bytes], kind: str) -> Iterator[bytes]:
    """Unpack `chunks`; raises InputError at damage, after everything before it has been handed on."""
    new, damage = _codec(kind)
    hint = "the file may be an incomplete copy"
    decompressor: Decompressor | None = None  # None between two compressed streams
    for data in chunks:
        while True:
            if decompressor is None:
                data = data.lstrip(b"\0")  # the padding of tapes, and xz's own
                if not data:
                    break
                decompressor = new()
            try:
                unpacked = decompressor.decompress(data, MOST_AT_ONCE)
            except damage as error:
                raise InputError(f"the {kind} data is damaged: {error}", hint=hint) from error
            if unpacked:
                yield unpacked
            if decompressor.eof:
                data, decompressor = decompressor.unused_data, None
            elif decompressor.needs_input:
                break
            else:
                data = b""
    if decompressor is not None:
        raise InputError(f"the input ends in the middle of compressed data ({kind})", hint=hint)


def _codec(kind: str) -> tuple[Callable[[], Decompressor], type[Exception]]:
    """What makes a decompressor, and what it raises for damaged data."""
    if kind == "gzip":
        return _Gzip, zlib.error
    if kind == "bzip2":
        import bz2

        return bz2.BZ2Decompressor, OSError
    if kind == "xz":
        import lzma

        return lambda: lzma.LZMADecompressor(memlimit=MOST_MEMORY + (1 << 26)), lzma.LZMAError
    try:
        import zstandard
    except ImportError as error:
        raise InputError(
            "reading Zstandard data needs the package zstandard", hint="pip install 'bertcli[zstd]'"
        ) from error
    return _Zstd, zstandard.ZstdError


class _Gzip:
    """zlib with the interface of bz2."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        unpacked = self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)
        self.needs_input = not self._zlib.unconsumed_tail and len(unpacked) < max_length
        return unpacked


class _Zstd:
    """zstandard with the interface of bz2. It has no `max_length`, so it gets small pieces."""

    PIECE = 1024  # bytes, which decompress to 32 MiB at most

    def __init__(self) -> None:
        import zstandard

        # zstd itself takes no more than 128 MiB by default
        self._zstd = zstandard.ZstdDecompressor(max_window_size=MOST_MEMORY).decompressobj()
        self._waiting = memoryview(b"")

    @property
    def eof(self) -> bool:
        return bool(self._zstd.eof)

    @property
    def needs_input(self) -> bool:
        return not self._waiting

    @property
    def unused_data(self) -> bytes:
        return bytes(self._zstd.unused_data) + bytes(self._waiting)

    def decompress(self, data: bytes, max_length: int) -> bytes:
        self._waiting = memoryview(data) if data else self._waiting
        piece, self._waiting = self._waiting[: self.PIECE], self._waiting[self.PIECE :]
        return bytes(self._zstd.decompress(piece))
