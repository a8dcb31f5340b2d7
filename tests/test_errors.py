"""Words for what other programs' errors say."""

from __future__ import annotations

import pytest

from bertcli.errors import first_line, one_line


@pytest.mark.parametrize(
    ("error", "first", "one"),
    [
        (
            ValueError("It went wrong.\nHere is how:\n  1.\n"),
            "It went wrong",
            "It went wrong. Here is how: 1.",
        ),
        (ValueError("\n  late"), "late", "late"),
        (KeyError("name"), "'name'", "'name'"),
        (EOFError(), "EOFError", ""),
    ],
)
def test_an_error_takes_a_line(error: Exception, first: str, one: str) -> None:
    assert first_line(error) == first
    assert one_line(error) == one


def test_a_line_that_is_too_long_is_cut() -> None:
    line = one_line(ValueError("word " * 100))
    assert len(line) == 300
    assert line.endswith("…")
