"""A value as one line of compact JSON, whatever an input file brought along."""

from __future__ import annotations

import base64
import json
from typing import Any

import orjson

from bertcli.records import ExactNumber


def to_json(value: Any, *, newline: bool = False) -> bytes:
    """Compact JSON in UTF-8, with a final newline if wanted.

    Numbers that are not finite become null. What orjson refuses is written part by part: integers beyond 64
    bits, and lone surrogates, which are written as `\\ud800` escapes.
    """
    option = orjson.OPT_SERIALIZE_NUMPY | (orjson.OPT_APPEND_NEWLINE if newline else 0)
    try:
        return orjson.dumps(value, _plain, option)
    except TypeError:
        return _by_parts(value) + (b"\n" if newline else b"")


def _plain(value: Any) -> Any:
    """What orjson has no type for: numbers with their own digits; bytes as Base64; arrays it cannot walk as
    lists; else its text."""
    if isinstance(value, ExactNumber):
        return orjson.Fragment(value.text)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if hasattr(value, "tolist"):
        return value.tolist()
    return str(value)


def _by_parts(value: Any) -> bytes:
    if isinstance(value, dict):
        items = (_text(str(name)) + b":" + _by_parts(item) for name, item in value.items())
        return b"{" + b",".join(items) + b"}"
    if isinstance(value, list | tuple):
        return b"[" + b",".join(map(_by_parts, value)) + b"]"
    if isinstance(value, str):
        return _text(value)
    if type(value) is int:
        return str(value).encode()
    return orjson.dumps(value, _plain, orjson.OPT_SERIALIZE_NUMPY)


def _text(text: str) -> bytes:
    return json.dumps(text, ensure_ascii=False).encode("utf-8", "backslashreplace")
