"""Gold answers: read as they are, refused with the labels of both sides."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from bertcli.errors import RecordError, UsageError
from bertcli.evaluation.gold import Labels, gold_field, number, tagged, tags, watched
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


def test_labels_may_be_objects_and_json() -> None:
    labels = Labels("labels", ["a", "b"])
    objects = [{"label": "b", "score": 0.9}, {"label": "a", "score": 0.6}]
    assert labels.several(record(labels=objects)) == [1, 0]
    assert labels.several(record(labels=json.dumps(objects))) == [1, 0]
    assert labels.several(record(labels='["a"]')) == [0]
    assert labels.several(record(labels="[]")) == []


def spans(*places: tuple[int, int, str]) -> list[dict[str, Any]]:
    return [{"label": label, "start": start, "end": end} for start, end, label in places]


@pytest.mark.parametrize(
    ("text", "places", "words", "found"),
    [
        ("Ada sings.", [(0, 3, "P")], "Ada sings .", "B-P O O"),
        ("He met Ada Lovelace, twice", [(7, 19, "P")], "He met Ada Lovelace , twice", "O O B-P I-P O O"),
        ("London-based", [(0, 6, "L")], "London - based", "B-L O O"),
        ("the U.S. (US)", [(4, 8, "L"), (10, 12, "L")], "the U.S. ( US )", "O B-L O B-L O"),
        ("AB", [(1, 2, "Y"), (0, 1, "X")], "A B", "B-X B-Y"),
        ("nobody here", [], "nobody here", "O O"),
    ],
)
def test_spans_are_tags_of_words(text: str, places: list[Any], words: str, found: str) -> None:
    given = Record(0, {"text": text, "spans": spans(*places)}, text)
    for fields in (given.fields, {"text": text, "spans": json.dumps(given.fields["spans"])}):
        one = tagged(replace(given, fields=fields), "spans")
        assert one.problem is None
        assert one.words == tuple(words.split())
        assert one.text == words
        assert tags(one, "spans") == found.split()
        plain = tagged(replace(given, fields=fields), "spans", per_word=True)
        assert tags(plain, "spans") == [tag.removeprefix("B-").removeprefix("I-") for tag in found.split()]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (spans((0, 3, "P"), (2, 5, "P")), "overlap"),
        (spans((0, 99, "P")), "not in the text"),
        (spans((3, 3, "P")), "not in the text"),
        ([{"label": "P", "start": 0, "end": 3, "text": "Eve"}], "another text"),
        ([{"label": "P", "start": 0}], "lacks start, end or label"),
        (None, "missing or empty"),
        ("many", "not a list of tags"),
        (["O"], "2 words have 1 tags"),
    ],
)
def test_spans_that_make_no_sense_cost_their_record(wrong: Any, message: str) -> None:
    one = tagged(
        Record(0, {"text": "Ada sings", "spans": wrong}, "Ada sings", words=("Ada", "sings")), "spans"
    )
    assert one.problem is not None
    assert message in one.problem.message
