"""How much of a figure is chance: the percentile bootstrap.

The records of a file are a sample; another sample would have given another figure. Draw as many records from
the file as it has, with replacement, and measure; 95 of 100 such figures lie between the 2.5th and the 97.5th
percentile of many of them (Efron & Tibshirani 1993, chapter 13). A resample is given to a measure as how often
each record was drawn, so that nothing is copied; what belongs to one text (its words, its masked pieces) is
drawn together, for it is not independent of each other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
SEED = 0
TAILS = (2.5, 97.5)  # percent

Numbers = NDArray[np.float64]
Measure = Callable[[Numbers], Mapping[str, float]]
"""Figures by name, from how often each record counts: (records,)."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95 % interval; not a number where it is not defined (a correlation of constants)."""

    value: float
    low: float
    high: float


def estimates(
    measure: Measure, records: int, *, weights: Numbers | None = None, resamples: int = RESAMPLES
) -> dict[str, Estimate]:
    """Each figure of `measure` over all records, with its interval. The same file gives the same intervals. `weights`
    (records,) are those of a sample that was not drawn uniformly.

    Resamples in which a figure is not defined are left out of its interval.
    """
    counts = np.ones(records) if weights is None else weights
    values = measure(counts)
    random = np.random.default_rng(SEED)
    drawn = [measure(counts * _resample(random, records)) for _ in range(resamples)]
    return {
        name: Estimate(float(value), *_percentiles([figures[name] for figures in drawn]))
        for name, value in values.items()
    }


def _resample(random: np.random.Generator, records: int) -> Numbers:
    """How often each record is drawn in one resample: (records,)."""
    drawn: NDArray[Any] = random.integers(records, size=records)
    return np.bincount(drawn, minlength=records).astype(np.float64)


def _percentiles(figures: list[float]) -> tuple[float, float]:
    defined = [figure for figure in figures if np.isfinite(figure)]
    if not defined:
        return np.nan, np.nan
    low, high = np.percentile(defined, TAILS)
    return float(low), float(high)
