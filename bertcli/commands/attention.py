"""`bertcli attention`: how much each token of a text attends to the others."""

from __future__ import annotations

import click

from bertcli import requests
from bertcli.commands import run_request
from bertcli.options import (
    input_options,
    language_options,
    model_options,
    output_options,
    pair_field_option,
    run_options,
)
from bertcli.options.command import command
from bertcli.options.parameters import RareOption


def which(text: str | int) -> requests.LayerOrHead:
    """A click type: a layer or head by its number, `mean`, or `all`."""
    if text == "mean":
        return "mean"
    if text == "all":
        return "all"
    try:
        number = int(text)
    except ValueError:
        raise click.BadParameter(f"'{text}' is no number, and neither mean nor all") from None
    if number == 0:
        raise click.BadParameter("they count from 1; -1 is the last")
    return number


@command(
    requests.Attention,
    examples="""
    $ bertcli attention -m MODEL -t "The cat sat on the mat." --layer 2 --head 3
    $ bertcli attention -m MODEL -t "The cat sat on the mat." -o cat.html
    $ bertcli attention -m MODEL -t "The cat sat on the mat." --rollout
    $ bertcli attention pairs.jsonl --pair-field answer -m MODEL | jq .attention
    $ bertcli attention -m en-de -t "A dog runs." --part cross
    """,
)
@click.option("--layer", metavar="N", type=which, help="A layer from 1 (-1 is the last), mean or all.")
@click.option(
    "--head",
    metavar="N",
    type=which,
    show_default="mean",
    help="A head from 1, mean or all.",
)
@click.option("--rollout", is_flag=True, help="What the layers up to --layer do together, instead of a head.")
@click.option(
    "--show",
    metavar="WHAT",
    type=click.Choice(["weights", "qkv"]),
    help="weights, or qkv: also the queries, keys and values behind them.",
)
@click.option(
    "--part",
    metavar="WHERE",
    type=click.Choice(["encoder", "decoder", "cross"]),
    show_default="cross",
    help="Of a translation model: encoder, decoder or cross.",
)
@click.option(
    "--target",
    cls=RareOption,
    metavar="TEXT",
    show_default="its translation",
    help="What the decoder of a translation model reads.",
)
@language_options(RareOption)
@click.option("--truncate", is_flag=True, help="Cut a text that is longer than the model takes.")
@input_options
@pair_field_option
@output_options
@model_options
@run_options
def attention(request: requests.Attention) -> int:
    """Show how much each token of a text attends to the others.

    Adds the `tokens` of each text (or pair) and their `attention`, softmax(QKᵀ/√d): a row for each token, a column for
    each token it attends to; rows sum to 1. On a terminal it is a heat map; `-o page.html` makes a page with all layers
    and heads, which needs no network. The decoder of a translation model adds `target_tokens`.
    """
    return run_request(request)
