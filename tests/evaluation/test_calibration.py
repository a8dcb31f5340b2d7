"""Expected calibration error by its definition, and the temperature of maximum likelihood."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_expit, log_softmax, softmax

from bertcli.evaluation.calibration import BINS, calibrate_any, calibrate_one, expected_error, reliability

RECORDS, LABELS = 200, 4
SCORES = arrays(np.float64, st.integers(1, 60), elements=st.floats(0, 1))


@given(scores=SCORES, seed=st.integers(0, 100))
def test_the_error_is_what_its_definition_says(scores: np.ndarray, seed: int) -> None:
    true = np.random.default_rng(seed).random(len(scores)) < 0.5
    expected = 0.0
    for place in range(BINS):
        low, high = place / BINS, (place + 1) / BINS
        inside = (scores > low) & (scores <= high) | ((scores == 0) & (place == 0))
        if inside.any():
            expected += inside.mean() * abs(true[inside].mean() - scores[inside].mean())
    bins = reliability(scores, true)
    assert sum(part.count for part in bins) == len(scores)
    assert expected_error(bins) == pytest.approx(expected, abs=1e-12)


def logits_of(seed: int) -> tuple[np.random.Generator, np.ndarray]:
    random = np.random.default_rng(seed)
    return random, random.normal(0, 2, size=(RECORDS, LABELS))


@pytest.mark.parametrize("true_temperature", [0.5, 1.0, 3.0])
def test_the_temperature_of_one_label_is_the_likeliest(true_temperature: float) -> None:
    random, logits = logits_of(1)
    gold = np.array([random.choice(LABELS, p=p) for p in softmax(logits / true_temperature, axis=1)])

    def surprise(log_temperature: float) -> float:
        scaled = log_softmax(logits / np.exp(log_temperature), axis=1)
        return float(-scaled[np.arange(RECORDS), gold].sum())

    expected = np.exp(minimize_scalar(surprise, bounds=(-3, 3), method="bounded", options={"xatol": 1e-10}).x)
    found = calibrate_one(softmax(logits, axis=1), gold, own=1.0)
    assert found.temperature == pytest.approx(expected, rel=1e-4)
    assert found.temperature == pytest.approx(true_temperature, rel=0.35)
    assert not found.is_at_limit


def test_the_temperature_of_any_labels_is_the_likeliest() -> None:
    random, logits = logits_of(2)
    gold = random.random(logits.shape) < expit(logits / 2)

    def surprise(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        return float(-(log_expit(scaled) * gold + log_expit(-scaled) * ~gold).sum())

    expected = np.exp(minimize_scalar(surprise, bounds=(-3, 3), method="bounded", options={"xatol": 1e-10}).x)
    assert calibrate_any(expit(logits), gold, own=1.0).temperature == pytest.approx(expected, rel=1e-4)


def test_a_model_that_is_calibrated_already_keeps_its_temperature() -> None:
    """Scores made with a temperature give the same total as scores made without."""
    random, logits = logits_of(4)
    gold = np.array([random.choice(LABELS, p=p) for p in softmax(logits / 2, axis=1)])
    plain = calibrate_one(softmax(logits, axis=1), gold, own=1.0)
    mended = calibrate_one(softmax(logits / 1.7, axis=1), gold, own=1.7)
    assert mended.temperature == pytest.approx(plain.temperature, rel=1e-6)
    assert mended.ece_then == pytest.approx(plain.ece_then, abs=1e-9)


def test_answers_that_are_all_right_have_no_temperature() -> None:
    scores = np.array([[0.9, 0.1], [0.2, 0.8]])
    assert calibrate_one(scores, np.array([0, 1]), own=1.0).is_at_limit


def test_a_score_of_exactly_0_is_no_accident() -> None:
    scores = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    found = calibrate_one(scores, np.array([0, 1, 1]), own=1.0)
    assert np.isfinite([found.temperature, found.ece, found.ece_then]).all()
    assert np.isfinite(calibrate_any(scores, scores > 0.5, own=1.0).temperature)
