"""Masked words: what transformers says of a text with a piece hidden, whatever the batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from bertcli.evaluation.masked_words import MaskedWordAnswers, MaskedWords
from bertcli.records import Record, Result
from bertcli.requests import LongOptions
from tests.checkpoints import TEXTS
from tests.conftest import Make
from tests.tasks.reference import Reference, answers, opened


def masked_words(path: Path, **options: Any) -> MaskedWords:
    checkpoint, tokenizer = opened(path)
    long = options.pop("long", LongOptions())
    return MaskedWords(checkpoint, tokenizer, checkpoint.head("fill"), long, **options)


def record(text: str, index: int = 0) -> Record:
    return Record(index, {"text": text}, text)


@torch.no_grad()
def by_transformers(path: Path, text: str, places: list[int], *, together: bool) -> np.ndarray:
    """Rank and log-probability of the tokens at `places` (special tokens counted)."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    model = transformers.AutoModelForMaskedLM.from_pretrained(path).eval()
    found = []
    for group in [places] if together else [[place] for place in places]:
        inputs = tokenizer(text, return_tensors="pt")
        right = inputs["input_ids"][0, group].clone()
        inputs["input_ids"][0, group] = tokenizer.mask_token_id
        log_p = model(**inputs).logits[0, group].log_softmax(-1)
        own = log_p[torch.arange(len(group)), right]
        found += zip((log_p > own[:, None]).sum(1).tolist(), own.tolist(), strict=True)
    return np.array(found)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["bert", "roberta"])
@pytest.mark.parametrize("together", [False, True])
def test_ranks_and_probabilities_are_those_of_transformers(
    family: str, together: bool, checkpoints: Make
) -> None:
    path = checkpoints(family, "fill")
    task = masked_words(path, share=0.3, together=together)
    encoded = task.encode(record(TEXTS[0]))
    places = [place for window in encoded.windows for place in window.masks]
    (found,) = answers(task, Reference(path, "ModelForMaskedLM"), [TEXTS[0]])
    assert len(encoded.windows) == (1 if together else len(places))
    np.testing.assert_allclose(
        found["pieces"], by_transformers(path, TEXTS[0], places, together=together), atol=1e-4
    )


def test_the_share_is_of_the_pieces_and_at_least_one(checkpoints: Make) -> None:
    path = checkpoints("bert", "fill")
    _, tokenizer = opened(path)
    for text in TEXTS:
        known = [token for token in tokenizer.encode(text).ids if token != tokenizer.unknown_id]
        for share in (0.01, 0.15, 1.0):
            windows = masked_words(path, share=share).encode(record(text)).windows
            assert len(windows) == max(1, round(share * len(known)))
    everything = masked_words(path, share=1.0).encode(record(TEXTS[0])).windows
    assert [window.pieces[0] for window in everything] == tokenizer.encode(TEXTS[0]).ids


def test_what_is_drawn_depends_on_the_seed_and_the_text(checkpoints: Make) -> None:
    path = checkpoints("bert", "fill")

    def places(seed: int, index: int) -> list[tuple[int, ...]]:
        encoded = masked_words(path, share=0.4, seed=seed).encode(record(TEXTS[1], index))
        return [window.masks for window in encoded.windows]

    assert places(0, 0) == places(0, 0)
    assert places(0, 0) != places(1, 0)
    assert places(0, 0) == places(0, 1)  # equal texts are computed once
    drawn = [
        [masked_words(path, share=0.4).encode(record(text)).windows[0].masks for text in pair]
        for pair in (TEXTS[:2], TEXTS[1::-1])
    ]
    assert drawn[0] == drawn[1][::-1]


def test_a_long_text_is_drawn_from_as_a_whole(checkpoints: Make) -> None:
    path = checkpoints("bert", "fill")
    text = " ".join(TEXTS)
    task = masked_words(path, share=1.0, long=LongOptions(max_length=32, overlap=8))
    encoded = task.encode(record(text))
    _, tokenizer = opened(path)
    assert [piece for window in encoded.windows for piece in window.pieces] == tokenizer.encode(text).ids
    assert encoded.slices > 1
    assert len(encoded.windows) > encoded.slices


def test_a_text_without_a_known_piece_is_no_evidence(checkpoints: Make) -> None:
    path = checkpoints("bert", "fill")
    task = masked_words(path)
    (found,) = answers(task, Reference(path, "ModelForMaskedLM"), ["☃"])
    answered = MaskedWordAnswers(task, facts={})
    answered.write(Result(record("☃"), found))
    assert answered.report().metrics == {}
    assert answered.report().facts["pieces"] == 0


def test_figures_are_over_pieces_not_texts(checkpoints: Make) -> None:
    answered = MaskedWordAnswers(masked_words(checkpoints("bert", "fill")), facts={})
    one = np.array([[0, np.log(0.5)]], dtype=np.float32)
    three = np.array([[0, np.log(0.5)], [4, np.log(0.1)], [5, np.log(0.1)]], dtype=np.float32)
    for pieces in (one, three):
        answered.write(Result(record("a"), {"pieces": pieces}))
    metrics = answered.report().metrics
    assert metrics["accuracy"].value == pytest.approx(2 / 4)
    assert metrics["top_5_accuracy"].value == pytest.approx(3 / 4)
    assert metrics["perplexity"].value == pytest.approx((0.5 * 0.5 * 0.1 * 0.1) ** (-1 / 4), rel=1e-5)
