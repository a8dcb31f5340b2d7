"""What `bench` does: read a sample, try choices on it, watch a whole run, and report.

options → source, checkpoint, task → sample → search → whole run → verdict
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bertcli import console
from bertcli.errors import InputError, UsageError
from bertcli.feed import Feed
from bertcli.reports.benchmark import benchmark_page, rows
from bertcli.reports.lines import show
from bertcli.requests import Embed, Fill, InputOptions, Label, LongOptions, ModelOptions, fields_of
from bertcli.runs.calibration import calibrate, sample_of
from bertcli.runs.preflight import OpenModel, open_model, refuse_pairs
from bertcli.runs.tasks import make_task

if TYPE_CHECKING:
    from bertcli.benchmark.sample import Sample, Timed
    from bertcli.benchmark.search import SettingsSearch
    from bertcli.benchmark.trial import EngineSettings
    from bertcli.benchmark.verdict import Verdict
    from bertcli.benchmark.whole_run import WholeRun
    from bertcli.engines import Engine
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.records import Record
    from bertcli.reports.benchmark import Finding
    from bertcli.requests import Bench, ComputeDtype, EngineName
    from bertcli.sources import Source
    from bertcli.tasks import Task

TaskName = Literal["label", "fill", "embed"]

READING = 0.05  # of the seconds, and as much to choose texts
CALIBRATED = 50  # texts for int8: fewer than in a run, which has more time
PATIENCE = 1.3  # times as long as expected may the whole run take


def bench(request: Bench) -> tuple[TaskName, dict[str, str]]:
    """Measure, print everything as it is found, and return the task and the options of its command that are better
    than the defaults."""
    from bertcli.sources import open_source

    with closing(open_source(request)) as source:
        if source.prompt:
            raise UsageError("there is nothing to measure", hint="name a file, or pipe one in")
        model = open_model(request)
        benchmark = Benchmark(request, model)
        facts = {
            "task": benchmark.name,
            "model": model.checkpoint.name,
            "files": list(request.files) or ["-"],
        }
        findings = benchmark.findings(source)
        show(rows(findings, facts), request.report_format, lambda: benchmark_page(findings, facts))
    return benchmark.name, benchmark.better_options()


class Benchmark:
    """The measurement of one task of one checkpoint. Raises ModelError for a checkpoint that does not have it."""

    verdict: Verdict

    def __init__(self, request: Bench, model: OpenModel) -> None:
        self._request = request
        self._end = time.monotonic() + request.seconds
        self._model = model
        self._checkpoint, self._tokenizer = model.checkpoint, model.tokenizer
        self.name: TaskName = request.task or _task_of(model.checkpoint)
        self._task = self._make_task()

    def findings(self, source: Source) -> Iterator[Finding]:
        """The sample, each trial, and the verdict, one after the other. Raises InputError without texts."""
        from bertcli.benchmark.search import SettingsSearch
        from bertcli.benchmark.verdict import verdict

        sample = self._sample(source)
        console.release()
        yield sample
        self._records = [timed.record for timed in sample.timed[:CALIBRATED]]
        seconds = self._end - time.monotonic()
        search = SettingsSearch(
            sample.timed, self._task, self._engine, seconds=seconds, agree=self._request.agree
        )
        yield from search.trials()
        texts = self._texts_in_time(search)
        whole = self._whole_run(sample.timed[:texts], search.best.choice) if texts else None
        self.verdict = verdict(search, sample, whole, texts)
        yield self.verdict

    def _texts_in_time(self, search: SettingsSearch) -> int:
        """How many texts a whole run can answer until the end, 0 where it would not even start."""
        from bertcli.benchmark.search import START

        left = self._end - time.monotonic() - START * search.loading
        return 0 if left <= 0 else max(1, int(left * search.best.texts_per_second))

    def better_options(self) -> dict[str, str]:
        """The options that are better than the defaults, as the command calls them."""
        return {self._key(name): value for name, value in self.verdict.settings.items()}

    def _make_task(self) -> Task:
        request = self._request
        shared = fields_of(request, InputOptions, ModelOptions, LongOptions)
        if self.name == "label":
            return make_task(Label(**shared, head=request.head, all=True), self._model)
        refuse_pairs(request.pair_field, f"`bench` of {self.name}")
        return make_task(Fill(**shared) if self.name == "fill" else Embed(**shared), self._model)

    def _sample(self, source: Source) -> Sample:
        from bertcli.benchmark.sample import take

        limit = self._checkpoint.embed_max_length if self.name == "embed" else self._checkpoint.max_length
        sample = take(
            source,
            self._tokenizer,
            self._task,
            limit=self._request.max_length or limit,
            seconds=self._request.seconds * READING,
            adapt=self._adapted,
        )
        if not sample.timed:
            raise InputError("there is no text to measure with", hint="the input is empty, blank or broken")
        return sample

    def _adapted(self, record: Record) -> Record:
        """For `fill`, a text with a word missing."""
        if self.name != "fill":
            return record
        from bertcli.benchmark.sample import with_mask
        from bertcli.tasks.fill import SPELLINGS

        return with_mask(record, (*SPELLINGS, str(self._tokenizer.mask_token)))

    def _engine(self, name: EngineName, dtype: ComputeDtype) -> Engine:
        from bertcli.engines.choosing import choose
        from bertcli.engines.finite import Finite

        options = replace(self._request, engine=name, dtype=dtype)
        roundings = None
        if dtype == "int8":
            sample = self._records if options.calibration is None else sample_of(options, Feed(()))
            roundings = calibrate(self._checkpoint, options, self._task, sample).roundings
        return Finite(choose(self._checkpoint, options, tokens_ahead=None, roundings=roundings))

    def _key(self, setting: str) -> str:
        """How the command calls a setting: `embed` has another use for `dtype`."""
        return "compute-dtype" if setting == "dtype" and self.name == "embed" else setting

    def _whole_run(self, sample: list[Timed], choice: EngineSettings) -> WholeRun | None:
        """The best choice as a user would run it, over some texts, from a file into a file."""
        from bertcli.benchmark.whole_run import run_watched

        with tempfile.TemporaryDirectory(prefix="bertcli-") as folder:
            texts, answers = Path(folder, "texts.jsonl"), Path(folder, "answers.jsonl")
            fields = [{"text": timed.record.text, "pair": timed.record.pair} for timed in sample]
            texts.write_text("".join(json.dumps(row) + "\n" for row in fields), encoding="utf-8")
            command = [*self._command(choice), "--text-field", "text", "-o", str(answers), str(texts)]
            return run_watched(command, _environment(), PATIENCE * (self._end - time.monotonic()) + 1)

    def _command(self, choice: EngineSettings) -> list[str]:
        """`bertcli TASK …` with the options of this request and of a choice, and no settings."""
        request, checkpoint = self._request, self._checkpoint
        command = [sys.executable, "-m", "bertcli", "--config", os.devnull, self.name]
        base = checkpoint.directory if checkpoint.adapter is None else checkpoint.path
        command += ["-m", str(base), "--device", request.device, "--engine", choice.engine]
        command += [] if checkpoint.adapter is None else ["--adapter", str(checkpoint.directory)]
        command += [f"--{self._key('dtype')}", choice.dtype, "--long", request.long]
        command += ["--threads", str(choice.threads), "--batch-tokens", str(choice.batch_tokens)]
        numbers = {"--max-length": request.max_length, "--overlap": request.overlap}
        command += [
            word for name, value in numbers.items() if value is not None for word in (name, str(value))
        ]
        command += ["--head", request.head] if request.head is not None and self.name == "label" else []
        command += ["--pair-field", "pair"] if request.pair_field is not None else []
        flags = {"--unsafe-model": request.unsafe_model, "--allow-pickle": request.allow_pickle}
        return command + [flag for flag, given in flags.items() if given]


def _task_of(checkpoint: Checkpoint) -> TaskName:
    """What the checkpoint is made for: to label, to embed, to fill masks; vectors can be had from any."""
    if any(not head.missing for head in checkpoint.heads_of("label")):
        return "label"
    if not checkpoint.pooling.declared and any(not head.missing for head in checkpoint.heads_of("fill")):
        return "fill"
    return "embed"


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("BERTCLI_")}
