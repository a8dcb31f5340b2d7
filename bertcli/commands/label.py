"""`bertcli label`: a label for each text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

import click

from bertcli.command import command
from bertcli.commands.streaming import Job, choose_head, read_text, refuse_or_warn, refuse_pairs, stream
from bertcli.errors import UsageError
from bertcli.options import (
    Emitted,
    InputOptions,
    LongOptions,
    ModelOptions,
    OutputOptions,
    RunOptions,
    input_options,
    long_options,
    model_options,
    output_options,
    run_options,
)
from bertcli.parameters import one_or_more, whole_number

if TYPE_CHECKING:
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.models.heads import Head
    from bertcli.models.tokenizer import Tokenizer
    from bertcli.tasks import Task
    from bertcli.tasks.choice import Top
    from bertcli.tasks.label import Label
    from bertcli.tasks.pooling import TextVector
    from bertcli.tasks.zero_shot import ByEntailment, ByNearness, Candidate


@command(
    examples="""
    $ echo "I loved it" | bertcli label -m MODEL --labels "praise,complaint"
    $ bertcli label reviews.csv --text-field body -m MODEL -o labelled.csv
    $ tail -f app.log | bertcli label -m MODEL --labels "outage,other" | jq .label
    """
)
@click.option("--labels", metavar="A,B,…", help="Labels of your own (zero-shot), between commas.")
@click.option(
    "--labels-file",
    metavar="FILE",
    type=click.Path(readable=False),
    help="Names for the model's classes, or labels of your own: one a line.",
)
@click.option("-k", "count", metavar="N", type=whole_number(1), help="Also list the N best labels.")
@click.option("--all", "every", is_flag=True, help="Also list all labels.")
@click.option(
    "--threshold",
    metavar="P",
    type=click.FloatRange(0, 1),
    default=0.5,
    help="Where several labels may hold: the least score of one that does.",
)
@click.option("--multi-label", is_flag=True, help="Labels of your own: several may hold.")
@click.option(
    "--template",
    metavar="TEXT",
    default="This text is about {}.",
    help="Labels of your own: the sentence that {} makes of a label.",
)
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
    labels: str | None,
    labels_file: str | None,
    count: int | None,
    every: bool,
    threshold: float,
    multi_label: bool,
    template: str,
    heads: str | None,
    emit: tuple[Emitted, ...],
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
    from bertcli.tasks.commas import comma_separated

    top: Top = "all" if every else count
    requests = [
        Labelling(
            labels,
            labels_file,
            top,
            threshold,
            multi_label,
            template,
            name,
            long,
            model.force,
            inputs.pair_field,
        )
        for name in (dict.fromkeys(comma_separated(heads)) if heads is not None else [None])
    ]

    def task(checkpoint: Checkpoint, tokenizer: Tokenizer) -> Task:
        tasks = [request.task(checkpoint, tokenizer) for request in requests]
        if len(tasks) == 1 and emit == ("label",):
            return tasks[0]
        vector = None
        if "embedding" in emit:
            vector = _vector(checkpoint, tokenizer, long, inputs.pair_field, force=model.force)
        return _together(tasks, emit, vector)

    return stream(Job("label", task, inputs, outputs, model, run))


def _vector(
    checkpoint: Checkpoint, tokenizer: Tokenizer, long: LongOptions, pair_field: str | None, *, force: bool
) -> TextVector:
    from bertcli.tasks.pooling import TextVector

    refuse_pairs(pair_field, "an embedding")
    refuse_or_warn(checkpoint, "embed", force=force)
    return TextVector(checkpoint, tokenizer, long)


def _together(tasks: Sequence[Task], emit: Sequence[Emitted], vector: TextVector | None) -> Task:
    """Several answers from one pass, of heads whose classes are the model's own."""
    from bertcli.tasks.label import Label
    from bertcli.tasks.several import Several

    heads = [task for task in tasks if isinstance(task, Label)]
    if len(heads) < len(tasks):
        raise UsageError(
            "--emit and several heads are for the model's own classes", hint="leave out --labels"
        )
    return Several(heads, emit, vector)


@dataclass(frozen=True, slots=True)
class Labelling:
    """What the options of `label` ask for, until the checkpoint is known."""

    labels: str | None
    labels_file: str | None
    top: Top
    threshold: float
    multi_label: bool
    template: str
    head: str | None
    long: LongOptions
    force: bool
    pair_field: str | None = None

    def task(self, checkpoint: Checkpoint, tokenizer: Tokenizer) -> Label | ByEntailment | ByNearness:
        """The model's own classes, unless labels are named that it does not have."""
        from bertcli.tasks.label import Label
        from bertcli.tasks.zero_shot import zero_shot

        head = self._own_head(checkpoint)
        if head is not None:
            refuse_or_warn(checkpoint, "label", force=self.force, head=head)
            return Label(checkpoint, tokenizer, head, self.long, top=self.top, threshold=self.threshold)
        refuse_pairs(self.pair_field, "`label` with labels of your own")
        refuse_or_warn(checkpoint, "embed", force=self.force)
        return zero_shot(
            checkpoint,
            tokenizer,
            self._candidates(),
            self.long,
            template=self.template,
            multi_label=self.multi_label,
            top=self.top,
            threshold=self.threshold,
            head=self.head,
        )

    def _own_head(self, checkpoint: Checkpoint) -> Head | None:
        """The model's label head, with its classes named; None where the labels are the user's own."""
        if self.labels is not None and self.labels_file is not None:
            raise UsageError("--labels and --labels-file cannot go together")
        if self.labels is None and self.labels_file is None:
            return choose_head(checkpoint, "label", self.head)
        nameless = [head for head in checkpoint.heads_of("label") if not head.named]
        if self.labels_file is None or not nameless:
            return None
        from bertcli.tasks.label import rename

        return rename(checkpoint.head("label", self.head), read_text(self.labels_file), self.labels_file)

    def _candidates(self) -> tuple[Candidate, ...]:
        from bertcli.tasks.zero_shot import candidates_from_lines, candidates_from_option

        if self.labels is not None:
            return candidates_from_option(self.labels)
        assert self.labels_file is not None  # _own_head has asked
        return candidates_from_lines(read_text(self.labels_file).splitlines(), self.labels_file)
