"""Any text encoding -> UTF-8, so that every form reads only one.

Undecodable bytes are not replaced: they become a mark that is itself not valid UTF-8, so that the line they
stand in fails to decode, and that line alone.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from itertools import chain

from bertcli.errors import InputError, UsageError
from bertcli.records import Problem
from bertcli.sources.contents import look

MARK = "\ud800"
LOOKED = 16  # bytes of what may be UTF-16 without a mark
TOO_BIG = b"\xf8\xf9\xfa\xfb"  # begins the replacement of a record that is too big; never valid UTF-8
BYTE_ORDER_MARK = codecs.BOM_UTF8


def _mark(error: UnicodeError) -> tuple[str, int]:
    if isinstance(error, UnicodeDecodeError):
        return MARK, error.end
    raise error


codecs.register_error("bertcli.mark", _mark)


def check_encoding(encoding: str) -> None:
    """Raise UsageError when Python has no text encoding of that name, or one that cannot detect bad bytes."""
    try:
        codecs.getincrementaldecoder(encoding)("bertcli.mark").decode("a".encode(encoding))
    except (LookupError, UnicodeError, ValueError) as error:
        raise UsageError(
            f"there is no encoding '{encoding}'",
            hint="names that exist are for example utf-8, utf-16, latin-1, cp1252, shift_jis, gb18030",
        ) from error


MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Byte-order marks; those of UTF-32 first, for one of them begins with one of UTF-16."""


def sniff_encoding(chunks: Iterator[bytes], encoding: str) -> tuple[str, Iterator[bytes]]:
    """The encoding of an input that begins with a byte-order mark, else `encoding`; and all of its chunks.

    A mark is heeded where UTF-8 was to be read: nothing else begins like it. Raises InputError for UTF-16 without
    a mark, whose letters would be read as text full of NUL characters.
    """
    if not is_utf8(encoding):
        return encoding, chunks
    head, chunks = look(chunks, _may_have_mark)
    found = next((name for mark, name in MARKS.items() if head.startswith(mark)), encoding)
    if found == encoding and (order := _order_without_mark(head)):
        raise InputError(
            "looks like UTF-16 without a byte-order mark", hint=f"name it: --encoding utf-16-{order}"
        )
    return found, chunks


def _may_have_mark(head: bytes) -> bool:
    """Whether more bytes are needed to decide: the first are those of a mark, or a NUL is one of the first two."""
    return any(len(head) < len(mark) and mark.startswith(head) for mark in MARKS) or (
        b"\0" in head[:2] and len(head) < LOOKED
    )


def _order_without_mark(head: bytes) -> str | None:
    """The byte order of what is UTF-16 by the look of its first bytes: every other one is NUL."""
    begin = head[:LOOKED]
    if len(begin) < LOOKED:
        return None
    half = len(begin) // 2
    for order, nul, letter in (("le", begin[1::2], begin[::2]), ("be", begin[::2], begin[1::2])):
        if nul.count(0) >= 0.9 * half and 0 not in letter:
            return order
    return None


def to_utf8(chunks: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    """Transcode `chunks`, drop a byte-order mark at the beginning. Raises InputError where an encoding needs
    one and there is none."""
    decoded = chunks if is_utf8(encoding) else _transcode(chunks, encoding)
    head = b""
    for chunk in decoded:
        head += chunk
        if len(head) >= len(BYTE_ORDER_MARK) or not BYTE_ORDER_MARK.startswith(head):
            break
    head = head.removeprefix(BYTE_ORDER_MARK)
    if head:
        yield head
    yield from decoded


def _transcode(chunks: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)("bertcli.mark")
    for chunk in chain(chunks, [b""]):
        try:
            text = decoder.decode(chunk, final=not chunk)
        except UnicodeError:  # bad bytes are marked, so it can only be this
            name = codecs.lookup(encoding).name
            raise InputError(
                f"has no byte-order mark to say which {name} it is", hint=f"name {name}-le or {name}-be"
            ) from None
        if text:
            yield text.encode("utf-8", "surrogatepass")


def mark_too_big(most: int) -> bytes:
    """The replacement of a line of more than `most` bytes."""
    return TOO_BIG + str(most).encode()


def too_big(what: str, most: int) -> Problem:
    """The problem of a record that was not read to its end."""
    limit = f"{most >> 20} MiB" if most % (1 << 20) == 0 else f"{most} bytes"
    return Problem("too-big", f"{what} is larger than {limit}; --max-record-bytes sets the limit")


def undecodable(what: str, data: bytes, encoding: str) -> Problem | None:
    """The problem of a line (or whatever `what` calls it) that is not text, or was too big to be read; None
    when `data` is valid.

    `data` is what `to_utf8` made of bytes in `encoding`; the offset reported counts the original bytes.
    """
    try:
        data.decode()
    except UnicodeDecodeError as error:
        limit = data.removeprefix(TOO_BIG)
        if len(limit) < len(data) and limit.isdigit():
            return too_big(what, int(limit))
        if is_utf8(encoding):
            message = f"byte 0x{data[error.start]:02x} at offset {error.start} of {what} is not {encoding}"
        else:
            before = data[: error.start].decode().encode(encoding, "replace")
            offset = len(before) - len("".encode(encoding))  # some encodings begin with a mark
            message = f"the byte at offset {offset} of {what} is not {encoding}"
        likely = "cp1252" if _may_be_cp1252(data) else "latin-1"
        return Problem("encoding", f"{message}; name the right one with --encoding, for example {likely}")
    return None


def _may_be_cp1252(data: bytes) -> bool:
    """Whether bytes 0x80 to 0x9F are among `data`, all of them characters of Windows' code page 1252; in Latin-1 they
    are none."""
    found = [byte for byte in data if 0x80 <= byte <= 0x9F]
    return bool(found) and not {0x81, 0x8D, 0x8F, 0x90, 0x9D}.intersection(found)


def is_utf8(encoding: str) -> bool:
    """Whether the name is one of UTF-8."""
    return codecs.lookup(encoding).name in ("utf-8", "utf-8-sig")
