"""Whether a score of 0.8 is right eight times in ten.

Events are sorted by score into 15 bins of equal width. The expected calibration error is how far the mean
score of a bin is from the share of events that came true, averaged over events:

    ECE = Σ_b n_b / n · |share true in b - mean score in b|

For one label of many an event is the best label being right, for any of many each label of each record. A
temperature T, fitted by maximum likelihood, divides the logits z before the softmax (or sigmoid), which
changes no answer, only its score (Guo et al. 2017, "On Calibration of Modern Neural Networks"). z is taken
from the scores: log p differs from it by a constant that a softmax does not see.

ECE has no interval: a resample adds noise to each bin, and absolute values of noise add up, so that most
resamples have a larger ECE than the file they are drawn from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bertcli.evaluation.bootstrap import Numbers

BINS = 15
LEAST, MOST = 0.05, 20.0  # temperatures; where all answers are right, the likeliest would be 0
STEPS = 40  # halvings of the interval: to eleven digits
SMALLEST = 1e-38  # of a float32 with all its digits
NEXT_TO_ONE = 6e-8  # between a float32 below 1 and 1


@dataclass(frozen=True, slots=True)
class Bin:
    """Events with scores above `low`, up to `high`. Mean score and share true are 0 where there are none."""

    low: float
    high: float
    count: int
    score: float
    true: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """`temperature` is what the model's logits should be divided by, `own` what they are divided by now;
    `ece_then` is the ECE with it, on the records it was fitted to."""

    bins: tuple[Bin, ...]
    ece: float
    own: float
    temperature: float
    ece_then: float

    @property
    def is_at_limit(self) -> bool:
        """Whether the likeliest temperature is beyond those that are tried: all answers are right, or no
        better than chance."""
        factor = self.temperature / self.own
        return not LEAST * 1.01 < factor < MOST / 1.01


def calibrate_one(scores: Numbers, gold: NDArray[np.intp], own: float) -> Calibration:
    """Calibration of scores (records, labels) of which one label a record is right."""
    logits = np.log(np.maximum(scores, SMALLEST))
    rows = np.arange(len(gold))

    def slope(beta: float) -> float:
        p = _softmax(beta * logits)
        return float(((p * logits).sum(axis=1) - logits[rows, gold]).sum())

    def events(p: Numbers) -> tuple[Numbers, NDArray[np.bool_]]:
        return p.max(axis=1), p.argmax(axis=1) == gold

    factor = _fitted(slope)
    return _calibration(events(scores), events(_softmax(logits / factor)), own, factor)


def calibrate_any(scores: Numbers, gold: NDArray[np.bool_], own: float) -> Calibration:
    """Calibration of scores (records, labels) of which each may be right by itself."""
    p = np.clip(scores, SMALLEST, 1 - NEXT_TO_ONE)
    logits = np.log(p) - np.log1p(-p)

    def slope(beta: float) -> float:
        return float(((_sigmoid(beta * logits) - gold) * logits).sum())

    factor = _fitted(slope)
    then = _sigmoid(logits / factor)
    return _calibration((scores.ravel(), gold.ravel()), (then.ravel(), gold.ravel()), own, factor)


def reliability(scores: Numbers, true: NDArray[np.bool_]) -> tuple[Bin, ...]:
    """The bins of events (events,): ((b - 1) / 15, b / 15], with 0 in the first."""
    places = np.clip(np.ceil(scores * BINS).astype(int) - 1, 0, BINS - 1)
    counts = np.bincount(places, minlength=BINS)
    divisors = np.maximum(counts, 1)
    means = np.bincount(places, weights=scores, minlength=BINS) / divisors
    shares = np.bincount(places, weights=true, minlength=BINS) / divisors
    return tuple(
        Bin(place / BINS, (place + 1) / BINS, int(count), float(mean), float(share))
        for place, (count, mean, share) in enumerate(zip(counts, means, shares, strict=True))
    )


def expected_error(bins: tuple[Bin, ...]) -> float:
    """The ECE of some bins."""
    total = sum(part.count for part in bins)
    return sum(part.count * abs(part.true - part.score) for part in bins) / total


def _calibration(
    now: tuple[Numbers, NDArray[np.bool_]],
    then: tuple[Numbers, NDArray[np.bool_]],
    own: float,
    factor: float,
) -> Calibration:
    bins = reliability(*now)
    return Calibration(bins, expected_error(bins), own, own * factor, expected_error(reliability(*then)))


def _fitted(slope: Callable[[float], float]) -> float:
    """The temperature T with the least negative log-likelihood, which is convex in β = 1 / T: where its slope
    by β changes sign. At one of the limits where it does not."""
    low, high = 1 / MOST, 1 / LEAST
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return 2 / (low + high)


def _softmax(logits: Numbers) -> Numbers:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: Numbers = powers / powers.sum(axis=1, keepdims=True)
    return shares


def _sigmoid(logits: Numbers) -> Numbers:
    halves: Numbers = 0.5 * (1 + np.tanh(logits / 2))
    return halves
