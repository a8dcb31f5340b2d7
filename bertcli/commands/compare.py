"""`bertcli compare`: what changed between two sets of answers, or two models."""

from __future__ import annotations

import click

from bertcli import console, requests
from bertcli.errors import UsageError
from bertcli.options import (
    engine_options,
    input_options,
    json_option,
    long_options,
    pair_field_option,
    run_options,
)
from bertcli.options.command import command, typed
from bertcli.options.parameters import SharedParameter, whole_number

OF_MODELS = ("--task", "--head", "--text-field", "--pair-field", "--id-field", "--strict", "--max-errors")
"""Options without effect on two files; nor have those under the headings Model and Long texts."""


@command(
    requests.Compare,
    examples="""
    $ bertcli compare before.jsonl after.jsonl
    $ bertcli compare --models ./old ./new reviews.jsonl --max-flips 0.5%
    $ bertcli compare --models ./large ./small texts.txt --task embed
    """,
)
@click.option(
    "--models",
    nargs=2,
    type=click.Path(readable=False),
    metavar="A B",
    help="Run two models on FILES, instead of comparing two.",
)
@click.option(
    "--task",
    metavar="NAME",
    type=click.Choice(["label", "tag", "fill", "embed"]),
    help="What the models do: label, tag, fill or embed.",
)
@click.option("--head", metavar="NAME", help="Which of the models' several heads.")
@click.option(
    "--max-flips", metavar="N", help="Exit code 1 when more answers flip: a number, or a share as 0.5%."
)
@click.option(
    "--max-drift",
    metavar="X",
    type=click.FloatRange(0),
    help="Exit code 1 when a score, or the cosine of an embedding, moves further.",
)
@click.option("--worst", metavar="N", type=whole_number(0), help="How many of the worst records to show.")
@json_option
@input_options
@pair_field_option
@engine_options
@long_options
@run_options
def compare(request: requests.Compare) -> int:
    """Compare two files of answers, or two models: what flipped, what drifted.

    Compares two outputs of label, tag, fill, embed or score for the same input; with --models it makes them
    first. The exit code is 1 when more changed than --max-flips or --max-drift allow, for a check before a
    model is replaced.
    """
    if request.models is None:
        _refuse_options_of_models()
    console.configure(quiet=request.quiet, verbose=request.verbose)
    console.claim_stdout()
    console.quiet_libraries(verbose=request.verbose)
    from bertcli.reports.comparison import comparison_page
    from bertcli.reports.lines import show
    from bertcli.runs.compare import compare

    outcome = compare(request)
    page = lambda: comparison_page(outcome.comparison, outcome.names, outcome.kept)  # noqa: E731
    show([outcome.row()], "jsonl" if request.json else "table", page)
    return 0 if outcome.kept else 1


def _refuse_options_of_models() -> None:
    """Raise UsageError for options of the command line that are for models, where none is to run."""
    given = [flag for flag, param in typed().items() if flag in OF_MODELS or _is_of_models(param)]
    if given:
        raise UsageError(
            f"{', '.join(given)}: no model runs where two files are compared",
            hint="leave out what is for models, or name two of them by --models A B",
        )


def _is_of_models(param: click.Parameter) -> bool:
    return isinstance(param, SharedParameter) and param.heading in ("Model", "Long texts")
