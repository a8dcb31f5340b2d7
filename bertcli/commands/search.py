"""`bertcli search`: the texts nearest to a query."""

from __future__ import annotations

import click

from bertcli import console, requests
from bertcli.errors import UsageError
from bertcli.options import (
    input_options,
    late_output_options,
    long_options,
    model_options,
    pooling_option,
    run_options,
)
from bertcli.options.command import command, typed
from bertcli.options.parameters import RareOption, whole_number
from bertcli.runs.search import MOST


@command(
    requests.Search,
    examples="""
    $ bertcli search "how do I get my money back" tickets/*.txt -m MODEL
    $ bertcli search "refund" --embeddings tickets.parquet -m MODEL
    $ bertcli search "refund" --index DIR --hybrid --rerank CROSS-ENCODER
    $ bertcli search --near-duplicates 0.95 tickets.jsonl -m MODEL
    """,
)
@click.argument("query", required=False)
@click.option("--queries", metavar="FILE", type=click.Path(), help="File of queries, one a line.")
@click.option("--like", metavar="N", type=whole_number(1), help="Search what is nearest to record N, from 1.")
@click.option(
    "--near-duplicates",
    metavar="X",
    type=click.FloatRange(0, 1, min_open=True),
    help="All pairs of texts with this cosine or more.",
)
@click.option(
    "--embeddings",
    metavar="FILE",
    type=click.Path(),
    help="Vectors of FILES, as `embed` wrote them.",
)
@click.option("--index", metavar="DIR", type=click.Path(), help="An index that `bertcli index` made.")
@click.option(
    "-k", "k", metavar="N", type=whole_number(1), show_default=str(MOST), help="How many texts to find."
)
@click.option("--min-score", metavar="X", type=float, help="Only texts with a score of X or more.")
@pooling_option
@click.option(
    "--dim",
    cls=RareOption,
    metavar="N",
    type=whole_number(1),
    show_default="the model's",
    help="Compare the first N dimensions.",
)
@click.option(
    "--prompt-name",
    cls=RareOption,
    metavar="NAME",
    show_default="the model's for documents",
    help="Prompt before texts.",
)
@click.option(
    "--query-prompt",
    cls=RareOption,
    metavar="NAME",
    show_default="the model's for queries",
    help="Prompt before queries.",
)
@click.option("--hybrid", is_flag=True, help="By words (BM25) and by embeddings, joined by their ranks.")
@click.option(
    "--rerank",
    metavar="MODEL",
    type=click.Path(readable=False),
    help="Order the nearest texts by this cross-encoder.",
)
@click.option(
    "--rerank-top",
    cls=RareOption,
    metavar="N",
    type=whole_number(1),
    help="How many of the nearest texts --rerank looks at.",
)
@input_options
@late_output_options
@model_options
@long_options
@run_options
def search(request: requests.Search) -> int:
    """Find the texts nearest to a query, by the similarity of their embeddings.

    Prints the records found, best first, with `rank`, `score` (the similarity that the model asks for, else the
    cosine) and `where` they are. With --queries, --like or --near-duplicates every argument is a file. The search is
    exact but in an index.
    """
    if request.embeddings is not None or request.index is not None:
        _refuse_unread_options(request)
    console.configure(quiet=request.quiet, verbose=request.verbose, color=request.color)
    stdout = console.claim_stdout()
    console.quiet_libraries(verbose=request.verbose)
    from bertcli.runs.search import search

    return search(request, stdout).exit_code


def _refuse_unread_options(request: requests.Search) -> None:
    """Raise UsageError for options of the input that a search in vectors does not read."""
    searched = "--embeddings" if request.index is None else "--index"
    unread = {"--skip", "--limit", "--max-errors", "--strict"}
    if not request.files and not request.texts:
        unread |= {
            "--from",
            "--encoding",
            "--delimiter",
            "--quoting",
            "--no-header",
            "--whole-files",
            "--null",
        }
    if given := sorted(unread.intersection(typed())):
        raise UsageError(
            f"{', '.join(given)}: {searched} is searched as a whole",
            hint=f"leave it out, or search the texts without {searched}",
        )
