"""Which state of a run is the best."""

from __future__ import annotations

import numpy as np
import torch

from bertcli.training.state import Best
from bertcli.training.validation import Validation, of_losses, of_numbers


def validated(error: float) -> dict[str, Validation]:
    gold = np.arange(5.0)
    return {"number": of_numbers(gold + error * np.array([1, -1, 0, 1, -1]), gold)}


def test_to_ask_whether_a_state_is_better_changes_nothing() -> None:
    best = Best.of(validated(0.2), 3, {"weight": torch.zeros(1)})
    for _ in range(2):
        assert not best.is_beaten_by(validated(0.2))
        assert not best.is_beaten_by(validated(0.5))
        assert best.is_beaten_by(validated(0.1))
    assert best.stale == 0


def test_anything_is_better_than_nothing() -> None:
    assert Best().is_beaten_by(validated(9.0))


def test_less_loss_is_better_and_a_loss_that_is_no_number_the_worst() -> None:
    def found(loss: float) -> dict[str, Validation]:
        return {"translate": of_losses(np.array([loss, loss]), np.array([1.0, 1.0]))}

    best = Best.of(found(2.0), 3, {"weight": torch.zeros(1)})
    assert best.is_beaten_by(found(1.5))
    assert not best.is_beaten_by(found(2.5))
    assert not best.is_beaten_by(found(float("nan")))
    assert Best.of(found(float("nan")), 3, {"weight": torch.zeros(1)}).is_beaten_by(found(9.0))
