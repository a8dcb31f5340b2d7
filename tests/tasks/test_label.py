"""A checkpoint's own labels, measured against transformers' text-classification pipeline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers

from bertcli.engines import SequenceLogits
from bertcli.engines.instant.arithmetic import softmax
from bertcli.errors import RecordError, UsageError
from bertcli.models.heads import Head
from bertcli.records import Record, Window
from bertcli.requests import LongOptions
from bertcli.tasks.label import Label, rename
from tests.checkpoints import edit_json
from tests.tasks.reference import Reference, answer, answers, opened

LABELS = ("sad", "happy", "neither")
TEXTS = (
    "I loved every minute of it.",
    "Is the server down again?",
    "unbelievable",
    "Naïve café owners in München",
)
KIND = "ModelForSequenceClassification"


def label(path: Path, long: LongOptions | None = None, **options: Any) -> tuple[Label, Reference]:
    checkpoint, tokenizer = opened(path)
    head = checkpoint.head("label")
    return Label(checkpoint, tokenizer, head, long or LongOptions(), **options), Reference(path, KIND)


def oracle(path: Path, inputs: Any, **options: Any) -> Any:
    return transformers.pipeline("text-classification", str(path), device="cpu")(inputs, **options)


def test_decoding_together_changes_no_digit(checkpoints: Callable[..., Path]) -> None:
    path = checkpoints("bert", "label", labels=LABELS, problem_type="single_label_classification")
    task, engine = label(path)
    records = [Record(index, {}, text) for index, text in enumerate(TEXTS)]
    encoded = [task.encode(record) for record in records]
    outputs = task.forward(engine, [each.windows[0] for each in encoded])
    alone = [task.decode(*each, [output]) for *each, output in zip(records, encoded, outputs, strict=True)]
    assert task.decode_all(outputs) == alone
    assert label(path, top=2)[0].decode_all(outputs) is None  # ranked lists are made one by one


@pytest.mark.slow
@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert"])
@pytest.mark.parametrize("problem", ["single_label_classification", "multi_label_classification"])
def test_scores_are_those_of_transformers(
    checkpoints: Callable[..., Path], family: str, problem: str
) -> None:
    path = checkpoints(family, "label", labels=LABELS, problem_type=problem)
    task, engine = label(path, top="all")
    for found, expected in zip(
        answers(task, engine, TEXTS), oracle(path, list(TEXTS), top_k=None), strict=True
    ):
        assert [entry["label"] for entry in found["labels"]] == [entry["label"] for entry in expected]
        scores = [entry["score"] for entry in found["labels"]]
        assert scores == pytest.approx([entry["score"] for entry in expected], abs=1e-6)
        assert found["score"] == scores[0]
        assert found["label"] == (expected[0]["label"] if scores[0] >= 0.5 or "single" in problem else None)


def test_pairs_are_those_of_transformers(checkpoints: Callable[..., Path]) -> None:
    path = checkpoints("bert", "label", labels=LABELS)
    task, engine = label(path)
    for text in TEXTS:
        expected = oracle(path, {"text": text, "text_pair": "The server is fine."})
        found = answer(task, engine, text, "The server is fine.")
        assert found == {"label": expected["label"], "score": pytest.approx(expected["score"], abs=1e-6)}


@pytest.mark.parametrize(
    "told",
    [
        {"model_input_names": ["input_ids", "attention_mask"]},
        {"tokenizer_class": "PreTrainedTokenizerFast"},
        {"tokenizer_class": "TokenizersBackend", "model_input_names": ["input_ids", "token_type_ids"]},
    ],
)
def test_pairs_have_token_types_where_the_tokenizer_gives_them(
    told: dict[str, Any], checkpoint_copy: Callable[..., Path]
) -> None:
    path = checkpoint_copy("bert", "label", labels=LABELS)
    text, pair = TEXTS[0], "The server is fine."
    before = answer(*label(path), text, pair)
    edit_json(path / "tokenizer_config.json", **told)
    expected = oracle(path, {"text": text, "text_pair": pair})
    found = answer(*label(path), text, pair)
    assert found == {"label": expected["label"], "score": pytest.approx(expected["score"], abs=1e-6)}
    assert (found == before) == ("token_type_ids" in told.get("model_input_names", ()))


def test_one_output_is_a_number(checkpoints: Callable[..., Path]) -> None:
    path = checkpoints("bert", "label", labels=("score",), problem_type="regression")
    task, engine = label(path)
    expected = oracle(path, list(TEXTS), function_to_apply="none")
    found = answers(task, engine, TEXTS)
    assert [one["score"] for one in found] == pytest.approx([one["score"] for one in expected], abs=1e-5)
    assert task.fields == ("score",)


def test_several_numbers_are_named(checkpoints: Callable[..., Path]) -> None:
    path = checkpoints("bert", "label", labels=LABELS, problem_type="regression")
    task, engine = label(path, top="all")
    expected = oracle(path, TEXTS[0], function_to_apply="none", top_k=None)
    for entry, other in zip(answer(task, engine, TEXTS[0])["labels"], expected, strict=True):
        assert entry == {"label": other["label"], "score": pytest.approx(other["score"], abs=1e-5)}


def test_a_long_text_is_the_average_of_its_windows_by_new_tokens(checkpoints: Callable[..., Path]) -> None:
    path = checkpoints("bert", "label", labels=LABELS)
    task, engine = label(path, LongOptions(max_length=16, overlap=4), top="all")
    text = " ".join(TEXTS)
    checkpoint, tokenizer = opened(path)
    ids = tokenizer.encode(text).ids
    weighted, counted = np.zeros(3), 0
    for start in range(0, len(ids) - 4, 10):
        part = ids[start : start + 14]
        window = Window(tokenizer.frame(False).build(part)[0])
        new = len(part) - (4 if start else -1) + (1 if start + 14 >= len(ids) else 0)
        weighted += new * softmax(engine.forward([window], SequenceLogits(checkpoint.head("label")))[0])
        counted += new
    assert counted == len(ids) + 2
    found = {entry["label"]: entry["score"] for entry in answer(task, engine, text)["labels"]}
    assert [found[name] for name in LABELS] == pytest.approx(weighted / counted, abs=1e-6)


def test_a_pair_that_cannot_fit_is_an_error_of_its_record(checkpoints: Callable[..., Path]) -> None:
    task, engine = label(checkpoints("bert", "label", labels=LABELS), LongOptions(max_length=16))
    with pytest.raises(RecordError, match="must stay whole"):
        answer(task, engine, " ".join(TEXTS), " ".join(TEXTS))


HEAD = Head("label", "label", ("LABEL_0", "LABEL_1"), "single_label_classification", named=False)


@pytest.mark.parametrize(
    "text",
    ["bad\ngood\n", "bad\r\ngood", '["bad", "good"]', '{"0": "bad", "1": "good"}', '{"good": 1, "bad": 0}'],
)
def test_a_labels_file_names_the_classes(text: str) -> None:
    assert rename(HEAD, text, "names.txt") == replace(HEAD, labels=("bad", "good"), named=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("one\n", "1 label names for 2 classes"),
        ("a\nb\nc", "3 label names for 2 classes"),
        ("", "0 label names"),
        ("a\na", "must differ"),
        ('["a", ""]', "not be empty"),
        ('["a"', "not valid JSON"),
        ('{"0": "a", "7": "b"}', "no label name for class 1"),
    ],
)
def test_a_labels_file_that_does_not_fit_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        rename(HEAD, text, "names.txt")
    assert caught.value.where == "names.txt"
