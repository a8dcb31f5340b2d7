"""How things look to a person: text made visible, styles, bars, numbers and times."""

from __future__ import annotations

import os
import re
from typing import Literal

When = Literal["auto", "always", "never"]

BOLD, DIM, RED, YELLOW, CYAN = "1", "2", "31", "33", "36"  # SGR parameters

# Control characters (C0, DEL, C1), line separators, marks that reorder text, the byte-order mark, surrogates.
_STEERING = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def visible(text: str) -> str:
    """The text with everything that would steer a terminal written out: `\\n`, `\\x1b`, `\\u202e`."""
    return _STEERING.sub(lambda match: ascii(match.group())[1:-1], text)


def painted(text: str, style: str) -> str:
    """The text in an ANSI style (SGR parameters such as `1;36`); unchanged for an empty style."""
    return f"\x1b[{style}m{text}\x1b[0m" if style and text else text


def terminal_width(descriptor: int) -> int:
    """Cells in a line; `COLUMNS` wins, 80 where the width is unknown."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns) > 0:
        return int(columns)
    try:
        return os.get_terminal_size(descriptor).columns or 80
    except OSError:
        return 80


def wants_color(is_tty: bool, when: When) -> bool:
    """https://no-color.org: set and not empty means no colour, unless `--color always` asks for it."""
    if when != "auto":
        return when == "always"
    return is_tty and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def meter(share: float, cells: int) -> str:
    """A bar for a share of 0 to 1, in half cells: `━━━━╸`; `cells` long for 1."""
    halves = round(min(max(share, 0.0), 1.0) * cells * 2)
    return "━" * (halves // 2) + "╸" * (halves % 2)


def grouped(number: int) -> str:
    """`1234567` as `1 234 567`."""
    return f"{number:,}".replace(",", " ")


def duration(seconds: float) -> str:
    """`0.2 s`, `8.1 s`, `75 s`, `3 min 05 s`, `2 h 07 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def rate(records_per_second: float) -> str:
    """`1 234/s`, `4.2/s`, and where it is slow `3.0/min` or `1.5/h`."""
    for seconds, unit in ((1, "s"), (60, "min"), (3600, "h")):
        if records_per_second * seconds >= 0.095 or unit == "h" or not records_per_second:
            break
    number = records_per_second * seconds
    return f"{number:.1f}/{unit}" if number < 9.95 else f"{grouped(round(number))}/{unit}"
