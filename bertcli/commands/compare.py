"""`bertcli compare`: what changed between two sets of answers, or two models."""

from __future__ import annotations

from typing import Literal, get_args

import click

from bertcli.command import command, typed
from bertcli.errors import UsageError
from bertcli.options import engine_options, input_options, long_options, run_options
from bertcli.parameters import SharedParameter, whole_number
from bertcli.requests import InputOptions, LongOptions, ModelOptions, RunOptions
from bertcli.runs.compare import Limits, Models, compare_files, compare_models
from bertcli.runs.preflight import refuse_pairs

TaskName = Literal["label", "tag", "fill", "embed"]

OF_MODELS = ("--task", "--head", "--text-field", "--pair-field", "--id-field", "--strict", "--max-errors")
"""Options that say nothing of two files; nor do all those about a model and about long texts."""


@command(
    examples="""
    $ bertcli compare before.jsonl after.jsonl
    $ bertcli compare --models ./old ./new reviews.jsonl --max-flips 0.5%
    $ bertcli compare --models ./large ./small texts.txt --task embed
    """
)
@click.option(
    "--models",
    nargs=2,
    type=click.Path(readable=False),
    metavar="A B",
    help="Run two models on FILES, instead of comparing two.",
)
@click.option(
    "--task",
    metavar="NAME",
    type=click.Choice(get_args(TaskName)),
    default="label",
    help="What the models do: label, tag, fill or embed.",
)
@click.option("--head", metavar="NAME", help="Which of the models' several heads.")
@click.option(
    "--max-flips", metavar="N", help="Exit code 1 when more answers flip: a number, or a share as 0.5%."
)
@click.option(
    "--max-drift",
    metavar="X",
    type=click.FloatRange(0),
    help="Exit code 1 when a score, or the cosine of an embedding, moves further.",
)
@click.option(
    "--worst", metavar="N", type=whole_number(0), default=10, help="How many of the worst records to show."
)
@click.option("--json", "as_json", is_flag=True, help="The report as one JSON object.")
@input_options
@engine_options
@long_options
@run_options
def compare(
    *,
    models: tuple[str, str] | None,
    task: TaskName,
    head: str | None,
    max_flips: str | None,
    max_drift: float | None,
    worst: int,
    as_json: bool,
    inputs: InputOptions,
    model: ModelOptions,
    long: LongOptions,
    run: RunOptions,
) -> int:  # fmt: skip
    """Compare two files of answers, or two models: what flipped, what drifted.

    Compares two outputs of label, tag, fill, embed or score for the same input; with --models it makes them
    first. The exit code is 1 when more changed than --max-flips or --max-drift allow, for a check before a
    model is replaced.
    """
    limits = Limits(*_flips(max_flips), max_drift)
    if models is None:
        _refuse_options_of_models()
        if len(inputs.files) != 2 or inputs.texts:
            given = len(inputs.files) + len(inputs.texts)
            raise UsageError(f"two files are compared, not {given}", hint="bertcli compare A.jsonl B.jsonl")
        return compare_files(inputs, run, limits, worst=worst, as_json=as_json)
    if task != "label":
        refuse_pairs(inputs.pair_field, f"`{task}`")
    if not (inputs.files or inputs.texts) or "-" in inputs.files:
        raise UsageError("--models reads its input twice, which no pipe allows", hint="name files")
    return compare_models(
        Models(models, task, head, inputs, model, long, run), limits, worst=worst, as_json=as_json
    )


def _refuse_options_of_models() -> None:
    """Raise UsageError where the command line asks something of models, and none is to run."""
    asked = [flag for flag, param in typed().items() if flag in OF_MODELS or _is_of_models(param)]
    if asked:
        raise UsageError(
            f"{', '.join(asked)}: no model runs where two files are compared",
            hint="leave out what is for models, or name two of them by --models A B",
        )


def _is_of_models(param: click.Parameter) -> bool:
    return isinstance(param, SharedParameter) and not {"model", "long"}.isdisjoint(dict(param.fills))


def _flips(value: str | None) -> tuple[int | None, float | None]:
    """--max-flips as a number, or as a share of the records. Raises UsageError for neither."""
    if value is None:
        return None, None
    try:
        if value.endswith("%"):
            share = float(value[:-1]) / 100
            if 0 <= share <= 1:
                return None, share
        elif int(value) >= 0:
            return int(value), None
    except ValueError:
        pass  # told below
    raise UsageError(f"--max-flips {value} is neither a number nor a share", hint="as in 10 or 0.5%")
