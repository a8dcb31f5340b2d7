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

MARK = "\ud800"
TOO_BIG = b"\xf8\xf9\xfa\xfb"  # begins what stands for a record that is too big; never valid UTF-8
BYTE_ORDER_MARK = codecs.BOM_UTF8


def _mark(error: UnicodeError) -> tuple[str, int]:
    if isinstance(error, UnicodeDecodeError):
        return MARK, error.end
    raise error


codecs.register_error("bertcli.mark", _mark)


def check_encoding(encoding: str) -> None:
    """Raise UsageError when Python has no text encoding of that name, or one that cannot tell bad bytes."""
    try:
        codecs.getincrementaldecoder(encoding)("bertcli.mark").decode("a".encode(encoding))
    except (LookupError, UnicodeError, ValueError) as error:
        raise UsageError(
            f"there is no encoding '{encoding}'",
            hint="names that exist are for example utf-8, utf-16, latin-1, cp1252, shift_jis, gb18030",
        ) from error


def to_utf8(chunks: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    """Transcode `chunks`, drop a byte-order mark at the beginning. Raises InputError where an encoding needs
    one and there is none."""
    decoded = chunks if _is_utf8(encoding) else _transcode(chunks, encoding)
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
                f"has no byte-order mark to tell which {name} it is", hint=f"name {name}-le or {name}-be"
            ) from None
        if text:
            yield text.encode("utf-8", "surrogatepass")


def mark_too_big(most: int) -> bytes:
    """What stands for a line of more than `most` bytes."""
    return TOO_BIG + str(most).encode()


def too_big(what: str, most: int) -> Problem:
    """The problem of a record that was not read to its end."""
    limit = f"{most >> 20} MiB" if most % (1 << 20) == 0 else f"{most} bytes"
    return Problem("too-big", f"{what} is larger than {limit}; --max-record-bytes sets the limit")


def undecodable(what: str, data: bytes, encoding: str) -> Problem | None:
    """The problem of a line (or whatever `what` calls it) that is not text, or was too big to be read; None
    when `data` is valid.

    `data` is what `to_utf8` made of bytes in `encoding`; the offset told counts the original bytes.
    """
    try:
        data.decode()
    except UnicodeDecodeError as error:
        limit = data.removeprefix(TOO_BIG)
        if len(limit) < len(data) and limit.isdigit():
            return too_big(what, int(limit))
        if _is_utf8(encoding):
            message = f"byte 0x{data[error.start]:02x} at offset {error.start} of {what} is not {encoding}"
        else:
            before = data[: error.start].decode().encode(encoding, "replace")
            offset = len(before) - len("".encode(encoding))  # some encodings begin with a mark
            message = f"the byte at offset {offset} of {what} is not {encoding}"
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return Problem("encoding", f"{message}; it looks like --encoding utf-16")
        return Problem("encoding", f"{message}; name the right one with --encoding, for example latin-1")
    return None


def _is_utf8(encoding: str) -> bool:
    return codecs.lookup(encoding).name in ("utf-8", "utf-8-sig")
