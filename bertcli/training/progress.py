"""Where a run of several skills stands, and which state of it was the best."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from bertcli.evaluation.bootstrap import Estimate
from bertcli.training.examination import Examination
from bertcli.training.recipe import Schedule


@dataclass
class Progress:
    """Where a run stands; all of it is saved, so that a resumed run goes on in the same place."""

    step: int = 0
    drawn: dict[str, int] = field(default_factory=dict)
    credit: dict[str, float] = field(default_factory=dict)
    tokens: int = 0
    seconds: float = 0.0


@dataclass
class Best:
    """The state that measured best: `score` is the mean over the skills of what is watched of each; `figures`
    are (value, low, high) by skill and name. Before the first measurement `weights` are empty."""

    step: int = 0
    score: float = -math.inf
    stale: int = 0
    """Measurements since, none of them better."""
    figures: dict[str, dict[str, tuple[float, float, float]]] = field(default_factory=dict)
    weights: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, found: Mapping[str, Examination], step: int, weights: dict[str, Tensor]) -> Best:
        """A state with these examinations of its skills."""
        figures = {
            skill: {name: (e.value, e.low, e.high) for name, e in examination.estimates().items()}
            for skill, examination in found.items()
        }
        return cls(step, score_of(found), 0, figures, weights)

    def is_beaten_by(self, found: Mapping[str, Examination]) -> bool:
        """Whether a state with these examinations is better."""
        return not self.weights or score_of(found) > self.score

    def estimates(self) -> dict[str, dict[str, Estimate]]:
        """The figures by skill and name."""
        return {
            skill: {name: Estimate(*numbers) for name, numbers in found.items()}
            for skill, found in self.figures.items()
        }


def score_of(found: Mapping[str, Examination]) -> float:
    """The mean of what is watched of each skill; what is not a number counts as 0."""
    watched = [next(iter(examination.figures().values())) for examination in found.values()]
    return statistics.fmean(0.0 if math.isnan(value) else value for value in watched)


def rate(schedule: Schedule, step: int) -> float:
    """The learning rate: linear from 0 over the warm-up, then linear to 0 at the last step."""
    return (
        schedule.peak_rate * min(1.0, (step + 1) / max(1, schedule.warm_up)) * (1.0 - step / schedule.steps)
    )
