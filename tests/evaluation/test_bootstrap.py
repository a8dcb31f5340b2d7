"""Intervals: the same for the same file, and as wide as the theory of the mean says."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bertcli.evaluation.bootstrap import Numbers, estimates

NORMAL = 1.96  # standard deviations to either side that hold 95 %


def test_the_interval_of_a_mean_is_the_textbooks() -> None:
    values = np.random.default_rng(3).normal(5, 2, size=400)

    def mean(weights: Numbers) -> dict[str, float]:
        return {"mean": float(weights @ values / weights.sum())}

    figure = estimates(mean, len(values))["mean"]
    error = values.std() / math.sqrt(len(values))
    assert figure.value == pytest.approx(values.mean())
    assert figure.low == pytest.approx(values.mean() - NORMAL * error, abs=0.2 * error)
    assert figure.high == pytest.approx(values.mean() + NORMAL * error, abs=0.2 * error)
    assert estimates(mean, len(values))["mean"] == figure


def test_a_resample_has_as_many_records_as_the_file() -> None:
    seen: list[Numbers] = []

    def count(weights: Numbers) -> dict[str, float]:
        seen.append(weights)
        return {"records": float(weights.sum())}

    figure = estimates(count, 7, resamples=20)["records"]
    assert (figure.value, figure.low, figure.high) == (7, 7, 7)
    assert len({tuple(weights) for weights in seen}) > 10


def test_resamples_without_a_figure_are_left_out() -> None:
    def sometimes(weights: Numbers) -> dict[str, float]:
        return {"figure": 0.5 if weights[0] else math.nan, "never": math.nan}

    found = estimates(sometimes, 3)
    assert (found["figure"].low, found["figure"].high) == (0.5, 0.5)
    assert math.isnan(found["never"].low)
