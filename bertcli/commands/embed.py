"""`bertcli embed`: embeddings of texts or of their tokens."""

from __future__ import annotations

from typing import get_args

import click

from bertcli import requests
from bertcli.commands import run_request
from bertcli.options import (
    cluster_options,
    embedding_model_options,
    input_options,
    long_options,
    output_options,
    pooling_option,
    prompt_options,
    run_options,
    shard_option,
)
from bertcli.options.command import command
from bertcli.options.parameters import whole_number


def _written(name: str) -> str:
    """A click type: a dtype that vectors are written in, which is often taken for that of the computation."""
    if name in get_args(requests.WrittenDtype):
        return name
    listed = ", ".join(get_args(requests.WrittenDtype))
    other = (
        "; what the model computes in is --compute-dtype" if name in get_args(requests.ComputeDtype) else ""
    )
    raise click.BadParameter(f"'{name}' is not one of {listed}{other}")


@command(
    requests.Embed,
    examples="""
    $ bertcli embed docs.jsonl.zst -m MODEL -o docs.parquet
    $ bertcli embed passages.jsonl -m MODEL --role document -o passages.npy
    $ bertcli embed -m MODEL -t "a single sentence" --tokens
    $ bertcli embed passages.jsonl -m SPLADE --sparse | jq -c .terms
    """,
)
@pooling_option
@click.option(
    "--normalize/--no-normalize",
    show_default="the model's",
    help="Whether vectors have length 1.",
)
@click.option(
    "--layer",
    metavar="N",
    type=int,
    help="Layer: 0 the embeddings, -1 the last.",
)
@click.option("--tokens", is_flag=True, help="An embedding of each token.")
@click.option("--sparse", is_flag=True, help="The weights of terms, by a SPLADE model.")
@click.option("--multi", is_flag=True, help="A vector for each token, by a ColBERT model.")
@click.option(
    "--dim",
    metavar="N",
    type=whole_number(1),
    show_default="the model's",
    help="Keep the first N dimensions.",
)
@prompt_options
@click.option(
    "--dtype",
    "output_dtype",
    metavar="DTYPE",
    type=_written,
    help="float32, float16, int8 or binary.",
)
@input_options
@shard_option
@output_options
@embedding_model_options
@cluster_options
@long_options
@run_options
def embed(request: requests.Embed) -> int:
    """Export embeddings, of texts or of their tokens, from any layer.

    Adds `embedding` to each record; with --tokens `tokens`, each with its place in the text; with --sparse `terms`,
    each with its weight; with --multi `embeddings`. Pooling, normalisation, prompts and the length limit come from the
    model's own sentence-transformers files.
    """
    return run_request(request)
