"""`bertcli fill`: the words behind the masks of each text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from bertcli.command import command
from bertcli.commands.streaming import Job, refuse_or_warn, refuse_pairs, stream
from bertcli.options import input_options, long_options, model_options, output_options, run_options
from bertcli.parameters import whole_number
from bertcli.requests import InputOptions, LongOptions, ModelOptions, OutputOptions, RunOptions

if TYPE_CHECKING:
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.models.tokenizer import Tokenizer
    from bertcli.tasks.fill import Fill


@command(
    examples="""
    $ bertcli fill -m MODEL -t "The capital of France is [MASK]."
    $ bertcli fill -m MODEL -t "She [MASK] the [MASK]." -k 3
    $ bertcli fill -m MODEL -t "I want to [MASK] the car." --targets buy,sell,wash
    $ bertcli fill cloze.csv --text-field sentence -m MODEL -o filled.jsonl
    """
)
@click.option("-k", "count", metavar="N", type=whole_number(1), default=5, help="How many fillings to give.")
@click.option(
    "--beam",
    metavar="N",
    type=whole_number(1),
    default=10,
    help="Several masks: how many fillings to follow at a time.",
)
@click.option("--targets", metavar="A,B,…", help="Only these words, scored whole.")
@click.option("--words-only", is_flag=True, help="No pieces of words, no punctuation.")
@click.option("--mask", metavar="STR", help="Another spelling of the mask in the texts.")
@input_options
@output_options
@model_options
@long_options
@run_options
def fill(
    *,
    count: int,
    beam: int,
    targets: str | None,
    words_only: bool,
    mask: str | None,
    inputs: InputOptions,
    outputs: OutputOptions,
    model: ModelOptions,
    long: LongOptions,
    run: RunOptions,
) -> int:  # fmt: skip
    """Predict the words behind [MASK].

    Adds `fills` to each record, best first: the words (one a mask), their joint score, and the text with the
    words in place. [MASK], <mask>, the model's own mask token and --mask are all understood.
    """
    refuse_pairs(inputs.pair_field, "`fill`")

    def task(checkpoint: Checkpoint, tokenizer: Tokenizer) -> Fill:
        from bertcli.tasks.commas import comma_separated
        from bertcli.tasks.fill import Fill

        head = checkpoint.head("fill")
        refuse_or_warn(checkpoint, "fill", unsafe=model.unsafe_model, head=head)
        words = comma_separated(targets) if targets is not None else ()
        return Fill(
            checkpoint,
            tokenizer,
            head,
            long,
            top=count,
            beam=beam,
            targets=words,
            words_only=words_only,
            mask=mask,
        )

    return stream(Job("fill", task, inputs, outputs, model, run))
