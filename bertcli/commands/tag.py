"""`bertcli tag`: labels for the words of each text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from bertcli import console
from bertcli.command import command
from bertcli.commands.streaming import Job, choose_head, refuse_or_warn, refuse_pairs, stream
from bertcli.errors import UsageError
from bertcli.options import (
    input_options,
    long_options,
    model_options,
    output_options,
    run_options,
    split_words_option,
)
from bertcli.requests import InputOptions, LongOptions, ModelOptions, OutputOptions, RunOptions

if TYPE_CHECKING:
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.models.tokenizer import Tokenizer
    from bertcli.tasks.tag import Aggregation, Shape, Tag


@command(
    examples="""
    $ bertcli tag -m MODEL -t "Ada Lovelace was born in London."
    $ bertcli tag articles.jsonl -m MODEL --head entities -o entities.jsonl
    $ bertcli tag notes.txt -m MODEL | jq -r ".spans[] | [.label, .text] | @tsv"
    $ bertcli tag sentences.conll -m MODEL -o tagged.conll
    """
)
@click.option(
    "--head", metavar="NAME", help="Which of a model's several tag heads.", show_default="the first"
)
@click.option(
    "--aggregation",
    metavar="HOW",
    type=click.Choice(["first", "average", "max", "simple"]),
    default="first",
    help="How a word of several pieces gets its label: first, average, max, or simple to tag pieces.",
)
@click.option("--tokens", is_flag=True, help="The tag of each token, instead of spans.")
@input_options
@split_words_option
@output_options
@model_options
@long_options
@run_options
def tag(
    *,
    head: str | None,
    aggregation: Aggregation,
    tokens: bool,
    inputs: InputOptions,
    outputs: OutputOptions,
    model: ModelOptions,
    long: LongOptions,
    run: RunOptions,
) -> int:  # fmt: skip
    """Label the words of each text: named entities, parts of speech.

    Adds `spans` to each record: label, start and end in characters of the text, the words, and a score. A
    model of parts of speech gives a span for every word. With --tokens it is `tokens`, with their raw tags.
    """
    refuse_pairs(inputs.pair_field, "`tag`")

    def task(checkpoint: Checkpoint, tokenizer: Tokenizer) -> Tag:
        from bertcli.tasks.tag import Tag

        chosen = choose_head(checkpoint, "tag", head)
        refuse_or_warn(checkpoint, "tag", unsafe=model.unsafe_model, head=chosen)
        task = Tag(
            checkpoint,
            tokenizer,
            chosen,
            long,
            aggregation=aggregation,
            shape=_shape(outputs, tokens),
            split_words=inputs.split_words,
        )
        if task.tagset.doubt is not None:
            console.warn(task.tagset.doubt)
        return task

    return stream(Job("tag", task, inputs, outputs, model, run))


def _shape(outputs: OutputOptions, tokens: bool) -> Shape:
    """What a record gets: CoNLL holds a tag a word, other forms hold anything."""
    from bertcli.console import Terminal
    from bertcli.sinks.formats import choose_format

    form, _ = choose_format(outputs, Terminal())
    if form != "conll":
        return "tokens" if tokens else "spans"
    if tokens:
        raise UsageError("CoNLL holds words, not tokens", hint="leave out --tokens, or write .jsonl")
    return "words"
