"""`train RECIPE.yaml` from a recipe to a directory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from bertcli.models.checkpoint import Checkpoint
from bertcli.models.tokenizer import Tokenizer
from bertcli.training.card import write_skill_card
from bertcli.training.conversion import RecipeError
from bertcli.training.export import export
from bertcli.training.lessons import Machine
from bertcli.training.loop import Trainer
from bertcli.training.recipe import FillSkill, Recipe
from bertcli.training.saving import Target
from bertcli.training.skills import PreparedSkill, Workshop, prepare


@dataclass(frozen=True, slots=True)
class Place:
    """Where a recipe is followed, as options say it; `dtype` "auto" leaves it to the recipe."""

    device: str
    dtype: str
    threads: int | None


def follow(
    recipe: Recipe,
    base: Checkpoint,
    path: Path,
    target: Target,
    place: Place,
    command: Sequence[str],
    *,
    resume: bool,
    told: Callable[[int, int, float], None],
) -> Trainer:
    """Train the skills of the recipe at `path` and write the best state as a directory.

    Raises RecipeError, and UsageError when the run to continue had another recipe.
    """
    if place.threads is not None:
        torch.set_num_threads(place.threads)
    tokenizer = Tokenizer.of(base)
    schedule = recipe.schedule
    dtype = schedule.precision if place.dtype == "auto" else place.dtype
    machine = Machine.choose(place.device, dtype, tokenizer.pad_id)
    workshop = Workshop(
        tokenizer, machine, target.part / "cache", base.position_limit, schedule.buckets,
        schedule.evaluate_limit, recipe.seed,
    )  # fmt: skip
    try:
        skills = prepare(recipe, workshop)
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}", hint=error.hint) from None
    trainer = Trainer(recipe, base, skills, machine, target.part, told)
    if resume:
        trainer.load()
    trainer.train()
    _write(trainer, path, base, skills, command, target)
    return trainer


def _write(
    trainer: Trainer,
    recipe: Path,
    base: Checkpoint,
    skills: Sequence[PreparedSkill],
    command: Sequence[str],
    target: Target,
) -> None:
    """The best state, or without measurements the last one, as the directory."""
    fill = "fill" in base.heads and not base.heads["fill"].missing
    fill = fill or any(isinstance(one.skill, FillSkill) for one in skills)
    card = write_skill_card(
        base.name,
        command,
        skills,
        trainer.best.estimates(),
        steps=trainer.best.step or trainer.progress.step,
        finished=not trainer.interrupted,
    )
    with target.writing(keep_state=trainer.interrupted) as folder:
        export(trainer.best.weights or trainer.weights(), trainer.model.specs, base, folder, fill=fill)
        (folder / "recipe.yaml").write_bytes(recipe.read_bytes())
        (folder / "README.md").write_text(card, encoding="utf-8")
