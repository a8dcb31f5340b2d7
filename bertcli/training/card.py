"""The model card: what was trained on what data, how well, and by which command."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bertcli import __version__
from bertcli.evaluation.bootstrap import Estimate
from bertcli.evaluation.report import LabelFigures
from bertcli.training.objectives import Objective

MOST_CLASSES = 40  # listed


@dataclass(frozen=True, slots=True)
class Account:
    """What a card says. `classes` are names with the number of training examples; `figures` and `labels` are
    those of the held-out examples, or where `crossed` of models trained on halves."""

    kind: str
    base: str
    command: Sequence[str]
    data: Sequence[str]
    train: int
    dev: int
    classes: Mapping[str, int]
    figures: Mapping[str, Estimate]
    labels: Sequence[LabelFigures]
    crossed: bool
    steps: int
    finished: bool


def write_card(account: Account) -> str:
    """Markdown with the front matter Hugging Face reads."""
    usage = {
        "fill": '-m . -t "… [MASK] …"',
        "answer": '-m . --question "…" -t "…"',
        "rerank": '"…" texts.txt -m .',
    }
    used = usage.get(account.kind, '-m . -t "…"')
    lines = [
        "---",
        "library_name: transformers",
        f"pipeline_tag: {PIPELINES[account.kind]}",
        "---",
        "",
        f"# A {account.kind} model trained by bertcli",
        "",
        f"Trained by bertcli {__version__} from `{account.base}` on {account.train} examples"
        f" ({', '.join(f'`{name}`' for name in account.data)}); {account.dev or 'none'} were held out.",
        "" if account.finished else f"\n{INTERRUPTED}\n",
        "```console",
        f"$ bertcli {shlex.join(account.command)}",
        f"$ bertcli {account.kind} {used}",
        "```",
        "",
        "## Figures",
        "",
        f"{_crossed(account) if account.crossed else _held(account)} Intervals are 95 % bootstrap intervals.",
        "",
        *_figure_table(account.figures),
        "",
    ]
    if account.classes or account.labels:
        lines += ["## Classes", "", *_class_table(account.classes, account.labels), ""]
    return "\n".join([*lines, *LIMITS, ""])


def _held(account: Account) -> str:
    return (
        f"On the {account.dev} held-out examples, which also chose this state (step {account.steps}); figures"
        " on data that chose nothing may be a little lower."
    )


def _crossed(account: Account) -> str:
    done = f"{account.steps} steps of fine-tuning" if account.steps else "a probe, without fine-tuning"
    return (
        "Each half of the examples was answered by a model trained on the other half, as a linear probe on the"
        " encoder of the base and after fine-tuning it; these are the figures of the better way. This model was"
        f" trained in that way on all examples ({done}), and is usually better."
    )


def write_recipe_card(
    base: str,
    command: Sequence[str],
    objectives: Sequence[Objective],
    figures: Mapping[str, Mapping[str, Estimate]],
    *,
    steps: int,
    finished: bool,
) -> str:
    """The card of a model of a recipe; `figures` are by objective and name."""
    lines = [
        "---",
        "library_name: transformers",
        "---",
        "",
        "# A model with several heads, trained by bertcli",
        "",
        f"Trained by bertcli {__version__} from `{base}`, as `recipe.yaml` beside this page says; this is the"
        f" state after {steps} steps.",
        "" if finished else f"\n{INTERRUPTED}\n",
        "```console",
        f"$ bertcli {shlex.join(command)}",
        "```",
        "",
        "Intervals are 95 % bootstrap intervals. What is held out also chose this state: figures on data that"
        " chose nothing may be a little lower.",
        "",
    ]
    for one in objectives:
        lines += [f"## {one.settings.name}", "", *_facts(one), ""]
        if one.settings.name in figures:
            lines += [*_figure_table(figures[one.settings.name]), ""]
    return "\n".join([*lines, *LIMITS, ""])


def _facts(one: Objective) -> list[str]:
    kind = type(one.settings).__name__.removesuffix("Settings").lower()
    data = [source.path.name for name in ("data", "pairs") for source in getattr(one.settings, name, ())]
    files = ", ".join(f"`{name}`" for name in data)
    facts = [f"`{kind}`, trained on {one.train_size} examples ({files}); {one.dev_size} held out."]
    if one.head is not None:
        shown = [_cell(label) for label in one.head.labels[:MOST_CLASSES]]
        more = (
            f" and {len(one.head.labels) - MOST_CLASSES} more" if len(one.head.labels) > MOST_CLASSES else ""
        )
        if shown:
            facts += ["", f"Labels: {', '.join(shown)}{more}."]
        if one.head.adapter:
            facts += ["", f"It reads the encoder with an adapter of rank {one.head.adapter}."]
    return facts


def _figure_table(figures: Mapping[str, Estimate]) -> list[str]:
    """Figures with their intervals as a Markdown table."""
    lines = ["| figure | value | 95 % interval |", "| --- | --- | --- |"]
    for name, figure in figures.items():
        low, high = _shown(figure.low), _shown(figure.high)
        lines.append(f"| {name.replace('_', ' ')} | {_shown(figure.value)} | {low} to {high} |")
    return lines


def _class_table(classes: Mapping[str, int], labels: Sequence[LabelFigures]) -> list[str]:
    """Each class: its training examples, and how well it is found. Of tags, the latter is of entities, which have other
    names."""
    found = {figures.label: figures for figures in labels}
    names = list(dict.fromkeys([*classes, *found]))
    lines = [
        "| class | training examples | held out | precision | recall | F1 |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name in names[:MOST_CLASSES]:
        cells = ["", "", "", ""]
        if name in found:
            one = found[name]
            cells = [str(one.support), *(_shown(value) for value in (one.precision, one.recall, one.f1))]
        lines.append(f"| {_cell(name)} | {classes.get(name, '')} | {' | '.join(cells)} |")
    if len(names) > MOST_CLASSES:
        lines.append(f"| … and {len(names) - MOST_CLASSES} more | | | | | |")
    return lines


INTERRUPTED = "The run was interrupted: this is the best state until then."
LIMITS = (
    "## Limits",
    "",
    "The model reflects its base and these examples, with their biases. Texts of another kind than the"
    " examples may be answered wrongly and with confidence.",
)
PIPELINES = {
    "label": "text-classification",
    "tag": "token-classification",
    "fill": "fill-mask",
    "answer": "question-answering",
    "rerank": "text-ranking",
}


def _shown(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.4f}" if abs(value) < 100 else f"{value:.1f}"


def _cell(name: str) -> str:
    return name.replace("|", "\\|").replace("\n", " ")
