"""Tags of words, and the spans they make."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from bertcli.engines import Ask
from bertcli.records import Record, Window
from bertcli.requests import LongOptions
from bertcli.tasks.tag import Tag
from bertcli.tasks.windowing import borders
from tests.checkpoints import TAGS
from tests.tasks.reference import Reference, answer, answers, opened

pytestmark = pytest.mark.slow

POS = ("NOUN", "VERB", "PUNCT")
TEXTS = (
    "The capital of France is Paris, and the capital of Italy is Rome.",
    "Naïve café owners in München don't sell crème brûlée anymore!",
    "U.S. shares (in $) fell 12.5% on Monday; \U0001f600 nobody knows why.",
    "x",
)
LONG = " ".join(TEXTS[:3] * 4)
WORDPIECE = ("bert", "distilbert", "electra")
Make = Callable[..., Path]


def tag(path: Path, long: LongOptions | None = None, **options: Any) -> Tag:
    checkpoint, tokenizer = opened(path)
    return Tag(checkpoint, tokenizer, checkpoint.head("tag"), long or LongOptions(), **options)


def reference(path: Path) -> Reference:
    return Reference(path, "ModelForTokenClassification")


def pipeline(path: Path, **options: Any) -> transformers.Pipeline:
    model = transformers.AutoModelForTokenClassification.from_pretrained(path, dtype="float32")
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    return transformers.pipeline("ner", model=model, tokenizer=tokenizer, device="cpu", **options)


def expected_spans(found: Sequence[dict[str, Any]], text: str) -> list[dict[str, Any]]:
    """What transformers' pipeline says, in our words: without blanks at the beginning of a span."""
    spans = []
    for entity in found:
        said = text[entity["start"] : entity["end"]]
        start = entity["start"] + len(said) - len(said.lstrip())
        if said.strip():
            about = {"label": entity["entity_group"], "start": start, "end": entity["end"]}
            score = pytest.approx(entity["score"], abs=1e-4)
            spans.append(about | {"text": said.lstrip(), "score": score})
    return spans


# transformers as the oracle


@pytest.mark.parametrize("aggregation", ["simple", "first", "average", "max"])
@pytest.mark.parametrize("family", WORDPIECE)
def test_spans_are_those_of_transformers(checkpoints: Make, family: str, aggregation: Any) -> None:
    path = checkpoints(family, "tagger")
    wanted = pipeline(path, aggregation_strategy=aggregation)(list(TEXTS))
    assert sum(map(len, wanted)) >= 15
    found = answers(tag(path, aggregation=aggregation), reference(path), TEXTS)
    for text, one, said in zip(TEXTS, found, wanted, strict=True):
        assert one["spans"] == expected_spans(said, text)


@pytest.mark.parametrize("family", ["roberta", "xlm-roberta", "modernbert", "deberta-v2"])
def test_tagged_pieces_are_those_of_transformers(checkpoints: Make, family: str) -> None:
    path = checkpoints(family, "tagger")
    found = answers(tag(path, aggregation="simple"), reference(path), TEXTS)
    for text, one, said in zip(
        TEXTS, found, pipeline(path, aggregation_strategy="simple")(list(TEXTS)), strict=True
    ):
        assert one["spans"] == expected_spans(said, text)


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_tokens_are_those_of_transformers(checkpoints: Make, family: str) -> None:
    path = checkpoints(family, "tagger")
    wanted = pipeline(path, aggregation_strategy="none", ignore_labels=[])(TEXTS[1])
    found = answer(tag(path, shape="tokens"), reference(path), TEXTS[1])["tokens"]
    assert [(one["token"], one["label"], one["start"], one["end"]) for one in found] == [
        (one["word"], one["entity"], one["start"], one["end"]) for one in wanted
    ]
    assert [one["score"] for one in found] == pytest.approx([one["score"] for one in wanted], abs=1e-4)


def test_words_the_input_has_split_are_those_of_transformers(checkpoints: Make) -> None:
    path = checkpoints("bert", "tagger")
    words = ["The", "capital", "of", "France", "is", "Paris", ",", "nobody", "cared"]
    wanted = pipeline(path, aggregation_strategy="first")(words, is_split_into_words=True)
    found = answer(tag(path, split_words=True), reference(path), " ".join(words))["spans"]
    assert found == expected_spans(wanted[0], " ".join(words))


# What a head of a table says: the tag of a token is the table's, wherever it stands


class Table:
    """An engine without context, so that what depends on windows is the task's own doing."""

    name, device, dtype, workers, batch_tokens = "table", "cpu", "float32", 1, 10_000

    def __init__(self, labels: int = len(TAGS)) -> None:
        self.rows = np.random.default_rng(2).normal(size=(2000, labels)).astype(np.float32)

    def forward(self, windows: Sequence[Window], ask: Ask) -> list[Any]:
        return [self.rows[list(window.ids)] for window in windows]


class Spelled:
    """An engine that gives the tokens of a text the tags a test has written down."""

    name, device, dtype, workers, batch_tokens = "spelled", "cpu", "float32", 1, 10_000

    def __init__(self, tags: Sequence[str], labels: Sequence[str]) -> None:
        self.numbers = [labels.index(tag) for tag in tags]
        self.labels = len(labels)

    def forward(self, windows: Sequence[Window], ask: Ask) -> list[Any]:
        logits = np.zeros((len(self.numbers) + 2, self.labels), np.float32)
        logits[range(1, len(self.numbers) + 1), self.numbers] = 10
        return [logits]


windows = st.integers(3, 60).flatmap(
    lambda length: st.builds(
        LongOptions, max_length=st.just(length), overlap=st.one_of(st.none(), st.integers(0, length - 3))
    )
)
SHAPES = st.sampled_from(["spans", "tokens", "words"])
WAYS = st.sampled_from(["simple", "first", "average", "max"])


@settings(max_examples=150)
@given(long=windows, words=st.integers(1, 60), shape=SHAPES, aggregation=WAYS, split=st.booleans())
def test_windows_of_any_size_give_the_tags_of_the_whole_text(
    checkpoints: Make, long: LongOptions, words: int, shape: Any, aggregation: Any, split: bool
) -> None:
    path = checkpoints("bert", "tag", labels=TAGS, max_position_embeddings=2000)
    text = " ".join(LONG.split()[:words])
    options = {"shape": shape, "aggregation": aggregation, "split_words": split}
    _, tokenizer = opened(path)
    whole = Window(tokenizer.frame(False).build(tokenizer.encode(text).ids)[0])
    record = Record(0, {}, text)
    one = tag(path, LongOptions(), **options)
    encoded = one.encode(record)
    tokens = len(whole) - 2
    encoded = type(encoded)([whole], notes=encoded.notes._replace(slices=[(0, tokens, 0)]))
    expected = one.decode(record, encoded, one.forward(Table(), [whole]))
    assert answer(tag(path, long, **options), Table(), text) == expected


@settings(max_examples=200)
@given(
    count=st.integers(1, 60),
    room=st.integers(1, 20),
    share=st.floats(0, 0.99),
    begins=st.sets(st.integers(0, 60)),
)
def test_windows_hand_over_in_order_inside_their_overlap(
    count: int, room: int, share: float, begins: set[int]
) -> None:
    overlap = int(room * share)
    slices, fresh, start = [], 0, 0
    while fresh < count:
        stop = min(start + room, count)
        slices.append((start, stop, fresh))
        fresh, start = stop, stop - overlap
    found = borders(slices, sorted(begins))
    assert found[0] == 0
    assert found[-1] == count
    assert found == sorted(found)
    for (first, stop, _), begin, end in zip(slices, found, found[1:], strict=False):
        assert first <= begin <= end <= stop


def test_a_token_is_decided_where_it_has_more_context() -> None:
    assert borders([(0, 10, 0), (6, 16, 10)], range(20)) == [0, 8, 16]
    assert borders([(0, 10, 0), (6, 16, 10)], [0, 3, 7, 12]) == [0, 7, 16]
    assert borders([(0, 10, 0), (6, 16, 10)], [0, 3, 12]) == [0, 8, 16]


def test_a_span_over_a_seam_is_one(checkpoints: Make) -> None:
    path = checkpoints("bert", "tag", labels=TAGS)

    class Everything(Spelled):
        def forward(self, windows: Sequence[Window], ask: Ask) -> list[Any]:
            return [np.tile(np.float32([0, 0, 9, 0, 0, 0, 0]), (len(window), 1)) for window in windows]

    found = answer(tag(path, LongOptions(max_length=10)), Everything([], TAGS), LONG)["spans"]
    assert [(one["label"], one["start"], one["end"]) for one in found] == [("PER", 0, len(LONG))]


def test_text_that_is_cut_off_has_no_tags(checkpoints: Make) -> None:
    path = checkpoints("bert", "tag", labels=POS)
    long = LongOptions(long="truncate", max_length=12)
    for aggregation in ("simple", "first"):
        found = answer(tag(path, long, aggregation=aggregation), Table(3), LONG)["spans"]
        assert 1 < len(found) <= 10
    record = Record(0, {}, LONG, words=tuple(LONG.split()))
    one = tag(path, long, shape="words")
    encoded = one.encode(record)
    assert encoded.truncated
    tags = one.decode(record, encoded, one.forward(Table(3), encoded.windows))["word_tags"]
    assert [entry["word"] for entry in tags] == LONG.split()
    assert {entry["tag"] for entry in tags[10:]} == {"O"}


# Spans


def test_offsets_count_characters_of_the_original_text(checkpoints: Make) -> None:
    path = checkpoints("bert", "tag", labels=TAGS)
    text = "\U0001f600  in Mu\u0308nchen,\tCafe\u0301\u0301 bei \U0001f469\u200d\U0001f467"
    tokens = answer(tag(path, shape="tokens"), Table(), text)["tokens"]
    cities = ["B-LOC" if text[one["start"]] in "MC" else "O" for one in tokens]
    found = answer(tag(path), Spelled(cities, TAGS), text)["spans"]
    assert [one["text"] for one in found] == ["Mu\u0308nchen", "Cafe\u0301\u0301"]
    assert all(text[one["start"] : one["end"]] == one["text"] for one in found)


@settings(max_examples=150)
@given(
    text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
    | st.text("aé́東\U0001f600\u200d .,'-ๆก\n", min_size=1, max_size=30),
    family=st.sampled_from(["bert", "roberta", "xlm-roberta", "modernbert", "deberta-v2"]),
    aggregation=WAYS,
)
def test_spans_of_any_text_are_in_order_and_in_the_text(
    checkpoints: Make, text: str, family: str, aggregation: Any
) -> None:
    path = checkpoints(family, "tag", labels=TAGS)
    done = 0
    for one in answer(tag(path, aggregation=aggregation), Table(), text)["spans"]:
        assert one["text"] == text[one["start"] : one["end"]]
        assert one["text"] == one["text"].lstrip() != ""
        assert done <= one["start"] or aggregation == "simple"
        done = one["end"]


def test_parts_of_speech_are_a_span_a_word(checkpoints: Make) -> None:
    path = checkpoints("bert", "tag", labels=POS)
    text = "Nobody loved dogs."
    spans = answer(tag(path), Table(3), text)["spans"]
    assert [one["text"] for one in spans] == ["Nobody", "loved", "dogs", "."]


def test_words_are_tagged_in_bio(checkpoints: Make) -> None:
    path = checkpoints("bert", "tag", labels=TAGS)
    record = Record(0, {}, "a b \u200b c d", words=("a", "b", "\u200b", "c d"))
    one = tag(path, shape="words")
    encoded = one.encode(record)
    tokens = len(encoded.windows[0]) - 2
    assert tokens == 4
    engine = Spelled(["B-LOC", "B-PER", "I-PER", "O"], TAGS)
    found = one.decode(record, encoded, one.forward(engine, encoded.windows))["word_tags"]
    assert found == [
        {"word": "a", "tag": "B-LOC"},
        {"word": "b", "tag": "B-PER"},
        {"word": "\u200b", "tag": "I-PER"},
        {"word": "c d", "tag": "I-PER"},
    ]


def test_words_between_blanks_are_never_split(checkpoints: Make) -> None:
    path = checkpoints("bert", "tag", labels=TAGS)
    text = "don't  (Paris)\nU.S."
    found = answer(tag(path, shape="words", split_words=True), Table(), text)["word_tags"]
    assert [one["word"] for one in found] == ["don't", "(Paris)", "U.S."]
    places = {
        place
        for one in answer(tag(path, split_words=True), Table(), text)["spans"]
        for place in (one["start"], one["end"])
    }
    assert places <= {0, 5, 7, 14, 15, 19}


def test_words_are_taken_as_the_record_has_them(checkpoints: Make) -> None:
    path = checkpoints("bert", "tag", labels=POS)
    one = tag(path)
    for words in (("10 000", "a"), ("10", "000", "a")):
        record = Record(0, {}, "10 000 a", words=words)
        encoded = one.encode(record)
        found = one.decode(record, encoded, one.forward(Table(3), encoded.windows))["spans"]
        assert [span["text"] for span in found] == list(words)
