"""JSON: all records in one array, written as they come, one a line."""

from __future__ import annotations

from bertcli.records import Result
from bertcli.sinks import Layout
from bertcli.sinks.compressed import ByteSink
from bertcli.sinks.jsontext import to_json
from bertcli.sinks.numbers import Numbers
from bertcli.sinks.text import TextSink


class JsonArraySink(TextSink):
    """The array of an interrupted run stays open, so that nobody takes it for complete."""

    def __init__(self, output: ByteSink, layout: Layout, digits: int | None, *, begun: bool = False) -> None:
        super().__init__(output)
        self._prefix = layout.prefix
        self._numbers = Numbers(digits)
        self._lead = b",\n" if begun else b"[\n"

    def write(self, result: Result) -> None:
        line = to_json(self._numbers.row(result, self._prefix))
        if b"null" in line:
            self._numbers.watch(result)
        self._output.write(self._lead + line)
        self._lead = b",\n"

    def close(self, complete: bool) -> None:
        if not complete:
            self._output.close(complete)
            return
        self._output.close(complete, b"[]\n" if self._lead == b"[\n" else b"\n]\n")
