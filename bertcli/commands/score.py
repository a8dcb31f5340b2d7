"""`bertcli score`: how likely the model holds each text."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import click

from bertcli.command import command
from bertcli.commands.streaming import Job, refuse_or_warn, stream
from bertcli.errors import UsageError
from bertcli.options import input_options, long_options, model_options, output_options, run_options
from bertcli.requests import InputOptions, LongOptions, ModelOptions, OutputOptions, RunOptions

if TYPE_CHECKING:
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.models.tokenizer import Tokenizer
    from bertcli.records import Result
    from bertcli.tasks.score import Method, Score

Measure = Literal["score", "perplexity"]


@command(
    examples="""
    $ bertcli score -m MODEL -t "The keys to the door is here." --words
    $ bertcli score crawl.jsonl -m MODEL --by perplexity --above 300 -o odd.jsonl
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
@click.option("--below", metavar="X", type=float, help="Only texts that score less than X.")
@click.option("--above", metavar="X", type=float, help="Only texts that score more than X.")
@click.option(
    "--by",
    metavar="WHAT",
    type=click.Choice(["score", "perplexity"]),
    default="score",
    help="What --below and --above look at: score or perplexity.",
)
@input_options
@output_options
@model_options
@long_options
@run_options
def score(
    *,
    method: Method,
    words: bool,
    below: float | None,
    above: float | None,
    by: Measure,
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

    keep = between(by, above, below)
    return stream(Job("score", task, inputs, outputs, model, run, keep=keep, repeats=True))


def between(by: Measure, above: float | None, below: float | None) -> Callable[[Result], bool] | None:
    """Whether a result is to be written; None where all are. Raises UsageError where none could be."""
    if above is None and below is None:
        return None
    if above is not None and below is not None and above >= below:
        raise UsageError(f"nothing is above {above:g} and below {below:g}", hint="exchange the two")

    def keep(result: Result) -> bool:
        value = result.values.get(by)
        if value is None:  # a blank record has no score; one that failed must be seen
            return result.problem is not None
        return (above is None or value > above) and (below is None or value < below)

    return keep
