"""The beam search over masks finds what trying everything finds, and scores by the chain rule."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bertcli.records import Window
from bertcli.tasks.beam import (
    Filling,
    Lexicon,
    MaskedWindow,
    Question,
    Targets,
    TokenScores,
    Vocabulary,
    combined,
    likeliest,
    search_masks,
    search_together,
)

PIECES = 6
MASK = 6  # beside the pieces, so that no filling is a mask itself


def log_probs(ids: Sequence[int], at: int) -> np.ndarray:  # type: ignore[type-arg]
    """A made-up model: the distribution at a mask depends on every other token and its place."""
    logits = np.random.default_rng([*ids, at]).normal(0, 2, PIECES)
    return np.asarray(logits - np.log(np.exp(logits).sum()))


def ask(questions: list[Question]) -> list[TokenScores]:
    return [
        likeliest(log_probs(question.window.ids, question.window.masks[0]).astype(np.float32), question)
        for question in questions
    ]


def found(ids: Sequence[int], lexicon: Lexicon, width: int) -> list[Filling]:
    masks = tuple(place for place, piece in enumerate(ids) if piece == MASK)
    window = MaskedWindow(ids, [1] * len(ids), masks=masks, glued=(False,) * len(masks))
    return search_together([search_masks(window, lexicon, width)], ask)[0]


def chain(ids: Sequence[int], words: Sequence[Sequence[int]]) -> float:
    """log P of filling the masks of `ids`, left to right, with words of one or several pieces."""
    total, done = 0.0, list(ids)
    for word in words:
        at = done.index(MASK)
        done[at : at + 1] = [MASK] * len(word)
        for place, piece in enumerate(word, at):
            total += log_probs(done, place)[piece]
            done[place] = piece
    return total


def vocabulary(allowed: Sequence[int] = range(PIECES)) -> Vocabulary:
    return Vocabulary(np.array(allowed), np.array(allowed), MASK)


texts = st.lists(st.integers(0, MASK), min_size=1, max_size=6).filter(lambda ids: 1 <= ids.count(MASK) <= 3)


@settings(max_examples=40)
@given(texts)
def test_a_wide_search_finds_the_best_of_all_fillings(ids: list[int]) -> None:
    every = {
        words: chain(ids, [(word,) for word in words])
        for words in itertools.product(range(PIECES), repeat=ids.count(MASK))
    }
    best = sorted(every, key=lambda words: -every[words])[:10]
    fillings = found(ids, vocabulary(), width=len(every))[:10]
    assert [filling.choices for filling in fillings] == best
    assert [filling.log_prob for filling in fillings] == pytest.approx([every[w] for w in best], abs=1e-5)


@settings(max_examples=40)
@given(texts, st.integers(1, 5))
def test_a_narrow_search_scores_what_it_keeps_by_the_chain_rule(ids: list[int], width: int) -> None:
    fillings = found(ids, vocabulary([2, 3, 4]), width)
    assert 1 <= len(fillings) <= width
    for filling in fillings:
        assert set(filling.choices) <= {2, 3, 4}
        assert filling.log_prob == pytest.approx(chain(ids, [(c,) for c in filling.choices]), abs=1e-5)
    scores = [filling.log_prob for filling in fillings]
    assert scores == sorted(scores, reverse=True)


@settings(max_examples=20)
@given(texts)
def test_the_probabilities_of_all_fillings_add_up_to_one(ids: list[int]) -> None:
    fillings = found(ids, vocabulary(), PIECES**3)
    assert np.exp([filling.log_prob for filling in fillings]).sum() == pytest.approx(1, abs=1e-5)


WORDS = ((1,), (2, 3), (2, 4, 1), (5, 3), (2, 3), (4,))


@settings(max_examples=40)
@given(texts)
def test_targets_of_several_pieces_are_scored_whole(ids: list[int]) -> None:
    every = {
        places: chain(ids, [WORDS[place] for place in places])
        for places in itertools.product(range(len(WORDS)), repeat=ids.count(MASK))
    }
    fillings = found(ids, Targets(WORDS, WORDS, MASK), width=len(every))
    assert {filling.choices for filling in fillings} == set(every)
    for filling in fillings:
        assert filling.log_prob == pytest.approx(every[filling.choices], abs=1e-5)


def test_targets_that_begin_alike_are_asked_about_once() -> None:
    questions: list[Question] = []

    def listen(asked: list[Question]) -> list[TokenScores]:
        questions.extend(asked)
        return ask(asked)

    window = MaskedWindow([3, MASK], masks=(1,), glued=(True,))
    search_together([search_masks(window, Targets(((2, 3), (2, 4)), ((2, 3), (2, 4)), MASK), 5)], listen)
    assert len(questions) == 2


@given(st.lists(texts, min_size=1, max_size=5))
@settings(max_examples=20)
def test_searches_side_by_side_find_what_each_finds_alone(batch: list[list[int]]) -> None:
    searches = []
    for ids in batch:
        masks = tuple(place for place, piece in enumerate(ids) if piece == MASK)
        window = MaskedWindow(ids, [1] * len(ids), masks=masks, glued=(False,) * len(masks))
        searches.append(search_masks(window, vocabulary(), 4))
    assert search_together(searches, ask) == [found(ids, vocabulary(), 4) for ids in batch]


def test_types_grow_with_the_pieces() -> None:
    seen: list[Window] = []

    def listen(asked: list[Question]) -> list[TokenScores]:
        seen.extend(question.window for question in asked)
        return ask(asked)

    window = MaskedWindow([3, MASK, 4], [0, 1, 0], masks=(1,), glued=(True,))
    search_together([search_masks(window, Targets(((2, 4, 1),), ((2, 4, 1),), MASK), 5)], listen)
    assert [list(one.ids) for one in seen] == [
        [3, MASK, MASK, MASK, 4],
        [3, 2, MASK, MASK, 4],
        [3, 2, 4, MASK, 4],
    ]
    assert {tuple(one.types or ()) for one in seen} == {(0, 1, 1, 1, 0)}
    assert [one.masks for one in seen] == [(1,), (2,), (3,)]


@given(st.lists(st.lists(st.integers(-50, 0), min_size=1, max_size=4), min_size=1, max_size=4))
def test_windows_that_know_nothing_of_each_other_multiply(parts: list[list[int]]) -> None:
    fillings = [
        [Filling(float(score), (number,)) for number, score in enumerate(sorted(part, reverse=True))]
        for part in parts
    ]
    sums = sorted((sum(f.log_prob for f in combo) for combo in itertools.product(*fillings)), reverse=True)
    best = combined(fillings, 4)
    assert [filling.log_prob for filling in best] == sums[:4]
    assert all(len(filling.choices) == len(parts) for filling in best)


@given(st.lists(st.integers(-9, 9), min_size=1, max_size=30), st.integers(1, 40))
def test_equal_logits_are_listed_by_id(values: list[int], most: int) -> None:
    logits = np.array(values, dtype=np.float32)
    answer = likeliest(logits, Question(Window([0]), np.arange(len(values)), most))
    if most < len(values):
        assert answer.log_probs == sorted(answer.log_probs, reverse=True)
        for (a, p), (b, q) in itertools.pairwise(zip(answer.ids, answer.log_probs, strict=True)):
            assert p > q or a < b
    exact = logits - np.log(np.exp(logits.astype(float)).sum())
    assert answer.log_probs == pytest.approx(exact[answer.ids].tolist(), abs=1e-5)
