"""Two sets of answers to the same records: which answers changed, and how far the numbers moved.

    flip           an answer that is another one: a label, the set of labels, the spans, the words of the best
                   filling; or one that is there on one side only, since the other failed
    drift          |a - b| of a score (or entropy, margin, perplexity)
    cosine drift   1 - cos(a, b) of two vectors: 0 where they point the same way

What is an answer is known by the name of its field, behind whatever prefix, and by its shape: a `score` is a
number, `labels` are objects with a `label`. All other fields come from the input and must be the same on both
sides, or the two are not answers to the same records.
"""

from __future__ import annotations

import heapq
import json
import math
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bertcli.errors import InputError

# What a field holds as it is compared; None for what is no such answer, but has its name.


def _text(value: Any) -> str | None:
    return str(value) if isinstance(value, str | int | float) else None


def _number(value: Any) -> float | None:
    number = _parsed(value)
    if isinstance(number, bool) or not isinstance(number, int | float):
        return None
    return number if abs(number) < math.inf else None


def _truth(value: Any) -> bool | None:
    truth = _parsed(value)
    return truth if isinstance(truth, bool) else None


def _vector(value: Any) -> Any:
    try:
        vector = np.asarray(_parsed(value))
    except ValueError:  # lists of different lengths
        return None
    return vector.astype(np.float64) if vector.ndim == 1 and vector.dtype.kind in "iuf" else None


def _object(value: Any, *keys: str) -> Any:
    found = _parsed(value)
    return found if _has(found, keys) else None


def _objects(value: Any, *keys: str) -> Any:
    found = _parsed(value)
    return found if isinstance(found, list) and all(_has(one, keys) for one in found) else None


def _has(value: Any, keys: tuple[str, ...]) -> bool:
    return isinstance(value, dict) and value.keys() >= {*keys}


def _names(value: Any) -> Any:
    labels = _objects(value, "label")
    return None if labels is None else sorted((label["label"] for label in labels), key=str)


def _places(value: Any) -> Any:
    spans = _objects(value, "label", "start", "end")
    return None if spans is None else [[span["label"], span["start"], span["end"]] for span in spans]


def _tags(value: Any) -> Any:
    """What tokens are tagged with; of tokens that are only counted, the number."""
    tokens = _objects(value, "token")
    return _number(value) if tokens is None else [token.get("label") for token in tokens]


def _best_words(value: Any) -> Any:
    fills = _objects(value, "words")
    return None if fills is None else fills[0]["words"] if fills else []


Read = Callable[[Any], Any]

FLIPPING: Mapping[str, Read] = {
    "label": _text,
    "labels": _names,
    "spans": _places,
    "tokens": _tags,
    "fills": _best_words,
    "answer": _text,
    "likelier": _text,
}
NUMBERS: Mapping[str, Read] = dict.fromkeys(("score", "entropy", "margin", "perplexity"), _number)
VECTORS: Mapping[str, Read] = {"embedding": _vector}
FAILED = "error"
REMARKS: Mapping[str, Read] = {  # of an answer; none by themselves
    **dict.fromkeys(("windows", "start", "end"), _number),
    "truncated": _truth,
    "words": lambda value: _objects(value, "word"),
    FAILED: lambda value: _object(value, "type", "message"),
}
KINDS: Mapping[str, Read] = {**FLIPPING, **NUMBERS, **VECTORS, **REMARKS}
INPUT = object()
"""Instead of an answer, where a field holds none."""


@dataclass(frozen=True)
class Answered:
    """A record with its answers, from one side; `where` it is there."""

    where: str
    fields: Mapping[str, Any]

    @cached_property
    def answers(self) -> dict[str, Any]:
        """The answers and what is remarked of them, as they are compared; an empty cell of CSV is null."""
        read = {name: _read(name, value) for name, value in self.fields.items()}
        return {name: answer for name, answer in read.items() if answer is not INPUT}

    def inputs(self) -> dict[str, Any]:
        """What is no answer."""
        return {name: value for name, value in self.fields.items() if name not in self.answers}

    @property
    def failed(self) -> bool:
        return any(_kind(name) == FAILED and value is not None for name, value in self.answers.items())


@dataclass(frozen=True, slots=True)
class Change:
    """How one record's answers differ: `flips` are both sides by field, `drifts` how far numbers moved. `can_flip`
    says that there is an answer which could be another one: not only numbers, and not null on both sides."""

    row: Answered
    flips: Mapping[str, tuple[Any, Any]]
    drifts: Mapping[str, float]
    certainty: float
    can_flip: bool = False

    @property
    def severity(self) -> tuple[bool, float, float]:
        """A flip is worse than any drift, and worst where both sides were sure."""
        return bool(self.flips), self.certainty if self.flips else 0.0, max(self.drifts.values(), default=0.0)


@dataclass(slots=True)
class Comparison:
    """Gets every record in turn; keeps the `most` worst changes, and a number a record and drift."""

    most: int = 10
    records: int = 0
    flipped: int = 0
    failed: int = 0
    flippable: int = 0
    flips: Counter[str] = field(default_factory=Counter)
    drifts: dict[str, array[float]] = field(default_factory=dict)
    _worst: list[tuple[tuple[bool, float, float], int, Change]] = field(default_factory=list)

    def add(self, a: Answered, b: Answered) -> None:
        """Compare a record's answers. Raises InputError where they are answers to different records."""
        _require_same_inputs(a, b)
        self.records += 1
        if a.failed and b.failed:
            self.failed += 1
            return
        change = compared(a, b)
        self.flippable += change.can_flip
        self.flipped += bool(change.flips)
        self.flips.update(change.flips.keys())
        for name, drift in change.drifts.items():
            self.drifts.setdefault(name, array("d")).append(drift)
        if any(change.severity):
            heapq.heappush(self._worst, (change.severity, -self.records, change))
            if len(self._worst) > self.most:
                heapq.heappop(self._worst)

    @property
    def worst(self) -> list[Change]:
        """The worst first."""
        return [change for _, _, change in sorted(self._worst, key=lambda entry: entry[:2], reverse=True)]

    @property
    def largest_drift(self) -> float:
        return max((max(values) for values in self.drifts.values()), default=0.0)

    def figures(self) -> dict[str, Any]:
        """All figures, as JSON has them."""
        return {
            "records": self.records,
            "failed": self.failed,
            "flipped": self.flipped,
            "flips": dict(self.flips),
            "drift": {name: _spread(values) for name, values in self.drifts.items()},
            "worst": [
                {
                    "where": change.row.where,
                    **change.row.inputs(),
                    "flips": {name: list(sides) for name, sides in change.flips.items()},
                    "drift": dict(change.drifts),
                }
                for change in self.worst
            ],
        }


def compared(a: Answered, b: Answered) -> Change:
    """What changed between the answers of a record. Raises InputError where no answer is on both sides."""
    if a.failed or b.failed:
        return Change(a, {FAILED: (_description(a), _description(b))}, {}, 0.0, can_flip=True)
    flips: dict[str, tuple[Any, Any]] = {}
    drifts: dict[str, float] = {}
    sure = []
    shared = [name for name in a.answers if name in b.answers and _kind(name) not in REMARKS]
    if not shared:
        raise InputError(
            "has no answer that the other file has too",
            where=a.where,
            hint=f"answers are {', '.join((*FLIPPING, *NUMBERS, *VECTORS))}, with any prefix",
        )
    for name in shared:
        kind, one, other = _kind(name), a.answers[name], b.answers[name]
        if kind in FLIPPING:
            if one != other:
                flips[name] = (one, other)
        elif one is not None and other is not None:
            drifts[name] = _cosine_drift(one, other, a.where) if kind in VECTORS else abs(one - other)
            sure += [one + other] if kind == "score" else []
    answers = [side.answers[name] for side in (a, b) for name in shared if _kind(name) in FLIPPING]
    can_flip = any(answer is not None for answer in answers)
    return Change(a, flips, drifts, max(sure, default=0.0), can_flip)


def _require_same_inputs(a: Answered, b: Answered) -> None:
    """Raise InputError where a field that is an answer on one side at most differs."""
    answers = a.answers.keys() & b.answers.keys()
    for name, value in a.fields.items():
        if name not in answers and name in b.fields and value != b.fields[name]:
            raise InputError(
                f"the field '{name}' differs from that of {b.where}",
                where=a.where,
                hint="compare two outputs of the same input, record by record",
            )


def _kind(name: str) -> str:
    """Which answer a field would hold, by the end of its name."""
    return name.rpartition("_")[2]


def _read(name: str, value: Any) -> Any:
    """The answer that a field holds, None for a null one; INPUT where the name or the shape is none's."""
    read = KINDS.get(_kind(name))
    if read is None:
        return INPUT
    if value is None or (isinstance(value, str) and not value):
        return None
    answer = read(value)
    return INPUT if answer is None else answer


def _description(row: Answered) -> str:
    return "failed" if row.failed else "answered"


def _parsed(value: Any) -> Any:
    """A number, list or object that CSV holds as text."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _cosine_drift(a: NDArray[np.float64], b: NDArray[np.float64], where: str) -> float:
    if a.shape != b.shape:
        raise InputError(
            f"has a vector of {a.size} numbers, the other file one of {b.size}",
            where=where,
            hint="compare files of the same model, made with the same --dim and --layer",
        )
    if np.array_equal(a, b):  # exactly, whatever rounding makes of the quotient
        return 0.0
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    return max(0.0, 1 - float(a @ b) / lengths) if lengths else 0.0


def _spread(values: array[float]) -> dict[str, float]:
    numbers = np.asarray(values)
    return {
        "mean": float(numbers.mean()),
        "p99": float(np.percentile(numbers, 99)),
        "max": float(numbers.max()),
    }


def paired(
    a: Iterator[Answered], b: Iterator[Answered], names: tuple[str, str]
) -> Iterator[tuple[Answered, Answered]]:
    """The rows of both sides, one by one. Raises InputError where one side ends before the other."""
    count = 0
    while True:
        one, other = next(a, None), next(b, None)
        if one is None or other is None:
            break
        count += 1
        yield one, other
    if one is not other:
        longer, shorter = (1, 0) if one is None else (0, 1)
        raise InputError(
            f"has more records than {names[shorter]}, which has {count}",
            where=names[longer],
            hint="compare two outputs of the same input",
        )
