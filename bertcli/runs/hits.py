"""The output of a run that ranks: the records found, best first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from bertcli import console
from bertcli.errors import BertcliError
from bertcli.runs.preflight import refuse_clash

if TYPE_CHECKING:
    from bertcli.console.progress import Bar
    from bertcli.receipt import Receipt
    from bertcli.records import Result
    from bertcli.requests import OutputOptions
    from bertcli.sinks import Layout, Sink

FAILURES_SHOWN = 5


@dataclass(slots=True)
class FailureReporter:
    """Counts results for the receipt, and warns of records that failed: they have no line in the output. `verb` says
    what was not done to them."""

    receipt: Receipt
    bar: Bar
    verb: str

    @property
    def failed(self) -> int:
        return self.receipt.failed

    def add(self, result: Result) -> None:
        self.receipt.add(result)
        self.expect(0)
        if result.problem is not None and self.receipt.failed <= FAILURES_SHOWN:
            console.warn(f"{result.record.where}: not {self.verb}: {result.problem.message}")

    def expect(self, more: int) -> None:
        self.bar.show(self.receipt.read + more)


def warn_of_further_failures(receipt: Receipt, verb: str) -> None:
    """Say how many more records failed than were reported one by one."""
    if receipt.failed > FAILURES_SHOWN:
        console.warn(f"{receipt.failed - FAILURES_SHOWN} more records could not be {verb}")


@contextmanager
def closing_receipt(receipt: Receipt) -> Iterator[None]:
    """Finish the receipt and print its line, however the run ends. Ctrl-C ends it without an error."""
    try:
        yield
        receipt.finish()
    except (KeyboardInterrupt, BertcliError) as end:
        receipt.finish(interrupted=isinstance(end, KeyboardInterrupt))
        if receipt.read:
            console.say(receipt.line())
        if isinstance(end, BertcliError):
            raise
    else:
        console.say(receipt.line())


@contextmanager
def open_hits(
    outputs: OutputOptions, layout: Layout, stdout: BinaryIO, files_read: Iterable[str]
) -> Iterator[Sink]:
    """Where the records found go, whole or not at all. Raises FieldClashError, UsageError and OutputError for an output
    that cannot be, such as one of `files_read`."""
    from bertcli.journal import is_stdout, part_of, refuse_input
    from bertcli.sinks import open_sink
    from bertcli.sinks.formats import files_written

    refuse_input(files_written(outputs), stdout, list(files_read))
    refuse_clash(layout)
    terminal = console.terminal(stdout, outputs.color)
    sink = open_sink(outputs, layout, stdout=stdout, terminal=terminal)
    complete = False
    try:
        yield sink
        complete = True
    finally:
        sink.close(complete)
        if not complete and not is_stdout(outputs.output):
            part_of(str(outputs.output)).unlink(missing_ok=True)  # it has no journal: it cannot be resumed


def write_hits(found: Iterable[Result], sink: Sink) -> None:
    """Write what was found, or say that nothing was."""
    count = 0
    for count, result in enumerate(found, 1):  # noqa: B007 - counted
        sink.write(result)
    say_if_nothing_found(count)


def say_if_nothing_found(count: int) -> None:
    if not count:
        console.say("nothing found")
