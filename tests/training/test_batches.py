"""Batches by number, and which word piece learns the tag of a word: the one that predicts it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bertcli.models.checkpoint import open_checkpoint
from bertcli.models.tokenizer import Tokenizer
from bertcli.records import Record
from bertcli.requests import LongOptions
from bertcli.tasks.tag import Tag
from bertcli.training.batches import ShuffledBatches, encode_words, truncation
from tests.conftest import Make

FAMILIES = ("bert", "roberta", "xlm-roberta", "deberta-v2")
WORDS = st.lists(
    st.sampled_from(["Peter", "lives", "\u200d", "\u00ad", "zq", "e\u0301", "(x)", "東京"]), max_size=9
)


def test_a_word_without_a_piece_is_passed_over(checkpoints: Make) -> None:
    checkpoint = open_checkpoint(checkpoints("bert", "tag"))
    tokenizer = Tokenizer.of(checkpoint)
    words = ["a", "\u200d", "dog", "\u200d", "x"]
    found = encode_words(tokenizer, truncation(checkpoint, tokenizer, 32), words)
    assert found.words == [0, 2, 4]
    assert [found.window.ids[position] for position in found.positions] == tokenizer.encode("a dog x").ids


def test_words_behind_the_limit_have_no_place(checkpoints: Make) -> None:
    checkpoint = open_checkpoint(checkpoints("bert", "tag"))
    tokenizer = Tokenizer.of(checkpoint)
    words = ["a", "\u200d", "dog", "x"]
    found = encode_words(tokenizer, truncation(checkpoint, tokenizer, 4), words)
    assert found.words == [0, 2]
    assert len(found.window) == 4


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
@example(words=["zq", "\u200d", "lives"])
@given(words=WORDS)
def test_the_piece_that_learns_a_tag_is_the_one_that_answers(
    checkpoints: Make, family: str, words: list[str]
) -> None:
    checkpoint = open_checkpoint(checkpoints(family, "tag"))
    tokenizer = Tokenizer.of(checkpoint)
    task: Any = Tag(checkpoint, tokenizer, checkpoint.head("tag"), LongOptions(), shape="words")
    text = " ".join(words)
    record = Record(0, {}, text, words=tuple(words))
    answering = task._whole_words(record, text, tokenizer.encode(text))
    first = len(tokenizer.frame(False).before)
    found = encode_words(tokenizer, truncation(checkpoint, tokenizer, checkpoint.max_length), words)
    assert [position - first for position in found.positions] == list(answering.firsts)


@given(
    lengths=st.lists(st.integers(3, 40), min_size=1, max_size=60),
    tokens=st.sampled_from([16, 64, 200]),
    max_rows=st.none() | st.integers(1, 9),
)
def test_an_epoch_has_every_example_once(lengths: list[int], tokens: int, max_rows: int | None) -> None:
    order = ShuffledBatches(lengths, tokens, 3, max_rows)
    batches = [order(number) for number in range(order.batches_per_epoch)]
    assert sorted(i for chosen in batches for i in chosen) == list(range(len(lengths)))
    for chosen in batches:
        assert len(chosen) == 1 or len(chosen) * max(lengths[i] for i in chosen) <= tokens
        assert max_rows is None or len(chosen) <= max_rows


def test_a_batch_is_a_function_of_its_number() -> None:
    lengths = [5, 9, 7, 30, 12] * 9
    one, other = ShuffledBatches(lengths, 64, 3), ShuffledBatches(lengths, 64, 3)
    numbers = range(5 * one.batches_per_epoch)
    assert [one(number) for number in numbers] == [other(number) for number in reversed(numbers)][::-1]
    assert one(0) != one(one.batches_per_epoch)
