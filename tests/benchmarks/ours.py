"""bertcli, as `peers` serves the others: texts into the pipeline, answers out of it, nothing written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import bertcli
from bertcli.benchmark.trial import EngineSettings, answers
from bertcli.engines.choosing import choose
from bertcli.engines.finite import Finite
from bertcli.models.checkpoint import Checkpoint, open_checkpoint
from bertcli.models.tokenizer import Tokenizer
from bertcli.records import Record, Result
from bertcli.requests import LongOptions, ModelOptions
from bertcli.runs.calibration import calibrate
from bertcli.tasks import Task
from bertcli.tasks.embed import Embed
from bertcli.tasks.fill import Fill
from bertcli.tasks.label import Label
from bertcli.tasks.tag import Tag
from tests.benchmarks.serving import Answer, serve

CUT = LongOptions(long="truncate")  # as the peers do


def load(options: dict[str, Any]) -> Answer:
    """The packed engine with its own settings, as a long run has it, on `device` (the CPU where there is none)."""
    if options["task"] == "translate":
        return translate(options)
    checkpoint = open_checkpoint(Path(options["model"]))
    task = task_of(checkpoint, options["task"])
    settings = ModelOptions(engine="packed", device=options.get("device", "cpu"), dtype=options["dtype"])
    roundings = None
    if options["dtype"] == "int8":
        lines = Path(options["calibration"]).read_text(encoding="utf-8").splitlines()
        roundings = calibrate(checkpoint, settings, task, _records(lines)).roundings
    engine = Finite(choose(checkpoint, settings, tokens_ahead=None, roundings=roundings))
    choice = EngineSettings(engine.name, engine.device, engine.dtype, engine.workers, engine.batch_tokens)

    def answer(texts: Sequence[str]) -> Any:
        found = [_said(result) for result in answers(_records(texts), task, engine, choice)]
        return np.stack(found) if options["task"] == "embed" else found

    return answer


def translate(options: dict[str, Any]) -> Answer:
    model = bertcli.load(options["model"], dtype=options["dtype"], device="cpu")
    settings = {"beam": options["beam"], "max_new_tokens": options["tokens"], "split": "none"}
    return lambda texts: [row["translation"] for row in model.translate(texts, **settings)]


def _records(texts: Sequence[str]) -> list[Record]:
    return [Record(number, {"text": text}, text) for number, text in enumerate(texts)]


def task_of(checkpoint: Checkpoint, name: str) -> Task:
    """The task of a contest."""
    tokenizer = Tokenizer.of(checkpoint)
    match name.partition("-")[0]:
        case "embed":
            return Embed(checkpoint, tokenizer, CUT)
        case "fill":
            return Fill(checkpoint, tokenizer, checkpoint.head("fill"), CUT)
        case "label":
            return Label(checkpoint, tokenizer, checkpoint.head("label"), CUT)
        case _:
            return Tag(checkpoint, tokenizer, checkpoint.head("tag"), CUT)


def _said(result: Result) -> Any:
    values = result.values
    if "embedding" in values:
        return values["embedding"]
    if "fills" in values:
        return values["fills"][0]["words"][0]
    return len(values["spans"]) if "spans" in values else values["label"]


if __name__ == "__main__":
    serve(load)
