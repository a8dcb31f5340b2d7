"""Two sets of answers to the same records: which answers changed, and how far the numbers moved.

    flip           an answer that is another one: a label, the set of labels, the spans, the words of the best
                   filling; or one that is there on one side only, since the other failed
    drift          |a - b| of a score (or entropy, margin, perplexity)
    cosine drift   1 - cos(a, b) of two vectors: 0 where they point the same way

What is an answer is known by the name of its field, behind whatever prefix; all other fields come from the
input and must be the same on both sides, or the two are not answers to the same records.
"""

from __future__ import annotations

import heapq
import json
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bertcli.errors import InputError


def _names(labels: Any) -> Any:
    return sorted(entry["label"] if isinstance(entry, dict) else entry for entry in labels)


def _places(spans: Any) -> Any:
    return [[span["label"], span["start"], span["end"]] for span in spans]


def _tags(tokens: Any) -> Any:
    """What tokens are tagged with; of tokens that are only counted, the number."""
    if not isinstance(tokens, list):
        return tokens
    return [token.get("label") if isinstance(token, dict) else token for token in tokens]


def _best_words(fills: Any) -> Any:
    return fills[0]["words"] if fills else []


FLIPPING: Mapping[str, Callable[[Any], Any]] = {
    "label": str,
    "labels": _names,
    "spans": _places,
    "tokens": _tags,
    "fills": _best_words,
    "answer": str,
    "likelier": str,
}
NUMBERS = ("score", "entropy", "margin", "perplexity")
VECTORS = ("embedding",)
REMARKS = ("windows", "truncated", "error", "start", "end", "words")  # of an answer; none by themselves
FAILED = "error"


@dataclass(frozen=True, slots=True)
class Row:
    """A record with its answers, from one side; `where` it stands there."""

    where: str
    fields: Mapping[str, Any]

    def inputs(self) -> dict[str, Any]:
        """What is no answer."""
        return {name: value for name, value in self.fields.items() if _kind(name) is None}

    @property
    def failed(self) -> bool:
        return any(_ending(name) == FAILED and value for name, value in self.fields.items())


@dataclass(frozen=True, slots=True)
class Change:
    """How one record's answers differ: `flips` are both sides by field, `drifts` how far numbers moved."""

    row: Row
    flips: Mapping[str, tuple[Any, Any]]
    drifts: Mapping[str, float]
    certainty: float

    @property
    def severity(self) -> tuple[bool, float, float]:
        """A flip is worse than any drift, and worst where both sides were sure."""
        return bool(self.flips), self.certainty if self.flips else 0.0, max(self.drifts.values(), default=0.0)


@dataclass(slots=True)
class Comparison:
    """Is told of every record in turn; keeps the `most` worst changes, and a number a record and drift."""

    most: int = 10
    records: int = 0
    flipped: int = 0
    failed: int = 0
    flips: Counter[str] = field(default_factory=Counter)
    drifts: dict[str, array[float]] = field(default_factory=dict)
    _worst: list[tuple[tuple[bool, float, float], int, Change]] = field(default_factory=list)

    def add(self, a: Row, b: Row) -> None:
        """Compare a record's answers. Raises InputError where they are answers to different records."""
        _refuse_strangers(a, b)
        self.records += 1
        if a.failed and b.failed:
            self.failed += 1
            return
        change = compared(a, b)
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


def compared(a: Row, b: Row) -> Change:
    """What changed between the answers of a record. Raises InputError where no answer is on both sides."""
    if a.failed or b.failed:
        return Change(a, {FAILED: (_told(a), _told(b))}, {}, 0.0)
    flips: dict[str, tuple[Any, Any]] = {}
    drifts: dict[str, float] = {}
    sure = []
    shared = [name for name in a.fields if name in b.fields and _kind(name) not in (None, *REMARKS)]
    if not shared:
        raise InputError(
            "has no answer that the other file has too",
            where=a.where,
            hint=f"answers are {', '.join((*FLIPPING, *NUMBERS, *VECTORS))}, with any prefix",
        )
    for name in shared:
        kind = _kind(name)
        one, other = _parsed(a.fields[name]), _parsed(b.fields[name])
        if kind is not None and kind in FLIPPING:
            if (mine := _answer(kind, one)) != (theirs := _answer(kind, other)):
                flips[name] = (mine, theirs)
        elif one is not None and other is not None:
            drifts[name] = _cosine_drift(one, other, a.where) if kind in VECTORS else abs(one - other)
            sure += [one + other] if kind == "score" else []
    return Change(a, flips, drifts, max(sure, default=0.0))


def _refuse_strangers(a: Row, b: Row) -> None:
    one, other = a.inputs(), b.inputs()
    for name in one:
        if name in other and one[name] != other[name]:
            raise InputError(
                f"the field '{name}' differs from that of {b.where}",
                where=a.where,
                hint="compare two outputs of the same input, record by record",
            )


def _kind(name: str) -> str | None:
    """Which answer a field holds, by its name or the end of it; None for a field of the input."""
    ending = _ending(name)
    return ending if ending in (*FLIPPING, *NUMBERS, *VECTORS, *REMARKS) else None


def _ending(name: str) -> str:
    return name.rpartition("_")[2]


def _answer(kind: str, value: Any) -> Any:
    return None if value is None else FLIPPING[kind](value)


def _told(row: Row) -> str:
    return "failed" if row.failed else "answered"


def _parsed(value: Any) -> Any:
    """A number or list that CSV holds as text; an empty cell is null."""
    if not isinstance(value, str):
        return value
    if value == "":
        return None
    try:
        return json.loads(value)
    except ValueError:
        return value


def _cosine_drift(one: Any, other: Any, where: str) -> float:
    a, b = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    if a.shape != b.shape:
        raise InputError(f"has a vector of {a.size} numbers, the other file one of {b.size}", where=where)
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


def paired(a: Iterator[Row], b: Iterator[Row], names: tuple[str, str]) -> Iterator[tuple[Row, Row]]:
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
