"""Two sets of answers, held against each other."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertcli.errors import InputError
from bertcli.evaluation.comparison import KINDS, Answered, Comparison, compared, paired

LABELS = st.sampled_from(["a", "b", None])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda values: (
        st.lists(values, max_size=3)
        | st.dictionaries(st.sampled_from(["label", "token", "words", "type"]), values, max_size=3)
    ),
)


def row(number: int = 1, **fields: Any) -> Answered:
    return Answered(f"f:{number}", fields)


@given(st.lists(st.tuples(LABELS, LABELS, st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=30))
def test_flips_and_drifts_are_counted(rows: list[tuple[Any, Any, float, float]]) -> None:
    comparison = Comparison(most=5)
    for number, (one, other, a, b) in enumerate(rows):
        comparison.add(row(number, text="t", label=one, score=a), row(number, text="t", label=other, score=b))
    figures = comparison.figures()
    drifts = [abs(a - b) for _, _, a, b in rows]
    assert figures["records"] == len(rows)
    assert (
        figures["flipped"]
        == figures["flips"].get("label", 0)
        == sum(one != other for one, other, _, _ in rows)
    )
    assert figures["drift"]["score"]["mean"] == pytest.approx(sum(drifts) / len(drifts))
    assert figures["drift"]["score"]["max"] == comparison.largest_drift == max(drifts)
    worst = [bool(entry["flips"]) for entry in figures["worst"]]
    assert worst == sorted(worst, reverse=True)
    changed = sum(one != other or a != b for one, other, a, b in rows)
    assert len(worst) == min(5, changed)


@given(st.lists(st.floats(0, 1), min_size=1))
def test_what_is_the_same_is_no_change(scores: list[float]) -> None:
    comparison = Comparison()
    for number, score in enumerate(scores):
        same = row(number, text="t", label="a", score=score, embedding=[score, 1])
        comparison.add(same, same)
    assert (comparison.flipped, comparison.largest_drift, comparison.worst) == (
        0,
        pytest.approx(0, abs=1e-12),
        [],
    )


SPAN = {"label": "PER", "start": 0, "end": 3, "text": "Ada", "score": 0.9}


@pytest.mark.parametrize(
    ("field", "one", "other", "flips"),
    [
        ("label", "a", "b", True),
        ("sentiment_label", "a", "b", True),
        ("label", None, "b", True),
        ("labels", [{"label": "a", "score": 1}], [{"label": "a", "score": 0.5}], False),
        ("labels", [{"label": "a"}, {"label": "b"}], [{"label": "b"}, {"label": "a"}], False),
        ("labels", [{"label": "a"}], [], True),
        ("spans", [SPAN], [SPAN | {"score": 0.1}], False),
        ("spans", [SPAN], [SPAN | {"end": 4}], True),
        ("fills", [{"words": ["a"]}, {"words": ["b"]}], [{"words": ["a"]}], False),
        ("fills", [{"words": ["a"]}], [{"words": ["b"]}], True),
        ("fills", [{"words": ["a"]}], [], True),
        ("likelier", "text", "pair", True),
        ("tokens", [{"token": "a", "label": "O", "score": 1}], [{"token": "a", "label": "O"}], False),
        ("tokens", [{"token": "a", "label": "O"}], [{"token": "a", "label": "B-X"}], True),
        ("tokens", 7, 7, False),
        ("answer", "a b", None, True),
    ],
)
def test_what_counts_as_another_answer(field: str, one: Any, other: Any, flips: bool) -> None:
    assert bool(compared(row(**{field: one}), row(**{field: other})).flips) == flips


def test_vectors_drift_by_their_angle() -> None:
    def drift(a: Any, b: Any) -> float:
        return compared(row(embedding=a), row(embedding=b)).drifts["embedding"]

    assert drift([1, 0], [2, 0]) == 0
    assert drift([1, 0], [0, 3]) == 1
    assert drift([1, 0], [-1, 0]) == 2
    assert drift([0, 0], [1, 0]) == 0
    with pytest.raises(InputError, match="a vector of 2 numbers, the other file one of 3"):
        drift([1, 0], [1, 0, 0])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("review_score", "good"),
        ("is_score", True),
        ("labels", [{"x": 1}]),
        ("labels", "joy, fear"),
        ("labels", ['{"label": "joy"}']),
        ("label", {"name": "joy"}),
        ("spans", [{"label": "PER"}]),
        ("tokens", ["a", "b"]),
        ("fills", {"1990": 3}),
        ("embedding", "none"),
        ("embedding", [[1], [2, 3]]),
        ("last_error", "timeout"),
        ("weak_end", "Sunday"),
        ("key_words", ["a", "b"]),
    ],
)
def test_a_field_that_is_called_like_an_answer_and_is_none_belongs_to_the_input(
    name: str, value: Any
) -> None:
    fields = {"text": "t", name: value}
    comparison = Comparison()
    comparison.add(row(**fields, a_label="x"), row(**fields, a_label="y"))
    assert (comparison.failed, comparison.flips, comparison.drifts) == (0, {"a_label": 1}, {})
    assert row(**fields, a_label="x").inputs() == fields
    with pytest.raises(InputError, match=f"the field '{name}' differs"):
        comparison.add(row(**fields, a_label="x"), row(**fields | {name: "else"}, a_label="x"))


@pytest.mark.slow
@given(st.dictionaries(st.sampled_from([*KINDS, "my_score", "text"]), JSON))
def test_whatever_the_fields_hold_what_is_the_same_is_no_change(fields: dict[str, Any]) -> None:
    comparison = Comparison()
    same = row(**fields, a_label="x")
    comparison.add(same, same)
    assert (comparison.flipped, comparison.largest_drift, comparison.worst) == (0, 0, [])


def test_csv_holds_numbers_as_text() -> None:
    change = compared(row(score="0.25", label="1"), row(score="0.5", label=1))
    assert (dict(change.flips), dict(change.drifts)) == ({}, {"score": 0.25})
    assert not compared(row(score="", label=""), row(score=None, label=None)).drifts
    many = '[{"label": "a", "score": 0.5}]'
    assert not compared(row(labels=many, truncated="true"), row(labels=[{"label": "a"}])).flips
    failed = row(text="t", error='{"type": "engine", "message": "m"}')
    assert failed.failed
    assert not row(text="t", error="").failed


def test_a_record_that_failed_on_one_side_has_flipped() -> None:
    failed = row(text="t", error={"type": "engine", "message": "m"})
    fine = row(text="t", label="a", score=1.0)
    comparison = Comparison()
    comparison.add(failed, fine)
    comparison.add(fine, failed)
    comparison.add(failed, failed)
    assert (comparison.flipped, comparison.failed, dict(comparison.flips)) == (2, 1, {"error": 2})


def test_the_surest_flips_come_first() -> None:
    comparison = Comparison(most=2)
    for number, score in enumerate((0.4, 0.9, 0.6)):
        comparison.add(row(number, label="a", score=score), row(number, label="b", score=score))
    comparison.add(row(3, label="a", score=0.1), row(3, label="a", score=1.0))
    assert [change.row.where for change in comparison.worst] == ["f:1", "f:2"]


def test_where_an_answer_stands_is_no_input() -> None:
    one = row(text="t", answer="a", start=0, end=1, score=0.5, windows=2)
    other = row(text="t", answer=None, start=None, end=None, score=0.75)
    comparison = Comparison()
    comparison.add(one, other)
    assert (comparison.flipped, comparison.largest_drift) == (1, 0.25)


def test_answers_to_different_records_are_refused() -> None:
    with pytest.raises(InputError, match="the field 'text' differs"):
        Comparison().add(row(text="a", label="x"), row(text="b", label="x"))
    with pytest.raises(InputError, match="no answer that the other file has"):
        Comparison().add(row(text="a", label="x"), row(text="a", embedding=[1]))


@pytest.mark.parametrize(("a", "b", "longer"), [(2, 3, "B"), (3, 2, "A")])
def test_both_sides_have_as_many_records(a: int, b: int, longer: str) -> None:
    rows = [row(number) for number in range(3)]
    with pytest.raises(InputError, match="has more records") as caught:
        list(paired(iter(rows[:a]), iter(rows[:b]), ("A", "B")))
    assert caught.value.where == longer
    assert len(list(paired(iter(rows), iter(rows), ("A", "B")))) == 3
