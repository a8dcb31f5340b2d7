"""`bertcli bench`: this machine measured on a file of the user's own."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from bertcli import settings
from bertcli.command import command
from bertcli.options import input_options, long_options, machine_options, manner_options, report_format_option
from bertcli.requests import InputOptions, LongOptions, ModelOptions, ReportFormat, RunOptions
from bertcli.runs.bench import Bench, run_bench


@command(
    examples="""
    $ bertcli bench reviews.csv --text-field body
    $ bertcli bench docs.jsonl -m MODEL --task embed --seconds 120 --save
    $ bertcli bench notes.txt | jq 'select(.what == "best")'
    """
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
    default=60,
    help="About how long to measure, the loading of models included.",
)
@click.option("--save", is_flag=True, help="Write the best settings into the settings file.")
@report_format_option
@input_options
@machine_options
@long_options
@manner_options
def bench(
    *,
    task: Literal["label", "fill", "embed"] | None,
    head: str | None,
    seconds: float,
    save: bool,
    form: ReportFormat | None,
    inputs: InputOptions,
    model: ModelOptions,
    long: LongOptions,
    run: RunOptions,
) -> int:  # fmt: skip
    """Measure this machine on texts of your own, and find the settings that serve them best.

    Tells how long the texts are and how many occur twice; then the texts and tokens a second of engines,
    dtypes, threads and batch sizes, and how far their answers are from those in float32; then what a run over
    all of the input would take. For `fill`, the middle word of a text without a mask is hidden.
    """
    held: settings.Settings = click.get_current_context().meta[settings.META]
    file = held.path or Path(settings.FILE_NAME)
    return run_bench(Bench(task, head, seconds, save, file, form, inputs, model, long, run))
