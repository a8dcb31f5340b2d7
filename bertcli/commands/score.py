"""`bertcli score`: how likely the model holds each text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from bertcli.command import command
from bertcli.commands.streaming import Job, refuse_or_warn, stream
from bertcli.options import input_options, long_options, model_options, output_options, run_options
from bertcli.requests import InputOptions, LongOptions, ModelOptions, OutputOptions, RunOptions

if TYPE_CHECKING:
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.models.tokenizer import Tokenizer
    from bertcli.tasks.score import Method, Score


@command(
    examples="""
    $ bertcli score -m MODEL -t "The keys to the door is here." --words
    $ bertcli score crawl.jsonl -m MODEL | jq -c 'select(.perplexity > 300)'
    $ bertcli score pairs.csv --text-field good --pair-field bad -m MODEL
    """
)
@click.option(
    "--method",
    metavar="HOW",
    type=click.Choice(["within-word", "plain"]),
    default="within-word",
    help="What is hidden at a time: within-word also hides the rest of the word, plain one token.",
)
@click.option("--words", is_flag=True, help="Also the log-probability of each word.")
@input_options
@output_options
@model_options
@long_options
@run_options
def score(
    *,
    method: Method,
    words: bool,
    inputs: InputOptions,
    outputs: OutputOptions,
    model: ModelOptions,
    long: LongOptions,
    run: RunOptions,
) -> int:  # fmt: skip
    """Score each text: how likely the model holds it, and which words surprise it.

    Adds `score`, the sum of the log-probabilities of the text's tokens, each hidden in turn; `tokens`; and
    `perplexity`; with --words also `words`. With --pair-field both texts are scored, and `likelier` says
    which is the likelier one.
    """

    def task(checkpoint: Checkpoint, tokenizer: Tokenizer) -> Score:
        from bertcli.tasks.score import Score

        head = checkpoint.head("fill")
        refuse_or_warn(checkpoint, "fill", unsafe=model.unsafe_model, head=head)
        pair = inputs.pair_field is not None
        return Score(checkpoint, tokenizer, head, long, method=method, words=words, pair=pair)

    return stream(Job("score", task, inputs, outputs, model, run, repeats=True))
