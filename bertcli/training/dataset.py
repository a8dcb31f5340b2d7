"""Examples with their targets: which classes there are, which problem it is, which examples are held out."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from bertcli.errors import InputError, UsageError
from bertcli.evaluation.gold import label_name

if TYPE_CHECKING:
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.models.heads import Head, ProblemType

SINGLE: ProblemType = "single_label_classification"
MULTI: ProblemType = "multi_label_classification"
REGRESSION: ProblemType = "regression"
FEW_NUMBERS = 20  # whole numbers of at most so many values are names of classes
DEV_FRACTION = 0.1
MOST_DEV_QUERIES = 200
FEW = 300  # labelled examples: too few to hold some out


@dataclass(frozen=True, slots=True)
class Example:
    """A text, or a pair of texts, and its target: a class, a tuple of classes, a number, or tags."""

    text: str
    pair: str | None
    target: Any
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Split:
    """The examples to learn from, and those that are held out to validate with."""

    train: tuple[Example, ...]
    dev: tuple[Example, ...]

    def fingerprint(self) -> str:
        """Changes with every example."""
        return hashlib.sha256(repr((self.train, self.dev)).encode()).hexdigest()[:16]


def hold_out(examples: Sequence[Example], dev: Sequence[Example] | None, fraction: float, seed: int) -> Split:
    """The examples with those of `dev` held out, or without `dev` a seeded `fraction` of each class, which
    may be 0.

    Equal texts go to the same side, so that no example of the one is in the other.
    """
    if dev is not None or not fraction:
        return Split(tuple(examples), tuple(dev or ()))
    groups: dict[str, list[tuple[str, str | None]]] = {}
    for key, target in {(e.text, e.pair): e.target for e in examples}.items():
        groups.setdefault(target if isinstance(target, str) else "", []).append(key)
    rng = np.random.default_rng(seed)
    held: set[tuple[str, str | None]] = set()
    owed = 0.0
    for name in sorted(groups):
        # What one class is too small to give, the next one owes: the fraction holds over all.
        owed += fraction * len(groups[name])
        count = min(int(owed + 0.5), len(groups[name]) - 1)
        owed -= count
        held.update(groups[name][i] for i in rng.permutation(len(groups[name]))[:count])
    parts = Split(
        tuple(e for e in examples if (e.text, e.pair) not in held),
        tuple(e for e in examples if (e.text, e.pair) in held),
    )
    if not parts.train or not parts.dev:
        raise InputError(
            f"{len(examples)} examples are too few to hold out {fraction:g} of them",
            hint="give more examples, a larger --dev-fraction, or a file to validate with as --dev",
        )
    return parts


def hold_out_queries(
    examples: Sequence[Example], dev: Sequence[Example] | None, fraction: float, seed: int
) -> Split:
    """The examples with those of `dev` held out, or without `dev` all examples of a seeded `fraction` of the queries,
    at most `MOST_DEV_QUERIES`. Raises InputError for a single query."""
    if dev is not None:
        return Split(tuple(examples), tuple(dev))
    queries = sorted({example.text for example in examples})
    if len(queries) < 2:
        raise InputError(
            "there is only one query, and none can be held out",
            hint="give more queries, or a file to validate with as --dev",
        )
    count = min(max(1, round(fraction * len(queries))), len(queries) - 1, MOST_DEV_QUERIES)
    held = {queries[i] for i in np.random.default_rng(seed).permutation(len(queries))[:count]}
    return Split(
        tuple(e for e in examples if e.text not in held), tuple(e for e in examples if e.text in held)
    )


def scale_relevance(split: Split) -> Split:
    """The examples with a relevance from 0 to 1, the greatest one 1 where it is above that."""
    most = max((example.target for example in (*split.train, *split.dev)), default=1.0)
    if most <= 1:
        return split
    return Split(
        *(tuple(replace(e, target=e.target / most) for e in part) for part in (split.train, split.dev))
    )


def joined(examples: Sequence[Example], most: int, seed: int) -> list[Example]:
    """Tagged sentences, each once: half of them alone, the others in groups of 2 to `most`, in a seeded
    order. All alone where `most` is 1."""
    if most < 2:
        return list(examples)
    rng = np.random.default_rng([seed, 2])
    order = rng.permutation(len(examples))
    alone = len(order) // 2
    found = [examples[i] for i in order[:alone]]
    while alone < len(order):
        group = [examples[i] for i in order[alone : alone + int(rng.integers(2, most + 1))]]
        alone += len(group)
        words = tuple(chain.from_iterable(one.words for one in group))
        tags = tuple(chain.from_iterable(one.target for one in group))
        found.append(Example(" ".join(words), None, tags, words))
    return found


def recased(examples: Sequence[Example], share: float, seed: int) -> list[Example]:
    """Tagged sentences, with copies of a seeded `share` of them behind: half of these in capitals, the others in lower
    case."""
    rng = np.random.default_rng([seed, 3])
    chosen = rng.permutation(len(examples))[: round(share * len(examples))]
    found = list(examples)
    for place, number in enumerate(chosen):
        words = tuple(word.lower() if place % 2 else word.upper() for word in examples[number].words)
        found.append(Example(" ".join(words), None, examples[number].target, words))
    return found


def problem_of(examples: Iterable[Example]) -> ProblemType:
    """What the labels are: lists of classes, numbers, or classes."""
    targets = [example.target for example in examples]
    if any(isinstance(target, tuple) for target in targets):
        return MULTI
    if not all(isinstance(target, int | float) and not isinstance(target, bool) for target in targets):
        numbers = [number_of(target) for target in targets]
        # Numbers from a CSV file come as strings; only fractions distinguish them from names.
        whole = all(number is None or number == int(number) for number in numbers)
        return SINGLE if whole or None in numbers else REGRESSION
    values = set(targets)
    whole = all(value == int(value) for value in values)
    return SINGLE if whole and len(values) <= FEW_NUMBERS else REGRESSION


def classes_of(examples: Iterable[Example], problem: ProblemType) -> tuple[str, ...]:
    """The names of the classes, sorted; `score` alone for a regression.

    Raises InputError when there is only one, from which nothing can be learnt.
    """
    if problem == REGRESSION:
        return ("score",)
    names = {label for example in examples for label in _names(example.target)}
    if len(names) < 2:
        only = f"the only label is {next(iter(names))!r}" if names else "there is no label"
        raise InputError(f"{only}: nothing can be learnt from that", hint="give examples of other labels too")
    return tuple(sorted(names))


def targets_of(
    examples: Sequence[Example], classes: Sequence[str], problem: ProblemType
) -> np.ndarray[Any, Any]:
    """The targets as arrays: int64 [n] of classes, float32 [n, classes] of 0 and 1 where many
    may hold, float32 [n] for a regression. Raises InputError for a class that is not among `classes`."""
    if problem == REGRESSION:
        return np.array([_as_number(example.target) for example in examples], np.float32)
    index = {name: number for number, name in enumerate(classes)}
    unknown = sorted({n for e in examples for n in _names(e.target)} - set(index))
    if unknown:
        raise InputError(
            f"the held-out examples have a label {unknown[0]!r} that no training example has",
            hint=f"the labels learnt are: {', '.join(classes)}",
        )
    if problem == SINGLE:
        return np.array([index[_names(example.target)[0]] for example in examples], np.int64)
    several = np.zeros((len(examples), len(classes)), np.float32)
    for row, example in enumerate(examples):
        several[row, [index[name] for name in _names(example.target)]] = 1
    return several


def tag_names(examples: Iterable[Example]) -> tuple[str, ...]:
    """The tags, `O` first. Raises InputError when there is only one."""
    names = {tag for example in examples for tag in example.target}
    if len(names) < 2:
        raise InputError("there is only one tag: nothing can be learnt from that")
    return tuple(sorted(names, key=lambda name: (name != "O", name)))


def spread(examples: Sequence[Example], classes: Sequence[str]) -> Mapping[str, int]:
    """How many examples each class has, in the order of `classes`."""
    counts = Counter(name for example in examples for name in _names(example.target))
    return {name: counts[name] for name in classes}


def _names(target: Any) -> tuple[str, ...]:
    return target if isinstance(target, tuple) else (label_name(target) or str(target),)


def number_of(target: Any) -> float | None:
    """A finite number, which CSV has as text; None for anything else."""
    try:
        number = float(target)
    except (TypeError, ValueError):
        return None
    return number if np.isfinite(number) else None


def _as_number(target: Any) -> float:
    number = number_of(target)
    if number is None:
        raise InputError(f"the label {target!r} is not a number, but the others are")
    return number


def check_labels(head: Head, examples: Iterable[Example]) -> None:
    """Raise UsageError for a head that cannot be trained further on the examples."""
    if head.kind == "label" and head.skill and head.pooling != "cls":
        raise UsageError(f"--head {head.name}: only a head that reads [CLS] can be trained further")
    targets = (example.target for example in examples)
    names = {name for target in targets for name in _names(target)} if head.problem != REGRESSION else set()
    if unknown := sorted(names - set(head.labels)):
        raise UsageError(
            f"--head {head.name}: the data has a label {unknown[0]!r} that the head does not have",
            hint=f"the head has: {', '.join(head.labels)}; without --head a new head is trained",
        )


def share_to_hold_out(examples: int, asked: float | None, *, has_probe: bool) -> float:
    """The share of the examples to validate with: as asked, else a tenth, but none of a few labels.

    A tenth of so few could not distinguish one state from another, and they are worth more to learn from; label heads
    that start from a probe are validated by cross-validation.
    """
    if asked is not None:
        return asked
    return 0.0 if has_probe and examples < FEW else DEV_FRACTION


def starts_from_probe(checkpoint: Checkpoint) -> bool:
    """Whether a new head is initialised by a linear probe on the mean of the encoder's states: of a BERT, unless it
    was a classifier already, which reads its labels from [CLS] through the pooler."""
    ready = "label" in checkpoint.heads and not checkpoint.heads["label"].missing
    return checkpoint.model_type == "bert" and not ready
