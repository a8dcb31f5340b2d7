"""Sinks write results, one format per module. They never see tensors and never change an answer.

`open_sink(options, layout, …)` builds the one that `-o`, `--format` and the terminal ask for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, Literal, Protocol, get_args

from bertcli.records import Result
from bertcli.requests import OutputFormat

if TYPE_CHECKING:
    from bertcli.console import Terminal
    from bertcli.journal import Mark
    from bertcli.requests import OutputOptions

ViewName = Literal["scores", "hits", "tags", "vectors"]
REMARKS = ("windows", "truncated", "error")  # what `Result.row` puts last


@dataclass(frozen=True, slots=True)
class Layout:
    """What a sink must know before the first result: the columns of formats that have a header, and which
    result field means what to a reader.

    `inputs` are the input's field names, `results` the result fields (prefix not yet applied), of which
    `extras` (`windows`, `truncated`, `error`, optional fields) appear only in some records. `text_field` is
    the column that holds the text, `id_field` identifies a record beside an npy file and in a table.
    `formats` are those that the command writes, `answers` the result fields of which the first that there is can stand
    alone in a line, and `view` names the view of a table where the names of the results do not say which it is.
    `echo` is False where a table need not repeat the text beside its answer: for one literal text, and at
    the prompt. `about` applies to all results, and is written where the format has metadata: the role and
    the prompt of embeddings. `is_shard`: the records are a part of those of a run, which `merge` numbers.
    `is_whole_file`: each record is a file, and its text has lines.
    """

    task: str
    inputs: tuple[str, ...]
    results: tuple[str, ...]
    extras: tuple[str, ...]
    text_field: str
    id_field: str | None = None
    prefix: str = ""
    echo: bool = True
    about: Mapping[str, str] = field(default_factory=dict)
    is_shard: bool = False
    is_whole_file: bool = False
    formats: tuple[str, ...] = get_args(OutputFormat)
    answers: tuple[str, ...] = ()
    view: ViewName | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """Every field an output record may have, in the order of `Result.row`."""
        results = dict.fromkeys([*self.results, *self.extras])
        answers = [name for name in results if name not in REMARKS]
        remarks = [name for name in REMARKS if name in results]
        return tuple(dict.fromkeys([*self.inputs, *(self.prefix + name for name in [*answers, *remarks])]))

    @property
    def reserved(self) -> frozenset[str]:
        """The names an input field must not have."""
        return frozenset(self.prefix + name for name in (*self.results, *self.extras))


class Sink(Protocol):
    """`write` takes results in input order. `flush` is called when the input pauses and must make everything
    written so far visible to a reader of a pipe. `close(complete)` finishes the output: a file gets its own
    name only when `complete`; an incomplete one stays under `NAME.part`."""

    def write(self, result: Result) -> None: ...

    def flush(self) -> None: ...

    def close(self, complete: bool) -> None: ...


class Silent:
    """The methods of a sink, but for `write`, that has nothing to flush and no file to close."""

    __slots__ = ()

    def flush(self) -> None:
        """Nothing is shown before the end."""

    def close(self, complete: bool) -> None:
        """Nothing is open."""


class LastingSink(Sink, Protocol):
    """A sink whose file can be resumed. `mark` is called between two blocks and returns what is needed
    to resume behind it, None where that is impossible. It may end a row group or a block of compressed data,
    depending on the results so far and never on time: the bytes of a file do not depend on interruptions.
    `sync` syncs everything written so far to disk."""

    def mark(self) -> Mark | None: ...

    def sync(self) -> None: ...


def open_sink(
    options: OutputOptions,
    layout: Layout,
    *,
    stdout: BinaryIO,
    terminal: Terminal,
    mark: Mark | None = None,
) -> LastingSink:
    """The sink for `-o` and `-f`: by suffix, else a table on a terminal and JSONL in a pipe. With a `mark` it
    continues the file of an interrupted run.

    Raises UsageError for a format that is unknown or cannot represent these results, OutputError for a file that
    cannot be written or must not be overwritten.
    """
    from bertcli.sinks.formats import open_in_format

    return open_in_format(options, layout, stdout, terminal, mark)
