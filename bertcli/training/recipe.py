"""A YAML recipe, read into frozen dataclasses. An unknown key is an error that names the nearest known one.

A recipe names a base model, a schedule and the skills. Each skill has a kind (fill, embed, label, tag), its
data and a weight: the share of micro-batches it gets. A weight may be a pair `[at the start, at the end]` of
the schedule.
"""

from __future__ import annotations

import difflib
import types
import typing
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import yaml

from bertcli.errors import UsageError


class RecipeError(UsageError):
    """What is wrong in a recipe, and where.

    For example `recipe.yaml: skills[2].wieght: unknown key, did you mean weight?`
    """


@dataclass(frozen=True)
class Schedule:
    """How long, how fast and how often: steps, learning rate, batches, checkpoints."""

    steps: int
    peak_rate: float = 4e-4
    warm_up: int = 150
    micro_batches: int = 2
    weight_decay: float = 0.01
    clip: float = 1.0
    betas: tuple[float, float] = (0.9, 0.98)
    precision: Literal["bfloat16", "float32"] = "bfloat16"
    workers: int = 1
    buckets: tuple[int, ...] = (16, 24, 32, 48, 64, 96, 128)
    checkpoint_minutes: float = 10.0
    evaluate_steps: int = 300
    evaluate_limit: int = 600


@dataclass(frozen=True)
class Source:
    """A file, and how much of it: `limit` takes a seeded sample.

    In a recipe a bare path stands for all of it.
    """

    path: Path
    limit: int | None = None


@dataclass(frozen=True, kw_only=True)
class Skill:
    """What every skill has.

    `weight` is its share of micro-batches at the start and at the end of the schedule, relative to the
    others.
    """

    name: str
    weight: tuple[float, float] = (1.0, 1.0)
    loss_weight: float = 1.0
    batch_tokens: int = 2048
    max_length: int = 128


@dataclass(frozen=True, kw_only=True)
class FillSkill(Skill):
    """Masked language modelling.

    `unit: block` cuts full blocks from texts; `text` and `sentence` take each by itself.
    """

    data: tuple[Source, ...]
    unit: Literal["block", "text", "sentence"] = "block"
    mask_rate: float = 0.15
    keep_rate: float = 0.0
    random_rate: float = 0.0
    holdout_every: int = 50

    def held_out(self, line: int) -> bool:
        """Whether the line of this number (from 0) of a text file is kept for measuring."""
        return self.holdout_every > 0 and line % self.holdout_every == 0


@dataclass(frozen=True, kw_only=True)
class EmbedSkill(Skill):
    """Sentence embeddings.

    Distilled from `teacher` over the texts of `data`, or learnt from scored `pairs`: one of the two.
    """

    data: tuple[Source, ...] = ()
    teacher: Path | None = None
    unit: Literal["text", "sentence"] = "text"
    holdout_every: int = 50
    pairs: tuple[Source, ...] = ()
    score_range: tuple[float, float] = (0.0, 5.0)
    dev: tuple[Source, ...] = ()

    def held_out(self, line: int) -> bool:
        """Whether the line of this number (from 0) of a text file is kept for measuring."""
        return self.holdout_every > 0 and line % self.holdout_every == 0


@dataclass(frozen=True, kw_only=True)
class LabelSkill(Skill):
    """A class for each text, or pair of texts.

    Without `dev`, a seeded `dev_fraction` of the data is held out.
    """

    data: tuple[Source, ...]
    dev: tuple[Source, ...] = ()
    dev_fraction: float = 0.1
    problem_type: Literal["single_label_classification", "multi_label_classification", "regression"] = (
        "single_label_classification"
    )
    pooling: Literal["cls", "mean"] = "cls"
    dense: bool = True
    dropout: float = 0.1


@dataclass(frozen=True, kw_only=True)
class TagSkill(Skill):
    """A tag for each word, read from CoNLL columns; the first word piece of a word carries its tag."""

    data: tuple[Source, ...]
    dev: tuple[Source, ...] = ()
    dev_fraction: float = 0.1
    dropout: float = 0.1


KINDS: dict[str, type[Skill]] = {"fill": FillSkill, "embed": EmbedSkill, "label": LabelSkill, "tag": TagSkill}


@dataclass(frozen=True)
class Recipe:
    """Everything a run depends on besides the files it names. Without `model` the base is the bundled one."""

    schedule: Schedule
    skills: tuple[Skill, ...]
    model: Path | None = None
    seed: int = 7


def read_recipe(path: Path) -> Recipe:
    """Read the recipe at `path`; relative paths in it are taken from its folder.

    Raises RecipeError naming the key and, for an unknown one, the nearest known key.
    """
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as problem:
        raise RecipeError(f"{path}: cannot be read as YAML: {problem}") from problem
    try:
        recipe: Recipe = _convert(tree, Recipe, "", path.parent)
    except RecipeError as problem:
        raise RecipeError(f"{path}: {problem}") from None
    names = [skill.name for skill in recipe.skills]
    for name in names:
        if names.count(name) > 1:
            raise RecipeError(f"{path}: skills: two skills are named {name!r}; names must differ")
        if "." in name:
            raise RecipeError(
                f"{path}: skills: the name {name!r} contains a dot; tensor names are split at dots"
            )
    return recipe


def _convert(value: Any, wanted: Any, where: str, folder: Path) -> Any:
    """`value` from YAML as the annotated type `wanted`; `where` is the dotted place for messages."""
    origin, arguments = get_origin(wanted), get_args(wanted)
    if wanted is Source and isinstance(value, str):
        return Source(folder / value)
    if wanted is Skill:
        return _convert_skill(value, where, folder)
    if is_dataclass(wanted):
        return _convert_mapping(value, typing.cast(type, wanted), where, folder)
    if origin is tuple:
        variable = len(arguments) == 2 and arguments[1] is Ellipsis
        if not isinstance(value, list):
            # One path stands for a list of one, one weight for the same weight from start to end.
            value = [value] if variable else [value] * len(arguments)
        if not variable and len(value) != len(arguments):
            raise RecipeError(f"{where}: {len(arguments)} values are needed, {len(value)} are given")
        inner = [arguments[0]] * len(value) if variable else arguments
        return tuple(
            _convert(v, t, f"{where}[{i}]", folder) for i, (v, t) in enumerate(zip(value, inner, strict=True))
        )
    if origin is Literal:
        if value not in arguments:
            raise RecipeError(f"{where}: {value!r} is not one of {', '.join(map(str, arguments))}")
        return value
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        return _convert(value, next(a for a in arguments if a is not type(None)), where, folder)
    if wanted is Path and isinstance(value, str):
        return folder / value
    if wanted is float and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            return float(value)  # YAML 1.1 reads 4e-4 as a string
        except ValueError:
            pass
    elif isinstance(value, wanted) and isinstance(value, bool) == (wanted is bool):
        return value
    raise RecipeError(f"{where}: {value!r} is not a {wanted.__name__}")


def _convert_skill(value: Any, where: str, folder: Path) -> Skill:
    if not isinstance(value, dict) or value.get("kind") not in KINDS:
        raise RecipeError(f"{where}: a skill needs `kind`, one of {', '.join(KINDS)}")
    rest = {key: item for key, item in value.items() if key != "kind"}
    return typing.cast(Skill, _convert_mapping(rest, KINDS[value["kind"]], where, folder))


def _convert_mapping(value: Any, wanted: type, where: str, folder: Path) -> Any:
    if not isinstance(value, dict):
        raise RecipeError(f"{where or 'the recipe'}: a mapping is needed, not {value!r}")
    hints = get_type_hints(wanted)
    prefix = f"{where}." if where else ""
    for key in value:
        if key not in hints:
            near = difflib.get_close_matches(str(key), [*hints, "kind"], n=1, cutoff=0.0)
            raise RecipeError(f"{prefix}{key}: unknown key, did you mean {near[0]}?")
    for field in fields(wanted):
        if field.name not in value and field.default is MISSING:
            raise RecipeError(f"{prefix}{field.name}: missing")
    return wanted(
        **{key: _convert(item, hints[key], f"{prefix}{key}", folder) for key, item in value.items()}
    )
