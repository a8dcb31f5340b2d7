"""`bertcli label`: a label for each text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, get_args

import click

from bertcli.command import command
from bertcli.commands.labelling import Labelling, judging_options, labels_options
from bertcli.commands.streaming import Job, refuse_or_warn, refuse_pairs, stream
from bertcli.errors import UsageError
from bertcli.options import input_options, long_options, model_options, output_options, run_options
from bertcli.parameters import one_or_more, whole_number
from bertcli.requests import Emitted, InputOptions, LongOptions, ModelOptions, OutputOptions, RunOptions
from bertcli.tasks.commas import comma_separated

if TYPE_CHECKING:
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.models.tokenizer import Tokenizer
    from bertcli.tasks import Task
    from bertcli.tasks.choice import Top
    from bertcli.tasks.label import Label
    from bertcli.tasks.pooling import TextVector
    from bertcli.tasks.zero_shot import ByEntailment, ByNearness


@command(
    examples="""
    $ echo "I loved it" | bertcli label -m MODEL --labels "praise,complaint"
    $ bertcli label reviews.csv --text-field body -m MODEL -o labelled.csv
    $ tail -f app.log | bertcli label -m MODEL --labels "outage,other" | jq .label
    """,
    bundles={"labelling": Labelling},
)
@labels_options
@click.option("-k", "count", metavar="N", type=whole_number(1), help="Also list the N best labels.")
@click.option("--all", "every", is_flag=True, help="Also list all labels.")
@judging_options
@click.option(
    "--head",
    "heads",
    metavar="NAME,…",
    help="Which of a model's several label heads, one or more.",
    show_default="the first",
)
@click.option(
    "--emit",
    metavar="WHAT,…",
    type=one_or_more(get_args(Emitted)),
    default="label",
    help="What to tell of each text in one pass: label, entropy, margin, embedding.",
)
@input_options
@output_options
@model_options
@long_options
@run_options
def label(
    *,
    count: int | None,
    every: bool,
    heads: str | None,
    emit: tuple[Emitted, ...],
    labelling: Labelling,
    inputs: InputOptions,
    outputs: OutputOptions,
    model: ModelOptions,
    long: LongOptions,
    run: RunOptions,
) -> int:  # fmt: skip
    """Label each text: with the model's own classes, or with any labels you name.

    Adds `label` and `score` to each record; with -k or --all also `labels`, best first. Where several labels
    may hold, `labels` are those over the threshold. A regression gives `score` alone. Several heads answer in
    one pass, each with its name before its fields.
    """
    top: Top = "all" if every else count
    wanted = replace(labelling, top=top, long=long, unsafe=model.unsafe_model, pair_field=inputs.pair_field)
    names = [None] if heads is None else dict.fromkeys(comma_separated(heads))

    def task(checkpoint: Checkpoint, tokenizer: Tokenizer) -> Task:
        tasks = [replace(wanted, head=name).task(checkpoint, tokenizer) for name in names]
        if len(tasks) == 1 and emit == ("label",):
            return tasks[0]

        def vector() -> TextVector | None:
            if "embedding" not in emit:
                return None
            return _vector(checkpoint, tokenizer, long, inputs.pair_field, unsafe=model.unsafe_model)

        return _together(tasks, emit, vector)

    return stream(Job("label", task, inputs, outputs, model, run))


def _vector(
    checkpoint: Checkpoint, tokenizer: Tokenizer, long: LongOptions, pair_field: str | None, *, unsafe: bool
) -> TextVector:
    from bertcli.tasks.pooling import TextVector

    refuse_pairs(pair_field, "an embedding")
    refuse_or_warn(checkpoint, "embed", unsafe=unsafe)
    return TextVector(checkpoint, tokenizer, long)


def _together(
    tasks: Sequence[Label | ByEntailment | ByNearness],
    emit: Sequence[Emitted],
    vector: Callable[[], TextVector | None],
) -> Task:
    """Several answers from one pass, of the model's own heads or of labels of one's own."""
    from bertcli.tasks.label import Label
    from bertcli.tasks.several import EmittingZeroShot, Several

    heads = [task for task in tasks if isinstance(task, Label)]
    if len(heads) == len(tasks):
        return Several(heads, emit, vector())
    (task, *others) = tasks
    if others or isinstance(task, Label):
        raise UsageError(
            "--head with several names is for the model's own classes",
            hint="leave out --labels and --labels-file, or name one head",
        )
    return EmittingZeroShot(task, emit)
