"""`bertcli tag`: labels for the words of each text."""

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
    run_options,
    shard_option,
    split_words_option,
)
from bertcli.options.command import command


@command(
    requests.Tag,
    examples="""
    $ bertcli tag -m MODEL -t "Ada Lovelace was born in London."
    $ bertcli tag articles.jsonl -m MODEL --head entities -o entities.jsonl
    $ bertcli tag notes.txt -m MODEL | jq -r ".spans[] | [.label, .text] | @tsv"
    $ bertcli tag sentences.conll -m MODEL -o tagged.conll
    """,
)
@click.option(
    "--head", metavar="NAME", help="Which of a model's several tag heads.", show_default="the first"
)
@click.option(
    "--aggregation",
    metavar="HOW",
    type=click.Choice(get_args(requests.Aggregation)),
    help="How a word of several pieces gets its label: first, average, max, or simple to tag pieces.",
)
@click.option("--tokens", is_flag=True, help="The tag of each token, instead of spans.")
@input_options
@split_words_option
@shard_option
@output_options
@model_options
@cluster_options
@long_options
@run_options
def tag(request: requests.Tag) -> int:
    """Label the words of each text: named entities, parts of speech.

    Adds `spans` to each record: label, start and end in characters of the text, the words, and a score. A
    model of parts of speech gives a span for every word. With --tokens it is `tokens`, with their raw tags.
    """
    return run_request(request)
