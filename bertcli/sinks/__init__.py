"""Sinks write results, one form a file. They never see tensors and never change an answer.

`open_sink(options, layout, …)` builds the one that `-o`, `--format` and the terminal ask for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, Protocol

from bertcli.records import Result

if TYPE_CHECKING:
    from bertcli.console import Terminal
    from bertcli.journal import Mark
    from bertcli.requests import OutputOptions

REMARKS = ("windows", "truncated", "error")  # what `Result.row` puts last


@dataclass(frozen=True, slots=True)
class Layout:
    """What a sink must know before the first result: the columns of forms that have a header, and which
    result field means what to a reader.

    `inputs` are the input's field names, `results` the result fields (prefix not yet applied), of which
    `extras` (`windows`, `truncated`, `error`, optional fields) appear only in some records. `text_field` is
    the column that holds the text, `id_field` what stands for a record beside an npy file and in a table.
    `echo` is False where a table need not repeat the text beside its answer: for one literal text, and at
    the prompt. `about` holds for all results, and is written where a file has a place for it: the role and
    the prompt of embeddings.
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
    """A sink but for `write`, that shows nothing before all is there and whose files belong to others: it has
    nothing to do when the input pauses or ends."""

    __slots__ = ()

    def flush(self) -> None:
        """Nobody reads along."""

    def close(self, complete: bool) -> None:
        """Nothing is open."""


class LastingSink(Sink, Protocol):
    """A sink whose file can be resumed. `mark` is asked for between two blocks: what must be known to go
    on from here, None where that cannot be. Where it ends something (a row group, a block of compressed data)
    to be able to, it does so by the amount of results so far, never by the time: a file does not show whether
    its run was interrupted. `sync` brings everything written so far onto the disk."""

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
    goes on with what an interrupted run left.

    Raises UsageError for a form that is unknown or cannot hold these results, OutputError for a file that
    cannot be written or must not be overwritten.
    """
    from bertcli.sinks.formats import open_in_format

    return open_in_format(options, layout, stdout, terminal, mark)
