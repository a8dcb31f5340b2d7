"""Masked words, measured against transformers' fill-mask pipeline."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from bertcli.errors import ModelError, RecordError, UsageError
from bertcli.records import Record
from bertcli.requests import LongOptions
from bertcli.tasks.commas import comma_separated
from bertcli.tasks.fill import Fill
from tests.checkpoints import write_json
from tests.tasks.reference import Reference, answer, answers, opened

pytestmark = pytest.mark.slow

KIND = "ModelForMaskedLM"
TEXTS = (
    "The capital of France is [MASK].",
    "[MASK] is the capital of Italy",
    "I loved every [MASK] of it; the acting was wonderful.",
)
Make = Callable[..., Path]


def fill(path: Path, long: LongOptions | None = None, **options: Any) -> Fill:
    checkpoint, tokenizer = opened(path)
    return Fill(checkpoint, tokenizer, checkpoint.head("fill"), long or LongOptions(), **options)


def fills(path: Path, text: str, long: LongOptions | None = None, **options: Any) -> list[dict[str, Any]]:
    return list(answer(fill(path, long, **options), Reference(path, KIND), text)["fills"])


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "xlm-roberta"])
def test_one_mask_has_the_words_and_scores_of_transformers(checkpoints: Make, family: str) -> None:
    path = checkpoints(family, "fill")
    pipeline = transformers.pipeline("fill-mask", str(path), device="cpu")
    tokenizer = pipeline.tokenizer
    found = answers(fill(path, top=8), Reference(path, KIND), TEXTS)
    for text, one in zip(TEXTS, found, strict=True):
        expected = [
            proposal
            for proposal in pipeline(text.replace("[MASK]", tokenizer.mask_token), top_k=20)
            if proposal["token"] not in tokenizer.all_special_ids
        ][:8]
        assert [entry["words"] for entry in one["fills"]] == [[p["token_str"].strip()] for p in expected]
        assert [entry["score"] for entry in one["fills"]] == pytest.approx(
            [proposal["score"] for proposal in expected], abs=1e-6
        )


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_every_spelling_of_a_mask_is_one(checkpoints: Make, family: str) -> None:
    path = checkpoints(family, "fill")
    answers_of = [
        fills(path, f"The capital of {mask} is Paris.", mask="___") for mask in ("[MASK]", "<mask>", "___")
    ]
    assert answers_of[0] == answers_of[1] == answers_of[2]
    with pytest.raises(RecordError):
        fills(path, "The capital of ___ is Paris.")


def test_a_mask_spelled_like_a_pattern_is_taken_by_the_letter(checkpoints: Make) -> None:
    path = checkpoints("bert", "fill")
    (best,) = fills(path, "Is it (.*) or what?", mask="(.*)", targets=("good",))
    assert best["text"] == "Is it good or what?"


def test_the_text_keeps_its_own_spelling(checkpoints: Make) -> None:
    path = checkpoints("bert", "fill")
    for entry in fills(path, "  NAÏVE  Café: [MASK],\t(<mask>)", targets=("paris", "rome")):
        assert entry["text"] == "  NAÏVE  Café: {},\t({})".format(*entry["words"])


def test_other_special_tokens_in_a_text_are_text(checkpoints: Make) -> None:
    path = checkpoints("bert", "fill")
    encoded = fill(path).encode(Record(0, {}, "[SEP] is [MASK]"))
    _, tokenizer = opened(path)
    frame = tokenizer.frame(False)
    assert list(encoded.windows[0].ids).count(frame.after[0]) == 1


def test_a_continuation_is_joined_to_the_word_before(checkpoints: Make) -> None:
    path = checkpoints("bert", "fill")
    found = fills(path, "She was walk [MASK] home", top=400)
    assert len(found) > 100
    for entry in found:
        (word,) = entry["words"]
        expected = f"She was walk{word[2:]} home" if word.startswith("##") else f"She was walk {word} home"
        assert entry["text"] == expected


def test_word_starts_are_told_by_their_mark_where_there_is_one(checkpoints: Make) -> None:
    path = checkpoints("roberta", "fill")
    texts = {entry["text"] for entry in fills(path, "The <mask> moved", top=600)}
    assert {"The s moved", "Thes moved"} <= texts
    glued = {entry["text"] for entry in fills(path, "(<mask>", top=600)}
    assert "( s" in glued
    assert "(s" in glued


def test_specials_and_unused_entries_are_never_proposed(checkpoints: Make) -> None:
    path = checkpoints("bert", "fill")
    _, tokenizer = opened(path)
    words = {entry["words"][0] for entry in fills(path, TEXTS[0], top=10_000)}
    specials = {piece for token, piece in enumerate(tokenizer.pieces) if tokenizer.is_special(token)}
    assert words == {piece for piece in tokenizer.pieces if piece} - specials


# Several masks


def test_several_masks_are_filled_by_the_chain_rule(checkpoints: Make) -> None:
    """P(first) comes from the text with both masks, P(second) from the text with the first one filled."""
    path = checkpoints("bert", "fill")
    pipeline = transformers.pipeline("fill-mask", str(path), device="cpu")
    for entry in fills(path, "The [MASK] of France is [MASK].", words_only=True):
        first, second = entry["words"]
        both = pipeline("The [MASK] of France is [MASK].", targets=[first])[0][0]["score"]
        rest = pipeline(f"The {first} of France is [MASK].", targets=[second])[0]["score"]
        assert entry["score"] == pytest.approx(both * rest, rel=1e-4)
        assert entry["text"] == f"The {first} of France is {second}."


def test_records_of_a_pack_do_not_see_each_other_and_share_its_passes(checkpoints: Make) -> None:
    path = checkpoints("bert", "fill")
    texts = [*TEXTS, "The [MASK] of [MASK] is [MASK].", "[MASK] [MASK]"]
    task, engine = fill(path), Reference(path, KIND)
    together = answers(task, engine, texts)
    assert engine.calls == [5, 20, 10]
    for text, one in zip(texts, together, strict=True):
        alone = answer(task, engine, text)["fills"]
        assert [entry["words"] for entry in one["fills"]] == [entry["words"] for entry in alone]
        assert [entry["score"] for entry in one["fills"]] == pytest.approx(
            [entry["score"] for entry in alone]
        )


def test_beams_are_asked_in_packs_the_engine_can_hold(checkpoints: Make) -> None:
    path = checkpoints("bert", "fill")
    small, large = Reference(path, KIND, batch_tokens=40), Reference(path, KIND)
    text = "The [MASK] of [MASK] is Paris."
    assert answer(fill(path), small, text) == answer(fill(path), large, text)
    assert len(small.calls) > len(large.calls) == 2


# Targets


def test_targets_of_one_piece_have_the_scores_of_transformers(checkpoints: Make) -> None:
    path = checkpoints("bert", "fill")
    _, tokenizer = opened(path)
    words = [piece for piece in tokenizer.pieces if piece.isalpha() and len(piece) > 3][:3]
    pipeline = transformers.pipeline("fill-mask", str(path), device="cpu")
    expected = {p["token_str"]: p["score"] for p in pipeline(TEXTS[0], targets=words)}
    found = fills(path, TEXTS[0], targets=words)
    assert {entry["words"][0]: entry["score"] for entry in found} == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_a_target_of_several_pieces_is_scored_whole(checkpoints: Make, family: str) -> None:
    path = checkpoints(family, "fill")
    _, tokenizer = opened(path)
    model = transformers.AutoModelForMaskedLM.from_pretrained(path).eval()
    target, mask = "zebraxq", tokenizer.mask_token
    pieces = tokenizer.encode(f" {target}").ids
    assert len(pieces) > 2
    before = tokenizer.encode("The capital of France is").ids
    ids = [*tokenizer.frame(False).before, *before, *[tokenizer.mask_id] * len(pieces)]
    ids += [*tokenizer.encode("!").ids, *tokenizer.frame(False).after]
    expected = 1.0
    for place, piece in enumerate(pieces, len(ids) - len(pieces) - 2):
        logits = model(input_ids=torch.tensor([ids])).logits[0, place].detach()
        expected *= float(logits.softmax(-1)[piece])
        ids[place] = piece
    found = fills(path, f"The capital of France is {mask}!", targets=(target, "s"))
    scores = {entry["words"][0]: entry["score"] for entry in found}
    assert scores[target] == pytest.approx(expected, rel=1e-4)


def test_every_mask_takes_from_the_targets(checkpoints: Make) -> None:
    found = fills(checkpoints("bert", "fill"), "[MASK] or [MASK]", targets=("good", "unspeakable"), top=9)
    pairs = [tuple(entry["words"]) for entry in found]
    assert len(set(pairs)) == len(pairs) == 4
    assert {word for pair in pairs for word in pair} == {"good", "unspeakable"}


def test_a_target_the_vocabulary_cannot_spell_is_refused(checkpoints: Make) -> None:
    with pytest.raises(UsageError, match="cannot spell the target 猫"):
        fill(checkpoints("bert", "fill"), targets=("good", "猫"))


@pytest.mark.parametrize(
    ("value", "message"), [("", "empty"), ("a,,b", "empty"), ("a,b,a", "a is there twice")]
)
def test_targets_that_cannot_be_meant_are_refused(checkpoints: Make, value: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        fill(checkpoints("bert", "fill"), targets=comma_separated(value))


# Words only


def test_words_only_drops_pieces_and_punctuation(checkpoints: Make) -> None:
    path = checkpoints("bert", "fill")
    words = {entry["words"][0] for entry in fills(path, TEXTS[0], top=10_000, words_only=True)}
    assert {"paris", "rome", "9", "naive"} & words
    assert not any(word.startswith("##") or not word[0].isalnum() for word in words)


def test_words_only_goes_by_the_marks_of_words(checkpoints: Make) -> None:
    path = checkpoints("roberta", "fill")
    _, tokenizer = opened(path)
    bare = [piece[1:] for piece in tokenizer.pieces if piece.startswith("Ġ")]
    marked = {word for word in bare if word.isalnum() and word.isascii()}
    inside = {entry["words"][0] for entry in fills(path, "The <mask> moved", top=10_000, words_only=True)}
    assert marked == {word for word in inside if word.isalnum() and word.isascii()}
    assert not any("\ufffd" in word for word in inside)
    first = fills(path, "<mask> moved", top=10_000, words_only=True)
    assert "The" in {entry["words"][0] for entry in first}
    assert all(entry["text"] == f"{entry['words'][0]} moved" for entry in first)


def test_what_is_left_out_keeps_its_share(checkpoints: Make) -> None:
    path = checkpoints("bert", "fill")
    whole = {entry["words"][0]: entry["score"] for entry in fills(path, TEXTS[0], top=10_000)}
    for entry in fills(path, TEXTS[0], words_only=True, top=10_000):
        assert entry["score"] == pytest.approx(whole[entry["words"][0]], rel=1e-5)


# Long texts


FILLER = "The quick brown fox jumps over the lazy dog. " * 8


def test_a_mask_in_a_long_text_is_in_the_middle_of_its_window(checkpoints: Make) -> None:
    task = fill(checkpoints("bert", "fill"))
    (window,) = task.encode(Record(0, {}, FILLER + "It is [MASK]. " + FILLER)).windows
    assert len(window) == 64
    assert abs(window.masks[0] - 32) <= 1
    for text in ("It is [MASK]. " + FILLER, FILLER + "It is [MASK]"):
        (window,) = task.encode(Record(0, {}, text)).windows
        assert len(window) == 64


def test_masks_far_apart_are_filled_each_in_its_window(checkpoints: Make) -> None:
    path = checkpoints("bert", "fill")
    text = f"It is [MASK]. {FILLER}It is not [MASK]. {FILLER}Is it [MASK] [MASK]?"
    encoded = fill(path).encode(Record(0, {}, text))
    assert [len(window.masks) for window in encoded.windows] == [1, 1, 2]
    for entry in fills(path, text, targets=("good", "unspeakable", "s"), top=20):
        assert len(entry["words"]) == 4
        parts = text.split("[MASK]")
        assert entry["text"] == "".join(p + w for p, w in zip(parts, [*entry["words"], ""], strict=True))


def test_windows_leave_room_for_targets_of_many_pieces(checkpoints: Make) -> None:
    path = checkpoints("bert", "fill")
    engine = Reference(path, KIND)
    text = "good " * 59 + "[MASK] [MASK]"
    found = answer(fill(path, targets=("unspeakable", "good")), engine, text)["fills"]
    assert len(found) == 4  # a longer input would have failed in the model


def test_truncate_and_error_do_as_they_say(checkpoints: Make) -> None:
    path = checkpoints("bert", "fill")
    early, late = f"It is [MASK]. {FILLER}", f"{FILLER} It is [MASK]."
    cut = fill(path, LongOptions(long="truncate")).encode(Record(0, {}, early))
    assert cut.truncated
    assert len(cut.windows[0]) == 64
    with pytest.raises(RecordError, match="1 of 1 masks are in the part that is cut off"):
        fill(path, LongOptions(long="truncate")).encode(Record(0, {}, late))
    with pytest.raises(RecordError, match="the limit is 62"):
        fill(path, LongOptions(long="error")).encode(Record(0, {}, early))


# Refusals


def test_a_text_without_a_mask_is_an_error_of_its_record(checkpoints: Make) -> None:
    with pytest.raises(RecordError, match="no mask; write") as caught:
        fill(checkpoints("bert", "fill")).encode(Record(0, {}, "nothing is missing"))
    assert caught.value.type == "no-mask"


def test_a_mask_that_the_tokenizer_does_not_read_is_an_error_of_its_record(checkpoint_copy: Make) -> None:
    path = checkpoint_copy("bert", "fill")
    definition = json.loads((path / "tokenizer.json").read_text())
    for token in definition["added_tokens"]:
        token["single_word"] = True
    write_json(path / "tokenizer.json", definition)
    with pytest.raises(RecordError, match="reads 1 of 2 masks"):
        fill(path).encode(Record(0, {}, "un[MASK]able and [MASK]"))


def test_more_masks_than_a_window_can_grow_for_are_filled_window_by_window(checkpoints: Make) -> None:
    path = checkpoints("bert", "fill")
    found = fills(path, "[MASK] " * 12, targets=("unspeakable", "good"), top=1, beam=2)
    assert len(found[0]["words"]) == 12


@pytest.mark.parametrize("options", [{"mask": ""}, {"mask": " "}])
def test_options_that_cannot_be_meant_are_refused(checkpoints: Make, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        fill(checkpoints("bert", "fill"), **options)


def test_a_model_without_a_mask_token_is_refused(checkpoints: Make) -> None:
    path = checkpoints("bert", "fill")
    checkpoint, tokenizer = opened(path)
    tokenizer.mask_token = tokenizer.mask_id = None
    with pytest.raises(ModelError, match="has no mask token"):
        Fill(checkpoint, tokenizer, checkpoint.head("fill"), LongOptions())
