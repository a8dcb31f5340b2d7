"""What every `evaluate` command does: records through the ordinary pipeline, into a measurement, to a report."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from bertcli import console
from bertcli.errors import InputError, StoppedEarlyError, UsageError
from bertcli.runs.flow import run_into, work_of
from bertcli.runs.measurements import MEASUREMENTS, MeasurementEntry
from bertcli.runs.preflight import open_model

if TYPE_CHECKING:
    from bertcli.evaluation import Measurement
    from bertcli.evaluation.report import Report
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.receipt import Receipt
    from bertcli.requests import Evaluate
    from bertcli.sources import Source

FAILURES_SHOWN = 5


def evaluate(request: Evaluate) -> tuple[Report | None, Receipt]:
    """Measure, and return the report (None for an interrupted run) and the receipt. Raises BertcliError for what
    cannot be measured."""
    from bertcli.receipt import Receipt
    from bertcli.sources import open_source

    entry = MEASUREMENTS[type(request)]
    receipt = Receipt()
    with closing(open_source(request)) as source:
        if source.prompt:
            raise UsageError("there is nothing to evaluate", hint="name a file, or pipe one in")
        model = open_model(request, entry.open_tokenizer)
        measurement = entry.make(request, model, source)
        _run(request, entry, model.checkpoint, source, measurement, receipt)
    if receipt.interrupted:
        return None, receipt
    _warn_of_failures(measurement, receipt)
    report = measurement.report()
    facts = _facts(request, model.checkpoint, measurement, receipt) | report.facts
    return replace(report, facts=facts), receipt


def _run(
    request: Evaluate,
    entry: MeasurementEntry,
    checkpoint: Checkpoint,
    source: Source,
    measurement: Measurement,
    receipt: Receipt,
) -> None:
    """Run the pipeline, and account for it however it ends."""
    try:
        run_into(
            measurement,
            source,
            checkpoint,
            measurement.task,
            receipt,
            request,
            max_errors=request.max_errors,
            records=measurement.watch(source),
            weigh=work_of(measurement.task),
            own_engine=entry.own_engine,
        )
        receipt.finish()
    except KeyboardInterrupt:
        receipt.finish(interrupted=True)
    except StoppedEarlyError:
        console.say(receipt.line())
        raise


def _warn_of_failures(measurement: Measurement, receipt: Receipt) -> None:
    """Say which records are missing from the figures. Raises when all of them are."""
    failures = measurement.failures
    if not receipt.done and failures:
        raise StoppedEarlyError(
            f"no record could be measured: {failures[0].message}", where=failures[0].where
        )
    if not receipt.done:
        raise InputError("there is no record to measure", hint="the input is empty or blank")
    for failure in failures[:FAILURES_SHOWN]:
        console.warn(f"{failure.where}: not measured: {failure.message}")
    if receipt.failed > FAILURES_SHOWN:
        console.warn(f"{receipt.failed - FAILURES_SHOWN} more records were not measured")


def _facts(
    request: Evaluate, checkpoint: Checkpoint, measurement: Measurement, receipt: Receipt
) -> dict[str, Any]:
    """What was measured, for readers of the report."""
    facts: dict[str, Any] = {
        "model": checkpoint.name,
        "fingerprint": checkpoint.fingerprint(),
        "files": list(request.files) or ["-"],
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
