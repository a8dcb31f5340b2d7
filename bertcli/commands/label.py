"""`bertcli label`: a label for each text."""

from __future__ import annotations

from typing import get_args

import click

from bertcli import requests
from bertcli.commands import run_request
from bertcli.options import (
    cluster_options,
    input_options,
    labels_options,
    long_options,
    model_options,
    output_options,
    pair_field_option,
    run_options,
    shard_option,
    threshold_options,
)
from bertcli.options.command import command, refuse_options_for_own_labels
from bertcli.options.parameters import one_or_more, whole_number


@command(
    requests.Label,
    examples="""
    $ echo "I loved it" | bertcli label -m MODEL --labels "praise,complaint"
    $ bertcli label reviews.csv --text-field body -m MODEL -o labelled.csv
    $ tail -f app.log | bertcli label -m MODEL --labels "outage,other" | jq .label
    """,
)
@labels_options
@click.option("-k", "k", metavar="N", type=whole_number(1), help="Also list the N best labels.")
@click.option("--all", "all", is_flag=True, help="Also list all labels.")
@threshold_options
@click.option("--adapt", is_flag=True, help="Labels of your own: fit them to the texts, read twice.")
@click.option(
    "--head",
    metavar="NAME,…",
    help="Which of several label heads, one or more.",
)
@click.option(
    "--emit",
    metavar="WHAT,…",
    type=one_or_more(get_args(requests.Emitted)),
    help="Results: label, entropy, margin, embedding.",
)
@click.option(
    "--guarantee",
    metavar="FILE",
    type=click.Path(readable=False),
    help="What `evaluate label --guarantee` wrote: mark each record as accepted or review.",
)
@input_options
@pair_field_option
@shard_option
@output_options
@model_options
@cluster_options
@long_options
@run_options
def label(request: requests.Label) -> int:
    """Label each text: with the model's own classes, or with any labels you name.

    Adds `label` and `score` to each record; with -k or --all also `labels`, best first. Where a text may have several
    labels, `labels` are those over the threshold. A regression gives `score` alone. Several heads run in one pass; each
    puts its name before its fields. With --guarantee, `decision` says whether the label may be taken unseen.
    """
    refuse_options_for_own_labels(request)
    return run_request(request)
