"""`train label | tag | fill` from examples to a directory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal

import torch
import transformers

from bertcli.models.tokenizer import Tokenizer
from bertcli.training.card import Account, write_card
from bertcli.training.examples import FEW, Held, spread
from bertcli.training.fill import FillLesson
from bertcli.training.fit import Fit, Pace, Standing
from bertcli.training.label import LabelLesson
from bertcli.training.lessons import Machine
from bertcli.training.tag import TagLesson
from bertcli.training.trial import try_halves

if TYPE_CHECKING:
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.training.saving import Target

Kind = Literal["label", "tag", "fill"]

LESSONS: Mapping[Kind, type[LabelLesson] | type[TagLesson] | type[FillLesson]] = {
    "label": LabelLesson,
    "tag": TagLesson,
    "fill": FillLesson,
}
RATES: Mapping[Kind, float] = {"label": 1e-4, "tag": 3e-4, "fill": 2e-4}
FEWEST_STEPS = 400  # worth making, if the epochs for it are not too many
MOST_EPOCHS, FEWEST_EPOCHS = 12, 3
BATCH_TOKENS = 2048
GENTLE = 5e-5  # the rate for few labels, which a faster one learns by heart


@dataclass(frozen=True, slots=True)
class Request:
    """What a user asked for; None where the defaults decide. `command` is what they typed."""

    kind: Kind
    command: Sequence[str]
    data: Sequence[str]
    seed: int
    epochs: int | None
    learning_rate: float | None
    batch_tokens: int | None
    max_length: int
    device: str
    dtype: str
    threads: int | None


def learn(
    request: Request,
    checkpoint: Checkpoint,
    held: Held,
    target: Target,
    *,
    resume: bool,
    told: Callable[[int, int, float], None],
    phase: Callable[[str], None],
) -> Standing:
    """Train the base on the examples, and write the best state as a directory. `phase` is called with what begins,
    `told(step, steps, loss)` after each step; its steps are those of all phases together."""
    if request.threads is not None:
        torch.set_num_threads(request.threads)
    transformers.set_seed(request.seed)  # a new head is drawn at random
    tokenizer = Tokenizer.of(checkpoint)
    machine = Machine.choose(request.device, request.dtype, tokenizer.pad_id)
    length = min(request.max_length, checkpoint.max_length)
    lesson = LESSONS[request.kind](checkpoint, tokenizer, held, machine, length)
    pace = _pace(request, len(lesson.lengths))
    if isinstance(lesson, LabelLesson) and not held.dev:
        phase("trying on each half whether a linear head or a tuned encoder answers the other half better")
        total = TotalSteps(told)
        with TemporaryDirectory() as folder:
            trial = try_halves(
                lesson,
                held,
                lambda half: LabelLesson(checkpoint, tokenizer, half, machine, length, like=lesson),
                lambda one: total.add(
                    Fit(one, _pace(request, len(one.train)), machine, Path(folder), "", total.tell), of=4
                ),
            )
        told = total.tell
        lesson.examined = trial.examination
        pace = pace if trial.tuned else replace(pace, epochs=0)
    identity = repr((request.kind, checkpoint.fingerprint(), held.fingerprint(), pace, length, machine))
    key = hashlib.sha256(identity.encode()).hexdigest()
    fit = Fit(lesson, pace, machine, target.part, key, told)
    if pace.epochs:
        phase(f"tuning the encoder: at most {fit.steps} steps")
    else:
        phase("fitting a linear head: it was no worse than a tuned encoder")
    standing = fit.run(resume=resume)
    card = write_card(_account(request, checkpoint, held, lesson, fit))
    target.write(lesson.model, checkpoint.path, card, keep_state=standing.interrupted)
    return standing


class TotalSteps:
    """Counts the steps of several fits as those of one, so that there is one estimate of the time left."""

    def __init__(self, told: Callable[[int, int, float], None]) -> None:
        self._told = told
        self._before = self._total = self._step = 0

    def add(self, fit: Fit, *, of: int) -> Fit:
        """Another fit begins; the first of them is taken for one of `of` equal ones."""
        self._before += self._step
        self._step = 0
        self._total = self._total or of * fit.steps
        return fit

    def tell(self, step: int, steps: int, loss: float) -> None:
        if step < self._step:  # the last fit, which was not added
            self._before += self._step
        self._step = step
        done = self._before + step
        self._told(done, max(self._total, done + steps - step), loss)


def _pace(request: Request, examples: int) -> Pace:
    """Few examples are seen more often than many."""
    wanted = FEWEST_STEPS * 16 // max(1, examples)
    epochs = request.epochs or max(FEWEST_EPOCHS, min(MOST_EPOCHS, wanted))
    usual = GENTLE if request.kind == "label" and examples < FEW else RATES[request.kind]
    rate = request.learning_rate or usual
    return Pace(epochs, rate, request.batch_tokens or BATCH_TOKENS, request.seed)


def _account(
    request: Request,
    checkpoint: Checkpoint,
    held: Held,
    lesson: LabelLesson | TagLesson | FillLesson,
    fit: Fit,
) -> Account:
    classes: Mapping[str, int] = {}
    if isinstance(lesson, TagLesson) or (isinstance(lesson, LabelLesson) and lesson.problem != "regression"):
        classes = spread(held.train, lesson.classes)
    examination = fit.examine()
    return Account(
        kind=request.kind,
        base=checkpoint.name,
        command=request.command,
        data=request.data,
        train=len(held.train),
        dev=len(held.dev),
        classes=classes,
        figures=examination.estimates(),
        labels=examination.labels,
        crossed=not held.dev,
        steps=fit.standing.best_step,
        finished=not fit.standing.interrupted,
    )
