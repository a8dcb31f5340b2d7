"""What every `evaluate` command does: records through the ordinary pipeline, into a measurement, to a report.

options → source, checkpoint, measurement, engine → pipeline → report → receipt
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from bertcli import console
from bertcli.commands.carrying import carry
from bertcli.commands.showing import show
from bertcli.commands.streaming import weigher
from bertcli.errors import InputError, StoppedEarlyError, UsageError

if TYPE_CHECKING:
    from bertcli.engines import Engine
    from bertcli.evaluation import Measurement
    from bertcli.evaluation.report import Report
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.models.tokenizer import Tokenizer
    from bertcli.receipt import Receipt
    from bertcli.requests import InputOptions, ModelOptions, RunOptions
    from bertcli.sources import Source

FAILURES_TOLD = 5


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One run of an evaluate command.

    `measure` refuses a checkpoint that would answer wrongly, and a source without gold answers, before it
    makes the measurement. `finish` gets the report before it is shown. `open_tokenizer` and `open_engine`
    open what only this task has.
    """

    measure: Callable[[Checkpoint, Tokenizer, Source], Measurement]
    inputs: InputOptions
    model: ModelOptions
    run: RunOptions
    as_json: bool
    finish: Callable[[Report], None] = lambda report: None
    open_tokenizer: Callable[[Checkpoint], Any] | None = None
    open_engine: Callable[[Checkpoint, ModelOptions], Engine] | None = None


def evaluate(evaluation: Evaluation) -> int:
    """Measure, show the report, and return the exit code."""
    run = evaluation.run
    console.configure(quiet=run.quiet, verbose=run.verbose)
    console.claim_stdout()
    console.quiet_libraries(verbose=run.verbose)

    from bertcli.receipt import Receipt
    from bertcli.sources import open_source

    receipt = Receipt()
    with closing(open_source(evaluation.inputs)) as source:
        if source.prompt:
            raise UsageError("there is nothing to evaluate", hint="name a file, or pipe one in")
        report = _measured(evaluation, source, receipt)
    if report is not None:
        evaluation.finish(report)
        _show(report, as_json=evaluation.as_json)
    console.say(receipt.line())
    return receipt.exit_code


def _measured(evaluation: Evaluation, source: Source, receipt: Receipt) -> Report | None:
    """The report of a run; None when it was interrupted."""
    from bertcli.models.checkpoint import open_checkpoint
    from bertcli.models.library import resolve
    from bertcli.models.tokenizer import Tokenizer

    model = evaluation.model
    checkpoint = open_checkpoint(resolve(model.model), allow_pickle=model.allow_pickle)
    measurement = evaluation.measure(
        checkpoint, (evaluation.open_tokenizer or Tokenizer.of)(checkpoint), source
    )
    _carry(evaluation, checkpoint, source, measurement, receipt)
    if receipt.interrupted:
        return None
    _tell_failures(measurement, receipt)
    report = measurement.report()
    return replace(report, facts=_facts(evaluation, checkpoint, measurement, receipt) | report.facts)


def _carry(
    evaluation: Evaluation,
    checkpoint: Checkpoint,
    source: Source,
    measurement: Measurement,
    receipt: Receipt,
) -> None:
    """Run the pipeline, and account for it however it ends."""
    try:
        carry(
            source,
            checkpoint,
            measurement.task,
            measurement,
            receipt,
            model=evaluation.model,
            run=evaluation.run,
            records=measurement.watch(source),
            weigh=weigher(measurement.task),
            open_engine=evaluation.open_engine,
        )
        receipt.finish()
    except KeyboardInterrupt:
        receipt.finish(interrupted=True)
    except StoppedEarlyError:
        console.say(receipt.line())
        raise


def _tell_failures(measurement: Measurement, receipt: Receipt) -> None:
    """Say which records are missing from the figures. Raises when all of them are."""
    failures = measurement.failures
    if not receipt.done and failures:
        raise StoppedEarlyError(
            f"no record could be measured: {failures[0].message}", where=failures[0].where
        )
    if not receipt.done:
        raise InputError("there is no record to measure", hint="the input is empty or blank")
    for failure in failures[:FAILURES_TOLD]:
        console.warn(f"{failure.where}: not measured: {failure.message}")
    if receipt.failed > FAILURES_TOLD:
        console.warn(f"{receipt.failed - FAILURES_TOLD} more records were not measured")


def _facts(
    evaluation: Evaluation, checkpoint: Checkpoint, measurement: Measurement, receipt: Receipt
) -> dict[str, Any]:
    """What was measured, for whoever finds the report a year later."""
    facts: dict[str, Any] = {
        "model": checkpoint.name,
        "fingerprint": checkpoint.fingerprint(),
        "files": list(evaluation.inputs.files) or ["-"],
        "engine": f"{receipt.engine} {receipt.device} {receipt.dtype}",
        "records": {
            "read": receipt.read,
            "done": receipt.done,
            "blank": receipt.blank,
            "failed": receipt.failed,
        },
    }
    if measurement.failures:
        facts["failures"] = [asdict(failure) for failure in measurement.failures]
    return facts


def _show(report: Report, *, as_json: bool) -> None:
    from bertcli.commands.reporting import page

    show([report.row()], "jsonl" if as_json else "table", lambda: page(report))
