"""`bertcli models`: what is on disk, what it can do, and whether it can be trusted."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bertcli import console
from bertcli.console.drawing import CYAN
from bertcli.options import report_format_option
from bertcli.options.command import Command, CommandGroup
from bertcli.options.parameters import device as device_name
from bertcli.reports.lines import show
from bertcli.reports.models import check_page, convert_page, info_page, info_row, list_page, list_row
from bertcli.requests import ReportFormat

if TYPE_CHECKING:
    from bertcli.engines import Engine
    from bertcli.models.check import Finding
    from bertcli.models.checkpoint import Checkpoint


class Described(click.Argument):
    """An argument with a line of its own in the help page; with `has_setting` settings reach it too."""

    def __init__(self, *decls: Any, about: str, has_setting: bool = False, **attributes: Any) -> None:
        super().__init__(*decls, **attributes)
        self.about = about
        self.has_setting = has_setting

    def get_help_record(self, ctx: click.Context) -> tuple[str, str]:
        return self.make_metavar(ctx), self.about


model_argument = click.argument(
    "model",
    cls=Described,
    type=click.Path(readable=False),
    required=False,
    has_setting=True,
    about="A model directory, or a name in the local Hugging Face cache.",
)


@click.group(cls=CommandGroup, subcommand_metavar="COMMAND [ARGS]...")
def models() -> None:
    """List, describe, check, download and convert models."""


@models.command("list", cls=Command, examples="""
    $ bertcli models list
    $ bertcli models list | jq -r 'select(.heads | contains(["label"])) | .name'
    """)  # fmt: skip
@report_format_option
def list_models(report_format: ReportFormat | None) -> None:
    """List the models on this machine.

    The bundled model and those of the local Hugging Face cache: what `-m NAME` finds.
    """
    from bertcli.models.library import cache_folder, local_models

    console.quiet_libraries()
    rows = [list_row(entry) for entry in local_models()]
    if not rows:
        console.say(f"no models in {cache_folder()}; `bertcli models pull NAME` downloads one")
    show(rows, report_format, lambda: list_page(rows))


@models.command(examples="""
    $ bertcli models info ./my-model
    $ bertcli models info all-MiniLM-L6-v2 | jq .max_length
    """)  # fmt: skip
@model_argument
@report_format_option
def info(model: str | None, report_format: ReportFormat | None) -> None:
    """Describe a model: size, limits, heads, pooling.

    Without MODEL, the one that commands take without -m: that of BERTCLI_MODEL or the settings file, else the
    bundled model.
    """
    row = info_row(_open(model))
    show([row], report_format, lambda: info_page(row))


@models.command(examples="""
    $ bertcli models check ./my-model
    $ bertcli models check all-MiniLM-L6-v2 -f jsonl | jq -r .message
    $ bertcli models check ./my-model --deep
    """)  # fmt: skip
@model_argument
@click.option("--deep", is_flag=True, help="Also run the model, and compare its answers.")
@click.option(
    "--device",
    metavar="NAME",
    type=device_name,
    default="auto",
    help="With --deep: auto, cpu, cuda, cuda:N or mps.",
)
@report_format_option
def check(model: str | None, deep: bool, device: str, report_format: ReportFormat | None) -> int:
    """Check whether a model can be trusted.

    Looks for what would give wrong answers without an error: damaged files, heads that were never trained, labels,
    shapes and settings that contradict each other, weights that are not numbers, a tokenizer that does not fit. The
    exit code is 1 when a run would be refused.

    --deep runs it on this device, texts together and one at a time, with every engine, and compares the
    answers with those of transformers in float32.
    """
    from bertcli.models.check import full_check
    from bertcli.models.trial import try_tokenizer

    checkpoint = _open(model)
    findings = full_check(checkpoint, tokenizer_failure=try_tokenizer(checkpoint.directory))
    if deep and checkpoint.pooling.static:
        console.say("--deep compares engines, and one alone runs a table of token vectors")
    elif deep and not any(found.refuses for found in findings):
        findings += _proved(checkpoint, device)
    rows = [{"severity": found.severity, "message": found.message, "hint": found.hint} for found in findings]
    show(rows, report_format, lambda: check_page(findings))
    if not findings:
        console.say(f"{checkpoint.name}: nothing found that would make it answer wrongly")
    return 1 if any(found.refuses for found in findings) else 0


def _proved(checkpoint: Checkpoint, device: str) -> list[Finding]:
    """Run the model on this device: a finding for each comparison, in numbers."""
    from bertcli.engines.instant import Instant
    from bertcli.engines.packed import Packed
    from bertcli.engines.reference import Reference
    from bertcli.models.check import Finding
    from bertcli.models.tokenizer import Tokenizer
    from bertcli.verification import prove

    console.say("comparing the engines with transformers, which takes minutes for a large model")
    with console.StatusLine() as status:
        status.show("loading the engines")
        packed = Packed(checkpoint, device=device)
        engines: list[Engine] = [packed]
        if packed.dtype != "float32":
            engines.append(Packed(checkpoint, device=device, dtype="float32"))
        if Instant.supports(checkpoint) is None:
            engines.append(Instant(checkpoint))
        proofs = prove(
            checkpoint, Tokenizer.of(checkpoint), engines, partial(Reference, checkpoint), on_step=status.show
        )
        return [
            Finding("proved", proof.message, "")
            if proof.holds
            else Finding("refuse", proof.message, "do not use this engine here, and please report it")
            for proof in proofs
        ]


@models.command(examples="""
    $ bertcli models pull sentence-transformers/all-MiniLM-L6-v2
    """)  # fmt: skip
@click.argument("name", cls=Described, about="The model's name on the hub, OWNER/NAME.")
@click.option("--allow-pickle", is_flag=True, help="Take pickle weights where there are no others.")
@report_format_option
def pull(name: str, allow_pickle: bool, report_format: ReportFormat | None) -> None:
    """Download a model from the Hugging Face hub.

    Takes weights in safetensors, configuration and tokenizer into the local cache. This is the only command
    that uses the network.
    """
    console.quiet_libraries(offline=False)
    from bertcli.models.library import pull as download

    path = download(name, allow_pickle=allow_pickle)
    row = {"name": name, "path": str(path)}
    show([row], report_format, lambda: [[(name, CYAN), (" is in ", ""), (str(path), "")]])


@models.command(examples="""
    $ bertcli models convert ./old-model -o ./model --allow-pickle
    $ bertcli models convert ./my-adapter -o ./merged
    """)  # fmt: skip
@click.argument(
    "model",
    cls=Described,
    type=click.Path(readable=False),
    about="A model directory, or a name in the local Hugging Face cache.",
)
@click.option(
    "-o",
    "--output",
    metavar="DIR",
    required=True,
    type=click.Path(readable=False),
    help="Directory to write, whole or not at all.",
)
@click.option(
    "--adapter",
    metavar="DIR",
    type=click.Path(readable=False),
    help="A LoRA adapter (PEFT) to merge into the model.",
)
@click.option("--allow-pickle", is_flag=True, help="Read weights from a pickle (weights only).")
@click.option("--overwrite", is_flag=True, help="Replace an existing model directory.")
@report_format_option
def convert(
    model: str,
    output: str,
    adapter: str | None,
    allow_pickle: bool,
    overwrite: bool,
    report_format: ReportFormat | None,
) -> None:
    """Write a model as a directory that needs nothing else.

    Weights of a pickle become safetensors, an adapter is merged into the weights, and an old vocabulary becomes
    tokenizer.json. The copy answers some texts before it gets its name: its answers are those of the model.
    """
    console.quiet_libraries()
    from bertcli.requests import ModelOptions
    from bertcli.runs.convert import convert as run_convert
    from bertcli.runs.preflight import open_checkpoint_of

    checkpoint = open_checkpoint_of(ModelOptions(model=model, adapter=adapter, allow_pickle=allow_pickle))
    done = run_convert(checkpoint, Path(output), overwrite=overwrite)
    row = {
        "path": output,
        "changes": list(done.changes),
        "compared": list(done.compared),
        "difference": done.difference,
    }
    show([row], report_format, lambda: convert_page(checkpoint.name, row))


def _open(model: str | None) -> Checkpoint:
    """The checkpoint that is named. A pickle is not read to describe it."""
    console.quiet_libraries()
    from bertcli.models.checkpoint import open_checkpoint
    from bertcli.models.library import resolve

    return open_checkpoint(resolve(model), allow_pickle=True)
