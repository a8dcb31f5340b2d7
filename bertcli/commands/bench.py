"""`bertcli bench`: this machine measured on a file of the user's own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from bertcli import console, requests
from bertcli.options import (
    input_options,
    long_options,
    machine_options,
    pair_field_option,
    report_format_option,
    settings,
    verbosity_options,
)
from bertcli.options.command import command


@command(
    requests.Bench,
    examples="""
    $ bertcli bench reviews.csv --text-field body
    $ bertcli bench docs.jsonl -m MODEL --task embed --seconds 120 --save
    $ bertcli bench docs.jsonl -m MODEL --agree 0.995 --save
    $ bertcli bench notes.txt | jq 'select(.what == "best")'
    """,
)
@click.option(
    "--task",
    metavar="TASK",
    type=click.Choice(["label", "fill", "embed"]),
    help="What to measure: label, fill or embed.",
    show_default="the first the model is made for",
)
@click.option(
    "--head", metavar="NAME", help="Which of a model's several label heads.", show_default="the first"
)
@click.option(
    "--seconds",
    metavar="N",
    type=click.FloatRange(1),
    help="About how long to measure, the loading of models included.",
)
@click.option("--save", is_flag=True, help="Write the best settings into the settings file.")
@click.option(
    "--agree",
    metavar="SHARE",
    type=click.FloatRange(0, 1),
    help="Take int8 where it agrees with float32 that much: cosine of 99 in 100 texts, or share of equal answers.",
    show_default="never take int8",
)
@report_format_option
@input_options
@pair_field_option
@machine_options
@long_options
@verbosity_options
def bench(request: requests.Bench) -> int:
    """Measure this machine on texts of your own, and find the settings that serve them best.

    Prints how long the texts are and how many occur twice; then the texts and tokens a second of engines, dtypes,
    threads and batch sizes, and how far their answers are from those in float32; then what a run over all of the
    input would take. For `fill`, the middle word of a text without a mask is hidden.
    """
    console.configure(quiet=request.quiet, verbose=request.verbose)
    console.claim_stdout()
    console.quiet_libraries(verbose=request.verbose)
    from bertcli.runs.bench import bench

    task, options = bench(request)
    if request.save:
        _save(task, options)
    return 0


def _save(task: str, options: Mapping[str, str]) -> None:
    """Write the options of a task into the settings file."""
    from bertcli.options.settings_file import write

    if not options:
        console.say("nothing to save: no setting is better than the defaults")
        return
    read: settings.Settings = click.get_current_context().meta[settings.META]
    path = read.path or Path(settings.FILE_NAME)
    write(path, task, options)
    written = ", ".join(f"{name}: {value}" for name, value in options.items())
    console.say(f"wrote {path}: {task}: {written}")
