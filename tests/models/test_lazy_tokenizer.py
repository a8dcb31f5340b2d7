"""A tokenizer that knows the pieces of its texts makes the tokens of one that knows all."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertcli.errors import ModelError
from bertcli.models import indexed_vocabulary, lazy_tokenizer
from bertcli.models.checkpoint import open_checkpoint
from bertcli.models.indexed_vocabulary import IndexedVocabulary, indexed_definition, write_table
from bertcli.models.lazy_tokenizer import LazyTokenizer
from bertcli.models.native_tokenizer import native_tokenizer
from bertcli.models.tokenizer import Tokenizer
from tests.checkpoints import FAMILIES, TEXTS, make_tokenizer
from tests.conftest import Make

HARD = (
    *("", "a 1", "  two  blanks\tand\nlines ", "a<mask>b [MASK] c</s> [SEP] <unk>[UNK]", "one[NEW] two"),
    *("unknown: ☃ 漢字 \U0010ffff", "naïve café ÀÉ", "##ing ing ▁the Ġthe", "x" * 300),
)
DEFINITIONS = {
    family: orjson.loads(make_tokenizer(family).backend_tokenizer.to_str())
    for family in ("bert", "roberta", "modernbert", "xlm-roberta", "deberta-v2", "albert", "mpnet")
}
NEW = {"content": "[NEW]", "single_word": False, "lstrip": True, "rstrip": False, "normalized": True}


def changed(family: str, **model: Any) -> dict[str, Any]:
    """A definition with other settings of its model, and with tokens behind the vocabulary."""
    definition = DEFINITIONS[family]
    size = len(definition["model"]["vocab"])
    added = [
        {"id": size + place, **NEW, "content": f"[NEW{place or ''}]", "special": place > 0}
        for place in (0, 1)
    ]
    tokens = definition["added_tokens"] + added
    return definition | {"added_tokens": tokens, "model": definition["model"] | model}


def with_bytes(family: str) -> dict[str, Any]:
    model = DEFINITIONS[family]["model"]
    pieces = [f"<0x{byte:02X}>" for byte in range(256)]
    if model["type"] == "Unigram":
        return changed(
            family, byte_fallback=True, vocab=[*model["vocab"], *([piece, -9.0] for piece in pieces)]
        )
    vocabulary = model["vocab"] | {piece: len(model["vocab"]) + place for place, piece in enumerate(pieces)}
    return changed(family, byte_fallback=True, vocab=vocabulary, ignore_merges=True)


VARIANTS = {
    **DEFINITIONS,
    "new tokens": changed("bert"),
    "new tokens, BPE": changed("roberta"),
    "bytes, Unigram": with_bytes("xlm-roberta"),
    "bytes, BPE": with_bytes("modernbert"),
    "merges as strings": changed(
        "roberta", merges=[" ".join(pair) for pair in DEFINITIONS["roberta"]["model"]["merges"]]
    ),
}


def lazy(definition: dict[str, Any]) -> LazyTokenizer:
    table = indexed_vocabulary._table(definition)
    assert table is not None
    vocabulary = IndexedVocabulary(table, orjson.dumps(definition))
    return LazyTokenizer(
        vocabulary.settings | {"model": vocabulary.settings["model"] | {"vocab": vocabulary}}
    )


def whole(definition: dict[str, Any]) -> Any:
    native = native_tokenizer(definition)
    native.encode_special_tokens = True
    return native


TOKENIZERS = {name: (lazy(definition), whole(definition)) for name, definition in VARIANTS.items()}


def require_same(found: LazyTokenizer, expected: Any, text: str, pair: str | None = None) -> None:
    for special in (True, False):
        one = found.encode(text, pair, add_special_tokens=special)
        other = expected.encode(text, pair, add_special_tokens=special)
        assert one.ids == other.ids
        assert (one.offsets, one.sequence_ids, one.type_ids) == (
            other.offsets,
            other.sequence_ids,
            other.type_ids,
        )
        for skip in (True, False):
            assert found.decode(one.ids, skip) == expected.decode(one.ids, skip)
        assert list(map(found.id_to_token, one.ids)) == list(map(expected.id_to_token, one.ids))


@pytest.mark.parametrize("name", VARIANTS)
def test_tokens_are_those_of_the_whole_vocabulary(name: str) -> None:
    found, expected = lazy(VARIANTS[name]), whole(VARIANTS[name])
    for text in (*TEXTS, *HARD):
        require_same(found, expected, text)
        require_same(found, expected, text, "and a second [NEW1] text")
    for token in ("[MASK]", "<mask>", "[NEW]", "[NEW1]", "the", "Ġthe", "▁the", "no such piece"):
        assert found.token_to_id(token) == expected.token_to_id(token)
    for number in (0, 5, expected.get_vocab_size() - 1, expected.get_vocab_size()):
        assert found.id_to_token(number) == expected.id_to_token(number)


@given(name=st.sampled_from(sorted(VARIANTS)), text=st.text() | st.text("ainthe Ġ▁#<>[]MASK", max_size=40))
def test_any_text_has_the_same_tokens(name: str, text: str) -> None:
    require_same(*TOKENIZERS[name], text)


@pytest.mark.parametrize(
    ("family", "text"),
    [
        ("xlm-roberta", "a" * 200_000),
        ("xlm-roberta", " ".join(f"word{number}" for number in range(20_000))),
        ("roberta", "a" * 200_000),  # has no piece at first
    ],
    ids=["word", "words", "word, BPE"],
)
def test_many_words_need_the_whole_vocabulary(family: str, text: str) -> None:
    definition = DEFINITIONS[family]
    found = lazy(definition)
    require_same(found, whole(definition), text)
    assert found._whole is not None
    require_same(found, whole(definition), "a 1")


@pytest.mark.parametrize("family", DEFINITIONS)
def test_tokens_are_decoded_before_any_text_is_encoded(family: str) -> None:
    expected = whole(DEFINITIONS[family])
    ids = expected.encode("the translators of internationalisation wrote nothing yesterday").ids
    assert lazy(DEFINITIONS[family]).decode(ids) == expected.decode(ids)


def test_threads_have_the_same_tokens() -> None:
    found, expected = TOKENIZERS["roberta"][1], lazy(DEFINITIONS["roberta"])
    texts = [f"{text} {number}" for number in range(20) for text in TEXTS]
    with ThreadPoolExecutor(4) as threads:
        assert [each.ids for each in threads.map(expected.encode, texts)] == [
            found.encode(text).ids for text in texts
        ]


def test_threads_load_the_whole_vocabulary_once(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = []

    def load(definition: Any) -> Any:
        loaded.append(definition)
        time.sleep(0.5)  # until the other threads wait for it
        return native_tokenizer(definition)

    monkeypatch.setattr(lazy_tokenizer, "native_tokenizer", load)
    found = lazy(DEFINITIONS["roberta"])
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(found.encode, [letter * 100_000 for letter in "abcd"]))
    assert len(loaded) == 1


def test_a_vocabulary_with_a_hole_has_no_table() -> None:
    model = DEFINITIONS["bert"]["model"]
    hole = DEFINITIONS["bert"] | {"model": model | {"vocab": model["vocab"] | {"far": 100_000}}}
    assert indexed_vocabulary._table(hole) is None
    assert (
        indexed_vocabulary._table(DEFINITIONS["roberta"] | {"model": {"type": "WordLevel", "vocab": {}}})
        is None
    )
    prefixed = changed("roberta", end_of_word_suffix="</w>")
    assert indexed_vocabulary._table(prefixed) is None


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(indexed_vocabulary, "LEAST_BYTES", 0)
    return tmp_path / "bertcli" / "vocabularies"


@pytest.mark.parametrize("family", FAMILIES)
def test_the_second_run_uses_the_table_of_the_first(family: str, checkpoints: Make, cache: Path) -> None:
    checkpoint = open_checkpoint(checkpoints(family))
    first, second = Tokenizer.of(checkpoint), Tokenizer.of(checkpoint)
    assert [type(each._native).__name__ for each in (first, second)] == ["Tokenizer", "LazyTokenizer"]
    assert len(list(cache.iterdir())) == 1
    for text in (*TEXTS, *HARD):
        for mask in (True, False):
            one, other = first.encode(text, mask=mask), second.encode(text, mask=mask)
            assert (list(one.ids), list(one.offsets)) == (list(other.ids), list(other.offsets))
            assert first.decode(one.ids) == second.decode(one.ids)
            assert list(map(first.starts_word, one.ids)) == list(map(second.starts_word, one.ids))
    for pair in (True, False):
        assert first.frame(pair) == second.frame(pair)
    assert first.pieces == second.pieces
    assert (len(first), first.mask_id, first.pad_id) == (len(second), second.mask_id, second.pad_id)
    assert (first.unknown_id, first.marks_insides) == (second.unknown_id, second.marks_insides)


@pytest.mark.parametrize(
    "damaged", [[], [["<unk>", "high"]], [["<unk>", "1.0"]], [["<unk>", None]], [5], None], ids=repr
)
def test_a_damaged_vocabulary_has_no_table(damaged: Any, checkpoint_copy: Make, cache: Path) -> None:
    directory = checkpoint_copy("xlm-roberta")
    path = directory / "tokenizer.json"
    definition = orjson.loads(path.read_bytes())
    definition["model"]["vocab"] = damaged
    path.write_bytes(orjson.dumps(definition))
    checkpoint = open_checkpoint(directory)
    for _ in range(2):
        with pytest.raises(ModelError, match="is not a tokenizer"):
            Tokenizer.of(checkpoint)
    assert not list(cache.iterdir())


def test_a_damaged_table_is_written_again(cache: Path) -> None:
    source = orjson.dumps(DEFINITIONS["roberta"])
    write_table(DEFINITIONS["roberta"], source)
    (table,) = cache.iterdir()
    content = table.read_bytes()
    table.write_bytes(content[:-1])
    assert indexed_definition(source) is None
    write_table(DEFINITIONS["roberta"], source)
    assert table.read_bytes() == content
    assert indexed_definition(source) is not None
    assert indexed_definition(source + b" ") is None


def test_without_a_place_for_it_there_is_no_table(cache: Path) -> None:
    cache.parent.parent.joinpath("bertcli").write_bytes(b"")  # in the place of the directory
    source = orjson.dumps(DEFINITIONS["roberta"])
    write_table(DEFINITIONS["roberta"], source)
    assert indexed_definition(source) is None


def test_small_files_have_no_table(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexed_vocabulary, "LEAST_BYTES", 1_000_000)
    write_table(DEFINITIONS["bert"], orjson.dumps(DEFINITIONS["bert"]))
    assert not cache.exists()
