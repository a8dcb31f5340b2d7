"""A text that is encoded piece by piece has the tokens of the whole, whatever a tokenizer makes of blanks,
marks, ideographs and masks, and takes little memory."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bertcli
from bertcli.models.tokenizer import Tokenizer
from bertcli.models.tokens import Tokens
from tests.checkpoints import FAMILIES, TEXTS
from tests.conftest import Make

pytestmark = pytest.mark.slow

Definition = dict[str, Any]
Change = Callable[[Definition], None]

BITS = (
    *" abmsK7½éßİﬁЖا中文字かカ한😀,.;/'_-，、。▁Ġ",  # noqa: RUF001 (full width is what is meant)
    *("", " ", "  ", "\n", "\n\n", "\t", "\r\n", "\u00a0", "\u3000", "\u2028", "\u200b", "\x00"),
    *("e\u0301", "\u0301", "が\u3099", "<\u0338", "\u1112", "\u1161", "\ufc5e", "\u0d4e", "ไทย"),
    *("👩\u200d👩\u200d👧", "🇫🇷", "中文", "一二三", "'s", "''", "``", "...", "##a"),
    *("[MASK]", "<mask>", " <mask> ", "[SEP]", "</s>", "[MASK][MASK]", "a_", "covid", "new york"),
)
WORDS = tuple(word for text in TEXTS for word in text.split())
bits = st.sampled_from(BITS) | st.sampled_from(WORDS) | st.characters(codec="utf-8")
texts = st.lists(bits, max_size=40).map("".join)


def put(part: str, said: Definition | None) -> Change:
    return lambda definition: definition.update({part: said})


def say(part: str, **said: Any) -> Change:
    return lambda definition: definition[part].update(said)


def of_mask(**said: Any) -> Change:
    def change(definition: Definition) -> None:
        for token in definition["added_tokens"]:
            if "mask" in token["content"].lower():
                token.update(said)

    return change


def add(*contents: str, **said: Any) -> Change:
    """Words added to the vocabulary, as `tokenizer.add_tokens` does it."""

    def change(definition: Definition) -> None:
        added = definition["added_tokens"]
        plain = {"special": False, "lstrip": False, "rstrip": False, "single_word": False, "normalized": True}
        first = 1 + max(token["id"] for token in added)
        added += [
            plain | {"id": number, "content": content} | said
            for number, content in enumerate(contents, first)
        ]

    return change


def row(*parts: Definition) -> Definition:
    return {"type": "Sequence", "normalizers": parts, "pretokenizers": parts}


def replace(pattern: str, content: str, kind: str = "String") -> Definition:
    return {"type": "Replace", "pattern": {kind: pattern}, "content": content}


METASPACE = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
STRIP = {"type": "Strip", "strip_left": True, "strip_right": True}
NFKC = {"type": "NFKC"}

# What other files of a family say, and what no file says: (family, changes of its tokenizer.json)
VARIANTS: Mapping[str, tuple[str, *tuple[Change, ...]]] = {
    "cased": ("bert", say("normalizer", lowercase=False, strip_accents=False)),
    "ideographs in a row": ("bert", say("normalizer", handle_chinese_chars=False)),
    "words": ("bert", add("covid", "中文", "new york", "a,b")),
    "whole words": ("bert", add("covid", "ab", single_word=True)),
    "whole words without blanks": ("bert", add("中文", "a_", ".a", single_word=True)),
    "words as they stand": ("roberta", add("covid", "s.", "new york", normalized=False)),
    "letters": ("bert", add("a", "中")),
    "greedy mask": ("mpnet", of_mask(lstrip=True, rstrip=True)),
    "no normalizer": ("bert", put("normalizer", None)),
    "stripped": ("bert", put("normalizer", row(STRIP, NFKC))),
    "blanks for dashes": ("bert", put("normalizer", row(replace("-", " "), replace("''", '"')))),
    "whitespace": ("bert", put("pre_tokenizer", {"type": "Whitespace"})),
    "split at white space": ("bert", put("pre_tokenizer", {"type": "WhitespaceSplit"})),
    "no pre-tokenizer": ("bert", put("pre_tokenizer", None)),
    "prefix": ("roberta", say("pre_tokenizer", add_prefix_space=True)),
    "prefix kept": (
        "roberta",
        say("pre_tokenizer", add_prefix_space=True),
        say("post_processor", add_prefix_space=True),
    ),
    "untrimmed": (
        "roberta",
        say("pre_tokenizer", trim_offsets=False),
        say("post_processor", trim_offsets=False),
    ),
    "compatible": ("roberta", put("normalizer", NFKC)),
    "decomposed": ("roberta", put("normalizer", {"type": "NFKD"})),
    "no regex": ("roberta", say("pre_tokenizer", use_regex=False)),
    "digits first": (
        "roberta",
        put("pre_tokenizer", row({"type": "Digits", "individual_digits": True}, BYTE_LEVEL)),
    ),
    "metaspace": ("xlm-roberta", put("pre_tokenizer", METASPACE)),
    "first": ("xlm-roberta", put("pre_tokenizer", METASPACE | {"prepend_scheme": "first"})),
    "never": ("xlm-roberta", put("pre_tokenizer", METASPACE | {"prepend_scheme": "never"})),
    "unsplit": ("xlm-roberta", put("pre_tokenizer", METASPACE | {"split": False})),
    "one blank": (
        "xlm-roberta",
        put("normalizer", row(NFKC, replace(" {2,}", " ", "Regex"))),
        put("pre_tokenizer", METASPACE),
    ),
    "marks first": (
        "xlm-roberta",
        put("pre_tokenizer", row({"type": "Punctuation", "behavior": "MergedWithPrevious"}, METASPACE)),
    ),
}
WHOLE = {"letters", "greedy mask", "stripped", "no pre-tokenizer", "no regex", "unsplit"}
EVERY = pytest.mark.parametrize("name", [*FAMILIES, *VARIANTS])
Made = Callable[[str], Tokenizer]


@pytest.fixture(scope="module")
def made(checkpoints: Make) -> Made:
    """The tokenizer of a family or a variant."""
    known: dict[str, Tokenizer] = {}

    def make(name: str) -> Tokenizer:
        if name not in known:
            family, *changes = VARIANTS.get(name, (name,))
            definition = json.loads((checkpoints(family) / "tokenizer.json").read_text())
            for change in changes:
                change(definition)
            spelled = [token["content"] for token in definition["added_tokens"]]
            names = {
                f"{role}_token": next(token for token in spelled if role in token.lower())
                for role in ("mask", "unk")
            }
            known[name] = Tokenizer(definition, names, token_types=False)
        return known[name]

    return make


def encoded(tokenizer: Tokenizer, text: str, most: int, *, mask: bool = False) -> Tokens:
    tokenizer.most_at_once = most
    return tokenizer.encode(text, mask=mask)


def told(tokens: Tokens) -> tuple[list[int], list[tuple[int, int]]]:
    return list(tokens.ids), list(tokens.offsets)


@EVERY
@settings(max_examples=60)
@given(text=texts, most=st.integers(1, 12), mask=st.booleans())
def test_pieces_have_the_tokens_of_the_whole(name: str, text: str, most: int, mask: bool, made: Made) -> None:
    whole, pieces = (encoded(made(name), text, size, mask=mask) for size in (10_000, most))
    assert told(pieces) == told(whole)


@EVERY
def test_ordinary_text_is_cut_and_what_cannot_be_vouched_for_is_not(name: str, made: Made) -> None:
    text = " ".join(TEXTS)
    cuts = list(made(name)._split_points.pieces(text, 20))
    assert "".join(text[start:stop] for start, stop in cuts) == text
    assert all(stop - start >= 20 for start, stop in cuts[:-1])
    assert (len(cuts) == 1) == (name in WHOLE)
    assert name in WHOLE or max(stop - start for start, stop in cuts) < 120


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("bert", "中文字" * 30),
        ("bert", "one,two," * 30),
        ("bert", "." * 90),
        ("bert", "[MASK]" * 30),
        ("bert", "a" + " " * 90 + "b"),
        ("bert", "a\nb\n" * 30),
        ("roberta", "a\nb\n" * 30),
        ("roberta", "中文，字。" * 30),  # noqa: RUF001
        ("albert", "a\nb\n" * 30),
    ],
)
def test_texts_without_blanks_between_words_are_cut_too(name: str, text: str, made: Made) -> None:
    assert len(list(made(name)._split_points.pieces(text, 10))) > 3
    for mask in (False, True):
        whole, pieces = (encoded(made(name), text, most, mask=mask) for most in (10_000, 10))
        assert told(pieces) == told(whole)


@EVERY
def test_offsets_of_a_long_text_are_a_sequence(name: str, made: Made) -> None:
    tokens = encoded(made(name), " ".join(TEXTS), 20)
    offsets = tokens.offsets
    assert len(offsets) == len(tokens)
    assert [offsets[place] for place in range(len(offsets))] == list(offsets)
    assert offsets[3:7] == list(offsets)[3:7]
    assert offsets[-1] == list(offsets)[-1]
    assert all(before[0] <= after[0] for before, after in pairwise(offsets))


def test_a_text_that_memory_has_no_room_for_is_refused_before_it_is_tried(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = made("bert")
    monkeypatch.setattr("bertcli.models.tokenizer.available_memory", lambda: 1_000_000)
    assert encoded(tokenizer, "a word " * 10_000, 100).ids  # in pieces there is room
    with pytest.raises(MemoryError, match="10000 characters without a place to cut"):
        encoded(tokenizer, "x" * 10_000, 100)
    monkeypatch.setattr("bertcli.models.tokenizer.available_memory", lambda: None)
    assert encoded(tokenizer, "x" * 10_000, 100).ids


MEASURED = """
import re, sys
from pathlib import Path
from bertcli.models.checkpoint import open_checkpoint
from bertcli.models.tokenizer import Tokenizer
high = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024
tokenizer = Tokenizer.of(open_checkpoint(Path(sys.argv[1])))
text = "The quick brown fox jumps over the lazy dog. " * 100_000
tokenizer.encode(text[:100_000])
before = high()
print(len(tokenizer.encode(text)), high() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the kernel tells no high water mark")
def test_a_text_of_megabytes_takes_little_memory() -> None:
    """4.5 MB of text, which took 700 MB as a whole; its million tokens take 12 MB."""
    model = Path(bertcli.__file__).parent / "bundled"
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(model)], capture_output=True, text=True, check=True
    )
    tokens, megabytes = map(int, done.stdout.split())
    assert tokens == 1_000_000
    assert megabytes < 60
