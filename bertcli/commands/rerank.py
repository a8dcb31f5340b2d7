"""`bertcli rerank`: texts in the order of their relevance to a query."""

from __future__ import annotations

import click

from bertcli import requests
from bertcli.commands import run_request
from bertcli.options import (
    cluster_options,
    late_output_options,
    long_options,
    model_options,
    query_input_options,
    run_options,
    shard_option,
)
from bertcli.options.command import command
from bertcli.options.parameters import whole_number


@command(
    requests.Rerank,
    examples="""
    $ bertcli rerank "how do I get my money back" tickets.txt -m MODEL
    $ bertcli rerank "refund" hits.jsonl -m MODEL -k 3 | jq -r .text
    $ bertcli rerank --query-field query candidates.jsonl -m MODEL -o best.jsonl
    $ bertcli rerank --query-field query all.jsonl -m MODEL --shard 1/8 -o 1.jsonl
    """,
)
@click.argument("query", required=False)
@click.option("-k", "k", metavar="N", type=whole_number(1), help="How many texts to give.")
@click.option(
    "--all", "all", is_flag=True, help="Give all texts; they are in memory until the last one is read."
)
@query_input_options
@shard_option
@late_output_options
@model_options
@cluster_options
@long_options
@run_options
def rerank(request: requests.Rerank) -> int:
    """Order texts by their relevance to a query, with a cross-encoder.

    A cross-encoder reads the query and a text together, which is slower than two embeddings and more accurate: it is
    for the best texts of a search. Prints the best of them with `rank`, `score` and `where` they are. With
    --query-field each record has its query, every argument is a file, and each group of consecutive records with the
    same query is ordered.
    """
    return run_request(request)
