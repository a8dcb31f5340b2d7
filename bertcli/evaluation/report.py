"""All figures of a run, and what they are called in JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from bertcli.evaluation.bootstrap import Estimate, Numbers
from bertcli.evaluation.calibration import Calibration
from bertcli.evaluation.classification import Counts
from bertcli.evaluation.guarantee import Guarantee
from bertcli.evaluation.suspects import Suspect

DIGITS = 6  # significant ones


@dataclass(frozen=True, slots=True)
class LabelFigures:
    """`support` is how often the label is in the file, `answered` how often in the answers."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int
    answered: int


@dataclass(frozen=True, slots=True)
class Confusion:
    """How often each label of the file (row) was answered as each label (column)."""

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, labels: Sequence[str], table: Numbers) -> Confusion:
        """The confusion of a table (labels, labels), without labels that occur nowhere."""
        occur = [place for place in range(len(labels)) if table[place].any() or table[:, place].any()]
        rows = table[occur][:, occur].astype(int).tolist()
        return cls(tuple(labels[place] for place in occur), tuple(map(tuple, rows)))


@dataclass(frozen=True, slots=True)
class Report:
    """`facts` say what was measured and how, `metrics` are figures by name. `suspects` is None unless they
    were asked for. `notes` are what a reader must know to believe the figures."""

    task: str
    facts: dict[str, Any]
    metrics: Mapping[str, Estimate]
    labels: Sequence[LabelFigures] = ()
    confusion: Confusion | None = None
    calibration: Calibration | None = None
    suspects: Sequence[Suspect] | None = None
    notes: Sequence[str] = field(default=())
    guarantee: Guarantee | None = None

    def row(self) -> dict[str, Any]:
        """The report as one JSON object; parts that were not measured are absent."""
        parts: dict[str, Any] = {"task": self.task, **self.facts}
        parts["metrics"] = {name: asdict(figure) for name, figure in self.metrics.items()}
        if self.labels:
            parts["labels"] = [asdict(figures) for figures in self.labels]
        if self.confusion is not None:
            parts["confusion"] = asdict(self.confusion)
        if self.calibration is not None:
            parts["calibration"] = asdict(self.calibration)
        if self.suspects is not None:
            parts["suspects"] = [asdict(suspect) for suspect in self.suspects]
        if self.guarantee is not None:
            parts["guarantee"] = asdict(self.guarantee)
        if self.notes:
            parts["notes"] = list(self.notes)
        rounded: dict[str, Any] = _rounded(parts)
        return rounded


def label_figures(names: Sequence[str], counts: Counts) -> tuple[LabelFigures, ...]:
    """The figures of each label that occurs, in the order of `names`."""
    columns = (counts.precision, counts.recall, counts.f1, counts.support, counts.answered)
    rows = zip(names, *(column.tolist() for column in columns), strict=True)
    return tuple(
        LabelFigures(name, precision, recall, f1, int(support), int(answered))
        for name, precision, recall, f1, support, answered in rows
        if support or answered
    )


def _rounded(value: Any) -> Any:
    """Numbers with 6 significant digits, and null for what is not a number."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _rounded(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return value
