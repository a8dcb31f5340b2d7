"""Plain text: the answer alone, a line a record.

    label   the label (of a regression the number)
    fill    the text with its best filling
    score   the score
    answer  the answer
    translate  the translation

A record without an answer, blank or failed, is an empty line, so that line n belongs to record n. Line ends
within an answer become spaces, unless a record is a whole file: its answer has lines of its own.
"""

from __future__ import annotations

import re

from bertcli.console import visible
from bertcli.errors import UsageError
from bertcli.records import Result
from bertcli.sinks import Layout
from bertcli.sinks.compressed import ByteSink
from bertcli.sinks.jsontext import to_json
from bertcli.sinks.numbers import Numbers
from bertcli.sinks.text import TextSink

LINE_ENDS = re.compile("[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]+")  # whatever a reader may take for one


def answer_field(layout: Layout) -> str:
    """The result field that is written. Raises UsageError where no single one is the answer."""
    for name in layout.answers:
        if name in layout.results:
            return name
    others = [name for name in layout.formats if name not in ("plain", "table")]
    raise UsageError(
        f"plain holds one answer a line, and this `{layout.task}` gives {', '.join(layout.results)}",
        hint=f"write one of {', '.join(others)}: -f NAME, or -o FILE with the suffix",
    )


class PlainSink(TextSink):
    """`shown` writes out what would steer the terminal that the answers are shown on."""

    def __init__(self, output: ByteSink, layout: Layout, digits: int | None, *, shown: bool = False) -> None:
        super().__init__(output)
        self._field = answer_field(layout)
        self._numbers = Numbers(digits)
        self._shown = shown
        self._has_lines = layout.is_whole_file

    def write(self, result: Result) -> None:
        answer = self._answer(result)
        if not self._has_lines:
            answer = LINE_ENDS.sub(" ", answer)
        lines = answer.removesuffix("\n").split("\n")
        if self._shown:
            lines = [visible(line) for line in lines]
        self._output.write("".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace"))

    def _answer(self, result: Result) -> str:
        """Empty for a record without one."""
        value = self._numbers.row(result, "").get(self._field) if result.values else None
        if self._field == "fills":
            value = value[0]["text"] if value else None
        if value is None:
            return ""
        return value if isinstance(value, str) else to_json(value).decode("utf-8")
