"""Sinks write results, one form a file. They never see tensors and never change an answer.

`open_sink(options, layout)` builds the one that `-o`, `--format` and the terminal ask for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from bertcli.records import Result


@dataclass(frozen=True, slots=True)
class Layout:
    """What a sink must know before the first result: the columns of forms that have a header, and which
    result field means what to a reader.

    `inputs` are the input's field names, `results` the result fields (prefix not yet applied), of which
    `extras` (`windows`, `truncated`, `error`, optional fields) appear only in some records. `text_field` is
    the column a table shows first, `id_field` what stands for a record beside an npy file.
    """

    task: str
    inputs: tuple[str, ...]
    results: tuple[str, ...]
    extras: tuple[str, ...]
    text_field: str
    id_field: str | None = None
    prefix: str = ""


class Sink(Protocol):
    """`write` takes results in input order. `flush` is called when the input pauses and must make everything
    written so far visible to a reader of a pipe. `close(complete)` finishes the output: a file gets its own
    name only when `complete`; an incomplete one stays under `NAME.part`."""

    def write(self, result: Result) -> None: ...

    def flush(self) -> None: ...

    def close(self, complete: bool) -> None: ...
