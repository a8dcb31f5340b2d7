"""The training loop of a recipe: several skills, mixed by weight, on one encoder.

Each optimiser step sums a few micro-batches. Which skill a micro-batch comes from is decided by credit: every
skill earns its weight each time and the richest pays one, so shares are exact over any stretch and nothing is
left to chance.

The learning rate rises linearly over the warm-up, then falls linearly to zero. The state that measured best is
kept. Ctrl-C leaves `state.pt`, from which `resume` continues as if nothing had happened.
"""

from __future__ import annotations

import hashlib
import json
import statistics
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import BertForMaskedLM

from bertcli import interrupts
from bertcli.errors import UsageError
from bertcli.models.checkpoint import Checkpoint
from bertcli.training.heads import SkillModel
from bertcli.training.lessons import Machine, load_base
from bertcli.training.progress import Best, Progress, rate
from bertcli.training.recipe import Recipe, Schedule
from bertcli.training.saving import STATE
from bertcli.training.skills import PreparedSkill
from bertcli.training.streams import Batch

METRICS = "metrics.jsonl"


class Trainer:
    """A run in the folder `run`: model, optimiser, streams, schedule. `told(step, steps, loss)` is called
    after every step."""

    def __init__(
        self,
        recipe: Recipe,
        base: Checkpoint,
        skills: Sequence[PreparedSkill],
        machine: Machine,
        run: Path,
        told: Callable[[int, int, float], None],
    ) -> None:
        self.recipe, self.machine, self.run, self.told = recipe, machine, run, told
        self.skills = {one.skill.name: one for one in skills}
        self.key = hashlib.sha256(repr((base.fingerprint(), recipe.seed, recipe.skills)).encode()).hexdigest()
        torch.manual_seed(recipe.seed)
        self.model = build_model(base, skills).to(machine.device)
        self.optimizer = build_optimizer(self.model, recipe.schedule, machine)
        self.progress, self.best = Progress(), Best()
        self.history: list[dict[str, float]] = []
        self.interrupted = False
        self.step_seconds: deque[float] = deque(maxlen=31)
        self.losses: dict[str, deque[float]] = {name: deque(maxlen=50) for name in self.skills}

    def train(self) -> None:
        """Run to the end of the schedule, until nothing gets better, or to a Ctrl-C."""
        with interrupts.deferred() as asked:
            self._train(asked)

    def _train(self, asked: Callable[[], bool]) -> None:
        schedule, progress = self.recipe.schedule, self.progress
        saved = time.monotonic()
        while not self.has_ended():
            began = time.monotonic()
            self.step()
            self.step_seconds.append(time.monotonic() - began)
            progress.seconds += self.step_seconds[-1]
            self.told(
                progress.step, schedule.steps, statistics.fmean(v[-1] for v in self.losses.values() if v)
            )
            self.interrupted = asked()
            if time.monotonic() - saved > schedule.checkpoint_minutes * 60:
                self.save()
                saved = time.monotonic()
        self.save()

    def has_ended(self) -> bool:
        """Whether the schedule is over, nothing has got better for as long as it has patience, or somebody
        has interrupted. What is to be measured before that is known is measured."""
        schedule, progress = self.recipe.schedule, self.progress
        is_over = progress.step >= schedule.steps
        is_due = is_over or (progress.step > 0 and progress.step % schedule.evaluate_steps == 0)
        is_done = bool(self.history) and self.history[-1]["step"] == progress.step
        if is_due and not is_done and not self.interrupted:
            try:
                self.measure()
            except interrupts.Deferred:  # the resumed run measures this step
                self.interrupted = True
        return is_over or self.interrupted or 0 < schedule.patience <= self.best.stale

    def step(self) -> None:
        """A few micro-batches forward and backward, one step of the optimiser."""
        schedule, progress = self.recipe.schedule, self.progress
        self.model.train()
        for group in self.optimizer.param_groups:
            group["lr"] = rate(schedule, progress.step)
        for _ in range(schedule.micro_batches):
            name, batch = self.draw()
            with self.machine.products():
                loss = self.loss(name, batch)
            (loss * (self.skills[name].skill.loss_weight / schedule.micro_batches)).backward()
            self.losses[name].append(float(loss.detach()))
        nn.utils.clip_grad_norm_(self.model.parameters(), schedule.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        progress.step += 1

    def draw(self) -> tuple[str, Batch]:
        """The next micro-batch: the name of its skill, and the batch."""
        name = self.next_skill()
        number = self.progress.drawn.get(name, 0)
        self.progress.drawn[name] = number + 1
        # A seed for each batch of each skill; a prime keeps the skills apart.
        seed = self.recipe.seed + 1_000_003 * (list(self.skills).index(name) + 1) + number
        batch = replace(self.skills[name].stream.batch(number), seed=seed)
        self.progress.tokens += batch.ids.numel() if batch.mask is None else int(batch.mask.sum())
        return name, batch.to(self.machine.device)

    def loss(self, name: str, batch: Batch) -> Tensor:
        """The mean loss of a micro-batch of a skill."""
        states = self.model.encode(batch.ids, batch.mask, batch.types)
        return self.skills[name].loss(self.model, states, batch)

    def next_skill(self) -> str:
        """The skill with the most credit; every skill earns its share first."""
        credit, fraction = self.progress.credit, self.progress.step / self.recipe.schedule.steps
        weights = {
            name: one.skill.weight[0] + (one.skill.weight[1] - one.skill.weight[0]) * fraction
            for name, one in self.skills.items()
        }
        total = sum(weights.values())
        for name, weight in weights.items():
            credit[name] = credit.get(name, 0.0) + weight / total
        richest = max(credit, key=lambda name: credit[name])
        credit[richest] -= 1.0
        return richest

    def measure(self) -> None:
        """Measure every skill on what is held out for it, append a line to metrics.jsonl, and keep the state
        if it is the best."""
        progress = self.progress
        self.model.eval()
        began = time.monotonic()
        with torch.inference_mode(), self.machine.products():
            found = {name: one.examine(self.model) for name, one in self.skills.items() if one.examine}
        figures = {name: examination.figures() for name, examination in found.items()}
        if found and self.best.is_beaten_by(found):
            self.best = Best.of(found, progress.step, self.weights())
        elif found:
            self.best.stale += 1
        losses = {name: round(statistics.fmean(values), 4) for name, values in self.losses.items() if values}
        line = self.status() | {
            "measured_in": round(time.monotonic() - began, 1),
            "losses": losses,
            "dev": {
                name: {key: round(value, 4) for key, value in one.items()} for name, one in figures.items()
            },
        }
        watched = {f"{name} {next(iter(one))}": next(iter(one.values())) for name, one in figures.items()}
        self.history.append({"step": progress.step} | watched)
        with (self.run / METRICS).open("a") as file:
            file.write(json.dumps(line) + "\n")

    def weights(self) -> dict[str, Tensor]:
        """A copy of the model's weights as they are, on the CPU."""
        return {name: value.detach().cpu().clone() for name, value in self.model.state_dict().items()}

    def status(self) -> dict[str, Any]:
        """Step, progress, rate, speed and what is left, in steps per second and minutes."""
        progress = self.progress
        pace = statistics.median(self.step_seconds) if self.step_seconds else 0.0
        return {
            "time": time.strftime("%H:%M:%S"),
            "step": progress.step,
            "progress": round(progress.step / self.recipe.schedule.steps, 4),
            "rate": round(rate(self.recipe.schedule, progress.step), 7),
            "steps_a_second": round(1 / pace, 3) if pace else None,
            "tokens": progress.tokens,
            "tokens_a_second": round(progress.tokens / max(1.0, progress.seconds)),
            "minutes_left": round((self.recipe.schedule.steps - progress.step) * pace / 60, 1),
        }

    def save(self) -> None:
        """Write state.pt whole or not at all."""
        temporary = self.run / f"{STATE}.part"
        torch.save(
            {
                "key": self.key,
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "progress": vars(self.progress),
                "best": vars(self.best),
                "history": self.history,
                "generators": self.machine.generators(),
            },
            temporary,
        )
        temporary.replace(self.run / STATE)

    def load(self) -> None:
        """Take everything from state.pt. Raises UsageError when it belongs to another recipe."""
        state = torch.load(self.run / STATE, weights_only=True, map_location="cpu")
        if state.get("key") != self.key:
            raise UsageError(
                "the run to continue had other skills, another base or another seed",
                hint="give the same recipe as before, or begin anew with --overwrite",
                where=str(self.run),
            )
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.progress, self.best = Progress(**state["progress"]), Best(**state["best"])
        self.history = state["history"]
        self.machine.set_generators(state["generators"])


def build_model(base: Checkpoint, skills: Sequence[PreparedSkill]) -> SkillModel:
    """The base in float32 with a new head for each skill that has one; no dropout within the encoder."""
    masked_lm = load_base(BertForMaskedLM, base, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    specs = {one.skill.name: one.head for one in skills if one.head is not None}
    dropout = {one.skill.name: getattr(one.skill, "dropout", 0.0) for one in skills}
    return SkillModel(masked_lm, specs, dropout)


def build_optimizer(model: SkillModel, schedule: Schedule, machine: Machine) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter 2019), fused; biases and norms are not decayed."""
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": schedule.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    fused = machine.device.type in ("cpu", "cuda")
    return torch.optim.AdamW(groups, lr=schedule.peak_rate, betas=schedule.betas, fused=fused)
