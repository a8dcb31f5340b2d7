"""Which objective gives the next micro-batch, and a thread that builds the next ones while the network computes.

Credit decides which objective a micro-batch comes from: every objective earns its weight each time and the one with
the most pays one, so shares are exact over any stretch and nothing is left to chance.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Self

from bertcli.training.batches import TrainingBatch
from bertcli.training.objectives import Objective
from bertcli.training.recipe import Schedule

AHEAD = 4  # micro-batches that are built before they are needed


@dataclass
class Position:
    """How far the drawing is: micro-batches drawn in all and of each objective, and the credit of each."""

    drawn: int = 0
    batches: dict[str, int] = field(default_factory=dict)
    credit: dict[str, float] = field(default_factory=dict)

    def copy(self) -> Position:
        return Position(self.drawn, dict(self.batches), dict(self.credit))


class Mixture:
    """The micro-batches of a run in order, from `position` on. Close it to end its thread."""

    def __init__(self, objectives: Mapping[str, Objective], schedule: Schedule, position: Position) -> None:
        self._objectives, self._schedule = objectives, schedule
        self._position = position.copy()
        self._builder = ThreadPoolExecutor(1, "batches")  # one: objectives keep the order of an epoch
        self._ahead: deque[tuple[str, Future[TrainingBatch], Position]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._builder.shutdown(cancel_futures=True)

    def draw(self) -> tuple[str, TrainingBatch, Position]:
        """The name of the next objective, its batch on the CPU, and the position after it."""
        while len(self._ahead) < AHEAD:
            name, number = self._next()
            batch = self._builder.submit(self._objectives[name].batch, number)
            self._ahead.append((name, batch, self._position.copy()))
        name, built, after = self._ahead.popleft()
        return name, built.result(), after

    def _next(self) -> tuple[str, int]:
        """The objective with the most credit, after every one has earned its share, and the number of its batch."""
        at, schedule = self._position, self._schedule
        done = at.drawn // schedule.micro_batches / schedule.steps
        weights = {}
        for name, one in self._objectives.items():
            first, last = one.settings.weight
            weights[name] = first + (last - first) * done
        total = sum(weights.values())
        for name, weight in weights.items():
            at.credit[name] = at.credit.get(name, 0.0) + weight / total
        chosen = max(at.credit, key=lambda name: at.credit[name])
        at.credit[chosen] -= 1.0
        at.drawn += 1
        number = at.batches.get(chosen, 0)
        at.batches[chosen] = number + 1
        return chosen, number
