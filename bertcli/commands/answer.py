"""`bertcli answer`: the words of a context that answer a question."""

from __future__ import annotations

import click

from bertcli import requests
from bertcli.commands import run_request
from bertcli.options import (
    cluster_options,
    long_options,
    model_options,
    no_answer_option,
    output_options,
    question_input_options,
    run_options,
    shard_option,
)
from bertcli.options.command import command
from bertcli.options.parameters import whole_number


@command(
    requests.Answer,
    examples="""
    $ bertcli answer -m MODEL --question "Who wrote it?" -t "Ada wrote the notes."
    $ bertcli answer mails.txt -m MODEL --question "When is the meeting?"
    $ bertcli answer squad.jsonl -m MODEL --question-field question \\
        --context-field context | jq -r .answer
    """,
)
@click.option("--question", metavar="TEXT", help="One question for all texts.")
@click.option(
    "--max-answer-tokens",
    metavar="N",
    type=whole_number(1),
    help="The most tokens of an answer.",
)
@no_answer_option
@question_input_options
@shard_option
@output_options
@model_options
@cluster_options
@long_options
@run_options
def answer(request: requests.Answer) -> int:
    """Find the answer to a question in each text.

    Adds `answer`, its `score`, and its place: `start` and `end` in characters of the text. All but the score are null
    when the text has no answer. Needs a model fine-tuned for extractive question answering, as on SQuAD; one trained
    with unanswerable questions knows best when there is none.
    """
    return run_request(request)
