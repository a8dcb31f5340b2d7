"""Which piece learns a word's tag: the one that answers for it."""

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
from bertcli.training.batches import encode_words
from tests.conftest import Make

FAMILIES = ("bert", "roberta", "xlm-roberta", "deberta-v2")
WORDS = st.lists(
    st.sampled_from(["Peter", "lives", "\u200d", "\u00ad", "zq", "e\u0301", "(x)", "東京"]), max_size=9
)


def test_a_word_without_a_piece_is_passed_over(checkpoints: Make) -> None:
    tokenizer = Tokenizer.of(open_checkpoint(checkpoints("bert", "tag")))
    words = ["a", "\u200d", "dog", "\u200d", "x"]
    found = encode_words(tokenizer, words, 32)
    assert found.words == [0, 2, 4]
    assert [found.ids.ids[place] for place in found.places] == tokenizer.encode("a dog x").ids


def test_words_behind_the_limit_have_no_place(checkpoints: Make) -> None:
    tokenizer = Tokenizer.of(open_checkpoint(checkpoints("bert", "tag")))
    found = encode_words(tokenizer, ["a", "\u200d", "dog", "x"], 4)
    assert found.words == [0, 2]
    assert len(found.ids) == 4


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
    answering = task._words(record, text, tokenizer.encode(text))
    first = len(tokenizer.frame(False).before)
    assert [place - first for place in encode_words(tokenizer, words, 512).places] == list(answering.firsts)
