"""`bertcli translate`: each text in another language."""

from __future__ import annotations

import click

from bertcli import requests
from bertcli.commands import run_request
from bertcli.options import (
    cluster_options,
    input_options,
    language_options,
    model_options,
    output_options,
    run_options,
    shard_option,
)
from bertcli.options.command import command
from bertcli.options.parameters import RareOption, whole_number


@command(
    requests.Translate,
    examples="""
    $ bertcli translate -m opus-mt-en-de -t "A dog runs."
    $ bertcli translate reviews.csv --text-field body -m en-de -o reviews.de.csv
    $ bertcli translate notes.md --whole-files -m en-fr -f plain
    $ bertcli translate a.txt -m m2m --source-lang en --target-lang de
    """,
)
@click.option("--beam", metavar="N", type=whole_number(1, 64), help="How many hypotheses to follow.")
@click.option("--greedy", is_flag=True, help="Take the likeliest token each time: --beam 1.")
@click.option("-k", "k", metavar="N", type=whole_number(1, 64), help="Give the N best translations.")
@language_options()
@click.option(
    "--split",
    metavar="HOW",
    type=click.Choice(["sentences", "none"]),
    help="sentences, or none: texts as a whole.",
)
@click.option(
    "--max-new-tokens",
    metavar="N",
    type=whole_number(1),
    show_default="the model's",
    help="Most tokens of a sentence.",
)
@click.option(
    "--length-penalty",
    cls=RareOption,
    metavar="X",
    type=click.FloatRange(-10, 10),
    show_default="the model's",
    help="Above 0, beam search prefers longer results.",
)
@click.option(
    "--long",
    metavar="MODE",
    type=click.Choice(["window", "truncate", "error"]),
    help="Long sentences: window, truncate or error.",
)
@click.option(
    "--max-length",
    cls=RareOption,
    metavar="N",
    type=whole_number(3),
    show_default="the model's",
    help="Tokens of a window.",
)
@click.option(
    "--glossary",
    metavar="FILE",
    type=click.Path(readable=False),
    help="Terms and what must come out for them, a tab between.",
)
@click.option("--align", is_flag=True, help="Add the source word of each word.")
@input_options
@shard_option
@output_options
@model_options
@cluster_options
@run_options
def translate(request: requests.Translate) -> int:
    """Translate each text with an encoder-decoder: Marian, T5, BART, NLLB and the like.

    Adds `translation` and its `score`, the log-probability per token. Texts are translated sentence by sentence; line
    ends, blanks, tabs and Markdown marks stay as they are. Where a translation reached the limit of tokens, the record
    says `truncated`.
    """
    return run_request(request)
