"""What a run with `-o FILE` writes down to be resumed, and where an interrupted one continues.

The journal beside the output holds what the run depends on (its facts) and how far it has come. A resumed run
skips the records that are answered and begins with the block that would have come next: the same records share a
batch, so the output has the same bytes as that of an uninterrupted run.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bertcli import __version__, console
from bertcli.console import Terminal
from bertcli.console.drawing import grouped
from bertcli.errors import InputError, OutputError, UsageError
from bertcli.feed import END
from bertcli.journal import Journal, Mark, Point, damaged_journal, is_regular, is_stdout, journal_of, part_of
from bertcli.planning import SeenTexts
from bertcli.requests import FILE_FIELDS, flag_of, options_that_change_results
from bertcli.runs.flow import planned_workers
from bertcli.sinks.formats import choose_format
from bertcli.storage import is_remote

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bertcli.engines import Engine
    from bertcli.feed import Feed
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.planning import Block, Plan
    from bertcli.receipt import Receipt
    from bertcli.records import Record
    from bertcli.requests import EngineName, InputOptions, ModelOptions, OutputOptions, StreamRequest
    from bertcli.sinks import LastingSink

FOR_PERSONS = ("table", "html")  # forms that are short, or whose layout depends on all that came before
START_OVER = "--overwrite without --resume starts again"
Facts = dict[str, Any]


def is_resumable(outputs: OutputOptions) -> bool:
    """Whether results go to a file of its own. Raises UsageError for a --resume that cannot be."""
    lasting = outputs.output is not None and not is_stdout(outputs.output) and is_regular(outputs.output)
    if outputs.resume and outputs.output is not None and is_remote(outputs.output):
        raise UsageError(
            "--resume: nothing of an interrupted upload can be continued",
            where=outputs.output,
            hint="write to a file and copy it when it is complete, or divide the run by --shard",
        )
    if outputs.resume and not lasting:
        raise UsageError("--resume continues a file, and there is none", hint="name it by -o FILE")
    if outputs.resume and (form := choose_format(outputs, Terminal())[0]) in FOR_PERSONS:
        raise UsageError(f"--resume: {form} cannot be resumed", hint="write .jsonl, or another form")
    return lasting


def is_finished(request: StreamRequest) -> bool:
    """Whether --resume finds the file complete; says so. Raises OutputError when an input is newer."""
    path = request.output
    if not request.resume or path is None or not os.path.isfile(path) or part_of(path).exists():
        return False
    if journal_of(path).exists():
        Journal(path).close()  # of a run that was killed when all was done, or of one that is not done
    say_complete(path, request.files)
    return True


def say_complete(path: str, inputs: Sequence[str]) -> None:
    """Say that there is nothing to resume. Raises OutputError when an input is newer than the output."""
    written = os.stat(path).st_mtime_ns
    for file in inputs:
        if os.path.isfile(file) and os.stat(file).st_mtime_ns > written:
            raise OutputError(
                f"is complete, but {console.visible(file)} has changed since", where=path, hint=START_OVER
            )
    console.say(f"{path} is complete: there is nothing to resume")


class RunRecord:
    """What a run writes down of how far it has come; nothing where it has no file of its own to write.

    `point` is where an interrupted run is resumed, None for a run that begins. `facts` are what decides the results
    of a run that can be resumed or is a shard, with the engine once it has begun. Opening it takes the lock
    on the output. Raises OutputError when another run has it, and when what the interrupted run depended on
    has changed.
    """

    def __init__(self, request: StreamRequest, command: str, checkpoint: Checkpoint) -> None:
        self._request = request
        self._journal = Journal(request.output) if is_resumable(request) and request.output else None
        self._sink: LastingSink | None = None
        self._receipt: Receipt | None = None
        self._known = SeenTexts()
        self.point: Point | None = None
        self.facts: Facts = {}
        try:
            if self._journal is not None or request.shard is not None:
                self.facts = facts_of(request, command, checkpoint)
            if self._journal is not None:
                self._digest = Digest()
                if request.resume:
                    self.point = self._find_point(self._journal)
        except BaseException:
            self.close()
            raise

    @property
    def output_options(self) -> OutputOptions:
        """The options with leave to replace what the interrupted run has left, or had leave to replace."""
        if self._journal is None or self._journal.begun is None or not self._request.resume:
            return self._request
        return replace(self._request, overwrite=self.point is None or self._journal.begun["overwrite"])

    @property
    def is_active(self) -> bool:
        """Whether this run can be resumed."""
        return self._journal is not None

    @property
    def resumable_records(self) -> int | None:
        """How many records --resume would not answer again; None where this run cannot be resumed."""
        if self._journal is None or self._journal.begun is None:
            return None
        return 0 if self._journal.point is None else self._journal.point.records

    @property
    def mark(self) -> Mark | None:
        return None if self.point is None else self.point.mark

    def model_options(self, options: ModelOptions) -> ModelOptions:
        """The options with the engine of the interrupted run where the user leaves it to bertcli."""
        if self.point is None:
            return options
        engine = self._begun["engine"]
        # `packed` also asks for the engines that a user cannot name: `eager`, and transformers' own.
        name: EngineName = "instant" if engine["name"] == "instant" else "packed"
        return replace(
            options,
            engine=name if options.engine == "auto" else options.engine,
            device=engine["device"] if options.device == "auto" else options.device,
            dtype=engine["dtype"] if options.dtype == "auto" else options.dtype,
            batch_tokens=engine["batch_tokens"] if options.batch_tokens is None else options.batch_tokens,
        )

    def plan(self, plan: Plan) -> Plan:
        """The plan whose next block is the one that would have come next."""
        if self.point is None:
            return plan
        return replace(plan, begun=self.point.blocks, workers=self._begun["workers"], seen=self._known)

    def skip(self, feed: Feed, receipt: Receipt) -> None:
        """Pass over the records that are answered. Raises OutputError when they are not the same."""
        if self.point is None:
            return
        console.note(f"passing over {grouped(self.point.records)} records that are answered")
        for passed in range(self.point.records):
            record = feed.take()
            if record is END:
                found = (
                    f"the input has {grouped(passed)} records, and {grouped(self.point.records)} are answered"
                )
                raise self._refused([found])
            self._digest.add(record)
            self._known.see(record)
        if self._digest.value != self.point.digest:
            raise self._refused(
                [f"the first {grouped(self.point.records)} records of the input have changed"]
            )
        receipt.resume(self.point.counts)

    def begin(self, engine: Engine, sink: LastingSink, receipt: Receipt) -> None:
        """Write down what the run depends on, before its first result. Raises OutputError for an interrupted
        run that was computed in another way."""
        self._sink, self._receipt = sink, receipt
        names = ("name", "device", "dtype", "batch_tokens")
        facts: Facts = {"engine": {name: getattr(engine, name) for name in names}}
        facts["engine"]["calibration"] = getattr(engine, "calibration", "")
        self.facts |= facts
        if self._journal is None:
            return
        if self.point is None:
            kept = {"workers": planned_workers(engine), "overwrite": self._request.overwrite}
            self._journal.begin({**self.facts, **kept})
        elif found := differences(self._begun, {**self._begun, **facts}):
            raise self._refused(found)

    def add_block(self, block: Block) -> None:
        """Note the end of a block as a place to go on from."""
        if self._journal is None or self._sink is None or self._receipt is None:
            return
        for entry in block.entries:
            self._digest.add(entry.record)
        mark = self._sink.mark()
        if mark is not None and block.entries:
            counts = self._receipt.counts()
            point = Point(self._receipt.read, self._digest.value, block.filled, counts, mark)
            self._journal.keep(point, self._sink.sync)

    def write_latest(self) -> None:
        """Write down how far the run has come, before it ends."""
        if self._journal is not None and self._sink is not None:
            self._journal.catch_up(self._sink.sync)

    def close(self) -> None:
        """Let go of the output, when it has been closed."""
        if self._journal is not None:
            self._journal.close()

    @property
    def _begun(self) -> Facts:
        assert self._journal is not None
        assert self._journal.begun is not None  # there is a point
        return self._journal.begun

    def _find_point(self, journal: Journal) -> Point | None:
        """Where to go on; None when there is nothing to resume."""
        path = self._request.output
        assert path is not None
        part = part_of(path)
        if not part.exists() or part.stat().st_size == 0:
            return None
        if journal.begun is None:
            if journal_of(path).stat().st_size > 0:
                raise damaged_journal(path)
            raise OutputError(
                "has no journal, so it cannot be resumed", where=f"{path}.part", hint=START_OVER
            )
        try:
            found = differences(journal.begun, {**journal.begun, **self.facts})
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise damaged_journal(path) from error
        if found:
            raise self._refused(found)
        return journal.point

    def _refused(self, found: list[str]) -> OutputError:
        return OutputError(
            f"cannot be resumed: {'; '.join(found)}", where=self._request.output, hint=START_OVER
        )


class Digest:
    """Told of records one after the other; `value` changes with any of them."""

    def __init__(self) -> None:
        from hashlib import blake2b  # which loads OpenSSL: not for a run that has no file

        self._hash = blake2b(digest_size=16)

    def add(self, record: Record) -> None:
        self._hash.update(repr((record.fields, record.problem)).encode("utf-8", "backslashreplace"))

    @property
    def value(self) -> str:
        return self._hash.hexdigest()


def facts_of(request: InputOptions, command: str, checkpoint: Checkpoint) -> Facts:
    """Everything that decides the output, except the engine."""
    from bertcli.sources.identity import identify

    values = options_that_change_results(request)
    return {
        "version": __version__,
        "command": command,
        "model": {"name": checkpoint.name, "fingerprint": checkpoint.fingerprint()},
        "options": {flag_of(name): plain_option(name, value) for name, value in values.items()},
        "inputs": identify(request),
    }


def plain_option(name: str, value: Any) -> Any:
    """The value of a field as JSON has it; of a file its size and a digest of its content."""
    if name in FILE_FIELDS and isinstance(value, str):
        from bertcli.sources.identity import fingerprint

        try:
            return dict(zip(("size", "digest"), fingerprint(value), strict=True))
        except OSError as error:
            raise InputError(
                f"cannot be read: {error.strerror}",
                where=value,
                hint="check the path, and who may read the file",
            ) from None
    return list(value) if isinstance(value, tuple) else value


def differences(before: Facts, now: Facts) -> list[str]:
    """What has changed between two runs, in words a user knows; empty when nothing has. Of another command
    nothing else is reported: all of its options are others."""
    if before["command"] != now["command"]:
        return [f"the command was {before['command']}, and is {now['command']}"]
    found = []
    if before["version"] != now["version"]:
        found.append(f"bertcli was {before['version']}, and is {now['version']}")
    if before["model"]["fingerprint"] != now["model"]["fingerprint"]:
        names = [before["model"]["name"], now["model"]["name"]]
        same = names[0] == names[1]
        found.append(
            f"the model {names[0]} has changed" if same else "the model was {}, and is {}".format(*names)
        )
    found += changed_options(before["options"], now["options"])
    found += _changed_inputs(before["inputs"], now["inputs"])
    was, new = before["engine"], now["engine"]
    found += [
        f"{ENGINE[name]} was {was[name]}, and is {new[name]}"
        for name in ENGINE
        if name in was and was[name] != new[name]
    ]
    return found


ENGINE = {
    "name": "--engine",
    "device": "--device",
    "dtype": "the dtype",
    "batch_tokens": "--batch-tokens",
    "calibration": "the calibration of int8",
}


def changed_options(before: Facts, now: Facts) -> list[str]:
    """Which options have another value, in words."""
    found = []
    for flag in dict.fromkeys([*before, *now]):
        was, new = before.get(flag), now.get(flag)
        if was == new:
            continue
        if isinstance(was, dict) and isinstance(new, dict):
            found.append(f"the file of {flag} has changed")
        else:
            found.append(f"{flag} was {_worded(was)}, and is {_worded(new)}")
    return found


def _worded(value: Any) -> str:
    if value in (None, False, "", []):
        return "not given"
    if value is True:
        return "given"
    if isinstance(value, dict):
        return "a file"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _changed_inputs(before: list[Facts], now: list[Facts]) -> list[str]:
    if len(before) != len(now):
        return [f"there were {len(before)} inputs, and are {len(now)}"]
    found = []
    for was, new in zip(before, now, strict=True):
        if was["size"] != new["size"] and None not in (was["size"], new["size"]):
            other = "" if was["name"] == new["name"] else f"{new['name']} "
            sizes = f"{grouped(was['size'])} bytes, and {other}has {grouped(new['size'])}"
            found.append(f"{was['name']} had {sizes}")
        elif was["digest"] != new["digest"] and None not in (was["digest"], new["digest"]):
            found.append(f"{new['name']} has changed")
    return found
