"""Plain text: a record a line, or a record a file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from bertcli.errors import InputError
from bertcli.records import Problem
from bertcli.sources.contents import Contents, Row
from bertcli.sources.encoding import too_big, undecodable
from bertcli.sources.lines import LineNumbers, split_lines


def read_lines(
    blocks: Iterator[bytes],
    *,
    field: str,
    encoding: str,
    end: bytes = b"\n",
    numbers: LineNumbers | None = None,
) -> Contents:
    """Each line of `blocks` (see `whole_lines`) as the one field `field`; empty lines are records too.

    With lines that end in a newline, a carriage return before it belongs to the end. A line that is not
    text is a record with an `encoding` problem and no field.
    """
    rows = _line_rows(blocks, field, encoding, end, numbers or LineNumbers())
    return Contents(rows, names=(field,), strings=(field,))


def _line_rows(
    blocks: Iterator[bytes], field: str, encoding: str, end: bytes, numbers: LineNumbers
) -> Iterator[Row]:
    number = 0
    for block in blocks:
        if end == b"\n" and b"\r" in block:
            block = block.replace(b"\r\n", b"\n")
        for text in _decode_lines(block, encoding, end, number, numbers):
            number += 1
            if isinstance(text, str):
                yield numbers.known(number), {field: text}, None
            else:
                yield numbers.exact(number), {}, text


def _decode_lines(
    block: bytes, encoding: str, end: bytes, before: int, numbers: LineNumbers
) -> Iterable[str | Problem]:
    try:
        texts = block.decode().split(end.decode())
    except UnicodeDecodeError:
        lines = enumerate(split_lines(block, end), numbers.exact(before + 1))
        return [undecodable(f"line {number}", line, encoding) or line.decode() for number, line in lines]
    if not texts[-1]:  # what is behind the last end
        texts.pop()
    return texts


def read_whole(chunks: Iterator[bytes], *, path: str, field: str, encoding: str, most: int) -> Contents:
    """The whole input as one record: the fields `file` (its path) and `field` (its content).

    An input that cannot be read, is not text or has more than `most` bytes is a record with a problem and its
    path alone.
    """
    return Contents(_whole_row(chunks, path, field, encoding, most), names=("file", field), strings=(field,))


def _whole_row(chunks: Iterator[bytes], path: str, field: str, encoding: str, most: int) -> Iterator[Row]:
    pieces: list[bytes] = []
    size = 0
    try:
        for chunk in chunks:
            size += len(chunk)
            if size > most:
                yield 0, {"file": path}, too_big("the file", most)
                return
            pieces.append(chunk)
    except InputError as error:
        yield 0, {"file": path}, Problem("file", error.message)
        return
    content = b"".join(pieces)
    problem = undecodable("the file", content, encoding)
    yield 0, {"file": path} if problem else {"file": path, field: content.decode()}, problem


def read_texts(texts: Iterable[str], *, field: str) -> Contents:
    """Literal texts, as given on the command line."""
    return Contents(_text_rows(texts, field), names=(field,), strings=(field,))


def _text_rows(texts: Iterable[str], field: str) -> Iterator[Row]:
    for number, text in enumerate(texts, 1):
        # an argument that is not text in the terminal's encoding reaches Python with lone surrogates
        data = text.encode("utf-8", "surrogateescape")
        problem = undecodable(f"--text {number}", data, "utf-8")
        yield number, {} if problem else {field: data.decode()}, problem
