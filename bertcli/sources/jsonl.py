"""JSON Lines: a JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from bertcli.errors import InputError
from bertcli.records import Problem
from bertcli.sources.contents import Contents, Row
from bertcli.sources.encoding import undecodable
from bertcli.sources.fields import json_type
from bertcli.sources.jsonnumbers import LONG, loses_digits, may_be_long, parse_float, parse_int
from bertcli.sources.lines import LineNumbers, split_lines

MOST_NESTED = 250  # values in each other: writers of JSON take little more, and readers not much


def read_jsonl(
    blocks: Iterator[bytes], *, encoding: str, numbers: LineNumbers | None = None, begun: bool = False
) -> Contents:
    """Each object of `blocks` (see `whole_lines`), with numbers of any length unchanged.

    Empty lines are no records, but are counted as lines. A line that is not an object, or is nested too
    deeply, is a record with a `json` problem and no fields. In a line with undecodable bytes, the fields
    without them are kept. Raises InputError when the first line shows that the input
    is one array, or one object over several lines; where it has `begun`, the first block is not the beginning.
    """
    return Contents(_rows(blocks, encoding, numbers or LineNumbers(), begun))


def _rows(blocks: Iterator[bytes], encoding: str, numbers: LineNumbers, begun: bool) -> Iterator[Row]:
    number = 0
    for block in blocks:
        plain = not may_be_long(block)
        for line in split_lines(block):
            number += 1
            if not begun and not line.isspace() and line:
                _refuse_one_value(line, number)
                begun = True
            fields = _parse_fast(line)
            if fields is not None and not plain and loses_digits(line, fields):
                fields = None
            if fields is not None:
                yield numbers.known(number), fields, None
            elif line and not line.isspace():
                exact = numbers.exact(number)
                yield exact, *_parse_carefully(line, f"line {exact}", encoding)


def parse_object(data: bytes, what: str, encoding: str) -> tuple[dict[str, Any], Problem | None]:
    """The fields of one JSON object, and what is wrong with it; `what` is what messages call it."""
    fields = _parse_fast(data)
    if fields is None or (LONG.search(data) is not None and loses_digits(data, fields)):
        return _parse_carefully(data, what, encoding)
    return fields, None


def _parse_fast(line: bytes) -> dict[str, Any] | None:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return value if type(value) is dict and not _is_too_deep(value, line) else None


def _is_too_deep(value: object, line: bytes) -> bool:
    """Whether in the value of a line more than MOST_NESTED values lie in each other."""
    if line.count(b"[") + line.count(b"{") <= MOST_NESTED:
        return False
    level = [value]
    for _ in range(MOST_NESTED):
        level = [inner for outer in level for inner in _values(outer) if isinstance(inner, dict | list)]
    return bool(level)


def _values(outer: Any) -> Iterable[Any]:
    return outer.values() if isinstance(outer, dict) else outer


def _parse_carefully(line: bytes, what: str, encoding: str) -> tuple[dict[str, Any], Problem | None]:
    """Read what orjson does not (NaN, long numbers, lone surrogates), or find out what is wrong."""
    problem = undecodable(what, line, encoding)
    try:
        text = line.decode("utf-8", "surrogateescape")
        value = json.loads(text, parse_float=parse_float, parse_int=parse_int)
    except json.JSONDecodeError as error:
        return {}, problem or Problem("json", f"{what} is not JSON: {error.msg} at column {error.colno}")
    except RecursionError:
        return {}, problem or Problem("json", f"{what} is nested too deeply")
    if not isinstance(value, dict):
        return {}, problem or Problem("json", f"{what} is {json_type(value)}, not an object")
    if _is_too_deep(value, line):
        return {}, problem or Problem("json", f"{what} is nested too deeply")
    return value if problem is None else _text_items(value), problem


def _text_items(value: dict[str, Any]) -> dict[str, Any]:
    """The items of an object that consist of characters."""
    return {name: item for name, item in value.items() if _is_text([name, item])}


def _is_text(value: object) -> bool:
    """Whether all strings in a JSON value consist of characters."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse_one_value(line: bytes, number: int) -> None:
    """`line` is the first that is not empty."""
    start = line.strip()
    spread = start in (b"{", b"[")
    listed = start.startswith(b"[") and start[1:].lstrip().startswith(b"{")
    if not spread and not listed:
        return
    shape = "one JSON array" if start.startswith(b"[") else "JSON spread over several lines"
    way = "jq -c '.[]'" if start.startswith(b"[") else "jq -c ."
    raise InputError(
        f"line {number} begins {shape}, where a JSON object a line is expected",
        hint=f"use --from json, or put each record on a line of its own: {way}",
    )
