"""A value as one line of compact JSON, whatever an input file brought along."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import orjson


def to_json(value: Any, *, newline: bool = False) -> bytes:
    """Compact JSON in UTF-8, with a final newline if wanted.

    Numbers that are not finite become null. What orjson refuses goes through the standard library: integers
    beyond 64 bits, and halves of surrogate pairs, which are written as `\\ud800` escapes.
    """
    option = orjson.OPT_SERIALIZE_NUMPY | (orjson.OPT_APPEND_NEWLINE if newline else 0)
    try:
        return orjson.dumps(value, _plain, option)
    except TypeError:
        text = json.dumps(_finite(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        return text.encode("utf-8", "backslashreplace") + (b"\n" if newline else b"")


def _plain(value: Any) -> Any:
    """What JSON has no type for: bytes as Base64; arrays orjson cannot walk as lists; else its text."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if hasattr(value, "tolist"):
        return value.tolist()
    return str(value)


def _finite(value: Any) -> Any:
    """The value as the json module takes it, in the way orjson would have written it."""
    if isinstance(value, dict):
        return {str(name): _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    return _finite(orjson.loads(orjson.dumps(value, _plain, orjson.OPT_SERIALIZE_NUMPY)))
