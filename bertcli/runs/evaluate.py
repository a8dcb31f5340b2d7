"""What every `evaluate` command does: records through the ordinary pipeline, into a measurement, to a report.

options → source, checkpoint, measurement, engine → pipeline → report → receipt
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from bertcli import console
from bertcli.errors import InputError, OutputError, StoppedEarlyError, UsageError
from bertcli.reports.evaluation import evaluation_page
from bertcli.reports.lines import show
from bertcli.runs.flow import run_into, work_of
from bertcli.runs.preflight import OpenModel, open_model
from bertcli.runs.tasks import make_label_task

if TYPE_CHECKING:
    from bertcli.engines import Engine
    from bertcli.evaluation import Measurement
    from bertcli.evaluation.calibration import Calibration
    from bertcli.evaluation.report import Report
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.models.heads import Head
    from bertcli.models.tokenizer import Tokenizer
    from bertcli.receipt import Receipt
    from bertcli.requests import InputOptions, Label, ModelOptions, RunOptions
    from bertcli.sources import Source
    from bertcli.tasks import Task

FAILURES_SHOWN = 5
ALL = 10**15  # suspects, more than any file has


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One run of an evaluate command.

    `measure` refuses a checkpoint that would answer wrongly, and a source without gold answers, before it
    makes the measurement. `finish` gets the report before it is shown. `open_tokenizer` and `open_engine`
    open what only this task has.
    """

    measure: Callable[[OpenModel, Source], Measurement]
    inputs: InputOptions
    model: ModelOptions
    run: RunOptions
    as_json: bool
    finish: Callable[[Report], None] = lambda report: None
    open_tokenizer: Callable[[Checkpoint], Tokenizer] | None = None
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
    model = open_model(evaluation.model, evaluation.open_tokenizer)
    measurement = evaluation.measure(model, source)
    _run(evaluation, model.checkpoint, source, measurement, receipt)
    if receipt.interrupted:
        return None
    _warn_of_failures(measurement, receipt)
    report = measurement.report()
    return replace(report, facts=_facts(evaluation, model.checkpoint, measurement, receipt) | report.facts)


def _run(
    evaluation: Evaluation,
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
            evaluation.model,
            max_errors=evaluation.run.max_errors,
            records=measurement.watch(source),
            weigh=work_of(measurement.task),
            open_engine=evaluation.open_engine,
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
    show([report.row()], "jsonl" if as_json else "table", lambda: evaluation_page(report))


@dataclass(slots=True)
class LabelEvaluation:
    """What `evaluate label` asks for; remembers which head it measured."""

    request: Label
    label_field: str | None
    suspects: int | str | None
    calibrate: bool
    plot: str | None
    overwrite: bool
    _checkpoint: Checkpoint | None = field(default=None, init=False)
    _head: Head | None = field(default=None, init=False)

    def measure(self, model: OpenModel, source: Source) -> Measurement:
        from bertcli.evaluation.gold import LABEL_FIELDS, SEVERAL_FIELDS
        from bertcli.evaluation.labels import AnyLabels, OneLabel

        task = make_label_task(self.request, model)
        self._checkpoint, self._head = model.checkpoint, getattr(task, "head", None)
        if self._head is not None and self._head.problem == "regression":
            return self._numbers(task, self._head, source)
        self._refuse(model.checkpoint)
        settings: dict[str, Any] = {
            "field": self._gold_field(source, *(SEVERAL_FIELDS if task.choice.several else LABEL_FIELDS)),
            "suspects": ALL if isinstance(self.suspects, str) else self.suspects or 0,
            "id_field": self.request.id_field,
            "temperature": self._head.temperature if self._head else 1.0,
            "facts": {"head": self._head.name if self._head else "zero-shot"},
        }
        if task.choice.several:
            return AnyLabels(task, task.choice.names, threshold=task.choice.threshold, **settings)
        return OneLabel(task, task.choice.names, **settings)

    def finish(self, report: Report) -> None:
        """Draw, write and store what was asked for."""
        if isinstance(self.suspects, str):
            from bertcli.reports.suspects import write_suspects

            write_suspects(self.suspects, report.suspects or (), overwrite=self.overwrite)
        if self.plot is not None:
            from bertcli.evaluation.html import document
            from bertcli.journal import open_output

            output = open_output(self.plot, console.claim_stdout(), overwrite=self.overwrite)
            output.close(True, document(report).encode())
        if self.calibrate and report.calibration is not None:
            self._store(report.calibration)

    def _store(self, calibration: Calibration) -> None:
        from bertcli.models.temperature import store_temperature

        assert self._checkpoint is not None  # measure has set both
        assert self._head is not None
        if calibration.is_at_limit:
            console.warn(
                "these answers fit no temperature, for they are all right or all chance: none is stored"
            )
            return
        path = store_temperature(self._checkpoint, self._head.name, calibration.temperature)
        console.say(f"the temperature {calibration.temperature:.4g} of {self._head.name} is stored in {path}")

    def _refuse(self, checkpoint: Checkpoint) -> None:
        """Refuse before the run what could not be finished after it."""
        if self.plot is not None:
            if not self.plot.lower().endswith(".html"):
                raise UsageError("a report is an HTML page", where=self.plot, hint="name the file .html")
            if os.path.exists(self.plot) and not self.overwrite:
                raise OutputError("exists already", where=self.plot, hint="--overwrite replaces it")
        if isinstance(self.suspects, str):
            from bertcli.reports.suspects import check_suspects

            check_suspects(self.suspects, overwrite=self.overwrite)
        if self.calibrate:
            from bertcli.models.temperature import refuse_shared

            if self._head is None:
                raise UsageError(
                    "labels of your own have no temperature to store", hint="leave out --calibrate"
                )
            refuse_shared(checkpoint)

    def _numbers(self, task: Task, head: Head, source: Source) -> Measurement:
        from bertcli.evaluation.gold import NUMBER_FIELDS
        from bertcli.evaluation.numbers import NumberAnswers

        if len(head.labels) > 1:
            raise UsageError(
                f"{head.name} gives {len(head.labels)} numbers for a text, and one can be measured"
            )
        for option, value in {
            "--calibrate": self.calibrate,
            "--suspects": self.suspects,
            "--plot": self.plot,
        }.items():
            if value:
                raise UsageError(f"{option} is for labels, and {head.name} gives a number")
        field = self._gold_field(source, *NUMBER_FIELDS)
        return NumberAnswers(task, "score", field, errors=True, facts={"head": head.name})

    def _gold_field(self, source: Source, *usual: str) -> str:
        from bertcli.evaluation.gold import gold_field

        return gold_field(
            source.field_names,
            self.label_field,
            *usual,
            option="--label-field",
            where=first_input(self.request),
        )


def first_input(inputs: InputOptions) -> str:
    """The first input, for messages about its fields."""
    return inputs.files[0] if inputs.files else "-"
