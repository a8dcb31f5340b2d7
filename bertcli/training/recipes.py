"""`train RECIPE.yaml` from a recipe to a directory."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from bertcli.models.library import resolve
from bertcli.training.export import export_state
from bertcli.training.fit import STATE
from bertcli.training.loop import METRICS, Trainer
from bertcli.training.recipe import read_recipe
from bertcli.training.saving import Target


def follow(path: Path, target: Target, *, resume: bool, told: Callable[[int, int, float], None]) -> bool:
    """Train the skills of a recipe and write them as a directory; False when Ctrl-C ended it early.

    Raises RecipeError, and UsageError when the run to continue had another recipe.
    """
    recipe = read_recipe(path)
    base = resolve(None if recipe.model is None else str(recipe.model))
    trainer = Trainer(recipe, base, target.part, told, resume=resume)
    trainer.train()
    whole = target.part / "whole"
    export_state(target.part / STATE, base, whole)
    (whole / "recipe.yaml").write_bytes(path.read_bytes())
    (whole / "README.md").write_text(_card(path, target.part / METRICS), encoding="utf-8")
    target.take(whole, keep_state=trainer.stopping)
    return not trainer.stopping


def _card(recipe: Path, metrics: Path) -> str:
    """What the directory holds and what it measured last."""
    lines = [
        f"# Several skills, trained by bertcli from `{recipe.name}`",
        "",
        "| skill | figure | value |",
        "| --- | --- | --- |",
    ]
    if metrics.exists():
        figures = json.loads(metrics.read_text().splitlines()[-1])["dev"]
        lines += [
            f"| {skill} | {name} | {value} |"
            for skill, found in figures.items()
            for name, value in found.items()
        ]
    return "\n".join(
        [*lines, "", "The recipe stands beside this page: `bertcli train recipe.yaml -o DIR`.", ""]
    )
