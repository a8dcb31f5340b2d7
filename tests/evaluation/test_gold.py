"""Gold answers: read as they are, refused with the labels of both sides."""

from __future__ import annotations

from typing import Any

import pytest

from bertcli.errors import RecordError, UsageError
from bertcli.evaluation.gold import Labels, gold_field, number, tags, watched
from bertcli.records import Record


def record(index: int = 0, words: tuple[str, ...] | None = None, **fields: Any) -> Record:
    return Record(index, fields, "a text", where=f"dev.jsonl:{index + 1}", words=words)


def test_a_label_the_model_does_not_have_ends_the_run_with_the_labels_of_both() -> None:
    labels = Labels("label", ["negative", "positive"])
    values = ["positive", "pos", None, "neg", "positive"]
    records = [record(index, label=value) for index, value in enumerate(values)]
    watch = labels.watch(records, labels.one)
    assert next(watch).problem is None
    with pytest.raises(UsageError) as caught:
        list(watch)
    assert caught.value.where == "dev.jsonl:2"
    assert "'pos'" in caught.value.message
    assert caught.value.hint == "the model's: negative, positive; the file's: positive, pos, neg"


def test_a_record_without_an_answer_fails_and_the_others_go_on() -> None:
    labels = Labels("label", ["a", "b"])
    records = [record(0, label="a"), record(1), record(2, label={"x": 1}), record(3, label="b")]
    found = list(labels.watch(records, labels.one))
    assert [one.problem is None for one in found] == [True, False, False, True]
    assert found[1].problem is not None
    assert "missing" in found[1].problem.message


def test_blank_records_need_no_answer() -> None:
    blank = Record(0, {"label": None}, "  ")
    (found,) = watched([blank], lambda record: number(record, "label"))
    assert found is blank


@pytest.mark.parametrize(
    ("value", "name"), [("a", "a"), (3, "3"), (3.0, "3"), (True, "True"), ("3", "3"), (" a ", " a ")]
)
def test_labels_are_named_as_train_names_them(value: object, name: str) -> None:
    assert Labels("label", ["x", name]).one(record(label=value)) == 1


@pytest.mark.parametrize(
    ("value", "places"), [(["a", "c"], [0, 2]), ([], []), (None, []), ("b", [1]), (["b"], [1])]
)
def test_several_labels_may_be_none(value: object, places: list[int]) -> None:
    assert Labels("labels", ["a", "b", "c"]).several(record(labels=value)) == places


def test_several_labels_need_their_field() -> None:
    with pytest.raises(RecordError, match="missing"):
        Labels("labels", ["a"]).several(record())


@pytest.mark.parametrize(("value", "expected"), [(2, 2.0), ("2.5", 2.5), (-1e3, -1000.0)])
def test_numbers_may_be_text(value: object, expected: float) -> None:
    assert number(record(score=value), "score") == expected


@pytest.mark.parametrize("value", [None, "", "much", True, "nan", float("inf"), [1]])
def test_what_is_no_number(value: object) -> None:
    with pytest.raises(RecordError, match="score"):
        number(record(score=value), "score")


def test_tags_are_one_a_word() -> None:
    assert tags(record(words=("a", "b"), tags=["O", "B-X"]), "tags") == ["O", "B-X"]
    for bad in (["O"], "O O", [1, 2], None):
        with pytest.raises(RecordError):
            tags(record(words=("a", "b"), tags=bad), "tags")
    with pytest.raises(RecordError, match="list"):
        tags(record(tags=["O"]), "tags")


def test_the_field_is_the_one_asked_for_or_the_first_usual_one() -> None:
    place = {"where": "f.csv", "option": "--label-field"}
    assert gold_field(("text", "target", "class"), None, "label", "class", "target", **place) == "class"
    assert gold_field(("text", "mood"), "mood", "label", **place) == "mood"
    with pytest.raises(UsageError, match="mood") as caught:
        gold_field(("text", "label"), "mood", "label", **place)
    assert caught.value.hint == "its fields: 'text', 'label'"
    with pytest.raises(UsageError, match="label or class") as caught:
        gold_field(("text",), None, "label", "class", **place)
    assert caught.value.hint is not None
    assert "--label-field" in caught.value.hint
