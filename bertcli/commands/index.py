"""`bertcli index`: texts with their embeddings in a directory."""

from __future__ import annotations

import click

from bertcli import console, requests
from bertcli.options import (
    input_options,
    long_options,
    model_options,
    pooling_option,
    run_options,
    store_options,
)
from bertcli.options.command import command
from bertcli.options.parameters import RareOption, whole_number


@command(
    requests.Index,
    examples="""
    $ bertcli index tickets.jsonl --id-field id -o tickets.index
    $ bertcli search "refund" --index tickets.index
    $ bertcli index today.jsonl -o tickets.index --add
    $ bertcli index --remove closed.txt -o tickets.index
    """,
)
@store_options
@pooling_option
@click.option(
    "--dim",
    cls=RareOption,
    metavar="N",
    type=whole_number(1),
    show_default="the model's",
    help="Keep the first N dimensions.",
)
@click.option(
    "--prompt-name",
    cls=RareOption,
    metavar="NAME",
    show_default="the model's for documents",
    help="Prompt before texts.",
)
@input_options
@model_options
@long_options
@run_options
def index(request: requests.Index) -> int:
    """Keep the embeddings of texts in a directory, to search millions of them at once.

    `bertcli search --index DIR` finds the nearest by short codes, and compares these exactly. Every record has a name,
    by which it is replaced and removed: its --id-field, else where it is (notes.txt:12). The directory has the model's
    fingerprint, and refuses another model.
    """
    console.configure(quiet=request.quiet, verbose=request.verbose)
    console.claim_stdout()
    console.quiet_libraries(verbose=request.verbose)
    from bertcli.runs.index import index

    return index(request).exit_code
