"""Text becomes the ids that transformers' AutoTokenizer gives, special tokens stand where it puts them, and
no text can pose as a special token."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tokenizers
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from bertcli.errors import ModelError
from bertcli.models.check import full_check
from bertcli.models.checkpoint import open_checkpoint
from bertcli.models.tokenizer import Tokenizer
from tests.checkpoints import FAMILIES, MAX_LENGTH, TEXTS, edit_json, write_json
from tests.conftest import Make

NASTY = (
    "",
    " ",
    "  two  spaces \t tab\n line ",
    "naïve café ÅNGSTRÖM ﬁ ½ İstanbul ß",
    "中文字 かな 한국어 العربية",
    "emoji 👩‍👩‍👧 🇫🇷 e\u0301 \u200b \ufeff",
    "nul\x00 bell\x07 \x7f \x85 \ufffd \ud7ff",
    "a" * 300,
    "don't... can't!!! \"quoted\" --- x@y.z http://a.b/c?d=e#f",
)
texts = st.text(alphabet=st.characters(codec="utf-8"), max_size=40)
EVERY = pytest.mark.parametrize("family", FAMILIES)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


SPECIALS = ["[CLS]", "[SEP]", "[MASK]", "[PAD]", "[UNK]", "<s>", "</s>", "<mask>", "<pad>", "<unk>"]


def _tokenizer(path: Path) -> Tokenizer:
    return Tokenizer.of(open_checkpoint(path))


def _pair(family: str, checkpoints: Make) -> tuple[Tokenizer, tokenizers.Tokenizer]:
    """Ours, and the tokenizer file as it is."""
    path = checkpoints(family)
    return _tokenizer(path), tokenizers.Tokenizer.from_file(str(path / "tokenizer.json"))


@EVERY
def test_ids_are_those_of_auto_tokenizer(family: str, checkpoints: Make) -> None:
    path = checkpoints(family)
    ours, theirs = _tokenizer(path), AutoTokenizer.from_pretrained(path)
    for text in (*TEXTS, *NASTY):
        assert ours.encode(text).ids == theirs(text, add_special_tokens=False, verbose=False)["input_ids"], (
            text
        )


@pytest.mark.slow
@EVERY
@settings(max_examples=40)
@given(text=texts)
def test_any_text_has_the_ids_of_the_file(family: str, text: str, checkpoints: Make) -> None:
    assume(not any(token in text for token in SPECIALS))
    ours, theirs = _pair(family, checkpoints)
    assert ours.encode(text).ids == theirs.encode(text, add_special_tokens=False).ids


@pytest.mark.slow
@EVERY
@settings(max_examples=20)
@given(a=texts.filter(str.strip), b=texts.filter(str.strip))
def test_a_frame_puts_special_tokens_where_the_file_does(
    family: str, a: str, b: str, checkpoints: Make
) -> None:
    assume(not any(token in a + b for token in SPECIALS))
    ours, theirs = _pair(family, checkpoints)
    for second in (None, b):
        first, other = ours.encode(a).ids, None if second is None else ours.encode(b).ids
        frame = ours.frame(pair=second is not None)
        ids, types, start, start_of_b = frame.build(first, other)
        expected = theirs.encode(a, second)
        assert ids == expected.ids
        assert types is None or types == expected.type_ids
        assert ids[start : start + len(first)] == first
        assert len(ids) == len(frame) + len(first) + len(other or ())
        if other is None:
            assert start_of_b is None
        else:
            assert ids[start_of_b : (start_of_b or 0) + len(other)] == other


def test_token_types_only_where_the_model_has_them(checkpoints: Make) -> None:
    with_types = {
        family for family in FAMILIES if _tokenizer(checkpoints(family)).frame(True).types is not None
    }
    assert with_types == {"bert", "electra", "albert"}


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"model_input_names": ["input_ids", "attention_mask"]},
        {"tokenizer_class": "BertTokenizerFast"},
        {"tokenizer_class": "ElectraTokenizer"},
        {"tokenizer_class": "DistilBertTokenizer"},
        {"tokenizer_class": "PreTrainedTokenizerFast"},
        {"tokenizer_class": "TokenizersBackend"},
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
        },
    ],
)
@pytest.mark.parametrize("file", ["tokenizer_config.json", "config.json"])
def test_token_types_are_given_where_auto_tokenizer_gives_them(
    file: str, told: dict[str, object], checkpoint_copy: Make
) -> None:
    path = checkpoint_copy("bert")
    edit_json(path / "tokenizer_config.json", tokenizer_class=None)
    edit_json(path / "tokenizer_config.json", **{key: told[key] for key in told if key != "tokenizer_class"})
    edit_json(path / file, tokenizer_class=told.get("tokenizer_class"))
    ours = _tokenizer(path)
    _, types, _, _ = ours.frame(True).build(ours.encode("a").ids, ours.encode("b").ids)
    assert types == AutoTokenizer.from_pretrained(path)("a", "b").get("token_type_ids")


def test_albert_has_the_token_types_it_was_trained_with(checkpoint_copy: Make) -> None:
    """Transformers 5 gives its models none, unless the tokenizer's own setting says so."""
    path = checkpoint_copy("albert")
    assert "token_type_ids" not in AutoTokenizer.from_pretrained(path)("a", "b")
    assert _tokenizer(path).frame(True).types is not None
    edit_json(path / "tokenizer_config.json", model_input_names=["input_ids", "attention_mask"])
    assert _tokenizer(path).frame(True).types is None


@EVERY
def test_special_tokens_in_a_text_are_text(family: str, checkpoints: Make) -> None:
    tokenizer = _tokenizer(checkpoints(family))
    special = {number for number in range(len(tokenizer)) if tokenizer.is_special(number)}
    assert len(special) >= 4
    for token in SPECIALS:
        for text in (token, f"one {token} two", f"{token}{token}"):
            ids = tokenizer.encode(text).ids
            assert special.intersection(ids) <= {tokenizer.unknown_id}, text
            assert ids, text


@EVERY
def test_the_mask_alone_is_read_where_it_is_asked_for(family: str, checkpoints: Make) -> None:
    tokenizer = _tokenizer(checkpoints(family))
    theirs = AutoTokenizer.from_pretrained(checkpoints(family))
    mask = tokenizer.mask_token
    assert mask is not None
    text = f"The {mask} of France, {mask}!"
    assert tokenizer.encode(text, mask=True).ids == theirs(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.encode(text, mask=True).ids.count(tokenizer.mask_id or -1) == 2
    others = [token for token in SPECIALS if token != mask]
    crowded = tokenizer.encode(f"{' '.join(others)} {mask}", mask=True).ids
    assert [number for number in crowded if tokenizer.is_special(number)].count(tokenizer.mask_id or -1) == 1
    assert {number for number in crowded if tokenizer.is_special(number)} <= {
        tokenizer.mask_id,
        tokenizer.unknown_id,
    }


@EVERY
def test_offsets_are_where_the_words_stand(family: str, checkpoints: Make) -> None:
    tokenizer = _tokenizer(checkpoints(family))
    text = "  Shares fell\n sharply on Monday"
    tokens = tokenizer.encode(text)
    spans = [(start, stop) for start, stop in tokens.offsets if stop > start]
    assert len(tokens.offsets) == len(tokens)
    assert all(not text[start].isspace() or text[start:stop].isspace() for start, stop in spans)
    covered = {place for start, stop in spans for place in range(start, stop)}
    assert covered.issuperset(place for place, character in enumerate(text) if not character.isspace())


def test_truncation_and_padding_of_the_file_are_ignored(checkpoint_copy: Make) -> None:
    """As all-MiniLM's tokenizer.json has them: 128 tokens, always."""
    path = checkpoint_copy("bert")
    before = _tokenizer(path).encode("the river " * 500).ids
    theirs = tokenizers.Tokenizer.from_file(str(path / "tokenizer.json"))
    theirs.enable_truncation(16)
    theirs.enable_padding(length=16, pad_id=0, pad_token="[PAD]")
    theirs.save(str(path / "tokenizer.json"))
    tokenizer = _tokenizer(path)
    assert tokenizer.encode("the river " * 500).ids == before
    assert len(before) >= 1000
    assert 0 not in tokenizer.encode("river").ids
    assert tokenizer.frame(False).build([7])[0] == [2, 7, 3]


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"do_lower_case": False},
        {"do_lower_case": False, "strip_accents": True},
        {"strip_accents": False},
        {"tokenize_chinese_chars": False},
    ],
)
def test_vocab_txt_is_enough(told: dict[str, bool], checkpoint_copy: Make) -> None:
    from transformers import BertTokenizer

    path = checkpoint_copy("bert")
    pieces = _tokenizer(path).pieces
    (path / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    (path / "tokenizer.json").unlink()
    write_json(path / "tokenizer_config.json", {"tokenizer_class": "BertTokenizer"} | told)
    ours = _tokenizer(path)
    theirs = BertTokenizer(vocab={piece: number for number, piece in enumerate(pieces)}, **told)
    for text in (*TEXTS, *NASTY):
        assert ours.encode(text).ids == theirs(text, add_special_tokens=False)["input_ids"], text
    ids, types, _, _ = ours.frame(True).build(ours.encode("a").ids, ours.encode("b").ids)
    expected = theirs("a", "b")
    assert ids == expected["input_ids"]
    assert types == expected["token_type_ids"]
    assert ours.mask_token == "[MASK]"


@pytest.mark.parametrize(
    ("family", "name"),
    [
        ("bert", "BertJapaneseTokenizer"),
        ("bert", "BertweetTokenizer"),
        ("bert", "HerbertTokenizer"),
        ("roberta", "BertJapaneseTokenizer"),
        ("roberta", "PhobertTokenizer"),
    ],
)
@pytest.mark.parametrize("file", ["tokenizer_config.json", "config.json"])
def test_a_class_without_a_fast_tokenizer_for_the_files_is_refused(
    family: str, file: str, name: str, checkpoint_copy: Make
) -> None:
    path = checkpoint_copy(family)
    model = json.loads((path / "tokenizer.json").read_text())["model"]
    edit_json(path / "tokenizer_config.json", tokenizer_class=None)
    edit_json(path / file, tokenizer_class=name)
    _tokenizer(path)  # tokenizer.json tells everything, whatever the class
    (path / "tokenizer.json").unlink()
    (path / "vocab.txt" if family == "bert" else path / "merges.txt").write_text("\n".join(model["vocab"]))
    write_json(path / "vocab.json", model["vocab"])
    with pytest.raises(ModelError, match="transformers cannot make one: ") as error:
        _tokenizer(path)
    assert "save_pretrained" in (error.value.hint or "")


def test_a_vocabulary_is_converted_once_until_it_changes(checkpoint_copy: Make, tmp_path: Path) -> None:
    path, cache = checkpoint_copy("bert"), tmp_path / "cache" / "bertcli" / "tokenizers"
    pieces = _tokenizer(path).pieces
    (path / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    (path / "tokenizer.json").unlink()
    expected = _tokenizer(path).encode("The river").ids
    (cached,) = cache.iterdir()
    written = cached.stat().st_mtime_ns
    assert _tokenizer(path).encode("The river").ids == expected
    assert cached.stat().st_mtime_ns == written
    cached.write_bytes(cached.read_bytes().replace(b"river", b"rover"))
    assert _tokenizer(path).encode("The river").ids == expected
    assert cached.stat().st_mtime_ns != written
    edit_json(path / "tokenizer_config.json", do_lower_case=False)
    assert _tokenizer(path).encode("The river").ids != expected
    assert len(list(cache.iterdir())) == 2


def test_a_cache_that_cannot_be_written_costs_only_time(checkpoint_copy: Make, tmp_path: Path) -> None:
    path = checkpoint_copy("bert")
    expected = _tokenizer(path)
    (path / "vocab.txt").write_text("\n".join(expected.pieces) + "\n", encoding="utf-8")
    (path / "tokenizer.json").unlink()
    (tmp_path / "cache").write_text("a file")
    assert _tokenizer(path).encode("The river").ids == expected.encode("The river").ids


def test_a_conversion_reads_no_file_that_the_settings_name(checkpoint_copy: Make, tmp_path: Path) -> None:
    path = checkpoint_copy("bert")
    expected = _tokenizer(path)
    (path / "vocab.txt").write_text("\n".join(expected.pieces) + "\n", encoding="utf-8")
    (path / "tokenizer.json").unlink()
    (tmp_path / "other.txt").write_text("\n".join(reversed(expected.pieces)) + "\n", encoding="utf-8")
    edit_json(path / "tokenizer_config.json", vocab_file=str(tmp_path / "other.txt"))
    edit_json(path / "tokenizer_config.json", auto_map={"AutoTokenizer": ["code.Tokenizer", None]})
    assert _tokenizer(path).encode("The river").ids == expected.encode("The river").ids


def test_vocab_json_and_merges_are_enough(checkpoint_copy: Make) -> None:
    path = checkpoint_copy("roberta")
    before = _tokenizer(path)
    model = json.loads((path / "tokenizer.json").read_text())["model"]
    write_json(path / "vocab.json", model["vocab"])
    merges = [" ".join(merge) for merge in model["merges"]]
    (path / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8")
    (path / "tokenizer.json").unlink()
    (path / "tokenizer_config.json").unlink()
    after = _tokenizer(path)
    for text in (*TEXTS, *NASTY):
        assert after.encode(text).ids == before.encode(text).ids
    assert after.encode("a <mask> b", mask=True).ids == before.encode("a <mask> b", mask=True).ids
    assert after.frame(True) == before.frame(True)


ADDED = {"content": "[E1]", "lstrip": False, "rstrip": False, "single_word": False, "normalized": True}


@pytest.mark.parametrize("files", ["tokenizer.json", "vocab.txt"])
@pytest.mark.parametrize(
    "told",
    [
        None,
        [ADDED],
        [ADDED | {"content": "[/E1]"}, ADDED],
        [ADDED | {"normalized": False}],
        [ADDED | {"lstrip": True, "rstrip": True}],
        [ADDED | {"content": "own", "single_word": True}],
        [{"content": "[E1]"}],
    ],
)
def test_tokens_added_in_other_files_are_those_of_auto_tokenizer(
    files: str, told: list[dict[str, object]] | None, checkpoint_copy: Make
) -> None:
    path = checkpoint_copy("bert", vocab_size=170)
    pieces = _tokenizer(path).pieces
    if files == "vocab.txt":
        (path / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
        (path / "tokenizer.json").unlink()
        write_json(path / "tokenizer_config.json", {"tokenizer_class": "BertTokenizer"})
    if told is None:
        write_json(path / "added_tokens.json", {"[/E1]": len(pieces) + 1, "[E1]": len(pieces)})
    else:
        decoder = {str(number): token for number, token in enumerate(told, len(pieces))}
        edit_json(path / "tokenizer_config.json", added_tokens_decoder=decoder)
    ours, theirs = _tokenizer(path), AutoTokenizer.from_pretrained(path)
    for text in (*TEXTS, *NASTY, "a[E1]b [e1]  c", "the  [E1]  owners[/E1] own ownx xown"):
        assert ours.encode(text).ids == theirs(text, add_special_tokens=False)["input_ids"], text
    assert len(ours) == len(pieces) + (2 if told is None else len(told))


@pytest.mark.parametrize("files", ["tokenizer.json", "vocab.txt"])
@pytest.mark.parametrize("setting", ["additional_special_tokens", "extra_special_tokens"])
@pytest.mark.parametrize("told", [["[E1]", "[/E1]"], ["café"], ["the", "[E1]"]])
def test_additional_special_tokens_are_read_as_by_auto_tokenizer(
    told: list[str], setting: str, files: str, checkpoint_copy: Make
) -> None:
    path = checkpoint_copy("bert", vocab_size=170)
    pieces = _tokenizer(path).pieces
    if files == "vocab.txt":
        (path / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
        (path / "tokenizer.json").unlink()
        write_json(path / "tokenizer_config.json", {"tokenizer_class": "BertTokenizer"})
    edit_json(path / "tokenizer_config.json", **{setting: [*told, "[SEP]"]})
    ours, theirs = _tokenizer(path), AutoTokenizer.from_pretrained(path)
    text = "the [E1] café[/E1] owners of The cafe [e1]"
    for each in (*TEXTS, text, f"{text} " * 9):
        assert ours.encode(each).ids == theirs(each, add_special_tokens=False)["input_ids"], each
    assert ours.encode(f"{text} [MASK]", mask=True).ids == theirs(f"{text} [MASK]")["input_ids"][1:-1]
    whole = ours.encode(f"{text} " * 99).ids
    ours.most_at_once = 50
    assert list(ours.encode(f"{text} " * 99).ids) == list(whole)
    for end in ("[SEP]", "[CLS] [MASK]"):
        assert not {2, 3, 4}.intersection(ours.encode(f"{end} {text}").ids)


@pytest.mark.parametrize("told", ["[E1]", {"content": "[E1]", "lstrip": True}])
def test_additional_special_tokens_may_stand_in_special_tokens_map(
    told: object, checkpoint_copy: Make
) -> None:
    path = checkpoint_copy("bert", vocab_size=170)
    number = len(_tokenizer(path))
    write_json(path / "special_tokens_map.json", {"additional_special_tokens": [told]})
    assert _tokenizer(path).encode("the [E1] the").ids[1:2] == [number]


def test_an_added_token_of_tokenizer_config_wins_over_that_of_tokenizer_json(checkpoint_copy: Make) -> None:
    path = checkpoint_copy("bert", vocab_size=170)
    number = len(_tokenizer(path))
    content = json.loads((path / "tokenizer.json").read_text())
    content["added_tokens"].append({"id": number, "special": False} | ADDED)
    write_json(path / "tokenizer.json", content)
    edit_json(
        path / "tokenizer_config.json", added_tokens_decoder={str(number): ADDED | {"normalized": False}}
    )
    ours, theirs = _tokenizer(path), AutoTokenizer.from_pretrained(path)
    text = "an [E1] and an [e1]"
    assert ours.encode(text).ids == theirs(text, add_special_tokens=False)["input_ids"]
    assert ours.encode(text).ids.count(number) == 1


@pytest.mark.parametrize("family", ["bert", "deberta-v2"])
@pytest.mark.parametrize(
    "told", [{"[E1]": 1}, {"[E1]": 999}, {"the": 9}, {"[SEP]": 9}, {"[E1]": "164"}, {"": 164}, []]
)
def test_an_id_that_an_added_token_cannot_have_is_refused(
    told: dict[str, int] | list[int], family: str, checkpoint_copy: Make
) -> None:
    path = checkpoint_copy(family, vocab_size=300)
    write_json(path / "added_tokens.json", told)
    with pytest.raises(ModelError) as error:
        _tokenizer(path)
    assert "added_tokens.json" in (error.value.where or "")


@pytest.mark.parametrize("told", [[], {"a": ADDED}, {"164": "[E1]"}, {"164": {}}, {"164": {"content": ""}}])
def test_added_tokens_that_make_no_sense_are_an_error(told: object, checkpoint_copy: Make) -> None:
    path = checkpoint_copy("bert", vocab_size=170)
    edit_json(path / "tokenizer_config.json", added_tokens_decoder=told)
    with pytest.raises(ModelError, match="added_tokens_decoder"):
        _tokenizer(path)


SETTINGS = [
    ("bert", {"do_lower_case": False}),
    ("roberta", {"add_prefix_space": True}),
    ("albert", {"do_lower_case": False}),
    ("albert", {"keep_accents": True}),
    ("albert", {"add_prefix_space": False}),
    ("deberta-v2", {"do_lower_case": True}),
    ("deberta-v2", {"split_by_punct": True}),
    ("xlm-roberta", {"add_prefix_space": False}),
    ("camembert", {"add_prefix_space": False}),
]
CASED = (*TEXTS, *NASTY, "hello Hello", "Shares Fell SHARPLY", "ABC ÉCOLE naïve", "I loved it!")


@pytest.mark.parametrize(("family", "told"), SETTINGS)
def test_settings_of_the_tokenizer_win_over_its_file(
    family: str, told: dict[str, bool], checkpoint_copy: Make
) -> None:
    path = checkpoint_copy(family)
    before = _tokenizer(path)
    edit_json(path / "tokenizer_config.json", **told)
    ours, theirs = _tokenizer(path), AutoTokenizer.from_pretrained(path)
    for text in CASED:
        assert ours.encode(text).ids == theirs(text, add_special_tokens=False)["input_ids"], text
    assert any(ours.encode(text).ids != before.encode(text).ids for text in CASED)
    assert any(next(iter(told)) in finding.message for finding in full_check(open_checkpoint(path)))
    theirs.save_pretrained(path)  # with the setting in tokenizer.json: it can be turned back
    edit_json(path / "tokenizer_config.json", **{setting: not value for setting, value in told.items()})
    for text in CASED:
        assert _tokenizer(path).encode(text).ids == before.encode(text).ids, text


def test_deberta_without_a_prefix_has_none_behind_a_mask(checkpoint_copy: Make) -> None:
    path, text = checkpoint_copy("deberta-v2"), "The [MASK]s of France"
    before = _tokenizer(path).encode(text, mask=True).ids
    edit_json(path / "tokenizer_config.json", add_prefix_space=False)
    theirs = AutoTokenizer.from_pretrained(path)
    after = _tokenizer(path).encode(text, mask=True).ids
    assert after == theirs(text, add_special_tokens=False)["input_ids"] != before


@pytest.mark.parametrize("name", ["PreTrainedTokenizerFast", "TokenizersBackend"])
@pytest.mark.parametrize(("family", "told"), SETTINGS)
def test_some_classes_take_the_file_as_it_stands(
    family: str, told: dict[str, bool], name: str, checkpoint_copy: Make
) -> None:
    path = checkpoint_copy(family)
    before = _tokenizer(path)
    edit_json(path / "tokenizer_config.json", tokenizer_class=name, **told)
    ours, theirs = _tokenizer(path), AutoTokenizer.from_pretrained(path)
    for text in CASED:
        assert ours.encode(text).ids == theirs(text, add_special_tokens=False)["input_ids"], text
        assert ours.encode(text).ids == before.encode(text).ids, text


def test_sentence_transformers_may_ask_for_lower_case(checkpoint_copy: Make) -> None:
    path = checkpoint_copy("sentence")
    edit_json(path / "tokenizer_config.json", do_lower_case=False)
    edit_json(path / "sentence_bert_config.json", do_lower_case=True)
    tokenizer = _tokenizer(path)
    assert tokenizer.encode("Shares FELL").ids == tokenizer.encode("shares fell").ids


def test_pieces_and_where_words_begin(checkpoints: Make) -> None:
    bert = _tokenizer(checkpoints("bert"))
    pieces = [bert.piece(number) for number in bert.encode("walked bingly").ids]
    assert pieces[-1] == "##ly"
    assert [bert.starts_word(number) for number in bert.encode("walked bingly").ids].count(True) == 2
    assert bert.decode(bert.encode("the river").ids) == "the river"
    roberta = _tokenizer(checkpoints("roberta"))
    ids = roberta.encode(" the wonderful").ids
    assert [roberta.piece(number)[0] == "Ġ" for number in ids] == [roberta.starts_word(n) for n in ids]
    assert len(roberta.pieces) == len(roberta)


def test_no_length_is_cut(checkpoints: Make) -> None:
    for family in FAMILIES:
        assert len(_tokenizer(checkpoints(family)).encode("the river " * 10 * MAX_LENGTH)) > 10 * MAX_LENGTH


def test_a_sentencepiece_model_alone_needs_a_package(
    checkpoint_copy: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = checkpoint_copy("albert")
    (path / "tokenizer.json").rename(path / "spiece.model")
    monkeypatch.setattr("bertcli.models.tokenizer_cache.find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"spiece\.model") as error:
        _tokenizer(path)
    assert "pip install" in (error.value.hint or "")


def test_a_sentencepiece_model_alone_is_converted(checkpoint_copy: Make) -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    pytest.importorskip("google.protobuf")
    path = checkpoint_copy("xlm-roberta")
    with (path / "sentencepiece.bpe.model").open("wb") as model:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(TEXTS * 50), model_writer=model, vocab_size=120, hard_vocab_limit=False
        )
    (path / "tokenizer.json").unlink()
    ours, theirs = _tokenizer(path), AutoTokenizer.from_pretrained(path)
    for text in TEXTS:
        assert ours.encode(text).ids == theirs(text, add_special_tokens=False)["input_ids"], text
    mask = f"The {theirs.mask_token} of France"
    assert ours.encode(mask, mask=True).ids == theirs(mask, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"model": {}}', '{"model": {"type": "X", "vocab": {}}}']
)
def test_a_file_that_is_no_tokenizer_is_an_error(content: str, checkpoint_copy: Make) -> None:
    path = checkpoint_copy("bert")
    (path / "tokenizer.json").write_text(content)
    with pytest.raises(ModelError):
        _tokenizer(path)


def test_a_bert_vocabulary_of_another_type_names_the_setting(checkpoint_copy: Make) -> None:
    path = checkpoint_copy("albert")
    words = json.loads((checkpoint_copy("bert") / "tokenizer.json").read_text())["model"]["vocab"]
    for file in path.glob("*token*"):
        file.unlink()
    (path / "vocab.txt").write_text("\n".join(sorted(words, key=lambda word: words[word])[:140]))
    with pytest.raises(ModelError, match="AlbertTokenizer reads other files") as caught:
        _tokenizer(path)
    setting = {"tokenizer_class": "BertTokenizer"}
    assert json.dumps(setting).strip("{}") in str(caught.value.hint)
    (path / "tokenizer_config.json").write_text(json.dumps(setting))
    assert _tokenizer(path).encode("the film").ids


@pytest.mark.parametrize("content", [b"", b"a\nb\n", b"\xff\xfe"])
def test_a_vocabulary_without_special_tokens_is_an_error(content: bytes, checkpoint_copy: Make) -> None:
    path = checkpoint_copy("bert")
    (path / "tokenizer.json").unlink()
    (path / "vocab.txt").write_bytes(content)
    with pytest.raises(ModelError, match=r"\[CLS\]|reads other files|UTF-8"):
        _tokenizer(path)


def test_a_tokenizer_that_would_fail_on_an_unknown_word_is_refused_at_once(checkpoint_copy: Make) -> None:
    path = checkpoint_copy("bert")
    content = json.loads((path / "tokenizer.json").read_text())
    content["model"]["unk_token"] = "[NONE]"
    write_json(path / "tokenizer.json", content)
    with pytest.raises(ModelError, match=r"\[NONE\]"):
        _tokenizer(path)


def test_no_tokenizer_at_all(checkpoint_copy: Make) -> None:
    path = checkpoint_copy("bert")
    (path / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match="no tokenizer"):
        _tokenizer(path)


def test_a_tokenizer_of_another_model_is_refused(checkpoint_copy: Make) -> None:
    path = checkpoint_copy("bert")
    content = json.loads((path / "tokenizer.json").read_text())
    content["model"]["vocab"]["another"] = len(content["model"]["vocab"])
    write_json(path / "tokenizer.json", content)
    with pytest.raises(ModelError, match="pieces"):
        _tokenizer(path)
