"""The model card: what was learnt from what, how well, and by which command."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bertcli import __version__

MOST_CLASSES = 40  # listed


@dataclass(frozen=True, slots=True)
class Account:
    """What a card tells. `classes` are (name, training examples); `figures` those of the held-out part."""

    kind: str
    base: str
    command: Sequence[str]
    data: Sequence[str]
    train: int
    dev: int
    classes: Mapping[str, int]
    figures: Mapping[str, float]
    steps: int
    finished: bool


def write_card(account: Account) -> str:
    """Markdown with the front matter Hugging Face reads."""
    used = '-m . -t "…"' if account.kind != "fill" else '-m . -t "… [MASK] …"'
    lines = [
        "---",
        "library_name: transformers",
        f"pipeline_tag: {PIPELINES[account.kind]}",
        "---",
        "",
        f"# A {account.kind} model trained by bertcli",
        "",
        f"Trained by bertcli {__version__} from `{account.base}` on {account.train} examples"
        f" ({', '.join(f'`{name}`' for name in account.data)}); {account.dev} were held out.",
        "" if account.finished else "\nThe run was interrupted: this is the best state until then.\n",
        "```console",
        f"$ bertcli {shlex.join(account.command)}",
        f"$ bertcli {account.kind} {used}",
        "```",
        "",
        "## Figures",
        "",
        f"On the {account.dev} held-out examples, which also chose this state (step {account.steps});"
        " figures on"
        " data that chose nothing may be a little lower.",
        "",
        "| figure | value |",
        "| --- | --- |",
        *(f"| {name.replace('_', ' ')} | {value:.4f} |" for name, value in account.figures.items()),
        "",
    ]
    if account.classes:
        lines += ["## Classes", "", "| class | training examples |", "| --- | --- |"]
        listed = list(account.classes.items())
        lines += [f"| {_cell(name)} | {count} |" for name, count in listed[:MOST_CLASSES]]
        if len(listed) > MOST_CLASSES:
            lines.append(f"| … and {len(listed) - MOST_CLASSES} more | |")
        lines.append("")
    lines += [
        "## Limits",
        "",
        "The model knows what its base and these examples say, with their biases. Texts of another kind"
        " than the examples may be answered badly and with confidence.",
        "",
    ]
    return "\n".join(lines)


PIPELINES = {"label": "text-classification", "tag": "token-classification", "fill": "fill-mask"}


def _cell(name: str) -> str:
    return name.replace("|", "\\|").replace("\n", " ")
