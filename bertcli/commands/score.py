"""`bertcli score`: how likely each text is."""

from __future__ import annotations

from typing import get_args

import click

from bertcli import requests
from bertcli.commands import run_request
from bertcli.options import (
    cluster_options,
    input_options,
    long_options,
    model_options,
    output_options,
    pair_field_option,
    run_options,
    shard_option,
)
from bertcli.options.command import command


@command(
    requests.Score,
    examples="""
    $ bertcli score -m MODEL -t "The keys to the door is here." --words
    $ bertcli score crawl.jsonl -m MODEL | jq -c 'select(.perplexity > 300)'
    $ bertcli score pairs.csv --text-field good --pair-field bad -m MODEL
    """,
)
@click.option(
    "--method",
    metavar="HOW",
    type=click.Choice(get_args(requests.ScoreMethod)),
    help="What is masked: within-word also masks the rest of the word, plain one token.",
)
@click.option("--words", is_flag=True, help="Also the log-probability of each word.")
@input_options
@pair_field_option
@shard_option
@output_options
@model_options
@cluster_options
@long_options
@run_options
def score(request: requests.Score) -> int:
    """Score each text: how likely it is, and which words surprise the model.

    Adds `score`, the sum of the log-probabilities of the text's tokens, each masked in turn; `tokens`; `perplexity`;
    and with --words also `words`. With --pair-field both texts are scored, and `likelier` names the likelier one.
    """
    return run_request(request)
