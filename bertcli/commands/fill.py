"""`bertcli fill`: the words behind the masks of each text."""

from __future__ import annotations

import click

from bertcli import requests
from bertcli.commands import run_request
from bertcli.options import (
    cluster_options,
    input_options,
    long_options,
    model_options,
    output_options,
    run_options,
    shard_option,
)
from bertcli.options.command import command
from bertcli.options.parameters import whole_number


@command(
    requests.Fill,
    examples="""
    $ bertcli fill -m MODEL -t "The capital of France is [MASK]."
    $ bertcli fill -m MODEL -t "She [MASK] the [MASK]." -k 3
    $ bertcli fill -m MODEL -t "I want to [MASK] the car." --targets buy,sell,wash
    $ bertcli fill cloze.csv --text-field sentence -m MODEL -o filled.jsonl
    """,
)
@click.option("-k", "k", metavar="N", type=whole_number(1), help="How many fillings to give.")
@click.option(
    "--beam",
    metavar="N",
    type=whole_number(1),
    help="Several masks: how many fillings to follow at a time.",
)
@click.option("--targets", metavar="A,B,…", help="Only these words, scored whole.")
@click.option("--words-only", is_flag=True, help="No pieces of words, no punctuation.")
@click.option("--mask", metavar="STR", help="Another spelling of the mask in the texts.")
@input_options
@shard_option
@output_options
@model_options
@cluster_options
@long_options
@run_options
def fill(request: requests.Fill) -> int:
    """Predict the words behind [MASK].

    Adds `fills` to each record, best first: the words (one a mask), their joint score, and the text with the
    words in place. [MASK], <mask>, the model's own mask token and --mask are all understood.
    """
    return run_request(request)
