"""`bertcli search`: the texts nearest to a query."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from bertcli.command import command
from bertcli.errors import UsageError
from bertcli.options import (
    input_options,
    late_output_options,
    long_options,
    model_options,
    pooling_option,
    run_options,
)
from bertcli.parameters import whole_number
from bertcli.requests import InputOptions, LongOptions, ModelOptions, OutputOptions, RunOptions
from bertcli.runs.preflight import read_text, refuse_pairs
from bertcli.runs.search import Request, run_search

if TYPE_CHECKING:
    from bertcli.models.pooling import Mode

MOST = 10


@command(
    examples="""
    $ bertcli search "how do I get my money back" tickets/*.txt -m MODEL
    $ bertcli search "refund" tickets.jsonl -m MODEL -k 3 | jq -r .text
    $ bertcli search "refund" --embeddings tickets.parquet -m MODEL
    $ bertcli search --like 17 tickets.jsonl -m MODEL
    $ bertcli search --near-duplicates 0.95 tickets.jsonl -m MODEL
    """
)
@click.argument("query", required=False)
@click.option("--queries", metavar="FILE", type=click.Path(), help="Many queries: a file with one a line.")
@click.option("--like", metavar="N", type=whole_number(1), help="What is nearest to record N, from 1.")
@click.option(
    "--near-duplicates",
    "duplicates",
    metavar="X",
    type=click.FloatRange(0, 1, min_open=True),
    help="All pairs of texts with a cosine of X or more.",
)
@click.option(
    "--embeddings",
    metavar="FILE",
    type=click.Path(),
    help="Vectors that `embed` wrote, as .npy or .parquet; FILES are then the texts they were made from.",
)
@click.option(
    "-k", "most", metavar="N", type=whole_number(1), show_default=str(MOST), help="How many texts to find."
)
@click.option("--min-score", "least", metavar="X", type=float, help="Only texts with a score of X or more.")
@pooling_option
@click.option(
    "--dim",
    metavar="N",
    type=whole_number(1),
    show_default="the model's own, else all",
    help="Compare the first N dimensions.",
)
@click.option(
    "--prompt-name",
    metavar="NAME",
    show_default="document, passage or corpus, where the model has it",
    help="Which of the model's prompts to put before each text.",
)
@click.option(
    "--query-prompt",
    metavar="NAME",
    show_default="query, where the model has it",
    help="Which of them to put before each query.",
)
@input_options
@late_output_options
@model_options
@long_options
@run_options
def search(
    *,
    query: str | None,
    queries: str | None,
    like: int | None,
    duplicates: float | None,
    embeddings: str | None,
    most: int | None,
    least: float | None,
    pooling: Mode | None,
    dim: int | None,
    prompt_name: str | None,
    query_prompt: str | None,
    inputs: InputOptions,
    outputs: OutputOptions,
    model: ModelOptions,
    long: LongOptions,
    run: RunOptions,
) -> int:  # fmt: skip
    """Find the texts nearest to a query, by the similarity of their embeddings.

    Gives the records found, best first, with `rank`, `score` (the cosine, or what the model's files ask
    for: dot, euclidean, manhattan) and `where` they stand. Instead of
    QUERY there may be --queries, --like a record, or --near-duplicates among the records: then every argument
    is a file. The search is exact: every text is looked at.
    """
    refuse_pairs(inputs.pair_field, "`search`")
    others = {"--queries": queries, "--like": like, "--near-duplicates": duplicates}
    asked = [name for name, value in others.items() if value is not None]
    if len(asked) > 1:
        raise UsageError(f"{' and '.join(asked)} cannot go together", hint="leave all but one of them out")
    if asked and query is not None:
        inputs, query = replace(inputs, files=(query, *inputs.files)), None
    if not asked and (query is None or not query.strip()):
        raise UsageError("there is no query", hint='write what to look for: bertcli search "a text" FILES')
    if duplicates is not None and (most is not None or least is not None):
        raise UsageError("--near-duplicates gives all pairs", hint="leave out -k and --min-score")
    return run_search(
        Request(
            query=query,
            lines=() if queries is None else _lines(queries),
            like=like,
            duplicates=duplicates,
            embeddings=embeddings,
            most=most or MOST,
            least=-math.inf if least is None else least,
            pooling=pooling,
            dim=dim,
            prompt_name=prompt_name,
            query_prompt=query_prompt,
            inputs=inputs,
            outputs=outputs,
            model=model,
            long=long,
            run=run,
        )
    )


def _lines(path: str) -> tuple[str, ...]:
    """The queries of a file. Raises UsageError for none."""
    lines = tuple(line.strip() for line in read_text(path).splitlines() if line.strip())
    if not lines:
        raise UsageError("holds no query", where=path, hint="write one a line")
    return lines
