"""Write docs/cli.md, the help page of every command, and docs/models.md, the table of model types:
`python docs/generate.py`. A test keeps both current.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import click

from bertcli.architectures import ARCHITECTURES
from bertcli.cli import cli
from bertcli.models import refusals
from bertcli.options.command import SHOW_ALL

PAGE = Path(__file__).with_name("cli.md")
MODELS = Path(__file__).with_name("models.md")

HEAD = """\
# Command line

<!-- Written by docs/generate.py from the help pages. -->

What `--help-all` says, for every command. The [guide](guide.md) explains how the options work together, and
[settings](settings.md) how to set their defaults.
"""


MODELS_HEAD = """\
# Model types

<!-- Written by docs/generate.py from the tables of the package and of transformers {version}. -->

Every `model_type` for which transformers {version} has a head that bertcli knows: `label` (sequence classification),
`tag` (token classification), `fill` (masked LM), `answer` (question answering). Every type that runs can `embed`.

* **fused**: the encoder runs on bertcli's own code, in NumPy for little input and in torch for more.
* **transformers**: the encoder runs on the modules of transformers, with bertcli's batches.
* **refused**: it does not run, for the reason given.

`bertcli models info MODEL` names the engines that run a model; `bertcli models check MODEL --deep` compares its answers
with transformers. `tests/engines/test_model_types.py` compares a random model of each type and head that can be made
small.

| model type | runs on | heads | remarks |
| --- | --- | --- | --- |
"""

DECODERS = """
## Decoders

Models that were made to write text can classify it, where they were trained and saved with such a head. These types run
on transformers, with the heads that transformers has for them; a token attends only to those before it. Before a run a
model is tried on a short text: one that transformers cannot run on text alone is refused there.

{names}
"""


def commands(
    command: click.Command, name: str, parent: click.Context | None = None
) -> Iterator[click.Context]:
    """A context for the command and for each one below it, in the order of the help page."""
    # 78 columns are what a terminal of 80 gets.
    ctx = click.Context(command, parent, name, terminal_width=78, **command.context_settings)
    ctx.meta[SHOW_ALL] = True
    yield ctx
    if isinstance(command, click.Group):
        for below in command.list_commands(ctx):
            found = command.get_command(ctx, below)
            if found is not None:
                yield from commands(found, below, ctx)


def page() -> str:
    """The text of docs/cli.md."""
    parts = [
        f"## {ctx.command_path}\n\n```text\n{ctx.command.get_help(ctx)}\n```\n"
        for ctx in commands(cli, "bertcli")
    ]
    return "\n".join([HEAD, *parts])


def transformers_version() -> str:
    """The version without its last part, which brings no model types."""
    return version("transformers").rpartition(".")[0]


def models_page() -> str:
    """The text of docs/models.md."""
    from transformers.models.auto import modeling_auto

    names = {
        "label": modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
        "tag": modeling_auto.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES,
        "fill": modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES,
        "answer": modeling_auto.MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES,
    }
    types = sorted(set().union(*names.values()))
    causal = (
        modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.keys() - names["fill"].keys() - refusals.TYPES.keys()
    )
    rows = [_row(one, [kind for kind in names if one in names[kind]]) for one in types if one not in causal]
    decoders = ", ".join(f"`{one}`" for one in types if one in causal)
    head = MODELS_HEAD.format(version=transformers_version())
    return head + "".join(rows) + DECODERS.format(names=decoders)


def _row(model_type: str, kinds: list[str]) -> str:
    """The line of the table for a model type with heads of these kinds."""
    if reason := refusals.TYPES.get(model_type):
        return f"| `{model_type}` | refused | | {reason} |\n"
    refused = {
        kind: refusals.HEADS[model_type, kind] for kind in kinds if (model_type, kind) in refusals.HEADS
    }
    heads = ", ".join(kind for kind in kinds if kind not in refused)
    remarks = "; ".join(f"no `{kind}`: {reason}" for kind, reason in refused.items())
    return f"| `{model_type}` | {_engine(model_type)} | {heads} | {remarks} |\n"


def _engine(model_type: str) -> str:
    """What a model type runs on."""
    return "fused" if model_type in ARCHITECTURES else "transformers"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    MODELS.write_text(models_page(), encoding="utf-8")
