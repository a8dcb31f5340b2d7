"""JSON documents: one array of objects or strings, or objects one after the other, over as many lines as they like.

Elements are read as they come, so that a document of any size takes the memory of one element.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any

from bertcli.errors import InputError
from bertcli.records import Problem
from bertcli.sources.contents import Contents, Row
from bertcli.sources.encoding import too_big
from bertcli.sources.jsonl import parse_object

_BLANK = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()


def read_json(chunks: Iterator[bytes], *, field: str, encoding: str, most: int) -> Contents:
    """Each element of a document as a record: an object's fields, or a string as the one field `field`.

    Anything else in an array is a record with a `json` problem. Raises InputError, after the records before it,
    where the document is not JSON, ends in the middle, or has an element of more than `most` bytes.
    """
    return Contents(_Document(chunks, most).rows(field, encoding))


class _Document:
    """The text that has been read and not yet used, from `_at` on; `_line` is the line it begins on."""

    def __init__(self, chunks: Iterator[bytes], most: int) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._pieces = (decoder.decode(chunk) for chunk in chunks)
        self._most = most
        self._text = ""
        self._at = 0
        self._line = 1

    def rows(self, field: str, encoding: str) -> Iterator[Row]:
        listed = self._peek() == "["
        if listed:
            self._skip(1)
        while (begin := self._peek()) and not (listed and begin == "]"):
            line = self._line
            yield line, *_fields(self._element(), field, f"the element of line {line}", encoding)
            begin = self._peek()
            if listed and begin == ",":
                self._skip(1)
            elif listed and begin not in ("]", ""):
                raise self._error("expects a comma or ] between elements")
        if listed:
            if not begin:
                raise self._error("ends in the middle of an array")
            self._skip(1)
            if self._peek():
                raise self._error("has more behind its array")

    def _element(self) -> str:
        """The text of the next value."""
        while True:
            try:
                _, end = _DECODER.raw_decode(self._text, self._at)
            except (ValueError, RecursionError) as error:
                if len(self._text) - self._at <= self._most and self._read():
                    continue
                if len(self._text) - self._at > self._most:
                    raise InputError(
                        too_big(f"the element of line {self._line}", self._most).message
                    ) from None
                raise self._error(_reason(error)) from None
            if end == len(self._text) and self._read():  # a number may go on
                continue
            if end - self._at > self._most:
                raise InputError(too_big(f"the element of line {self._line}", self._most).message)
            element = self._text[self._at : end]
            self._skip(end - self._at)
            return element

    def _peek(self) -> str:
        """The next character that is not blank; an empty string at the end."""
        while True:
            found = _BLANK.match(self._text, self._at)
            assert found is not None  # it may match nothing
            self._skip(found.end() - self._at)
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._read():
                return ""

    def _read(self) -> bool:
        """Take in more text, each time about as much as there is; False at the end."""
        pieces = [self._text[self._at :]]
        size = least = len(pieces[0])
        self._at = 0
        for piece in self._pieces:
            pieces.append(piece)
            size += len(piece)
            if size > 2 * least and piece:
                break
        self._text = "".join(pieces)
        return size > least

    def _skip(self, count: int) -> None:
        self._line += self._text.count("\n", self._at, self._at + count)
        self._at += count

    def _error(self, message: str) -> InputError:
        return InputError(
            f"line {self._line}: {message}",
            hint="`jq . FILE` shows where; --from jsonl reads an object a line",
        )


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"this is not JSON: {error.msg}"
    return "the element is nested too deeply" if isinstance(error, RecursionError) else str(error)


def _fields(element: str, field: str, what: str, encoding: str) -> tuple[dict[str, Any], Problem | None]:
    """The fields of an element, and what is wrong with it."""
    data = element.encode("utf-8", "surrogateescape")
    if not element.startswith('"'):
        return parse_object(data, what, encoding)
    fields, problem = parse_object(b'{"":' + data + b"}", what, encoding)
    return ({field: fields[""]} if "" in fields else {}), problem
