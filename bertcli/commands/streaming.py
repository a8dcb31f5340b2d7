"""What every command that streams records does: open everything, refuse early, run, account for it.

options → source, checkpoint, task, ledger, engine, sink → pipeline → receipt
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from bertcli import console
from bertcli.command import command_line
from bertcli.commands.tally import given, table
from bertcli.console.drawing import grouped, terminal_width
from bertcli.errors import (
    BertcliError,
    FieldClashError,
    InputError,
    ModelError,
    RecordError,
    UsageError,
    quoted,
)
from bertcli.feed import END, PAUSE, Feed, LiveFeed, PromptFeed, characters

if TYPE_CHECKING:
    from bertcli.commands.resuming import Ledger
    from bertcli.console.progress import Bar
    from bertcli.engines import Engine
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.models.heads import Head, Kind
    from bertcli.models.pooling import Mode
    from bertcli.models.tokenizer import Tokenizer
    from bertcli.receipt import Receipt
    from bertcli.records import Record, Result
    from bertcli.requests import InputOptions, ModelOptions, OutputOptions, RunOptions
    from bertcli.sinks import LastingSink, Layout
    from bertcli.sources import Source
    from bertcli.tasks import Task
    from bertcli.tasks.choice import Choice

PATIENCE = 0.3  # seconds to find out whether a pipe holds little (`echo …`) or may go on for ever (`tail -f`)
UNWATCHED = 0.5  # seconds of silence that make a pause where results go to a file: nobody waits for them
STDIN = 0  # its descriptor
CHARACTERS_A_TOKEN = 4  # of English in word pieces, about


@dataclass(frozen=True, slots=True)
class Job:
    """One run of a streaming command: its name, how its task is made, and the options it shares.

    `make_task` refuses a checkpoint that would answer wrongly before it makes the task. `repeats` says that the task
    reads a text many times, so that its windows and not its letters tell how much there is to do,
    `tells_attention` that it asks for attention weights, which not every engine keeps.
    """

    name: str
    make_task: Callable[[Checkpoint, Tokenizer], Task]
    inputs: InputOptions
    outputs: OutputOptions
    model: ModelOptions
    run: RunOptions
    repeats: bool = False
    tells_attention: bool = False
    open_engine: Callable[[Checkpoint, ModelOptions], Engine] | None = None
    open_tokenizer: Callable[[Checkpoint], Any] | None = None


def stream(job: Job) -> int:
    """Run a job and return its exit code."""
    console.configure(quiet=job.run.quiet, verbose=job.run.verbose, color=job.outputs.color)
    stdout = console.claim_stdout()
    console.quiet_libraries(verbose=job.run.verbose)

    from bertcli.commands.resuming import is_finished
    from bertcli.journal import refuse_input
    from bertcli.sinks.formats import files_written
    from bertcli.sources import open_source

    named = job.inputs.files or (() if job.inputs.texts else ("-",))
    refuse_input(files_written(job.outputs), stdout, named)
    if is_finished(job.outputs, job.inputs):
        return 0
    with closing(open_source(job.inputs)) as source:
        return _stream(job, source, stdout)


def _stream(job: Job, source: Source, stdout: BinaryIO) -> int:
    from bertcli.commands.resuming import Ledger, keeps_journal
    from bertcli.models.checkpoint import open_checkpoint
    from bertcli.models.library import resolve
    from bertcli.models.tokenizer import Tokenizer
    from bertcli.receipt import Receipt

    if job.outputs.resume and source.prompt:
        raise UsageError("--resume: what was typed cannot be read again", hint="name a file, or use a pipe")
    receipt = Receipt()
    feed = feed_of(source, patience=UNWATCHED if keeps_journal(job.outputs) else 0.0)
    checkpoint = open_checkpoint(resolve(job.model.model), allow_pickle=job.model.allow_pickle)
    task = job.make_task(checkpoint, (job.open_tokenizer or Tokenizer.of)(checkpoint))
    ledger = Ledger(job.outputs, job.name, checkpoint, job.inputs)
    with Results(job, source, task, stdout, ledger) as results:
        if feed.first(wait=not source.live) is not PAUSE:
            results.open()  # what will be refused is refused before the engine is loaded
        ledger.skip(feed, receipt)
        engine = _engine(job, ledger.model_options(job.model), checkpoint, feed, task)
        receipt.ran_on(engine)
        task.prepare(engine)
        is_empty = feed.first() is END
        results.open()
        ledger.begin(engine, results.sink, receipt)
        if is_empty and not receipt.read:
            _say_why_empty(job.inputs)
        else:
            console.release()
        _carry(job, source, feed, task, engine, results, receipt)
    return receipt.exit_code


def refuse_or_warn(
    checkpoint: Checkpoint,
    kind: Kind | Literal["embed", "attention"],
    *,
    unsafe: bool,
    head: Head | None = None,
    pooling: Mode | None = None,
) -> None:
    """Look for what would make this checkpoint answer wrongly. Raises ModelError, unless `unsafe`."""
    from bertcli.models.check import quick_check

    for finding in quick_check(checkpoint, kind, head, pooling=pooling):
        if finding.refuses and not unsafe:
            raise ModelError(finding.message, hint=f"{finding.hint}; --unsafe-model uses it all the same")
        console.warn(f"{finding.message}; {finding.hint}")


def choose_head(checkpoint: Checkpoint, kind: Kind, name: str | None) -> Head:
    """The head that answers `kind`: the one named, else the first, which is then told if it is not the only
    one. Raises ModelError for a head the checkpoint does not have."""
    head = checkpoint.head(kind, name)
    others = [other.name for other in checkpoint.heads_of(kind) if other is not head]
    if name is None and others:
        console.hold(f"head {head.name}; --head takes {', '.join(others)}")
    return head


def refuse_pairs(pair_field: str | None, reader: str) -> None:
    """Raise UsageError for a --pair-field that `reader` would pass over without a word."""
    if pair_field is not None:
        raise UsageError(f"--pair-field: {reader} reads one text a record", hint="leave --pair-field out")


def refuse_clash(layout: Layout) -> None:
    """Raise FieldClashError when a result would take the name of an input field."""
    if clash := layout.reserved.intersection(layout.inputs):
        noun = "a field" if len(clash) == 1 else "fields"
        raise FieldClashError(
            f"the input already has {noun} named {quoted(sorted(clash))}, as the results do",
            hint=f"give the results other names: {command_line('--prefix', _free_prefix(layout))}",
        )


def _free_prefix(layout: Layout) -> str:
    """A prefix with which no result has the name of an input field."""
    prefixes = itertools.chain(["bert_"], (f"bert{number}_" for number in itertools.count(2)))
    return next(
        prefix for prefix in prefixes if replace(layout, prefix=prefix).reserved.isdisjoint(layout.inputs)
    )


def read_text(path: str) -> str:
    """A small text file named by an option, `-` for stdin. Raises InputError for one that cannot be read."""
    try:
        with open(STDIN if path == "-" else path, encoding="utf-8-sig", closefd=path != "-") as file:
            return file.read()
    except OSError as error:
        hint = "check the path, and who may read the file"
        raise InputError(f"cannot be read: {error.strerror}", where=path, hint=hint) from None
    except UnicodeDecodeError:
        raise InputError("is not UTF-8 text", where=path, hint="save it as UTF-8") from None


def feed_of(source: Source, records: Iterable[Record] | None = None, *, patience: float = 0.0) -> Feed:
    """What hands out the records of a source, or `records` that come from it. `patience` is how many seconds
    of silence make a pause."""
    records = source if records is None else records
    if source.prompt:
        return PromptFeed(records)
    return LiveFeed(records, patience=patience) if source.live else Feed(records)


def engine_for(
    options: ModelOptions,
    checkpoint: Checkpoint,
    feed: Feed,
    weigh: Callable[[Record], int] = characters,
) -> Engine:
    """The engine that the options ask for, else the one for as much input as there is."""
    from bertcli.engines.choosing import BREAK_EVEN_TOKENS, choose
    from bertcli.engines.finite import Finite

    amount = None
    if options.engine == "auto":
        amount = feed.measure(BREAK_EVEN_TOKENS * CHARACTERS_A_TOKEN, PATIENCE, weigh)
    tokens = None if amount is None else -(-amount // CHARACTERS_A_TOKEN)
    engine = choose(checkpoint, options, tokens_ahead=tokens)
    told = "an input of unknown or large size" if tokens is None else f"some {tokens} tokens"
    console.note(f"{engine.name} engine on {engine.device} in {engine.dtype}, for {told}")
    return Finite(engine)


def weigher(task: Task) -> Callable[[Record], int]:
    """How many characters a record is worth in work, which is not how many it has where a task looks at each
    text many times, each time with another word hidden."""

    def weigh(record: Record) -> int:
        if record.blank or record.problem is not None:
            return 0
        try:
            windows = task.encode(record).windows
        except RecordError:
            return 0
        return CHARACTERS_A_TOKEN * sum(map(len, windows))

    return weigh


def warn_of_shortage(most_tokens: int) -> None:
    """Say that memory ran out and what has become of it."""
    console.warn(
        f"memory ran out; from here on at most {most_tokens} tokens run together"
        f" (--batch-tokens {most_tokens} begins that way)"
    )


def _engine(job: Job, options: ModelOptions, checkpoint: Checkpoint, feed: Feed, task: Task) -> Engine:
    """The engine for a job's records."""
    if job.open_engine is not None:
        return job.open_engine(checkpoint, options)
    if not job.tells_attention:
        return engine_for(options, checkpoint, feed, weigher(task) if job.repeats else characters)
    from bertcli.engines.choosing import choose_telling
    from bertcli.engines.finite import Finite

    return Finite(choose_telling(checkpoint, options))


def _carry(
    job: Job, source: Source, feed: Feed, task: Task, engine: Engine, results: Results, receipt: Receipt
) -> None:
    """Run the pipeline, and account for it however it ends (but for a closed pipe: nobody is interested)."""
    from bertcli.commands.resuming import keeps_journal
    from bertcli.journal import is_stdout
    from bertcli.pipeline import run
    from bertcli.planning import Plan

    # an interrupted run forgets what it knew, and must end in the same bytes all the same
    remembers = engine.steady or not keeps_journal(job.outputs)
    plan = Plan(engine.batch_tokens, engine.workers, reserved=results.layout.reserved, remembers=remembers)
    plan = results.ledger.plan(plan)
    try:
        stdout = results.stdout if is_stdout(job.outputs.output) else None
        with console.progress(source, stdout, lambda: feed.taken) as bar:
            counter = Counter(receipt, bar, getattr(task, "choice", None))
            run(
                feed,
                task=task,
                engine=engine,
                plan=plan,
                sink=results.sink,
                receipt=counter,
                max_errors=job.run.max_errors,
                on_shortage=warn_of_shortage,
                progress=results.ledger,
            )
        results.close(complete=True)
        receipt.finish()
    except (KeyboardInterrupt, BertcliError) as end:
        results.close(complete=False)
        receipt.finish(interrupted=isinstance(end, KeyboardInterrupt))
        console.say(receipt.line())
        _say_where_to_resume(results.ledger, receipt)
        if isinstance(end, BertcliError):
            raise
        return
    if stdout is None and console.is_watched():
        for line in table(receipt.labels, terminal_width(2)):
            console.say(line)
    if receipt.is_due(on_terminal=results.terminal.is_tty, verbose=job.run.verbose):
        console.say(receipt.line())


def _say_why_empty(inputs: InputOptions) -> None:
    """Say why there is no record to answer."""
    if inputs.limit == 0:
        return
    skipped = f"there is no record behind the first {grouped(inputs.skip)}, which --skip passes over"
    console.say(skipped if inputs.skip else "the input is empty: it holds no record")


def _say_where_to_resume(ledger: Ledger, receipt: Receipt) -> None:
    """Say where `--resume` continues, where that is not behind the last record that is counted."""
    kept = ledger.kept
    if kept is not None and kept < receipt.read:
        console.say(f"--resume continues with record {grouped(kept + 1)}")


class Results:
    """Where results go: opened as soon as the names of the input fields are known, and closed once, whole or
    not, and the ledger behind it."""

    sink: LastingSink
    layout: Layout

    def __init__(self, job: Job, source: Source, task: Task, stdout: BinaryIO, ledger: Ledger) -> None:
        self._job = job
        self._source = source
        self._task = task
        self._is_open = False
        self.ledger = ledger
        self.stdout = stdout
        self.terminal = console.terminal(stdout, job.outputs.color)

    def __enter__(self) -> Results:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.close(complete=False)
        finally:
            self.ledger.close()

    def open(self) -> None:
        """Open the sink, if it is not open yet. Raises FieldClashError when a result would take the name
        of an input field, UsageError and OutputError for an output that cannot be."""
        if self._is_open:
            return
        from bertcli.sinks import open_sink

        self.layout = self._layout()
        refuse_clash(self.layout)
        self.sink = open_sink(
            self.ledger.outputs,
            self.layout,
            stdout=self.stdout,
            terminal=self.terminal,
            mark=self.ledger.mark,
        )
        self._is_open = True

    def close(self, *, complete: bool) -> None:
        """Close the sink, if it is still open."""
        if self._is_open:
            self._is_open = False
            if not complete:
                self.ledger.catch_up()
            self.sink.close(complete)

    def _layout(self) -> Layout:
        from bertcli.sinks import REMARKS, Layout

        job, source = self._job, self._source
        return Layout(
            task=job.name,
            inputs=source.field_names,
            results=self._task.fields,
            extras=(*self._task.optional, *REMARKS),
            text_field=source.text_field,
            id_field=job.inputs.id_field,
            prefix=job.outputs.prefix,
            echo=not source.prompt and (bool(job.inputs.files) or len(job.inputs.texts) != 1),
            about=getattr(self._task, "about", {}),  # which tasks of embeddings have
        )


@dataclass(slots=True)
class Counter:
    """Counts for the receipt, and shows the count on the bar. `choice` is the task's, where it has one."""

    receipt: Receipt
    bar: Bar
    choice: Choice | None = None

    @property
    def failed(self) -> int:
        return self.receipt.failed

    def add(self, result: Result) -> None:
        self.receipt.add(result)
        self.receipt.labels.update(given(result, self.choice))
        self.expect(0)

    def expect(self, more: int) -> None:
        self.bar.show(self.receipt.read - self.receipt.before + more)
