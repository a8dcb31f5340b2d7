"""Tokenizers made of Python's lists are those that `tokenizers` makes of the same JSON."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
import tokenizers

from bertcli.models.native_tokenizer import native_tokenizer
from tests.checkpoints import FAMILIES, TEXTS, make_tokenizer

MORE = ("", "  two  blanks\tand\nlines ", "unknown: ☃ 漢字", "a<mask>b [MASK] c</s> [SEP]", *TEXTS)


def same(definition: dict[str, Any]) -> None:
    made = native_tokenizer(definition)
    expected = tokenizers.Tokenizer.from_buffer(orjson.dumps(definition))
    assert made.get_vocab() == expected.get_vocab()
    for text in MORE:
        for special in (False, True):
            made.encode_special_tokens = expected.encode_special_tokens = special
            one, other = made.encode(text, "pair"), expected.encode(text, "pair")
            assert (one.ids, one.offsets, one.type_ids) == (other.ids, other.offsets, other.type_ids)
            assert made.decode(one.ids) == expected.decode(other.ids)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_the_same(family: str) -> None:
    same(orjson.loads(make_tokenizer(family).backend_tokenizer.to_str()))


def test_merges_as_strings_and_settings_of_a_model_count() -> None:
    definition = orjson.loads(make_tokenizer("roberta").backend_tokenizer.to_str())
    same(definition | {"model": definition["model"] | {"ignore_merges": True, "byte_fallback": True}})
    merges = [" ".join(pair) for pair in definition["model"]["merges"]]
    same(definition | {"model": definition["model"] | {"merges": merges}})
