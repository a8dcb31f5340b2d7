"""The training loop: several skills, mixed by weight, on one encoder.

Each optimiser step sums a few micro-batches. Which skill a micro-batch comes from is decided by credit: every
skill earns its weight each time and the richest pays one, so shares are exact over any stretch and nothing is
left to chance.

The schedule lives on `progress`, which goes from 0 to 1: warm-up over the first steps, then the learning rate
falls linearly to zero. A file COOLDOWN in the run's folder (its content: minutes, 10 when empty) makes
progress reach 1 in that time. Ctrl-C leaves `state.pt`, from which `resume` continues as
if nothing had happened.
"""

from __future__ import annotations

import hashlib
import json
import statistics
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import BertForMaskedLM

from bertcli import interrupts
from bertcli.errors import UsageError
from bertcli.training.data import Batch, load_tokenizer
from bertcli.training.heads import SkillModel
from bertcli.training.measures import measure_of
from bertcli.training.recipe import Recipe, Schedule
from bertcli.training.skills import PreparedSkill, prepare

STATE = "state.pt"
METRICS = "metrics.jsonl"
COOLDOWN = "COOLDOWN"

Gradients = tuple[float, list[Tensor | None]]
"""Of a micro-batch: its loss, and the gradient for each parameter."""


@dataclass
class Progress:
    """Where a run stands; all of it is saved, so that a resumed run goes on in the same place."""

    step: int = 0
    fraction: float = 0.0
    drawn: dict[str, int] = field(default_factory=dict)
    credit: dict[str, float] = field(default_factory=dict)
    tokens: int = 0
    seconds: float = 0.0
    cooldown_left: float | None = None
    """Seconds until the end since COOLDOWN was seen, else None."""


class Trainer:
    """A run in the folder `run`: model, optimiser, streams, schedule."""

    def __init__(
        self, recipe: Recipe, base: Path, run: Path, told: Callable[[int, int, float], None], *, resume: bool
    ) -> None:
        self.recipe, self.base, self.run, self.told = recipe, base, run, told
        schedule = recipe.schedule
        torch.manual_seed(recipe.seed)
        run.mkdir(parents=True, exist_ok=True)
        self.tokenizer = load_tokenizer(base)
        cache = run / "cache"
        self.skills = {one.skill.name: one for one in prepare(recipe, self.tokenizer, cache)}
        found = {
            skill.name: measure_of(skill, recipe, self.tokenizer, cache, schedule.evaluate_limit)
            for skill in recipe.skills
        }
        self.measures = {name: measure for name, measure in found.items() if measure is not None}
        self.model = build_model(base, list(self.skills.values()))
        self.optimizer = build_optimizer(self.model, schedule)
        self.progress = Progress()
        self.stopping = False
        self.step_seconds: deque[float] = deque(maxlen=31)
        self.losses: dict[str, deque[float]] = {name: deque(maxlen=50) for name in self.skills}
        if resume:
            self.load()
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        if schedule.workers > 1:
            # This thread too: sums are rounded by the number of threads.
            torch.set_num_threads(1)
        self.pool = (
            ThreadPoolExecutor(schedule.workers, initializer=torch.set_num_threads, initargs=(1,))
            if schedule.workers > 1
            else None
        )

    def train(self) -> None:
        """Run to the end of the schedule, or to a Ctrl-C."""
        with interrupts.deferred() as asked:
            self._train(asked)

    def _train(self, asked: Callable[[], bool]) -> None:
        schedule = self.recipe.schedule
        saved = time.monotonic()
        while self.progress.fraction < 1.0 and not self.stopping:
            began = time.monotonic()
            self.step()
            self.step_seconds.append(time.monotonic() - began)
            self.advance(time.monotonic() - began)
            self.told(
                self.progress.step, schedule.steps, statistics.fmean(v[-1] for v in self.losses.values() if v)
            )
            self.stopping = asked()
            if self.progress.step % schedule.evaluate_steps == 0:
                self.measure()
            if time.monotonic() - saved > schedule.checkpoint_minutes * 60:
                self.save()
                saved = time.monotonic()
        self.save()
        if not self.stopping:
            self.measure()

    def step(self) -> None:
        """A few micro-batches forward and backward, one step of the optimiser."""
        schedule, progress = self.recipe.schedule, self.progress
        self.model.train()
        for group in self.optimizer.param_groups:
            group["lr"] = rate(schedule, progress)
        draws = [self.draw() for _ in range(schedule.micro_batches)]
        results = self.gradients_of_all(draws)
        for parameter, *parts in zip(self.parameters, *(gradients for _, gradients in results), strict=True):
            given = [part for part in parts if part is not None]
            # Summed in the order of the draws, whichever worker was first: a run repeats to the bit.
            for part in given[1:]:
                given[0].add_(part)
            parameter.grad = given[0] if given else None
        for (name, _), (loss, _) in zip(draws, results, strict=True):
            self.losses[name].append(loss)
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
        return name, batch

    def gradients_of_all(self, draws: list[tuple[str, Batch]]) -> list[Gradients]:
        """The gradients of each micro-batch, in order, the workers sharing the work."""
        if self.pool is None:
            return [self.gradients(drawn) for drawn in draws]
        return list(self.pool.map(self.gradients, draws))

    def gradients(self, drawn: tuple[str, Batch]) -> Gradients:
        """Loss and weighted gradients of one micro-batch (None where a parameter plays no part).

        Runs in a worker: it only reads the model.
        """
        name, batch = drawn
        one = self.skills[name]
        with self.precision():
            if batch.positions is not None:
                loss = fill_whole(
                    self.model, batch.ids, batch.mask, batch.types, batch.positions, batch.targets
                )
            else:
                loss = one.loss(self.model, self.model.encode(batch.ids, batch.mask, batch.types), batch)
        weighted = loss * (one.skill.loss_weight / self.recipe.schedule.micro_batches)
        return float(loss.detach()), list(torch.autograd.grad(weighted, self.parameters, allow_unused=True))

    def next_skill(self) -> str:
        """The skill with the most credit; every skill earns its share first."""
        credit, fraction = self.progress.credit, self.progress.fraction
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

    def advance(self, seconds: float) -> None:
        """Move the schedule on by one step that took `seconds`."""
        progress = self.progress
        progress.seconds += seconds
        flag = self.run / COOLDOWN
        if progress.cooldown_left is None and flag.exists():
            progress.cooldown_left = float(flag.read_text().strip() or 10) * 60
        if progress.cooldown_left is None:
            progress.fraction += 1 / self.recipe.schedule.steps
        else:
            progress.cooldown_left -= seconds
            # A median, since a run that was stopped for a while has steps of minutes.
            steps_left = max(1.0, progress.cooldown_left / statistics.median(self.step_seconds))
            progress.fraction += (1.0 - progress.fraction) / steps_left
        if progress.fraction > 1.0 - 1e-9:
            progress.fraction = 1.0

    def precision(self) -> Any:
        """bfloat16 autocast, or nothing."""
        if self.recipe.schedule.precision == "bfloat16":
            return torch.autocast("cpu", torch.bfloat16)
        return nullcontext()

    def measure(self) -> None:
        """Measure every skill on its held-out data and append one line to metrics.jsonl."""
        self.model.eval()
        began = time.monotonic()
        threads = torch.get_num_threads()
        torch.set_num_threads(max(threads, self.recipe.schedule.workers))
        figures: dict[str, Any] = {}
        with torch.inference_mode(), self.precision():
            for name, measure in self.measures.items():
                figures[name] = {key: round(value, 4) for key, value in measure(self.model).figures().items()}
        torch.set_num_threads(threads)
        losses = {name: round(statistics.fmean(values), 4) for name, values in self.losses.items() if values}
        line = self.status() | {
            "measured_in": round(time.monotonic() - began, 1),
            "losses": losses,
            "dev": figures,
        }
        with (self.run / METRICS).open("a") as file:
            file.write(json.dumps(line) + "\n")

    def status(self) -> dict[str, Any]:
        """Step, progress, rate, speed and what is left, in steps per second and minutes."""
        progress = self.progress
        pace = statistics.median(self.step_seconds) if self.step_seconds else 0.0
        left = (1 - progress.fraction) * self.recipe.schedule.steps * pace
        return {
            "time": time.strftime("%H:%M:%S"),
            "step": progress.step,
            "progress": round(progress.fraction, 4),
            "rate": round(rate(self.recipe.schedule, progress), 7),
            "steps_a_second": round(1 / pace, 3) if pace else None,
            "tokens": progress.tokens,
            "tokens_a_second": round(progress.tokens / max(1.0, progress.seconds)),
            "minutes_left": round(
                (left if progress.cooldown_left is None else progress.cooldown_left) / 60, 1
            ),
        }

    def save(self) -> None:
        """Write state.pt whole or not at all."""
        temporary = self.run / f"{STATE}.part"
        torch.save(
            {
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "progress": vars(self.progress),
                "generator": torch.get_rng_state(),
                "recipe": recipe_key(self.recipe),
                "specs": {name: vars(spec) for name, spec in self.model.specs.items()},
            },
            temporary,
        )
        temporary.replace(self.run / STATE)

    def load(self) -> None:
        """Take everything from state.pt. Raises ValueError when it belongs to another recipe."""
        state = torch.load(self.run / STATE, weights_only=True)
        if state["recipe"] != recipe_key(self.recipe):
            raise UsageError(
                "the run to continue had another recipe",
                hint="begin anew with --force",
                where=str(self.run),
            )
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.progress = Progress(**state["progress"])
        torch.set_rng_state(state["generator"])


def fill_whole(
    model: SkillModel,
    ids: Tensor,
    mask: Tensor | None,
    types: Tensor | None,
    positions: Tensor,
    targets: Tensor,
) -> Tensor:
    """Encoder and masked-LM loss in one, so that a compiler sees both."""
    states = model.encode(ids, mask, types).flatten(0, 1)[positions]  # [masked, hidden]
    return nn.functional.cross_entropy(model.vocabulary_logits(states).float(), targets)


def rate(schedule: Schedule, progress: Progress) -> float:
    """The learning rate: linear from 0 over the warm-up, then linear to 0 at progress 1."""
    return (
        schedule.peak_rate
        * min(1.0, (progress.step + 1) / max(1, schedule.warm_up))
        * (1.0 - progress.fraction)
    )


def recipe_key(recipe: Recipe) -> str:
    """A fingerprint of what must not change between a run and its continuation: model, seed and skills."""
    return hashlib.sha256(repr((recipe.model, recipe.seed, recipe.skills)).encode()).hexdigest()


def build_model(base: Path, skills: list[PreparedSkill]) -> SkillModel:
    """The base in float32 with a new head for each skill that has one; no dropout within the encoder.

    Attention is the eager one: the backward pass of torch's flash attention on CPU takes longer (measured
    1.35 x a step).
    """
    masked_lm = BertForMaskedLM.from_pretrained(
        base,
        dtype=torch.float32,
        attn_implementation="eager",
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    specs = {one.skill.name: one.head for one in skills if one.head is not None}
    dropout = {one.skill.name: getattr(one.skill, "dropout", 0.0) for one in skills}
    return SkillModel(masked_lm, specs, dropout)


def build_optimizer(model: SkillModel, schedule: Schedule) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter 2019), fused; biases and norms are not decayed."""
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": schedule.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=schedule.peak_rate, betas=schedule.betas, fused=True)
