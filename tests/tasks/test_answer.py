"""Answers in a context, against a plain reading of the rules for SQuAD."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from bertcli.engines import Ask
from bertcli.engines.instant import Instant
from bertcli.errors import RecordError
from bertcli.records import Record, Window
from bertcli.requests import LongOptions
from bertcli.tasks.answer import Answer, span_scores
from bertcli.tasks.windowing import _overlapping
from tests.conftest import Make
from tests.tasks.reference import answer, answers, opened

pytestmark = pytest.mark.slow

QUESTION = "What is the capital of France?"
TEXTS = (
    "The capital of France is Paris, and the capital of Italy is Rome.",
    "Naïve café owners in München don't sell crème brûlée anymore!",
    "She walked slowly along the river, thinking about what the doctor had told her.",
    "x",
)
LONG = " ".join(TEXTS * 2)
FAMILIES = ("bert", "roberta", "distilbert", "xlm-roberta", "deberta-v2", "modernbert")
ALWAYS = math.inf


def task(path: Path, long: LongOptions | None = None, **options: Any) -> Answer:
    checkpoint, tokenizer = opened(path)
    options.setdefault("question", QUESTION)
    return Answer(checkpoint, tokenizer, checkpoint.head("answer"), long or LongOptions(), **options)


class Ends:
    """An engine that asks transformers for both ends."""

    name, device, dtype, workers, batch_tokens = "ends", "cpu", "float32", 1, 10_000

    def __init__(self, path: Path) -> None:
        self.model = transformers.AutoModelForQuestionAnswering.from_pretrained(path, dtype="float32").eval()

    def forward(self, windows: Sequence[Window], ask: Ask) -> list[Any]:
        return [self._ends(window.ids, window.types) for window in windows]

    @torch.no_grad()
    def _ends(self, ids: Any, types: Any) -> Any:
        inputs = {"input_ids": torch.tensor([list(ids)])}
        if types is not None:
            inputs["token_type_ids"] = torch.tensor([list(types)])
        found = self.model(**inputs)
        return torch.stack([found.start_logits[0], found.end_logits[0]], -1).numpy()


def reference(
    path: Path, text: str, *, longest: int = 30, threshold: float = 0.0, length: int = 64, overlap: int
) -> tuple[str | None, int | None, int | None, float]:
    """The rules of run_squad, span by span, over the windows that transformers' tokenizer cuts."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    kept = tokenizer(
        QUESTION, text, max_length=length, stride=overlap, truncation="only_second",
        return_overflowing_tokens=True, return_offsets_mapping=True,
    )  # fmt: skip
    engine = Ends(path)
    spans: dict[tuple[int, int], tuple[float, tuple[int, int]]] = {}
    nothing = math.inf
    done = 0  # tokens of the context before this window
    for number, ids in enumerate(kept["input_ids"]):
        types = kept["token_type_ids"][number] if "token_type_ids" in kept else None
        logits = engine._ends(ids, types)
        start_logits, end_logits = logits[:, 0].tolist(), logits[:, 1].tolist()
        parts = kept.sequence_ids(number)
        places = [place for place, part in enumerate(parts) if part == 1]
        nothing = min(nothing, start_logits[0] + end_logits[0])
        for first in places:
            for last in places:
                if not first <= last < first + longest:
                    continue
                (begin, stop), (back, end) = (
                    kept["offset_mapping"][number][first],
                    kept["offset_mapping"][number][last],
                )
                if not text[begin:stop].strip() or not text[back:end].strip():
                    continue
                begin += len(text[begin:stop]) - len(text[begin:stop].lstrip())
                key = (done + first - places[0], done + last - places[0])
                score = start_logits[first] + end_logits[last]
                if key not in spans or score > spans[key][0]:
                    spans[key] = score, (begin, end)
        done += len(places) - overlap
    score, (begin, end) = max(spans.values())
    total = sum(math.exp(each) for each, _ in spans.values()) + math.exp(nothing)
    if nothing - score > threshold:
        return None, None, None, math.exp(nothing) / total
    return text[begin:end], begin, end, math.exp(score) / total


def check(found: dict[str, Any], expected: tuple[str | None, int | None, int | None, float]) -> None:
    assert (found["answer"], found["start"], found["end"]) == expected[:3]
    assert found["score"] == pytest.approx(expected[3], rel=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_are_those_of_the_rules(checkpoints: Make, family: str) -> None:
    path = checkpoints(family, "answer", max_position_embeddings=200)
    for text in (*TEXTS, LONG):
        long = LongOptions(max_length=60, overlap=8)
        for options in (
            {},
            {"threshold": ALWAYS},
            {"threshold": -ALWAYS},
            {"longest": 2, "threshold": ALWAYS},
        ):
            found = answer(task(path, long, **options), Ends(path), text)
            check(found, reference(path, text, length=60, overlap=8, **options))


def test_each_record_has_a_question_of_its_own(checkpoints: Make) -> None:
    path = checkpoints("bert", "answer")
    one = task(path, question=None, threshold=ALWAYS)
    asked = answer(one, Ends(path), TEXTS[0], QUESTION)
    assert asked == answer(task(path, threshold=ALWAYS), Ends(path), TEXTS[0])
    for question in (None, "", " \n"):
        with pytest.raises(RecordError, match="no question"):
            one.encode(Record(0, {}, TEXTS[0], question))


def test_the_instant_engine_answers_the_same(checkpoints: Make) -> None:
    path = checkpoints("bert", "answer")
    one = task(path, threshold=ALWAYS)
    instant = answers(one, Instant(opened(path)[0]), TEXTS)
    for mine, theirs in zip(instant, answers(one, Ends(path), TEXTS), strict=True):
        assert mine == {**theirs, "score": pytest.approx(theirs["score"], abs=1e-4)}


# What depends on windows: an engine whose logits belong to the tokens, wherever they stand


class Table:
    """Logits by token: without context, windows may not matter."""

    name, device, dtype, workers, batch_tokens = "table", "cpu", "float32", 1, 10_000

    def __init__(self, size: int) -> None:
        self.rows = np.random.default_rng(3).normal(0, 3, (size, 2)).astype(np.float32)

    def forward(self, windows: Sequence[Window], ask: Ask) -> list[Any]:
        return [self.rows[list(window.ids)] for window in windows]


@settings(max_examples=80)
@given(length=st.integers(30, 70), words=st.integers(1, 90), longest=st.integers(1, 9))
def test_no_seam_hides_an_answer(checkpoints: Make, length: int, words: int, longest: int) -> None:
    path = checkpoints("bert", "answer", max_position_embeddings=2000)
    checkpoint = opened(path)[0]
    text = " ".join((LONG + " " + LONG).split()[:words])
    engine = Table(checkpoint.vocab_size)
    options = {"question": "Who?", "longest": longest}
    cut = answer(task(path, LongOptions(max_length=length), **options), engine, text)
    assert cut == answer(task(path, LongOptions(max_length=2000), **options), engine, text)


@settings(max_examples=100)
@given(
    count=st.integers(1, 30),
    room=st.integers(2, 12),
    share=st.floats(0, 0.9),
    longest=st.integers(1, 8),
    seed=st.integers(0, 99),
)
def test_span_scores_are_those_of_a_plain_loop(
    count: int, room: int, share: float, longest: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    slices = list(_overlapping(count, room, int(room * share)))
    ends = [random.normal(size=(stop - start + 1, 2)).astype(np.float32) for start, stop, _ in slices]
    visible = (random.random(count) < 0.8).tolist()
    expected = np.full((count, longest), -np.inf, np.float32)
    for (start, stop, _), logits in zip(slices, ends, strict=True):
        for first in range(start, stop):
            for last in range(first, min(first + longest, stop)):
                if visible[first] and visible[last]:
                    score = logits[first - start, 0] + logits[last - start, 1]
                    expected[first, last - first] = max(expected[first, last - first], score)
    assert (span_scores(slices, ends, visible, longest) == expected).all()


def test_a_text_that_shows_nothing_holds_no_answer(checkpoints: Make) -> None:
    path = checkpoints("bert", "answer")
    found = answer(task(path, threshold=ALWAYS), Ends(path), "\u200b")
    assert found == {"answer": None, "score": 1.0, "start": None, "end": None}


def test_what_was_cut_off_is_told(checkpoints: Make) -> None:
    path = checkpoints("bert", "answer")
    encoded = task(path, LongOptions(long="truncate")).encode(Record(0, {}, LONG))
    assert encoded.truncated
    assert [len(window) for window in encoded.windows] == [64]
    with pytest.raises(RecordError, match="tokens"):
        task(path, LongOptions(long="error")).encode(Record(0, {}, LONG))
    with pytest.raises(RecordError, match="must stay whole"):
        task(path, question=LONG).encode(Record(0, {}, LONG))


def test_windows_hold_the_whole_question(checkpoints: Make) -> None:
    path = checkpoints("bert", "answer")
    encoded = task(path).encode(Record(0, {}, LONG))
    asked = opened(path)[1].encode(QUESTION).ids
    assert len(encoded.windows) > 2
    for window in encoded.windows:
        assert list(window.ids[1 : len(asked) + 1]) == asked
        assert len(window) <= 64
