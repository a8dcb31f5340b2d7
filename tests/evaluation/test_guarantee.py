"""The guarantee is a promise about files: it is simulated on files whose errors are known."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import beta, binom

from bertcli.errors import InputError
from bertcli.evaluation.guarantee import find
from bertcli.evaluation.sampling import (
    MOST_WEIGHT,
    Draws,
    cluster_centres,
    draw_uniform,
    unit_vectors,
)

Numbers = np.ndarray

_spec = importlib.util.spec_from_file_location(
    "simulation", Path(__file__).parent.parent.parent / "docs" / "simulate_guarantee.py"
)
assert _spec is not None
assert _spec.loader is not None
simulation = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(simulation)


def _file(records: int, *, seed: int = 1, wrong: float = 0.2) -> tuple[Numbers, Numbers]:
    """Scores and errors of a file whose scores are informative but not calibrated."""
    random = np.random.default_rng(seed)
    scores = random.beta(3, 1, records)
    return scores, random.random(records) < wrong * 2 * (1 - scores**4)


@pytest.mark.parametrize("way", ["random", "uncertainty"])
@pytest.mark.parametrize("count", [100, 300])
def test_the_bound_holds_in_95_of_100_samples(way: str, count: int) -> None:
    samples = 300
    holds, accepted = simulation.simulate(*_file(3000), way, count, samples=samples)
    assert holds * samples >= binom.ppf(0.001, samples, 0.95)
    if count == 300:
        assert accepted > 0.2  # a bound that accepts nothing holds, too


def test_a_uniform_sample_accepts_as_many_errors_as_clopper_and_pearson_allow() -> None:
    scores, wrong = _file(250, seed=3)
    found = find(scores, wrong, error=0.1, confidence=0.9)
    assert beta.ppf(0.9, found.wrong + 1, 250 - found.wrong) <= 0.1
    assert beta.ppf(0.9, found.wrong + 2, 250 - found.wrong - 1) > 0.1
    assert found.above in scores[wrong]
    assert found.accepted == pytest.approx((scores > found.above).mean())


def test_equal_scores_are_accepted_or_reviewed_together() -> None:
    scores = np.repeat([0.9, 0.5], 200)
    wrong = np.arange(400) % 200 < 30  # 30 of either score
    assert find(scores, wrong, error=0.05, confidence=0.95).above == 0.9


def test_all_labels_are_accepted_where_few_are_wrong() -> None:
    found = find(np.linspace(0.5, 1, 100), np.zeros(100, dtype=bool), error=0.05, confidence=0.95)
    assert (found.above, found.accepted, found.wrong) == (0, 1, 0)


@pytest.mark.parametrize("weights", [None, np.full(40, 1.2)])
def test_too_few_records_give_no_guarantee_and_the_number_that_would(weights: Numbers | None) -> None:
    none_wrong = np.zeros(40, dtype=bool)
    with pytest.raises(InputError, match="40 checked records are too few") as caught:
        find(np.ones(40), none_wrong, error=0.05, confidence=0.95, weights=weights)
    least = int(str(caught.value.hint).split()[3].rstrip(","))
    weights = None if weights is None else np.full(least, 1.2)
    find(np.ones(least), np.zeros(least, dtype=bool), error=0.05, confidence=0.95, weights=weights)


def test_weighted_draws_estimate_the_file_without_bias() -> None:
    scores, wrong = _file(200)
    random = np.random.default_rng(0)
    estimates = []
    for _ in range(300):
        draws: Draws[int] = Draws(50, random, groups=2)
        for place, score in enumerate(scores.tolist()):
            draws.add(place, 1 - score, group=int(place % 7 == 0))
        drawn = draws.result()
        assert sum(entry.draws for entry in drawn) == 50
        assert max(entry.weight for entry in drawn) <= MOST_WEIGHT
        estimates.append(sum(wrong[entry.item] * entry.weight * entry.draws for entry in drawn) / 50)
    deviation = np.std(estimates) / np.sqrt(len(estimates))
    assert abs(np.mean(estimates) - wrong.mean()) < 4 * deviation


def test_uniform_draws_are_distinct_and_every_record_is_as_likely() -> None:
    random = np.random.default_rng(0)
    times = np.zeros(20)
    for _ in range(2000):
        places = [entry.item for entry in draw_uniform(range(20), 5, random)]
        assert len(set(places)) == 5
        assert places == sorted(places)
        times[places] += 1
    assert abs(times / 2000 - 0.25).max() < 0.05
    assert [entry.item for entry in draw_uniform(range(3), 5, random)] == [0, 1, 2]


def test_a_rare_cluster_gets_a_centre() -> None:
    random = np.random.default_rng(0)
    vectors = unit_vectors(
        np.concatenate([random.normal([5, 0, 0], 0.1, (300, 3)), random.normal([0, 5, 0], 0.1, (30, 3))])
    )
    centres = cluster_centres(vectors, 2, random)
    assert sorted(centres.round().tolist()) == [[0, 1, 0], [1, 0, 0]]
