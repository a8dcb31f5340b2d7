"""What is measured while something is learnt, and which state is the better one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertcli.training.validation import better, of_numbers, of_one_label, of_pieces, of_tags

FIGURE = st.floats(0, 1) | st.just(math.nan)


@given(one=FIGURE, other=FIGURE, losses=st.tuples(st.floats(0, 9), st.floats(0, 9)))
def test_at_most_one_of_two_states_is_the_better(
    one: float, other: float, losses: tuple[float, float]
) -> None:
    first, second = ({"f1": value, "loss": loss} for value, loss in zip((one, other), losses, strict=True))
    assert not (better(first, second) and better(second, first))
    if math.isnan(one) and not math.isnan(other):
        assert better(second, first)


def test_the_loss_decides_between_equals() -> None:
    assert better({"f1": 0.5, "loss": 1.0}, {"f1": 0.5, "loss": 2.0})
    assert not better({"f1": 0.5}, {"f1": 0.5})


def test_the_watched_figure_stands_first_and_the_loss_last() -> None:
    found = of_one_label(np.array([0, 1, 1]), np.array([0, 1, 0]), ("a", "b"), 0.7).figures()
    assert list(found) == ["macro_f1", "balanced_accuracy", "accuracy", "loss"]
    assert found["loss"] == 0.7


def test_figures_lie_within_their_intervals() -> None:
    rng = np.random.default_rng(0)
    gold = rng.normal(size=50)
    validation = of_numbers(gold + rng.normal(size=50) / 3, gold)
    assert all(e.low <= e.value <= e.high for e in validation.estimates().values())
    assert validation.figures() == {name: e.value for name, e in validation.estimates().items()}


@pytest.mark.parametrize(
    ("tags", "watched"), [(("O", "B-PER", "I-PER"), "micro_f1"), (("NOUN", "VERB"), "accuracy")]
)
def test_tags_are_watched_as_entities_or_as_words(tags: tuple[str, ...], watched: str) -> None:
    sentences = [[tags[1], tags[0]], [tags[0]]]
    found = of_tags(sentences, sentences, tags).figures()
    assert next(iter(found)) == watched
    assert found[watched] == 1


def test_perplexity_is_over_pieces_and_not_over_texts() -> None:
    sums = [(1.0, 1.0, 1.0, 0.0), (3.0, 0.0, 3.0, 4 * math.log(2))]
    found = of_pieces(sums).figures()
    assert found == pytest.approx({"accuracy": 0.25, "top_5_accuracy": 1.0, "perplexity": 2.0})


def test_the_ranks_of_training_are_those_of_evaluation() -> None:
    import torch

    from bertcli.evaluation.masked_words import _found
    from bertcli.training.objectives.fill import ranks_and_log_p

    logits = np.random.default_rng(0).normal(size=(20, 9)).astype(np.float32) * 4
    words = np.random.default_rng(1).integers(9, size=20)
    found = ranks_and_log_p(torch.from_numpy(logits), torch.from_numpy(words))
    np.testing.assert_allclose(found, _found(logits, tuple(words.tolist())), rtol=1e-5, atol=1e-5)
