"""JSONL: a record a line, as one JSON object."""

from __future__ import annotations

from bertcli.records import Result
from bertcli.sinks import Layout
from bertcli.sinks.compressed import ByteSink
from bertcli.sinks.jsontext import to_json
from bertcli.sinks.numbers import Numbers
from bertcli.sinks.text import TextSink


class JsonlSink(TextSink):
    def __init__(self, output: ByteSink, layout: Layout, digits: int | None) -> None:
        super().__init__(output)
        self._prefix = layout.prefix
        self._numbers = Numbers(digits)

    def write(self, result: Result) -> None:
        line = to_json(self._numbers.row(result, self._prefix), newline=True)
        if b"null" in line:
            self._numbers.watch(result)
        self._output.write(line)
