"""Training runs, from a training or a recipe to a directory."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal

import torch
import transformers

from bertcli.errors import InputError
from bertcli.models.checkpoint import open_checkpoint
from bertcli.models.cross_encoder import SIGMOID
from bertcli.models.library import resolve
from bertcli.models.tokenizer import Tokenizer
from bertcli.training.card import Account, write_card, write_recipe_card
from bertcli.training.conversion import RecipeError
from bertcli.training.dataset import FEW, REGRESSION, Split, spread, starts_from_probe
from bertcli.training.export import export, export_beside, export_one_head
from bertcli.training.few_examples import HalvesComparison, compare_on_halves
from bertcli.training.machine import Machine
from bertcli.training.mean_layer import append_mean_layer
from bertcli.training.network import (
    HeadSpec,
    Network,
    begin_from,
    continue_heads,
    copy_head,
    head_spec,
    load_base,
    one_head_network,
)
from bertcli.training.objectives import Context, Objective
from bertcli.training.objectives.answer import AnswerObjective
from bertcli.training.objectives.embed import EmbedObjective
from bertcli.training.objectives.fill import FillObjective
from bertcli.training.objectives.label import LabelObjective
from bertcli.training.objectives.rerank import RerankObjective
from bertcli.training.objectives.tag import TagObjective
from bertcli.training.recipe import (
    AnswerSettings,
    EmbedSettings,
    FillSettings,
    LabelSettings,
    ObjectiveSettings,
    Recipe,
    RerankSettings,
    Schedule,
    TagSettings,
)
from bertcli.training.recipe_data import answer_split, label_split, tag_split
from bertcli.training.trainer import OnValidation, Report, Trainer

if TYPE_CHECKING:
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.models.heads import Head
    from bertcli.training.saving import Target
    from bertcli.training.validation import Validation

Kind = Literal["label", "tag", "fill", "answer", "rerank"]

RATES: Mapping[Kind, float] = {"label": 1e-4, "tag": 3e-4, "fill": 2e-4, "answer": 1e-4, "rerank": 1e-4}
FEW_RATE = 5e-5  # for few labelled examples, which a higher one overfits
MIN_STEPS = 400  # worth making, if it does not take too many epochs
MAX_EPOCHS, MIN_EPOCHS = 12, 3
WARM_UP = 0.1  # of all steps
EVALUATE_STEPS = 400  # a validation at least so often
PATIENCE = 4  # validations without a better one
BATCH_TOKENS = 2048
MAX_ROWS = 32  # of a batch: short texts would make too few steps
FREEZE_EMBEDDINGS = 2000  # fewer labelled examples are too few to learn words from, and steps are cheaper


@dataclass(frozen=True, slots=True)
class Place:
    """Where to train, as options say it; a `dtype` "auto" leaves it to the recipe."""

    device: str
    dtype: str
    threads: int | None


@dataclass(frozen=True, slots=True)
class HeadTraining:
    """One objective; None where the defaults decide. `command` is what the user typed, `data` the names of the
    files, `head` the head of the base to start from."""

    kind: Kind
    command: Sequence[str]
    data: Sequence[str]
    seed: int
    epochs: int | None
    learning_rate: float | None
    batch_tokens: int | None
    max_length: int
    place: Place
    head: str | None = None


@dataclass(frozen=True, slots=True)
class TrainingOutcome:
    """`figures` are those of the state that was written, `history` those of each validation."""

    figures: Mapping[str, float]
    history: Sequence[Mapping[str, float]]
    step: int
    interrupted: bool


def train_objective(
    training: HeadTraining,
    checkpoint: Checkpoint,
    split: Split,
    target: Target,
    *,
    resume: bool,
    report: Report,
    on_validation: OnValidation,
    say: Callable[[str], None],
) -> TrainingOutcome:
    """Train one objective on the base, and write the best state as a directory with one head. `say` is called with
    what begins, `report(step, steps, loss)` after each step, its steps those of all phases together, and
    `on_validation` with the step and the figures of each validation."""
    context = _context(checkpoint, target, training.place, "auto", 0, training.seed, MAX_ROWS)
    transformers.set_seed(training.seed)  # a new head is drawn at random
    start = None if training.head is None else checkpoint.heads[training.head]
    objective = _objective(training, split, context, None if start is None else head_spec(start))
    if split.dev and not objective.dev_size:
        raise InputError(
            "the held-out texts are too short to validate with", hint="give longer ones as --dev"
        )
    network = _network(training.kind, objective, checkpoint, start)
    schedule = _schedule(training, objective, few=training.kind == "label" and len(split.train) < FEW)
    probe = objective if isinstance(objective, LabelObjective) and _has_probe(checkpoint, start) else None
    validation: Validation | None = None
    if probe is not None and not split.dev:
        say("comparing a linear probe with a fine-tuned encoder, each half of the examples held out once")
        comparison, report = _compare(training, probe, context, report)
        validation = comparison.validation
        schedule = schedule if comparison.tuned else replace(schedule, steps=0)
    identity = (
        checkpoint.fingerprint(),
        split.fingerprint(),
        objective.settings,
        schedule,
        context.machine,
        training.head,
    )
    trainer = Trainer(
        network,
        [objective],
        schedule,
        context.machine,
        target.part,
        _key(identity),
        training.seed,
        report,
        on_validation,
    )
    if schedule.steps:
        say(f"fine-tuning the encoder: at most {schedule.steps} steps")
    else:
        say("fitting a linear probe: it was no worse than a fine-tuned encoder")
    if resume:
        trainer.resume()
    elif probe is not None:
        probe.fit_probe(network)
    trainer.train()
    validation = validation or trainer.validations()[objective.settings.name]
    if probe is not None and trainer.best.weights and not trainer.best.step:
        probe.fit_probe(network, with_dev=True)  # the probe is the best: it need not hold anything out
    account = _account(training, checkpoint, split, objective, validation, trainer)
    with target.writing(keep_state=trainer.interrupted) as folder:
        export_one_head(network.model, checkpoint.tokenizer_path, folder)
        (folder / "README.md").write_text(write_card(account), encoding="utf-8")
    return TrainingOutcome(validation.figures(), trainer.history, account.steps, trainer.interrupted)


def train_recipe(
    recipe: Recipe,
    checkpoint: Checkpoint,
    path: Path,
    target: Target,
    place: Place,
    command: Sequence[str],
    *,
    resume: bool,
    report: Report,
    on_validation: OnValidation,
) -> TrainingOutcome:
    """Train the objectives of the recipe at `path`, and write the best state, or without validation the last one, as a
    directory with named heads.

    Raises RecipeError, and UsageError when the run to resume had another recipe.
    """
    schedule = recipe.schedule
    context = _context(checkpoint, target, place, schedule.precision, schedule.evaluate_limit, recipe.seed)
    try:
        objectives = [
            _of_recipe(settings, context, recipe.seed * 1000 + number)
            for number, settings in enumerate(recipe.skills)
        ]
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}", hint=error.hint) from None
    torch.manual_seed(recipe.seed)  # new heads are drawn at random
    heads = {one.settings.name: one.head for one in objectives if one.head is not None}
    network = _recipe_network(recipe, checkpoint, heads).to(context.machine.device)
    key = _key((checkpoint.fingerprint(), recipe.seed, recipe.skills, recipe.frozen))
    trainer = Trainer(
        network, objectives, schedule, context.machine, target.part, key, recipe.seed, report, on_validation
    )
    if resume:
        trainer.resume()
    trainer.train()
    step = trainer.best.step if trainer.best.weights else trainer.progress.step
    estimates = trainer.best.estimates()
    card = write_recipe_card(
        checkpoint.name, command, objectives, estimates, steps=step, finished=not trainer.interrupted
    )
    fill = "fill" in checkpoint.heads and not checkpoint.heads["fill"].missing
    fill = fill or any(isinstance(settings, FillSettings) for settings in recipe.skills)
    with target.writing(keep_state=trainer.interrupted) as folder:
        if recipe.frozen:
            export_beside(network, heads, checkpoint, folder)
        else:
            export(network, heads, checkpoint, folder, fill=fill)
        (folder / "recipe.yaml").write_bytes(path.read_bytes())
        (folder / "README.md").write_text(card, encoding="utf-8")
    figures = {
        f"{objective} {name}": figure.value
        for objective, found in estimates.items()
        for name, figure in list(found.items())[:1]
    }
    return TrainingOutcome(figures, trainer.history, trainer.progress.step, trainer.interrupted)


def _recipe_network(recipe: Recipe, checkpoint: Checkpoint, heads: Mapping[str, HeadSpec]) -> Network:
    """The base with the heads of the objectives, each as it is in the base, or in the model that its adapter begins
    from."""
    model = load_base(transformers.AutoModelForMaskedLM, checkpoint)
    if recipe.frozen:
        model.requires_grad_(False)
    network = Network(
        model,
        heads,
        dropout={s.name: getattr(s, "dropout", 0.0) for s in recipe.skills},
        encoder_dropout={s.name: getattr(s, "encoder_dropout", 0.0) for s in recipe.skills},
    )
    continue_heads(checkpoint, heads, network)
    for settings in recipe.skills:
        if isinstance(settings, TagSettings | AnswerSettings) and settings.adapter_from is not None:
            source = open_checkpoint(resolve(settings.adapter_from))
            _require_head(source, settings, heads[settings.name])
            begin_from(checkpoint, source, settings.name, network)
    return network


def _require_head(source: Checkpoint, settings: TagSettings | AnswerSettings, spec: HeadSpec) -> None:
    """Raise RecipeError for a model without the head that an adapter should begin from."""
    entry = source.config.get("bertcli", {}).get("heads", {}).get(settings.name, {})
    wanted = spec.as_config()
    if any(entry.get(key) != wanted.get(key) for key in ("kind", "labels", "shapes")):
        raise RecipeError(
            f"{settings.name}: adapter_from: {source.name} has no head {settings.name} that predicts the same",
            hint="train it first, with the same recipe without `frozen`, `adapter` and `adapter_from`",
        )


def _context(
    checkpoint: Checkpoint,
    target: Target,
    place: Place,
    dtype: str,
    validation_limit: int,
    seed: int,
    max_rows: int | None = None,
) -> Context:
    if place.threads is not None:
        torch.set_num_threads(place.threads)
    tokenizer = Tokenizer.of(checkpoint)
    machine = Machine.choose(place.device, dtype if place.dtype == "auto" else place.dtype, tokenizer.pad_id)
    return Context(checkpoint, tokenizer, machine, target.part / "cache", validation_limit, seed, max_rows)


def _key(identity: object) -> str:
    return hashlib.sha256(repr(identity).encode()).hexdigest()


def _of_recipe(settings: ObjectiveSettings, context: Context, seed: int) -> Objective:
    """Read and tokenise the data of an objective. Raises RecipeError, and whatever reading the data raises."""
    match settings:
        case FillSettings():
            return FillObjective.of_recipe(settings, context, seed)
        case EmbedSettings():
            return EmbedObjective(settings, context, seed)
        case LabelSettings():
            return LabelObjective(settings, label_split(settings, context.seed), context, seed)
        case TagSettings():
            return TagObjective(settings, tag_split(settings, context.seed), context, seed)
        case AnswerSettings():
            return AnswerObjective(settings, answer_split(settings, context.seed), context, seed)
        case _:
            raise TypeError(f"no objective for {type(settings).__name__}")


def _objective(
    training: HeadTraining, split: Split, context: Context, head: HeadSpec | None = None
) -> LabelObjective | TagObjective | FillObjective | AnswerObjective | RerankObjective:
    """The objective of a training, on the examples of a split."""
    length = min(training.max_length, context.checkpoint.max_length)
    tokens = training.batch_tokens or BATCH_TOKENS
    if training.kind == "label":
        label = LabelSettings(name="label", data=(), max_length=length, batch_tokens=tokens)
        return LabelObjective(label, split, context, training.seed, head)
    if training.kind == "tag":
        tag = TagSettings(name="tag", data=(), max_length=length, batch_tokens=tokens)
        return TagObjective(tag, split, context, training.seed, head)
    if training.kind == "answer":
        answer = AnswerSettings(name="answer", data=(), max_length=length, batch_tokens=tokens)
        return AnswerObjective(answer, split, context, training.seed)
    if training.kind == "rerank":
        rerank = RerankSettings(name="rerank", max_length=length, batch_tokens=tokens)
        return RerankObjective(rerank, split, context, training.seed)
    fill = FillSettings(
        name="fill",
        data=(),
        unit="text",
        keep_rate=0.1,
        random_rate=0.1,
        max_length=length,
        batch_tokens=tokens,
    )
    train, dev = ([e.text for e in part] for part in (split.train, split.dev))
    return FillObjective.of_texts(fill, train, dev, context, training.seed)


def _has_probe(checkpoint: Checkpoint, start: Head | None) -> bool:
    """Whether a label head begins as a linear probe: not one that is trained further."""
    return start is None and starts_from_probe(checkpoint)


def _network(kind: Kind, objective: Objective, checkpoint: Checkpoint, start: Head | None = None) -> Network:
    """A network with one head, which is the model of transformers; with the weights of the head `start`, if there is
    one."""
    # transformers has no token types for the shapes of words: they are left out of what the head changes
    encoder = checkpoint if start is None else checkpoint.for_head(replace(start, shapes=False))
    network = one_head_network(kind, objective.head, encoder)
    if kind == "label":
        if _has_probe(checkpoint, start):
            append_mean_layer(network.model)
        if objective.train_size < FREEZE_EMBEDDINGS:
            network.model.base_model.embeddings.requires_grad_(False)
    if kind == "rerank":
        network.model.config.sentence_transformers = {"activation_fn": SIGMOID}
    if start is not None:
        copy_head(checkpoint, start, network)
    return network


def _account(
    training: HeadTraining,
    checkpoint: Checkpoint,
    split: Split,
    objective: Objective,
    validation: Validation,
    trainer: Trainer,
) -> Account:
    """What the model card says of a training."""
    classes: Mapping[str, int] = {}
    if isinstance(objective, LabelObjective | TagObjective) and objective.head.problem_type != REGRESSION:
        classes = spread(split.train, objective.head.labels)
    return Account(
        kind=training.kind,
        base=checkpoint.name,
        command=training.command,
        data=training.data,
        train=len(split.train),
        dev=len(split.dev),
        classes=classes,
        figures=validation.estimates(),
        labels=validation.labels,
        crossed=not split.dev,
        steps=trainer.best.step if trainer.best.weights else trainer.progress.step,
        finished=not trainer.interrupted,
    )


def _schedule(training: HeadTraining, objective: Objective, *, few: bool) -> Schedule:
    """Few examples are seen more often than many."""
    wanted = MIN_STEPS * 16 // max(1, objective.train_size)
    epochs = training.epochs or max(MIN_EPOCHS, min(MAX_EPOCHS, wanted))
    steps = objective.batches_per_epoch * epochs
    return Schedule(
        steps=steps,
        peak_rate=training.learning_rate or (FEW_RATE if few else RATES[training.kind]),
        warm_up=math.ceil(steps * WARM_UP),
        micro_batches=1,
        betas=(0.9, 0.999),
        checkpoint_minutes=2,
        evaluate_steps=min(objective.batches_per_epoch, EVALUATE_STEPS),
        patience=PATIENCE,
    )


def _compare(
    training: HeadTraining, objective: LabelObjective, context: Context, report: Report
) -> tuple[HalvesComparison, Report]:
    """Whether fine-tuning does better than a probe on halves of the examples, and a report that goes on from the steps
    of this comparison. Raises KeyboardInterrupt at an interrupt."""
    total = TotalSteps(report)
    with TemporaryDirectory() as folder:

        def probe_of(half: Split) -> tuple[Network, LabelObjective]:
            part = _objective(training, half, context, objective.head)
            assert isinstance(part, LabelObjective)
            network = _network("label", part, context.checkpoint).to(context.machine.device)
            part.fit_probe(network)
            return network, part

        def fine_tune(network: Network, part: LabelObjective) -> None:
            schedule = _schedule(training, part, few=True)
            total.begin(schedule.steps, phases=4)
            trainer = Trainer(
                network,
                [part],
                schedule,
                context.machine,
                Path(folder),
                "",
                training.seed,
                total.report,
                on_validation=lambda _: None,
            )
            trainer.train()
            if trainer.interrupted:
                raise KeyboardInterrupt

        return compare_on_halves(objective, probe_of, fine_tune), total.report


class TotalSteps:
    """Counts the steps of several trainings as those of one, so that there is one estimate of the time left."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._before = self._total = self._step = 0

    def begin(self, steps: int, *, phases: int) -> None:
        """Another training begins; the first of them is taken for one of `phases` equal ones."""
        self._before += self._step
        self._step = 0
        self._total = self._total or phases * steps

    def report(self, step: int, steps: int, loss: float) -> None:
        if step < self._step:  # the last training, which did not begin here
            self._before += self._step
        self._step = step
        done = self._before + step
        self._report(done, max(self._total, done + steps - step), loss)
