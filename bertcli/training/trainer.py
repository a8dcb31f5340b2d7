"""The trainer: one or more objectives, mixed by weight, on one network.

Each step of the optimiser sums a few micro-batches, each of one objective (see `mixture`).

The learning rate rises linearly over the warm-up, then falls. The network is validated before the first step and every
`evaluate_steps`, and the weights that validated best are kept, or the mean of the last ones. An interrupt leaves
`state.pt`, from which `resume` continues to the same bits: batches are functions of their number, and the states of the
random generators are saved.
"""

from __future__ import annotations

import json
import math
import statistics
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from bertcli import interrupts
from bertcli.errors import UsageError
from bertcli.training.machine import Machine
from bertcli.training.mixture import Mixture
from bertcli.training.network import Network
from bertcli.training.objectives import Objective
from bertcli.training.recipe import Schedule
from bertcli.training.saving import STATE
from bertcli.training.state import Best, Progress
from bertcli.training.validation import Validation

METRICS = "metrics.jsonl"
CHECKPOINTS = "checkpoints"

Report = Callable[[int, int, float], None]
OnValidation = Callable[[Mapping[str, float]], None]


class Trainer:
    """A run in the directory `run`. `key` changes with whatever a resumed run must have in common with its beginning;
    `report(step, steps, loss)` is called after every step, `on_validation` with the step and the figures of every
    validation."""

    def __init__(
        self,
        network: Network,
        objectives: Sequence[Objective],
        schedule: Schedule,
        machine: Machine,
        run: Path,
        key: str,
        seed: int,
        report: Report,
        on_validation: OnValidation,
    ) -> None:
        self.network, self.schedule, self.machine = network, schedule, machine
        self.objectives = {one.settings.name: one for one in objectives}
        self.run, self.key = run, key
        self.report, self.on_validation = report, on_validation
        self.optimizer = _optimizer(network, schedule, machine)
        self.progress, self.best = Progress(), Best()
        self.history: list[dict[str, float]] = []
        """The figures of each validation."""
        self.interrupted = False
        self.averaged = 0
        """How many checkpoints the network is the mean of after training, 0 where it is none."""
        self.step_seconds: deque[float] = deque(maxlen=31)
        self.losses: dict[str, deque[float]] = {name: deque(maxlen=50) for name in self.objectives}
        torch.manual_seed(seed)

    def train(self) -> None:
        """Train to the end of the schedule, until nothing gets better, or to an interrupt; the network then has its
        best weights, or without validation the last ones. Where the schedule averages, it has the mean of the last
        checkpoints (before the first the weights as they are), unless the best weights are better. `best` has the
        figures of what was chosen."""
        with (
            interrupts.deferred() as asked,
            Mixture(self.objectives, self.schedule, self.progress.position) as mixture,
        ):
            self._train(asked, mixture)
        found = {}
        if self.schedule.average:
            self.averaged = self._take_mean()
            found = self.validations()
        if found and self.best.is_beaten_by(found):
            self.best = Best.of(found, self.progress.step, self.network.weights())
        elif self.best.weights:
            self.network.load_state_dict(self.best.weights)
            self.averaged = 0

    def _take_mean(self) -> int:
        """Give the network the mean of the last checkpoints (Vaswani et al. 2017, section 6.1), if there are any.
        Returns how many there are."""
        files = self._checkpoints()
        mean: dict[str, Tensor] = {}
        for file in files:
            for name, value in load_file(file).items():
                mean[name] = mean.get(name, 0) + value / len(files)
        self.network.load_state_dict(mean, strict=False)
        return len(files)

    def _checkpoints(self) -> list[Path]:
        """The files of the last checkpoints, the oldest first."""
        return sorted((self.run / CHECKPOINTS).glob("*.safetensors"), key=_step_of)

    def _save_checkpoint(self) -> None:
        """Write the weights that are trained, and delete all but the last checkpoints."""
        weights = {
            name: value.detach().cpu().contiguous()
            for name, value in self.network.named_parameters()
            if value.requires_grad
        }
        (self.run / CHECKPOINTS).mkdir(exist_ok=True)
        file = self.run / CHECKPOINTS / f"{self.progress.step}.safetensors"
        part = file.with_suffix(".part")
        save_file(weights, part)
        part.replace(file)
        for old in self._checkpoints()[: -self.schedule.average]:
            old.unlink()

    def _train(self, asked: Callable[[], bool], mixture: Mixture) -> None:
        schedule, progress = self.schedule, self.progress
        saved = time.monotonic()
        while not self.has_ended(asked):
            began = time.monotonic()
            self.step(mixture)
            self.step_seconds.append(time.monotonic() - began)
            progress.seconds += self.step_seconds[-1]
            loss = statistics.fmean(values[-1] for values in self.losses.values() if values)
            self.report(progress.step, schedule.steps, loss)
            if time.monotonic() - saved > schedule.checkpoint_minutes * 60:
                self.save()
                saved = time.monotonic()
        if self.interrupted:
            self.save()

    def has_ended(self, asked: Callable[[], bool]) -> bool:
        """Whether the schedule is over, nothing has got better for as long as its patience, or somebody has
        interrupted. A validation that is due comes before."""
        schedule, step = self.schedule, self.progress.step
        self.interrupted = asked()
        is_over = step >= schedule.steps
        is_due = is_over or step % schedule.evaluate_steps == 0
        is_done = bool(self.history) and self.history[-1]["step"] == step
        if is_due and not is_done and not self.interrupted:
            try:
                self.validate()
            except interrupts.Deferred:  # the resumed run validates this step
                self.interrupted = True
        return is_over or self.interrupted or 0 < schedule.patience <= self.best.stale

    def step(self, mixture: Mixture) -> None:
        """A few micro-batches forward and backward, one step of the optimiser."""
        schedule, progress = self.schedule, self.progress
        self.network.train()
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(schedule, progress.step)
        losses = []
        for _ in range(schedule.micro_batches):
            name, batch, progress.position = mixture.draw()
            progress.tokens += int(batch.inputs["attention_mask"].sum())
            with self.machine.forward_pass():
                loss = self.objectives[name].loss(self.network, batch.to(self.machine.device))
            (loss * (self.objectives[name].settings.loss_weight / schedule.micro_batches)).backward()
            losses.append((name, loss.detach()))
        nn.utils.clip_grad_norm_(self.network.parameters(), schedule.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        for name, loss in losses:  # read last: a GPU computes ahead of what asks for numbers
            self.losses[name].append(float(loss))
        progress.step += 1

    def validations(self) -> dict[str, Validation]:
        """The network as it is, on the held-out examples of every objective that has any."""
        generators = self.machine.generators()
        self.network.eval()
        with torch.no_grad(), self.machine.forward_pass():
            found = {name: one.validate(self.network) for name, one in self.objectives.items()}
        self.machine.set_generators(generators)
        return {name: validation for name, validation in found.items() if validation is not None}

    def validate(self) -> None:
        """Validate every objective and append a line to metrics.jsonl. Keep the weights if they are the best, and write
        a checkpoint if the schedule averages."""
        progress = self.progress
        began = time.monotonic()
        found = self.validations()
        figures = {name: validation.figures() for name, validation in found.items()}
        if found and self.best.is_beaten_by(found):
            self.best = Best.of(found, progress.step, self.network.weights())
        elif found:
            self.best.stale += 1
        if len(figures) == 1:
            self.history.append({"step": progress.step, **next(iter(figures.values()))})
        else:
            first = {f"{name} {next(iter(one))}": next(iter(one.values())) for name, one in figures.items()}
            self.history.append({"step": progress.step, **first})
        losses = {name: round(statistics.fmean(values), 4) for name, values in self.losses.items() if values}
        rounded = {name: {key: round(v, 4) for key, v in one.items()} for name, one in figures.items()}
        line = self.status() | {
            "seconds": round(time.monotonic() - began, 1),
            "losses": losses,
            "dev": rounded,
        }
        with (self.run / METRICS).open("a") as file:
            file.write(json.dumps(line) + "\n")
        if self.schedule.average and progress.step:
            self._save_checkpoint()
        self.on_validation(self.history[-1])

    def status(self) -> dict[str, Any]:
        """Step, learning rate, speed, and the minutes left."""
        progress, steps = self.progress, self.schedule.steps
        pace = statistics.median(self.step_seconds) if self.step_seconds else 0.0
        return {
            "time": time.strftime("%H:%M:%S"),
            "step": progress.step,
            "rate": round(learning_rate(self.schedule, progress.step), 7),
            "steps_a_second": round(1 / pace, 3) if pace else None,
            "tokens": progress.tokens,
            "tokens_a_second": round(progress.tokens / max(1.0, progress.seconds)),
            "minutes_left": round((steps - progress.step) * pace / 60, 1),
        }

    def save(self) -> None:
        """Write state.pt whole or not at all."""
        temporary = self.run / f"{STATE}.part"
        torch.save(
            {
                "key": self.key,
                "network": self.network.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "progress": asdict(self.progress),
                "best": vars(self.best),
                "history": self.history,
                "generators": self.machine.generators(),
            },
            temporary,
        )
        temporary.replace(self.run / STATE)

    def resume(self) -> None:
        """Continue from state.pt. Raises UsageError when it belongs to another run."""
        state = torch.load(self.run / STATE, weights_only=True, map_location="cpu")
        if state.get("key") != self.key:
            raise UsageError(
                "the interrupted run had other data, another base or other options",
                hint="give the same ones as before, or begin again with --overwrite",
                where=str(self.run),
            )
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.progress, self.best = Progress.of(state["progress"]), Best(**state["best"])
        self.history = state["history"]
        self.machine.set_generators(state["generators"])
        for file in self._checkpoints():
            if _step_of(file) > self.progress.step:  # the run was killed after it; it will be made again
                file.unlink()


def _step_of(checkpoint: Path) -> int:
    return int(checkpoint.stem)


def learning_rate(schedule: Schedule, step: int) -> float:
    """Linear from 0 over the warm-up; then linear to 0 at the last step, or with the inverse square root of the step
    (Vaswani et al. 2017, formula 3)."""
    warm_up = max(1, schedule.warm_up)
    if schedule.decay == "inverse_sqrt":
        return schedule.peak_rate * min((step + 1) / warm_up, math.sqrt(warm_up / (step + 1)))
    falling = (schedule.steps - step) / max(1, schedule.steps - warm_up + 1)
    return schedule.peak_rate * max(0.0, min((step + 1) / warm_up, falling, 1.0))


def _optimizer(network: nn.Module, schedule: Schedule, machine: Machine) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter 2019), fused; biases and norms are not decayed."""
    parameters: list[Tensor] = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": schedule.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    fused = machine.device.type in ("cpu", "cuda")
    return torch.optim.AdamW(
        groups, lr=schedule.peak_rate, betas=schedule.betas, eps=schedule.epsilon, fused=fused
    )
