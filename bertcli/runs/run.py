"""One run: source, model, task, journal, engine, sink and pipeline, each opened once, in this order.

What will be refused is refused before the engine, the slowest part, is loaded: the output too, as soon as the
names of the input fields are known.
"""

from __future__ import annotations

from contextlib import closing, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, BinaryIO

from bertcli import console
from bertcli.console.drawing import grouped, terminal_width
from bertcli.errors import BertcliError, UsageError
from bertcli.feed import END, PAUSE, Feed, characters
from bertcli.requests import Label, Rerank
from bertcli.runs.calibration import sample_of
from bertcli.runs.flow import (
    Counter,
    attention_engine,
    choose_engine,
    closing_engine,
    feed_of,
    for_task,
    open_own_engine,
    plan_for,
    refuse_cluster,
    warn_of_shortage,
    work_of,
)
from bertcli.runs.label_counts import table
from bertcli.runs.preflight import open_model, refuse_clash
from bertcli.runs.tasks import TASKS, make_task, refuse_unread_pairs, task_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bertcli.distributed.shards import Shard
    from bertcli.engines import Engine
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.receipt import Receipt
    from bertcli.records import Record
    from bertcli.requests import InputOptions, ModelOptions, StreamRequest
    from bertcli.runs.preflight import OpenModel
    from bertcli.runs.resume import RunRecord
    from bertcli.runs.tasks import TaskEntry
    from bertcli.sinks import LastingSink, Layout
    from bertcli.sources import Source
    from bertcli.tasks import Task

UNWATCHED = 0.5  # seconds of silence that count as a pause where results go to a file


def run(request: StreamRequest, stdout: BinaryIO, opened: list[OpenModel] | None = None) -> Receipt:
    """Do what a request asks, and return the receipt. Results go to `stdout` where the request names no output. The
    model is appended to `opened`.

    Raises BertcliError for what cannot be run, StoppedEarlyError when `max_errors` records have failed. Ctrl-C
    ends the run; what was finished is kept, and the receipt says so.
    """
    refuse_unread_pairs(request)
    if isinstance(request, Rerank):
        from bertcli.runs.rerank import run_rerank

        return run_rerank(request, stdout)

    from bertcli.journal import refuse_input
    from bertcli.receipt import Receipt
    from bertcli.runs.resume import is_finished
    from bertcli.sinks.formats import files_written
    from bertcli.sources import open_source

    named = request.files or (() if request.texts else ("-",))
    refuse_input(files_written(request), stdout, named)
    receipt = Receipt()
    if is_finished(request):
        receipt.finish()
        return receipt
    shard = None
    if request.shard is not None:
        from bertcli.distributed.shards import check_shard_options, shard_of

        check_shard_options(request, request)
        shard = shard_of(request)
    with closing(shard.open() if shard else open_source(request)) as source:
        _run(request, shard, source, stdout, receipt, [] if opened is None else opened)
    return receipt


def _run(
    request: StreamRequest,
    shard: Shard | None,
    source: Source,
    stdout: BinaryIO,
    receipt: Receipt,
    opened: list[OpenModel],
) -> None:
    from bertcli.runs.resume import RunRecord, is_resumable
    from bertcli.sources import open_source

    entry = TASKS[task_name(request)]
    if entry.needs_attention:
        refuse_cluster(request, task_name(request))
    if request.resume and source.prompt:
        raise UsageError("--resume: what was typed cannot be read again", hint="name a file, or use a pipe")
    if isinstance(request, Label) and request.adapt and not _can_be_read_twice(request):
        raise UsageError("--adapt reads the input twice, and this one cannot be", hint="name files")
    feed = feed_of(source, patience=UNWATCHED if is_resumable(request) else 0.0)
    model = open_model(request, entry.open_tokenizer)
    opened.append(model)
    task = make_task(request, model)
    receipt.guarantee = getattr(task, "statement", "")
    record = RunRecord(request, task_name(request), model.checkpoint)
    with Results(request, source, task, stdout, record) as results:
        if feed.first(wait=not source.live) is not PAUSE:
            results.open()
        options, checkpoint = for_task(record.model_options(request), model.checkpoint, task)
        # Before a resumed run passes over the first texts. A shard has some of them, or none.
        sample = sample_of(options, feed) if options.dtype == "int8" else None
        record.skip(feed, receipt)
        with closing(open_source(shard.whole)) if shard else nullcontext() as whole:
            # all shards take the engine that a run over the whole input takes
            measured = feed if whole is None else Feed(whole)
            engine = _engine(request, entry, options, checkpoint, measured, task, sample)
        with closing_engine(engine):
            receipt.ran_on(engine)
            task.prepare(engine)
            if isinstance(request, Label) and request.adapt:
                from bertcli.runs.adapting import adapt_labels

                with closing(open_source(replace(request, shard=None))) as again:
                    adapt_labels(task, again, engine)
            is_empty = feed.first() is END
            results.open()
            record.begin(engine, results.sink, receipt)
            if is_empty and not receipt.read:
                if shard is None:
                    _say_why_empty(request)
            else:
                console.release()
            _run_pipeline(request, source, feed, task, engine, results, receipt)
        if shard is not None and not receipt.interrupted:
            from bertcli.distributed.shards import write_shard_receipt

            write_shard_receipt(shard, request, record.facts, results.layout, receipt)


def _engine(
    request: StreamRequest,
    entry: TaskEntry,
    options: ModelOptions,
    checkpoint: Checkpoint,
    measured: Feed,
    task: Task,
    sample: Sequence[Record] | None,
) -> Engine:
    """The engine of a task, chosen by what is known of the input that `measured` reads."""
    if entry.needs_attention:
        return attention_engine(options, checkpoint)
    if entry.own_engine is not None:
        return open_own_engine(entry.own_engine, options, checkpoint, measured, task, request)
    weigh = work_of(task) if entry.reads_many_times else characters
    return choose_engine(options, checkpoint, measured, weigh, task=task, sample=sample, cluster=request)


def _can_be_read_twice(inputs: InputOptions) -> bool:
    from bertcli.journal import is_regular
    from bertcli.storage import is_remote

    regular = all(file != "-" and (is_remote(file) or is_regular(file)) for file in inputs.files)
    return regular and bool(inputs.files or inputs.texts)


def _run_pipeline(
    request: StreamRequest,
    source: Source,
    feed: Feed,
    task: Task,
    engine: Engine,
    results: Results,
    receipt: Receipt,
) -> None:
    """Run the pipeline, and finish the receipt however it ends (but for a closed pipe)."""
    from bertcli import pipeline
    from bertcli.journal import is_stdout
    from bertcli.runs.resume import is_resumable

    # A resumed run starts with an empty cache of answers, and must end in the same bytes.
    remembers = engine.batch_invariant or not is_resumable(request)
    plan = plan_for(engine, reserved=results.layout.reserved, remembers=remembers)
    stdout = results.stdout if is_stdout(request.output) else None
    try:
        with console.progress(source, stdout, lambda: feed.taken) as bar:
            pipeline.run(
                feed,
                task=task,
                engine=engine,
                plan=results.record.plan(plan),
                sink=results.sink,
                receipt=Counter(receipt, bar, getattr(task, "choice", None)),
                max_errors=request.max_errors,
                on_shortage=warn_of_shortage,
                progress=results.record,
            )
        results.close(complete=True)
        receipt.finish()
    except (KeyboardInterrupt, BertcliError) as end:
        results.close(complete=False)
        receipt.finish(interrupted=isinstance(end, KeyboardInterrupt))
        console.say(receipt.line())
        _say_where_to_resume(results.record, receipt)
        if isinstance(end, BertcliError):
            raise
        return
    if stdout is None and console.is_watched():
        for line in table(receipt.labels, terminal_width(2)):
            console.say(line)
    if receipt.is_due(on_terminal=results.terminal.is_tty, verbose=request.verbose):
        console.say(receipt.line())


def _say_why_empty(inputs: InputOptions) -> None:
    """Say why there is no record to answer."""
    if inputs.limit == 0:
        return
    skipped = f"there is no record behind the first {grouped(inputs.skip)}, which --skip passes over"
    console.say(skipped if inputs.skip else "the input is empty: it holds no record")


def _say_where_to_resume(record: RunRecord, receipt: Receipt) -> None:
    """Say where `--resume` continues, where that is not behind the last record that is counted."""
    done = record.resumable_records
    if done is not None and done < receipt.read:
        console.say(f"--resume continues with record {grouped(done + 1)}")


class Results:
    """The sink of a run: opened as soon as the names of the input fields are known, closed once, complete or
    not, and after it the record of the run."""

    sink: LastingSink
    layout: Layout

    def __init__(
        self, request: StreamRequest, source: Source, task: Task, stdout: BinaryIO, record: RunRecord
    ) -> None:
        self.record, self.stdout = record, stdout
        self.terminal = console.terminal(stdout, request.color)
        self._request, self._source, self._task = request, source, task
        self._is_open = False

    def __enter__(self) -> Results:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.close(complete=False)
        finally:
            self.record.close()

    def open(self) -> None:
        """Open the sink, if it is not open yet. Raises FieldClashError when a result would take the name
        of an input field, UsageError and OutputError for an output that cannot be."""
        if self._is_open:
            return
        from bertcli.sinks import open_sink

        self.layout = self._make_layout()
        refuse_clash(self.layout)
        self.sink = open_sink(
            self.record.output_options,
            self.layout,
            stdout=self.stdout,
            terminal=self.terminal,
            mark=self.record.mark,
        )
        self._is_open = True

    def close(self, *, complete: bool) -> None:
        """Close the sink, if it is still open."""
        if self._is_open:
            self._is_open = False
            if not complete:
                self.record.write_latest()
            self.sink.close(complete)

    def _make_layout(self) -> Layout:
        from bertcli.sinks import REMARKS, Layout

        request, source = self._request, self._source
        name = task_name(request)
        return Layout(
            task=name,
            inputs=source.field_names,
            results=self._task.fields,
            extras=(*self._task.optional, *REMARKS),
            text_field=source.text_field,
            id_field=request.id_field,
            prefix=request.prefix,
            echo=not source.prompt and (bool(request.files) or len(request.texts) != 1),
            about=getattr(self._task, "about", {}),  # which tasks of embeddings have
            is_shard=request.shard is not None,
            is_whole_file=request.whole_files,
            formats=request.formats,
            answers=TASKS[name].answers,
            view=TASKS[name].view,
        )
