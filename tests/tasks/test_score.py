"""Pseudo-log-likelihoods, measured against a loop over transformers that hides one token after the other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from bertcli.engines.instant import Instant
from bertcli.engines.packed import Packed
from bertcli.errors import ModelError, RecordError
from bertcli.records import Record
from bertcli.requests import LongOptions
from bertcli.tasks.masking import MaskedIds
from bertcli.tasks.score import Method, Score
from tests.checkpoints import TEXTS
from tests.tasks.reference import Reference, answer, answers, opened

pytestmark = pytest.mark.slow

Make = Callable[..., Path]
KIND = "ModelForMaskedLM"
SENTENCES = (
    "The capital of France is Paris.",
    "Unbelievable! Nobody walked unspeakably slowly.",
    "Naïve café owners in München",
    "x",
)
LONG = " ".join(TEXTS[:4])


def score(path: Path, long: LongOptions | None = None, **options: Any) -> Score:
    checkpoint, tokenizer = opened(path)
    return Score(checkpoint, tokenizer, checkpoint.head("fill"), long or LongOptions(), **options)


@torch.no_grad()
def by_transformers(path: Path, text: str, method: Method) -> list[float]:
    """The log-probability of each token, with nothing of ours but the path."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    model = transformers.AutoModelForMaskedLM.from_pretrained(path, dtype=torch.float32).eval()
    encoding = tokenizer(text, return_tensors="pt")
    ids, words = encoding["input_ids"][0], encoding.word_ids()
    found = []
    for place, word in enumerate(words):
        if word is None:  # a special token
            continue
        hidden = ids.clone()
        hidden[place] = tokenizer.mask_token_id
        if method == "within-word":
            for behind in range(place + 1, len(words)):
                if words[behind] == word:
                    hidden[behind] = tokenizer.mask_token_id
        logits = model(input_ids=hidden[None]).logits[0, place]
        found.append(float(logits.log_softmax(-1)[ids[place]]))
    return found


@pytest.mark.parametrize(
    ("family", "method"),
    [
        *((family, "within-word") for family in ("bert", "roberta", "distilbert")),
        *((family, "plain") for family in ("bert", "roberta", "deberta-v2")),  # SentencePiece has other words
    ],
)
def test_scores_are_those_of_a_loop_over_transformers(checkpoints: Make, family: str, method: Method) -> None:
    path = checkpoints(family, "fill")
    checkpoint, _ = opened(path)
    packed = Packed(checkpoint, device="cpu", dtype="float32")
    for engine in [packed, Instant(checkpoint)] if family == "bert" else [packed]:
        for text, found in zip(
            SENTENCES, answers(score(path, method=method), engine, SENTENCES), strict=True
        ):
            expected = by_transformers(path, text, method)
            assert found["tokens"] == len(expected)
            assert found["score"] == pytest.approx(sum(expected), abs=1e-4 * len(expected))
            mean = sum(expected) / len(expected)
            assert found["perplexity"] == pytest.approx(torch.tensor(-mean).exp().item(), rel=1e-3)


def test_a_word_does_not_give_itself_away(checkpoints: Make) -> None:
    """The two methods differ where a word has several pieces, and nowhere else."""
    path = checkpoints("bert", "fill")
    _, tokenizer = opened(path)
    for text in SENTENCES:
        whole = all(tokenizer.starts_word(token) for token in tokenizer.encode(text).ids)
        plain, within = (
            [list(window.ids) for window in score(path, method=method).encode(Record(0, {}, text)).windows]
            for method in ("plain", "within-word")
        )
        assert (plain == within) == whole


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_words_stand_where_they_are_and_add_up(checkpoints: Make, family: str) -> None:
    path = checkpoints(family, "fill")
    text = "  Naïve café\towners \n  walk unspeakably. "
    found = answer(score(path, words=True), Reference(path, KIND), text)
    assert [word["word"] for word in found["words"]] == [
        "Naïve", "café", "owners", "walk", "unspeakably", ".",
    ]  # fmt: skip
    assert all(text[word["start"] : word["end"]] == word["word"] for word in found["words"])
    assert sum(word["log_prob"] for word in found["words"]) == pytest.approx(found["score"])


@settings(max_examples=25, deadline=None)
@given(
    text=st.text("ab .,'-é\u4e2d\u200b\t", max_size=30), family=st.sampled_from(["bert", "roberta", "albert"])
)
def test_every_token_is_hidden_once_and_belongs_to_a_word(checkpoints: Make, text: str, family: str) -> None:
    path = checkpoints(family, "fill")
    _, tokenizer = opened(path)
    ids = tokenizer.encode(text).ids
    task = score(path, words=True)
    encoded = task.encode(Record(0, {}, text))
    assert [window.pieces[0] for window in encoded.windows] == ids
    found = task.decode(Record(0, {}, text), encoded, [-1.0] * len(ids))
    assert found["tokens"] == len(ids) == -sum(word["log_prob"] for word in found["words"])
    assert (found["perplexity"] is None) == (found["score"] is None) == (not ids)


# Pairs


def test_a_text_without_a_token_is_not_the_likelier_one(checkpoints: Make) -> None:
    path = checkpoints("bert", "fill")
    task = score(path, pair=True)
    for text, pair in (("\u200b", TEXTS[0]), (TEXTS[0], "\u200b")):
        record = Record(0, {}, text, pair)
        encoded = task.encode(record)
        found = task.decode(record, encoded, [-1.0] * len(encoded.windows))
        assert found["likelier"] is None
        assert sorted([found["tokens"], found["pair_tokens"]])[0] == 0
        assert {found["score"] is None, found["pair_score"] is None} == {True, False}


def test_of_a_pair_the_likelier_text_is_named(checkpoints: Make) -> None:
    path = checkpoints("bert", "fill")
    engine = Reference(path, KIND)
    alone = {text: answer(score(path), engine, text) for text in SENTENCES}
    for first in SENTENCES:
        for second in SENTENCES:
            found = answer(score(path, pair=True), engine, first, second)
            assert {name: found[name] for name in ("score", "tokens")} == {
                name: pytest.approx(alone[first][name], rel=1e-5) for name in ("score", "tokens")
            }
            assert found["pair_score"] == pytest.approx(alone[second]["score"], rel=1e-5)
            ahead = alone[first]["score"] - alone[second]["score"]
            assert found["likelier"] == ("text" if ahead > 0 else "pair" if ahead < 0 else None)


@pytest.mark.parametrize("pair", [None, "", "  "])
def test_a_pair_of_one_is_an_error_of_its_record(checkpoints: Make, pair: str | None) -> None:
    with pytest.raises(RecordError, match="second text is missing"):
        score(checkpoints("bert", "fill"), pair=True).encode(Record(0, {}, "x", pair))


# Long texts


@pytest.mark.parametrize("overlap", [0, 9])
def test_a_long_text_is_scored_token_by_token_in_its_windows(checkpoints: Make, overlap: int) -> None:
    path = checkpoints("bert", "fill")
    _, tokenizer = opened(path)
    task = score(path, LongOptions(max_length=32, overlap=overlap))
    encoded = task.encode(Record(0, {}, LONG))
    ids = tokenizer.encode(LONG).ids
    assert encoded.slices > 2
    assert [window.pieces[0] for window in encoded.windows] == ids
    for token, window in enumerate(encoded.windows):
        (place,) = window.masks
        shown = list(window.ids)
        assert len(shown) <= 32
        assert shown[place] == tokenizer.mask_id
        before, behind = shown[1:place], shown[place + 1 : -1]
        assert before == ids[token - len(before) : token]  # what stands before the hidden piece is all there
        stop = next((n for n, piece in enumerate(behind) if piece != tokenizer.mask_id), len(behind))
        assert behind[stop:] == ids[token + 1 + stop : token + 1 + len(behind)]
        assert not any(map(tokenizer.starts_word, ids[token + 1 : token + 1 + stop]))


def test_a_cut_text_counts_what_is_left_of_it(checkpoints: Make) -> None:
    path = checkpoints("bert", "fill")
    task = score(path, LongOptions(long="truncate", max_length=16), words=True)
    record = Record(0, {}, LONG)
    encoded = task.encode(record)
    found = task.decode(record, encoded, [-0.5] * 14)
    assert (encoded.truncated, encoded.slices, found["tokens"]) == (True, 1, 14)
    assert sum(word["log_prob"] for word in found["words"]) == found["score"] == -7


# Odds and ends


def test_masked_ids_are_a_list_with_masks_in_it() -> None:
    ids = MaskedIds([5, 6, 7, 8], 1, 3, 0)
    assert list(ids) == [5, 0, 0, 8] == [ids[place] for place in range(4)] == ids[:]
    assert len(ids) == 4


def test_a_surprise_beyond_all_numbers_is_no_crash(checkpoints: Make) -> None:
    path = checkpoints("bert", "fill")
    task = score(path)
    record = Record(0, {}, "x")
    assert task.decode(record, task.encode(record), [-1e4])["perplexity"] == float("inf")


def test_a_model_without_a_mask_token_is_refused(checkpoints: Make) -> None:
    checkpoint, tokenizer = opened(checkpoints("bert", "fill"))
    tokenizer.mask_token = tokenizer.mask_id = None
    with pytest.raises(ModelError, match="has no mask token"):
        Score(checkpoint, tokenizer, checkpoint.head("fill"), LongOptions())
