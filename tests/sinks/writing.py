"""Results made by hand, and sinks that write them to files and buffers."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bertcli.console import Terminal
from bertcli.records import Problem, Record, Result
from bertcli.requests import Label, OutputOptions
from bertcli.sinks import Layout, open_sink

REMARKS = ("windows", "truncated", "error")
LABEL = Layout("label", ("text",), ("label", "score"), REMARKS, "text", formats=Label.formats)
EMBED = Layout("embed", ("text",), ("embedding",), REMARKS, "text")
PIPE = Terminal()


def result(
    values: Mapping[str, Any] | None = None,
    *,
    text: str | None = "a text",
    index: int = 0,
    problem: Problem | None = None,
    fields: Mapping[str, Any] | None = None,
    **about: Any,
) -> Result:
    """A result for a record with a text, or with the fields given."""
    record = Record(index, {"text": text} if fields is None else fields, text, where=f"in.txt:{index + 1}")
    return Result(record, values or {}, problem=problem, **about)


def failed(index: int = 0) -> Result:
    return result(text="bad", index=index, problem=Problem("encoding", "invalid byte"))


def to_bytes(
    results: Iterable[Result],
    layout: Layout = LABEL,
    *,
    terminal: Terminal = PIPE,
    complete: bool = True,
    **options: Any,
) -> bytes:
    """What lands on standard output."""
    stdout = io.BytesIO()
    sink = open_sink(OutputOptions(**options), layout, stdout=stdout, terminal=terminal)
    for each in results:
        sink.write(each)
    sink.close(complete)
    return stdout.getvalue()


def to_file(
    path: Path, results: Iterable[Result], layout: Layout = LABEL, *, complete: bool = True, **options: Any
) -> None:
    """Write a file as `-o` does; nothing may land on standard output."""
    stdout = io.BytesIO()
    sink = open_sink(OutputOptions(output=str(path), **options), layout, stdout=stdout, terminal=PIPE)
    try:
        for each in results:
            sink.write(each)
    except BaseException:
        sink.close(complete=False)
        raise
    sink.close(complete)
    assert not stdout.getvalue()
