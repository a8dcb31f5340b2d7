"""`bertcli translate`: each text in another language."""

from __future__ import annotations

import click

from bertcli import requests
from bertcli.command import command
from bertcli.commands import run_request
from bertcli.options import input_options, model_options, output_options, run_options, shard_option
from bertcli.parameters import whole_number


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
@click.option("--source-lang", metavar="CODE", help="Language of the texts, for models of many languages.")
@click.option("--target-lang", metavar="CODE", help="Language to translate into, likewise.")
@click.option(
    "--prefix-text",
    metavar="TEXT",
    show_default=False,
    help="Put TEXT before each sentence: what T5 is to do.",
)
@click.option(
    "--split",
    type=click.Choice(["sentences", "none"]),
    help="Translate sentence by sentence, or each text as a whole.",
)
@click.option(
    "--max-new-tokens",
    metavar="N",
    type=whole_number(1),
    show_default="the model's own limit",
    help="Tokens of a sentence's translation at most.",
)
@click.option(
    "--length-penalty",
    metavar="X",
    type=click.FloatRange(-10, 10),
    show_default="the model's own, else 1",
    help="Above 0, beam search prefers longer translations.",
)
@click.option(
    "--long",
    type=click.Choice(["window", "truncate", "error"]),
    help="How to handle a sentence over the length limit.",
)
@click.option(
    "--max-length",
    metavar="N",
    type=whole_number(3),
    show_default="the model's own limit",
    help="Tokens of a window of a sentence.",
)
@click.option(
    "--align", is_flag=True, help="Add the source word that each word of the translation comes from."
)
@input_options
@shard_option
@output_options
@model_options
@run_options
def translate(request: requests.Translate) -> int:
    """Translate each text with an encoder-decoder: Marian, T5, BART, NLLB and the like.

    Adds `translation` and its `score`, the log-probability per token. Texts are translated sentence by sentence; line
    ends, blanks, tabs and Markdown marks stay as they are. Where a translation reached the limit of tokens, the record
    says `truncated`.
    """
    return run_request(request)
