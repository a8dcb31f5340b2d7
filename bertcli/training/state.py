"""The state of a run: how far it is, and its best weights so far. All of it is saved as `state.pt`."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from bertcli.evaluation.bootstrap import Estimate
from bertcli.training.mixture import Position
from bertcli.training.validation import Validation, better


@dataclass
class Progress:
    """`position` is that of the micro-batches."""

    step: int = 0
    position: Position = field(default_factory=Position)
    tokens: int = 0
    seconds: float = 0.0

    @classmethod
    def of(cls, saved: Mapping[str, Any]) -> Progress:
        """From what `asdict` returned."""
        return cls(**{**saved, "position": Position(**saved["position"])})


@dataclass
class Best:
    """The weights that validated best. `score` is the mean over the objectives of the figure that decides, with the
    loss where there is one objective; `figures` are (value, low, high) by objective and name. `weights` are empty
    before the first validation."""

    step: int = 0
    score: dict[str, float] = field(default_factory=dict)
    stale: int = 0
    """Validations since then."""
    figures: dict[str, dict[str, tuple[float, float, float]]] = field(default_factory=dict)
    weights: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, found: Mapping[str, Validation], step: int, weights: dict[str, Tensor]) -> Best:
        """The weights of a step with the validations of the objectives."""
        figures = {
            objective: {name: (e.value, e.low, e.high) for name, e in validation.estimates().items()}
            for objective, validation in found.items()
        }
        return cls(step, score_of(found), 0, figures, weights)

    def is_beaten_by(self, found: Mapping[str, Validation]) -> bool:
        """Whether weights with these validations are better."""
        return not self.weights or better(score_of(found), self.score)

    def estimates(self) -> dict[str, dict[str, Estimate]]:
        """The figures by objective and name."""
        return {
            objective: {name: Estimate(*numbers) for name, numbers in found.items()}
            for objective, found in self.figures.items()
        }


def score_of(found: Mapping[str, Validation]) -> dict[str, float]:
    """The mean of the figures that decide, where NaN counts as 0, and the loss of a single objective."""
    scores = [validation.score() for validation in found.values()]
    score = {"score": statistics.fmean(0.0 if math.isnan(value) else value for value in scores)}
    figures = [validation.figures() for validation in found.values()]
    if len(figures) == 1 and "loss" in figures[0]:
        score["loss"] = figures[0]["loss"]
    return score
