"""A YAML recipe: a base model, a schedule, and objectives, which it calls skills (docs/training.md).

Each has a kind (fill, embed, label, tag, answer), its data, and a weight: the share of micro-batches it gets. A
weight may be a pair `[at the start, at the end]` of the schedule.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml

from bertcli.errors import ModelError, one_line
from bertcli.models.checkpoint import Checkpoint, open_checkpoint
from bertcli.models.library import resolve
from bertcli.training.conversion import Converter, ModelName, RecipeError


@dataclass(frozen=True)
class Schedule:
    """How long, how fast and how often: steps, learning rate, batches, checkpoints.

    After the warm-up the learning rate falls linearly to zero, or with the inverse square root of the step. `patience`
    is the number of validations without a better one that ends the run, 0 for none. The result is the mean of the
    weights of the last `average` validations, unless the best weights are better; 0 for the best weights.
    """

    steps: int
    peak_rate: float = 4e-4
    warm_up: int = 150
    decay: Literal["linear", "inverse_sqrt"] = "linear"
    micro_batches: int = 2
    weight_decay: float = 0.01
    clip: float = 1.0
    betas: tuple[float, float] = (0.9, 0.98)
    epsilon: float = 1e-8
    precision: Literal["auto", "bfloat16", "float32"] = "auto"
    checkpoint_minutes: float = 10.0
    evaluate_steps: int = 300
    evaluate_limit: int = 600
    patience: int = 0
    average: int = 0


@dataclass(frozen=True)
class DataSource:
    """A file of any form bertcli reads, and how much of it: `limit` takes a seeded sample.

    In a recipe a bare path is enough. Fields are found as for `train label`; a second text is also
    looked for in `text_pair`.
    """

    path: Path
    limit: int | None = None
    text_field: str | None = None
    pair_field: str | None = None
    label_field: str | None = None


@dataclass(frozen=True, kw_only=True)
class ObjectiveSettings:
    """What every objective has.

    `weight` is its share of micro-batches at the start and at the end of the schedule, relative to the
    others.
    """

    name: str
    weight: tuple[float, float] = (1.0, 1.0)
    loss_weight: float = 1.0
    batch_tokens: int = 2048
    max_length: int = 128


@dataclass(frozen=True, kw_only=True)
class FillSettings(ObjectiveSettings):
    """Masked language modelling.

    `unit: block` cuts full blocks from texts; `text` and `sentence` take each by itself. Every
    `holdout_every`th record of a file, from the first, is kept for measuring; 0 keeps none.
    """

    data: tuple[DataSource, ...]
    unit: Literal["block", "text", "sentence"] = "block"
    mask_rate: float = 0.15
    keep_rate: float = 0.0
    random_rate: float = 0.0
    holdout_every: int = 50


@dataclass(frozen=True, kw_only=True)
class EmbedSettings(ObjectiveSettings):
    """Sentence embeddings.

    Distilled from `teacher` over the texts of `data`, or learnt from scored `pairs`: one of the two.
    `holdout_every` leaves out the same records as for fill.
    """

    data: tuple[DataSource, ...] = ()
    teacher: ModelName | None = None
    unit: Literal["text", "sentence"] = "text"
    holdout_every: int = 50
    pairs: tuple[DataSource, ...] = ()
    score_range: tuple[float, float] = (0.0, 5.0)
    dev: tuple[DataSource, ...] = ()


@dataclass(frozen=True, kw_only=True)
class LabelSettings(ObjectiveSettings):
    """A class for each text, or pair of texts.

    `dropout` is that of the head, `encoder_dropout` that of the encoder, attention included, while it reads for this
    head. Without `dev`, a seeded `dev_fraction` of the data is held out. Without `problem_type` the labels say what
    it is, as for `train label`.
    """

    data: tuple[DataSource, ...]
    dev: tuple[DataSource, ...] = ()
    dev_fraction: float = 0.1
    problem_type: (
        Literal["single_label_classification", "multi_label_classification", "regression"] | None
    ) = None
    pooling: Literal["cls", "mean"] = "cls"
    dense: bool = True
    dropout: float = 0.1
    encoder_dropout: float = 0.0


@dataclass(frozen=True, kw_only=True)
class TagSettings(ObjectiveSettings):
    """A tag for each word; the first word piece of a word carries it.

    `dropout` and `encoder_dropout` are as for label, `adapter` and `adapter_from` as for answer. `join` reads half of
    the sentences in groups of up to so many, so that long texts are seen too. `shapes` tells the encoder the shapes of
    words as token types (see `tasks.word_shapes`), and `recase` is the share of sentences that are read once more, in
    capitals or in lower case. `transitions` above 0 has the tags of a text chosen together: it is the weight of how
    much more often than by chance a tag follows another in the training data, in log-odds, beside the log-probabilities
    of the words' tags (see `tasks.tag_path`).
    """

    data: tuple[DataSource, ...]
    dev: tuple[DataSource, ...] = ()
    dev_fraction: float = 0.1
    dropout: float = 0.1
    encoder_dropout: float = 0.0
    join: int = 1
    adapter: int = 0
    adapter_from: ModelName | None = None
    shapes: bool = False
    recase: float = 0.0
    transitions: float = 0.0


@dataclass(frozen=True, kw_only=True)
class AnswerSettings(ObjectiveSettings):
    """The span of a context that answers a question, or none.

    `dropout` and `encoder_dropout` are as for label. `adapter` is the rank of changes to the encoder that this head
    alone uses (see `training.adapter`), 0 for none. `adapter_from` is a model with this head whose encoder is the base
    trained further: the adapter begins as the best approximation of what has changed in it.
    """

    data: tuple[DataSource, ...]
    dev: tuple[DataSource, ...] = ()
    dev_fraction: float = 0.1
    dropout: float = 0.1
    encoder_dropout: float = 0.0
    adapter: int = 0
    adapter_from: ModelName | None = None


@dataclass(frozen=True, kw_only=True)
class RerankSettings(ObjectiveSettings):
    """How relevant a text is to a query."""


KINDS: dict[str, type[ObjectiveSettings]] = {
    "fill": FillSettings,
    "embed": EmbedSettings,
    "label": LabelSettings,
    "tag": TagSettings,
    "answer": AnswerSettings,
}


@dataclass(frozen=True)
class Recipe:
    """Everything a run depends on besides the files it names. Without `model` the base is the bundled one.

    `frozen`: nothing of the base changes. The result has all its weights and heads, and those of the skills beside
    them.
    """

    schedule: Schedule
    skills: tuple[ObjectiveSettings, ...]
    model: ModelName | None = None
    frozen: bool = False
    seed: int = 7


def read_recipe(path: Path) -> Recipe:
    """Read the recipe at `path`; relative paths in it are taken from its folder.

    Raises RecipeError naming the key and, for an unknown one, the nearest known key.
    """
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise RecipeError(f"{path}: cannot be read: {reason}") from error
    except yaml.YAMLError as error:
        raise RecipeError(f"{path}: is not YAML: {one_line(error)}") from error
    try:
        recipe = Converter(path.parent, {ObjectiveSettings: KINDS}, {DataSource: "path"}).mapping(
            tree, Recipe
        )
        problem = next(_problems(recipe), None)
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from None
    if problem is not None:
        raise RecipeError(f"{path}: {problem}")
    return recipe


def open_base(recipe: Recipe, path: Path) -> Checkpoint:
    """The base of the recipe at `path`. Raises ModelError for one that is not a BERT, RecipeError for texts longer
    than it takes."""
    base = open_checkpoint(resolve(recipe.model))
    if base.model_type != "bert":
        raise ModelError(f"a recipe needs a BERT, and {base.name} is a {base.model_type}", where=str(path))
    for number, skill in enumerate(recipe.skills):
        if skill.max_length > base.position_limit:
            raise RecipeError(
                f"{path}: skills[{number}].max_length: {skill.max_length} tokens are more than the"
                f" {base.position_limit} the base takes"
            )
    return base


def _problems(recipe: Recipe) -> Iterator[str]:
    """What no single value is to blame for, and numbers that make no sense."""
    if not recipe.skills:
        yield "skills: there is none"
    names = [skill.name for skill in recipe.skills]
    for place, skill in enumerate(recipe.skills):
        where = f"skills[{place}]"
        if names.count(skill.name) > 1:
            yield f"{where}.name: two skills are named {skill.name!r}; names must differ"
        if not skill.name or "." in skill.name:
            yield f"{where}.name: {skill.name!r} is empty or has a dot; tensor names are split at dots"
        if isinstance(skill, EmbedSettings) and bool(skill.pairs) == (skill.teacher is not None):
            yield f"{where}: a `teacher` with `data` is needed, or scored `pairs`"
        if getattr(skill, "adapter_from", None) is not None and not getattr(skill, "adapter", 0):
            yield f"{where}: `adapter_from` needs the rank of an `adapter`"
        if recipe.frozen and isinstance(skill, FillSettings | EmbedSettings):
            yield f"{where}: fill and embed have no head of their own: `frozen` leaves nothing to learn"
        yield from (f"{where}.{problem}" for problem in _wrong_numbers(skill))
    yield from (f"schedule.{problem}" for problem in _wrong_numbers(recipe.schedule))


LEAST = {
    "steps": 1,
    "micro_batches": 1,
    "evaluate_steps": 1,
    "batch_tokens": 8,
    "max_length": 8,
    "adapter": 0,
    "patience": 0,
    "average": 0,
}
SHARES = ("mask_rate", "keep_rate", "random_rate", "dev_fraction", "dropout", "encoder_dropout", "recase")


def _wrong_numbers(part: Schedule | ObjectiveSettings) -> Iterator[str]:
    for name, value in vars(part).items():
        if name in LEAST and value < LEAST[name]:
            yield f"{name}: {value} is less than {LEAST[name]}"
        if name in SHARES and not 0 <= value < 1:
            yield f"{name}: {value} is not a share from 0 to below 1"
        if name == "weight" and (min(value) < 0 or max(value) == 0):
            yield f"{name}: {value} is not a share of anything"
