"""`bertcli sample`: which records of a file to check."""

from __future__ import annotations

from typing import get_args

import click

from bertcli import console, requests
from bertcli.options import debug_option, labelled_input_options, late_output_options
from bertcli.options.command import command
from bertcli.options.parameters import whole_number


@command(
    requests.DrawSample,
    examples="""
    $ bertcli sample labelled.jsonl -n 200 -o check.jsonl
    $ bertcli sample labelled.jsonl --by uncertainty -o check.csv
    """,
)
@click.option("-n", "n", metavar="N", type=whole_number(1), help="How many records to draw.")
@click.option(
    "--by",
    metavar="HOW",
    type=click.Choice(get_args(requests.SampleBy)),
    help="random: all alike; uncertainty: rather low scores; diversity: rather rare kinds of text.",
)
@click.option("--score-field", metavar="NAME", help="Field with the score of the label.")
@click.option("--seed", metavar="N", type=whole_number(0), help="Which records are drawn.")
@click.option("-q", "--quiet", is_flag=True, help="No receipt, no warnings.")
@labelled_input_options
@late_output_options
@debug_option("Run")
def sample(request: requests.DrawSample) -> int:
    """Draw records to check from a labelled file, with weights that keep estimates unbiased.

    Adds `sample_weight` and `sample_draws`. Correct the field `label` of the records, and give the file to `bertcli
    evaluate label`, which reads the weights. Random draws are without replacement; the others are with replacement, so
    that a record can be drawn more than once. Diversity needs the field `embedding` of `label --emit label,embedding`.
    """
    console.configure(quiet=request.quiet, verbose=False, color=request.color)
    stdout = console.claim_stdout()
    from bertcli.runs.sample import sample as draw

    return draw(request, stdout)
