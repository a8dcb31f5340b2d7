"""Lists as one option's value: `a,b,"c, d"` on the command line, a sequence in Python."""

from __future__ import annotations

import csv
from collections.abc import Sequence

from bertcli.errors import UsageError


def comma_separated(value: str | Sequence[str]) -> list[str]:
    """The items of a list, blanks around them removed; nothing is a list of one empty item.

    An item with a comma is quoted by ". A sequence is taken as it is. Raises UsageError for quotes that do not match.
    """
    if not isinstance(value, str):
        return list(value)
    if value.count('"') % 2 or "\n" in value:
        raise UsageError(f"not a list: {value}", hint='write a,b or "a, b",c on one line')
    row = next(csv.reader([value.replace("\r", " ")], skipinitialspace=True), [])
    return [item.strip() for item in row] or [""]
