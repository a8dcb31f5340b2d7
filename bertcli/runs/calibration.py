"""What int8 needs before a run: how its products round, found on a sample of texts, and what that changes.

The sample is the first texts of the run, or those of `--calibration FILE`. What is found on the same texts with the
same model and options is cached; the digest of the roundings goes into the receipt and into what a resumed run has to
find again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from bertcli import __version__, console
from bertcli.errors import RecordError, UsageError
from bertcli.requests import InputOptions, options_that_change_results

if TYPE_CHECKING:
    from bertcli.benchmark.agreement import Agreement
    from bertcli.engines import Engine
    from bertcli.engines.int8 import Roundings
    from bertcli.feed import Feed
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.records import Record, Result
    from bertcli.requests import ModelOptions
    from bertcli.tasks import Task

TEXTS = 200
PATIENCE = 0.3  # seconds that a live input has to send them
FEW = 50  # texts, of which the report says that they are


@dataclass(frozen=True, slots=True)
class Int8Calibration:
    """`digest` is that of the roundings, `agreement` how far answers to the sample are from those in float32."""

    roundings: Roundings
    digest: str
    agreement: Agreement


def sample_of(options: ModelOptions, feed: Feed) -> list[Record]:
    """The texts to calibrate on: those of `--calibration`, else the first that the feed will hand out."""
    if options.calibration is None:
        return feed.ahead(TEXTS, PATIENCE)
    from bertcli.sources import open_source

    fields = {
        name: getattr(options, name)
        for name in ("text_field", "pair_field", "split_words", "encoding")
        if hasattr(options, name)
    }
    with closing(open_source(InputOptions(files=(options.calibration,), limit=TEXTS, **fields))) as source:
        records = list(source)
    if not records:
        raise UsageError("--calibration: there is no text", where=options.calibration)
    return records


def calibrate(
    checkpoint: Checkpoint, options: ModelOptions, task: Task, records: Sequence[Record]
) -> Int8Calibration:
    """Calibrate on records, and report what int8 changes there. Raises EngineError where int8 cannot be."""
    from bertcli.engines.choosing import observed_engine
    from bertcli.engines.int8 import roundings_as_bytes, roundings_from_bytes
    from bertcli.models.user_cache import cached_path, digest, read_cached, write_cached

    usable = [record for record in records if _is_usable(record, task)]
    key = digest(*_what_decides(checkpoint, options, task, usable))
    path = cached_path("calibrations", f"{key}.safetensors")
    content = read_cached(path)
    if content is None:
        console.note(f"calibrating int8 on {len(usable)} texts")
        engine, observer = observed_engine(checkpoint, options)
        reference = _answers(usable, task, engine)
        roundings: Roundings = observer.roundings()
        found = _compared(checkpoint, options, task, usable, reference, roundings)
        header = json.dumps(asdict(found)).encode()
        content = header + b"\n" + roundings_as_bytes(roundings)
        write_cached(path, content)
    header, _, data = content.partition(b"\n")
    from bertcli.benchmark.agreement import Agreement

    return Int8Calibration(roundings_from_bytes(data), digest(data)[:8], Agreement(**json.loads(header)))


def report(calibration: Int8Calibration) -> None:
    """Say what int8 changes."""
    found = calibration.agreement
    texts = f"{found.texts} texts" if found.texts != 1 else "one text"
    parts = []
    if found.flips is not None:
        parts.append(f"{found.flips} with another answer ({found.flips / max(1, found.texts):.1%})")
    if found.cosine is not None:
        three = (found.cosine, found.cosine_percentile, found.cosine_median)
        cosines = " · ".join(f"{cosine:.4f}" for cosine in three)
        parts.append(f"cosine at least · 1 in 100 · median {cosines}")
    else:
        parts.append(f"no score off by more than {found.difference:.2g}")
    few = "" if found.texts >= FEW else "; more texts would calibrate it better (--calibration FILE)"
    console.say(f"int8 beside float32, {texts}: {', '.join(parts)}{few}")
    if not calibration.roundings:
        console.say("int8 would make no product of this model faster here, or lose too much: none is rounded")


def _what_decides(
    checkpoint: Checkpoint, options: ModelOptions, task: Task, records: Sequence[Record]
) -> list[bytes]:
    """What calibrations that are the same have in common."""
    from bertcli.engines.int8 import processor

    decides = [__version__, processor(), checkpoint.fingerprint(), type(options).__name__, *task.fields]
    decides += [f"{name}={value}" for name, value in sorted(options_that_change_results(options).items())]
    decides += [repr((record.text, record.pair)) for record in records]
    decides.append(repr(getattr(getattr(task, "head", None), "name", None)))
    return [text.encode("utf-8", "backslashreplace") for text in decides]


def _is_usable(record: Record, task: Task) -> bool:
    """Whether a record can be answered."""
    if record.blank or record.problem is not None:
        return False
    try:
        task.encode(record)
    except RecordError:
        return False
    return True


def _compared(
    checkpoint: Checkpoint,
    options: ModelOptions,
    task: Task,
    records: Sequence[Record],
    reference: list[Result],
    roundings: Roundings,
) -> Agreement:
    """How far the answers in int8 are from those in float32."""
    from bertcli.benchmark.agreement import agreement
    from bertcli.engines.choosing import choose

    engine = choose(checkpoint, options, tokens_ahead=None, roundings=roundings)
    return agreement(reference, _answers(records, task, engine))


def _answers(records: Sequence[Record], task: Task, engine: Engine) -> list[Result]:
    from bertcli import pipeline
    from bertcli.feed import Feed
    from bertcli.planning import Plan

    task.prepare(engine)
    plan = Plan(engine.batch_tokens, engine.workers)
    return list(pipeline.results(Feed(records), task=task, engine=engine, plan=plan))
