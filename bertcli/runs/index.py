"""What `index` does: embed records into an index, or remove records from one.

A new index is made in `DIR.part`, which becomes DIR when it is complete. Records are added to an existing index in
place, some seconds' worth in a transaction: a search sees those of the last one.
"""

from __future__ import annotations

import itertools
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bertcli import console
from bertcli.console.drawing import grouped
from bertcli.errors import InputError, ModelError, OutputError, UsageError
from bertcli.requests import Index, flag_of
from bertcli.runs.flow import run_into
from bertcli.runs.hits import FailureReporter, closing_receipt, warn_of_further_failures
from bertcli.runs.preflight import open_model, read_text, refuse_pairs
from bertcli.runs.resume import Digest, differences, facts_of
from bertcli.sinks import Silent

if TYPE_CHECKING:
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.planning import Block
    from bertcli.receipt import Receipt
    from bertcli.records import Record, Result
    from bertcli.search.store import Store, StoreWriter
    from bertcli.sources import Source
    from bertcli.tasks.embed import Embed

PART, OLD, LOCK = ".part", ".old", "lock"
REST, SHARE = 2.0, 20
"""Seconds from one transaction to the next, and how many times as long as the one took."""

VECTOR_OPTIONS = ("pooling", "dim", "prompt_name", "long", "max_length", "overlap", "id_field")
"""What an index has one choice of: what decides the vector of a text, and which field names a record."""


def index(request: Index) -> Receipt:
    """Make an index of the texts, add them to one, or remove records, and return the receipt. Raises BertcliError for
    what cannot be done."""
    from bertcli.receipt import Receipt
    from bertcli.search.codes import import_faiss
    from bertcli.search.words import import_tantivy

    import_faiss()
    import_tantivy()
    refuse_pairs(request.pair_field, "`index`")
    receipt = Receipt()
    target = request.output.rstrip("/") or "/"
    if request.remove is not None:
        _remove(request, target)
        return receipt
    place = _place(request, target)
    if place is None:
        console.say(f"{target} is complete: there is nothing to resume")
        return receipt
    with ExitStack() as held, closing_receipt(receipt):
        _lock(place, held)
        if place != target and request.overwrite and not request.resume:
            _clear(place)
        replaced = _Indexing(request, place, receipt, held).run()
        if place != target:
            _put_in_place(place, target)
        _say_what_there_is(target, f"{grouped(replaced)} replaced" if replaced else "")
    return receipt


def open_store(path: str) -> Store:
    """An index to be searched. Its records are as they were read: no number of theirs loses a digit."""
    import json

    from bertcli.search.store import Store
    from bertcli.sources.jsonnumbers import parse_float, parse_int

    return Store(path, decode=partial(json.loads, parse_float=parse_float, parse_int=parse_int))


def refuse_other_model(store: Store, path: str, checkpoint: Checkpoint) -> None:
    """Raise ModelError for another model than the one that made the vectors of an index."""
    made = store.facts["model"]
    if made["fingerprint"] != checkpoint.fingerprint():
        same = made["name"] == checkpoint.name
        other = "a model of this name that has changed" if same else f"{checkpoint.name}, another model"
        raise ModelError(
            f"was made by {made['name']}, and cannot be compared with vectors of {other}",
            where=path,
            hint=f"name its model: -m {made['given']}"
            if made["given"] and not same
            else "index the texts again",
        )


def _place(request: Index, target: str) -> str | None:
    """Where records are written: DIR for --add, else DIR.part; None where --resume finds all done. Raises OutputError
    for a directory that must not be written."""
    from bertcli.search.store import is_index

    part = target + PART
    if request.add:
        if not is_index(target):
            raise UsageError("is no index to add to", where=target, hint="leave --add out to make one")
        with closing(open_store(target)) as store:
            return None if request.resume and store.state.run is None else target
    if request.resume and is_index(target) and not is_index(part):
        return None
    if _is_taken(target) and not request.resume:
        if not request.overwrite:
            raise OutputError(
                "exists already", where=target, hint="--add adds to it, --overwrite replaces it"
            )
        if not is_index(target):
            raise OutputError(
                "is no index, so it is not replaced", where=target, hint="name another directory"
            )
    if _is_taken(part):
        if os.path.islink(part) or not is_index(part):
            raise OutputError("is no index, so it is not replaced", where=part, hint="move it away")
        if not request.resume and not request.overwrite:
            raise OutputError(
                "has what an interrupted run left",
                where=part,
                hint="--resume continues it, --overwrite starts again",
            )
    return part


def _is_taken(path: str) -> bool:
    return os.path.lexists(path) and not (os.path.isdir(path) and set(os.listdir(path)) <= {LOCK})


def _lock(place: str, held: ExitStack) -> None:
    """Make the directory if it is not there, and keep other runs from writing to it."""
    from bertcli.journal.locks import try_lock

    try:
        if not os.path.isdir(place):
            os.mkdir(place)
        descriptor = os.open(os.path.join(place, LOCK), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        raise OutputError(
            f"cannot be written: {error.strerror}",
            where=place,
            hint="check the path, and who may write there",
        ) from error
    held.callback(os.close, descriptor)
    if not try_lock(descriptor):
        raise OutputError("is being written by another run", where=place, hint="wait for its end")


def _clear(place: str) -> None:
    for path in Path(place).iterdir():
        if path.name != LOCK:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _put_in_place(place: str, target: str) -> None:
    """Give the directory its name; one that is replaced is there until then."""
    from bertcli.journal.outputs import sync_directory

    old = target + OLD
    if os.path.isdir(target):
        os.rename(target, old)
    os.rename(place, target)
    sync_directory(Path(target).parent)
    if os.path.isdir(old):
        shutil.rmtree(old)


def _say_what_there_is(target: str, *remarks: str) -> None:
    with closing(open_store(target)) as store:
        parts = [
            f"{grouped(len(store))} records",
            *filter(None, remarks),
            f"{store.state.dim} dimensions",
            f"{store.size / 1e6:,.1f} MB".replace(",", " "),
        ]
    console.say(f"{target}: {' · '.join(parts)}")


def _remove(request: Index, target: str) -> None:
    """Remove the records that the file names, one a line, by their keys."""
    from bertcli.engines import available_cores
    from bertcli.search.store import StoreWriter, is_index
    from bertcli.sinks.jsontext import to_json

    assert request.remove is not None
    keys = dict.fromkeys(line for line in read_text(request.remove).splitlines() if line.strip())
    if not is_index(target):
        raise UsageError("is no index", where=target, hint="name a directory that `bertcli index` made")
    with ExitStack() as held:
        _lock(target, held)
        writer = held.enter_context(closing(StoreWriter(target, encode=to_json)))
        removed = writer.remove(keys)
        writer.finish(threads=request.threads or available_cores(), compact=True)
    if removed < len(keys):
        console.warn(f"{grouped(len(keys) - removed)} of {grouped(len(keys))} records are not in {target}")
    _say_what_there_is(target, f"{grouped(removed)} removed")


class _Log(Silent):
    """The sink of a run, which puts records with their vectors into the index; and the log of its progress."""

    is_active = True

    def __init__(self, writer: StoreWriter, facts: dict[str, Any], receipt: Receipt) -> None:
        self._writer, self._facts, self._receipt = writer, facts, receipt
        self._digest, self._records = Digest(), 0
        self._counts: dict[str, int] = {}
        self._names: dict[str, None] = {}
        self._due = time.monotonic() + REST

    def write(self, result: Result) -> None:
        if result.status == "done":
            self._writer.add(result.record, result.values["embedding"])

    def add_block(self, block: Block) -> None:
        """What was written up to here may be committed."""
        for entry in block.entries:
            self._note(entry.record)
        self._writer.mark()
        self._counts = self._receipt.counts()
        if time.monotonic() >= self._due:
            self.commit()

    def skip(self, source: Source) -> Iterator[Record]:
        """The records behind those of the interrupted run. Raises OutputError when these are others."""
        run = self._writer.state.run
        assert run is not None
        changed = differences(run["facts"], self._facts)
        records = iter(source)
        if not changed:
            for record in itertools.islice(records, run["records"]):
                self._note(record)
            if (self._records, self._digest.value) != (run["records"], run["digest"]):
                changed = [f"the first {grouped(run['records'])} records of the input have changed"]
        if changed:
            raise OutputError(
                f"cannot be resumed: {'; '.join(changed)}",
                where=self._writer.path,
                hint="index the same input, or start again with --overwrite",
            )
        self._receipt.resume(run["counts"])
        self._counts = run["counts"]
        return records

    def commit(self) -> None:
        """Make what was marked last, and how far the run has come."""
        began = time.monotonic()
        self._writer.commit(self._run(), names=self._names)
        now = time.monotonic()
        self._due = now + max(REST, SHARE * (now - began))

    def complete(self) -> None:
        self._writer.commit(None, names=self._names)

    def _note(self, record: Record) -> None:
        self._digest.add(record)
        self._names.update(dict.fromkeys(record.fields))
        self._records += 1

    def _run(self) -> dict[str, Any]:
        return {
            "facts": self._facts,
            "records": self._records,
            "digest": self._digest.value,
            "counts": self._counts,
        }


class _Indexing:
    """One run that adds records. `place` is the directory that is written."""

    def __init__(self, request: Index, place: str, receipt: Receipt, held: ExitStack) -> None:
        from bertcli.search.store import is_index

        self._place, self._receipt, self._held = place, receipt, held
        self._given = request
        self._exists = is_index(place)
        self._request = self._with_options_of_index(request) if self._exists else request

    def run(self) -> int:
        """Add the records of the input, and return how many took the place of others."""
        from bertcli.engines import available_cores
        from bertcli.search.store import StoreWriter, create_store
        from bertcli.sinks.jsontext import to_json
        from bertcli.sources import open_source

        request = self._request
        source = open_source(request)
        self._held.callback(source.close)
        if source.prompt:
            raise UsageError("there is nothing to index", hint="name files, or pipe text in")
        checkpoint, task = self._task()
        if not self._exists:
            create_store(self._place, self._facts(checkpoint, task, source), task.dim)
        with closing(StoreWriter(self._place, encode=to_json)) as writer:
            self._refuse_other_source(source, writer)
            facts = {**facts_of(self._given, "index", checkpoint), "engine": {}}
            log = _Log(writer, facts, self._receipt)
            if not self._is_read(writer):
                self._add(source, checkpoint, task, log, writer)
            writer.finish(threads=request.threads or available_cores())
            return writer.replaced

    def _is_read(self, writer: StoreWriter) -> bool:
        """Whether the run that is resumed had read all of its input. Raises OutputError for an interrupted run that
        this one does not resume."""
        if writer.state.run is not None and not self._request.resume:
            raise OutputError(
                "has what an interrupted run left", where=self._place, hint="--resume continues it"
            )
        return self._request.resume and self._exists and writer.state.run is None

    def _add(
        self, source: Source, checkpoint: Checkpoint, task: Embed, log: _Log, writer: StoreWriter
    ) -> None:
        records = log.skip(source) if self._request.resume and self._exists else iter(source)
        try:
            log.commit()  # from here on there is a run to resume
            run_into(
                log,
                source,
                checkpoint,
                task,
                self._receipt,
                self._request,
                max_errors=self._request.max_errors,
                counting=partial(FailureReporter, verb="indexed"),
                records=records,
                progress=log,
            )
        except BaseException:
            log.commit()
            raise
        log.complete()
        warn_of_further_failures(self._receipt, "indexed")

    def _task(self) -> tuple[Checkpoint, Embed]:
        from bertcli.tasks.embed import Embed

        request = self._request
        model = open_model(request, role="document")
        model.check("embed", pooling=request.pooling)
        if self._exists:
            with closing(open_store(self._place)) as store:
                refuse_other_model(store, self._place, model.checkpoint)
        task = Embed(
            model.checkpoint,
            model.tokenizer,
            request,
            pooling=request.pooling,
            dim=request.dim,
            prompt_name=request.prompt_name,
            role="document",
        )
        return model.checkpoint, task

    def _facts(self, checkpoint: Checkpoint, task: Embed, source: Source) -> dict[str, Any]:
        from bertcli.tasks.search import similarity_of

        given = self._request.model
        return {
            "model": {
                "name": checkpoint.name,
                "given": given and str(Path(given).absolute() if os.path.isdir(given) else given),
                "fingerprint": checkpoint.fingerprint(),
            },
            "options": {name: getattr(self._request, name) for name in VECTOR_OPTIONS},
            "similarity": similarity_of(checkpoint),
            "about": dict(task.about),
            "text_field": source.text_field,
            "id_field": self._request.id_field,
            "names": list(source.field_names),
        }

    def _with_options_of_index(self, request: Index) -> Index:
        """The request with the options that the vectors of the index were made with. Raises UsageError for others."""
        with closing(open_store(self._place)) as store:
            facts = store.facts
        for name in VECTOR_OPTIONS:
            given, made = getattr(request, name), facts["options"][name]
            if given not in (getattr(Index, name), made):
                was = "without it" if made is None else f"with {made}"
                raise UsageError(
                    f"{flag_of(name)} {given}: {self._place} was made {was}", hint="leave it out"
                )
        changed = dict(facts["options"])
        if request.text_field is None:
            changed["text_field"] = facts["text_field"]
        return replace(request, **changed)

    def _refuse_other_source(self, source: Source, writer: StoreWriter) -> None:
        if source.text_field != writer.facts["text_field"]:
            raise InputError(
                f"the text is in the field {source.text_field}, and that of the index in"
                f" {writer.facts['text_field']}",
                where=self._place,
                hint="give the field the same name",
            )
