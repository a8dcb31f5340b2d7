"""The loop: AdamW with warm-up and linear decay, the best measured state kept, early stop, resume.

A run is a pure function of its seed and data on one machine: batches are drawn by epoch number, dropout from
a generator whose state is saved. What a run leaves in its folder when it is interrupted is `state.pt`, from
which the next one continues as if nothing had happened.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from bertcli import interrupts
from bertcli.errors import UsageError
from bertcli.training.batches import shuffled
from bertcli.training.examination import Examination, better
from bertcli.training.lessons import Lesson, Machine
from bertcli.training.saving import STATE

MEASURE_STEPS = 400  # a measurement at least so often
SAVE_SECONDS = 120.0
WARM_UP = 0.1  # of all steps
DECAY = 0.01
CLIP = 1.0
PATIENCE = 4  # measurements without a better one


@dataclass(frozen=True, slots=True)
class Pace:
    """How long, how fast, in which batches."""

    epochs: int
    learning_rate: float
    batch_tokens: int
    seed: int


@dataclass
class Standing:
    """Where a run stands; all of it is saved. `history` has a line a measurement."""

    step: int = 0
    best: dict[str, float] = field(default_factory=dict)
    best_step: int = 0
    stale: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    interrupted: bool = False


class Fit:
    """A run over a lesson. `told(step, steps, loss)` is called after every step."""

    def __init__(
        self,
        lesson: Lesson,
        pace: Pace,
        machine: Machine,
        folder: Path,
        key: str,
        told: Callable[[int, int, float], None],
    ) -> None:
        """`key` changes with whatever a continued run must have in common with its beginning."""
        self.lesson, self.pace, self.machine = lesson, pace, machine
        self.folder, self.key, self.told = folder, key, told
        self.standing = Standing()
        self.parameters = [p for p in lesson.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": [p for p in self.parameters if p.ndim > 1], "weight_decay": DECAY},
                {"params": [p for p in self.parameters if p.ndim <= 1], "weight_decay": 0.0},
            ],
            lr=pace.learning_rate,
            fused=machine.device.type in ("cpu", "cuda"),
        )
        self._epoch = (-1, [[0]])
        self.epoch_steps = len(self._batches(0))
        self.steps = self.epoch_steps * pace.epochs
        self.best_weights: dict[str, Any] = {}

    def run(self, *, resume: bool) -> Standing:
        """Teach until the schedule ends, nothing gets better, or Ctrl-C; leave the model at its best, or at
        its last where nothing is held out."""
        torch.manual_seed(self.pace.seed)
        if resume:
            self._load()
        else:
            self.lesson.begin()
            self._measure_if_watched()
        self.standing.interrupted = False
        saved = time.monotonic()
        every = min(self.epoch_steps, MEASURE_STEPS)
        with interrupts.deferred() as asked:
            if self._is_due(every):  # the run was interrupted while it measured
                self._measure_if_watched()
            while not asked() and self.standing.step < self.steps and self.standing.stale < PATIENCE:
                loss = self._step()
                self.told(self.standing.step, self.steps, loss)
                if not asked() and self._is_due(every):
                    self._measure_if_watched()
                if time.monotonic() - saved > SAVE_SECONDS:
                    self._save()
                    saved = time.monotonic()
            if asked():
                self.standing.interrupted = True
                self._save()
        if self.lesson.is_watched:
            self.lesson.model.load_state_dict(self.best_weights)
        else:
            self.standing.best, self.standing.best_step = self.examine().figures(), self.standing.step
        return self.standing

    def _is_due(self, every: int) -> bool:
        """Whether the state is to be measured, and has not been yet."""
        step, history = self.standing.step, self.standing.history
        return step > 0 and step % every == 0 and (not history or history[-1]["step"] != step)

    def examine(self) -> Examination:
        """The model as it is, on the held-out part."""
        generators = self.machine.generators()
        self.lesson.model.eval()
        try:
            with torch.no_grad(), self.machine.products():
                return self.lesson.examine()
        finally:
            self.machine.set_generators(generators)

    def run_through(self) -> None:
        """Teach to the end of the schedule and measure nothing. Raises KeyboardInterrupt at Ctrl-C."""
        torch.manual_seed(self.pace.seed)
        with interrupts.deferred() as asked:
            while self.standing.step < self.steps:
                loss = self._step()
                self.told(self.standing.step, self.steps, loss)
                if asked():
                    raise KeyboardInterrupt

    def _step(self) -> float:
        epoch, index = divmod(self.standing.step, self.epoch_steps)
        chosen = self._batches(epoch)[index]
        self.lesson.model.train()
        for group in self.optimizer.param_groups:
            group["lr"] = self.pace.learning_rate * rate(self.standing.step, self.steps)
        with self.machine.products():
            # Each step has a seed of its own for what it draws.
            loss = self.lesson.loss(chosen, self.pace.seed * 1_000_003 + self.standing.step)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, CLIP)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.standing.step += 1
        return float(loss.detach())

    def _batches(self, epoch: int) -> list[list[int]]:
        if self._epoch[0] != epoch:
            found = shuffled(self.lesson.lengths, self.pace.batch_tokens, self.pace.seed, epoch)
            if (
                epoch
            ):  # epochs differ by a batch or two where lengths fall otherwise; a schedule needs one number
                found = (found * 2)[: self.epoch_steps]
            self._epoch = (epoch, found)
        return self._epoch[1]

    def _measure_if_watched(self) -> None:
        if not self.lesson.is_watched:
            return
        standing, model = self.standing, self.lesson.model
        try:
            figures = self.examine().figures()
        except interrupts.Deferred:  # the resumed run measures this step
            return
        standing.history.append({"step": standing.step} | figures)
        if not standing.best or better(figures, standing.best):
            standing.best, standing.best_step, standing.stale = figures, standing.step, 0
            self.best_weights = {
                name: value.detach().cpu().clone() for name, value in model.state_dict().items()
            }
        else:
            standing.stale += 1

    def _save(self) -> None:
        """Write state.pt whole or not at all."""
        part = self.folder / f"{STATE}.part"
        torch.save(
            {
                "key": self.key,
                "model": self.lesson.model.state_dict(),
                "best": self.best_weights,
                "optimizer": self.optimizer.state_dict(),
                "standing": asdict(self.standing),
                "generators": self.machine.generators(),
            },
            part,
        )
        part.replace(self.folder / STATE)

    def _load(self) -> None:
        state = torch.load(self.folder / STATE, weights_only=True, map_location="cpu")
        if state["key"] != self.key:
            raise UsageError(
                "the run to continue had other data, another base or other options",
                hint="give the same ones as before, or begin anew with --overwrite",
                where=str(self.folder),
            )
        self.lesson.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.best_weights = state["best"]
        self.standing = Standing(**state["standing"])
        self.machine.set_generators(state["generators"])


def rate(step: int, steps: int) -> float:
    """The share of the learning rate at a step: linear from 0 over the warm-up, then linear to 0."""
    warm = max(1, math.ceil(steps * WARM_UP))
    return min((step + 1) / warm, (steps - step) / max(1, steps - warm + 1), 1.0)
