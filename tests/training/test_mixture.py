"""Shares of objectives, and a drawing that is gone on with."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from bertcli.training.mixture import Mixture, Position
from bertcli.training.recipe import Schedule

SCHEDULE = Schedule(steps=100, micro_batches=3)


def objectives(**weights: tuple[float, float]) -> Any:
    """Objectives whose batches are their number."""
    return {
        name: SimpleNamespace(settings=SimpleNamespace(weight=weight), batch=lambda number: number)
        for name, weight in weights.items()
    }


def drawn(mixture: Mixture, count: int) -> list[tuple[str, Any]]:
    return [mixture.draw()[:2] for _ in range(count)]


def test_shares_follow_the_weights_from_the_first_to_the_last_step() -> None:
    with Mixture(objectives(a=(3.0, 1.0), b=(1.0, 1.0)), SCHEDULE, Position()) as mixture:
        names = [name for name, _ in drawn(mixture, 300)]
    first, last = Counter(names[:30]), Counter(names[-30:])
    assert first["a"] in (22, 23)
    assert last["a"] in (15, 16)


def test_batches_of_an_objective_are_numbered() -> None:
    with Mixture(objectives(a=(2.0, 2.0), b=(1.0, 1.0)), SCHEDULE, Position()) as mixture:
        found = drawn(mixture, 30)
    for name in "ab":
        numbers = [number for other, number in found if other == name]
        assert numbers == list(range(len(numbers)))


def test_a_drawing_goes_on_from_a_position() -> None:
    parts = objectives(a=(0.7, 0.2), b=(0.2, 0.5), c=(0.1, 0.1))
    with Mixture(parts, SCHEDULE, Position()) as mixture:
        whole = drawn(mixture, 60)
    with Mixture(parts, SCHEDULE, Position()) as mixture:
        for _ in range(25):
            *_, position = mixture.draw()
    with Mixture(parts, SCHEDULE, position) as mixture:
        assert drawn(mixture, 35) == whole[25:]


def test_an_error_of_a_batch_is_raised_where_it_is_drawn() -> None:
    def broken(number: int) -> Any:
        raise ValueError(number)

    parts = objectives(a=(1.0, 1.0))
    parts["a"].batch = broken
    with Mixture(parts, SCHEDULE, Position()) as mixture, pytest.raises(ValueError, match="0"):
        mixture.draw()
