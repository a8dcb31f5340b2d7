"""Numbers of JSON text as they are written there: none loses a digit on its way to the output."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

import orjson

from bertcli.records import ExactNumber

# What a double may not hold: 16 digits or more (a point counts as one), or an exponent of three digits.
LONG = re.compile(rb"[\d.]{16,}(?:[eE][+-]?\d+)?|\d(?:\.\d+)?[eE][+-]?\d{3,}")
_ALIKE = bytes.maketrans(b"123456789.E-", b"0000000000e+")
_SIGNS = (b"0" * 16, b"0e000", b"0e+000")  # what each match of LONG has then
MOST_DIGITS = 4000  # of an integer: Python converts no more than 4300


def may_be_long(text: bytes) -> bool:
    """Whether LONG may match in a text, which is found out in less time than whether it does."""
    alike = text.translate(_ALIKE)
    return any(sign in alike for sign in _SIGNS)


def loses_digits(text: bytes, value: Any) -> bool:
    """Whether `value`, which orjson made of JSON `text`, may lack digits of its numbers. A long number that
    orjson writes as it is in the text is whole."""
    written = orjson.dumps(value)
    if written == text.replace(b": ", b":").replace(b", ", b","):  # most often, and cheaper to see
        return False
    return LONG.findall(text) != LONG.findall(written)


def parse_float(text: str) -> float:
    """The double that a number with a fraction or an exponent means, an ExactNumber where that is another."""
    number = float(text)
    spelled = repr(number)
    if spelled == text:
        return number
    try:
        if Decimal(spelled) == Decimal(text):
            return number
    except ArithmeticError:  # an exponent of more digits than Decimal has
        pass
    return ExactNumber(text)


def parse_int(text: str) -> int | float:
    """The integer, an ExactNumber where it has more digits than Python converts."""
    return int(text) if len(text) <= MOST_DIGITS else ExactNumber(text)
