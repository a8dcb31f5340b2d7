"""Plain: the answer alone, a line a record, whatever is in it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertcli.console import Terminal
from bertcli.errors import UsageError
from bertcli.runs.tasks import TASKS
from bertcli.sinks import Layout
from tests.sinks.writing import REMARKS, failed, result, to_bytes, to_file

FIELDS = {
    "label": ("label", "score", "labels"),
    "fill": ("fills",),
    "score": ("score", "tokens", "perplexity"),
    "answer": ("answer", "score", "start", "end"),
}


def layout(task: str, *results: str, inputs: tuple[str, ...] = ("text",)) -> Layout:
    answers = TASKS[task].answers
    return Layout(task, inputs, results or FIELDS[task], REMARKS, "text", answers=answers)


@pytest.mark.parametrize(
    ("task", "values", "line"),
    [
        ("label", {"label": "good", "score": 0.5, "labels": []}, "good"),
        ("label", {"label": None, "score": 0.1, "labels": []}, ""),
        ("fill", {"fills": [{"text": "a b", "score": 1.0}, {"text": "a c", "score": 0.0}]}, "a b"),
        ("score", {"score": -12.3456789, "tokens": 3, "perplexity": 1.0}, "-12.3457"),
        ("answer", {"answer": "né en\r\n 1643", "score": 0.5, "start": 0, "end": 5}, "né en  1643"),
        ("answer", {"answer": None, "score": 0.5, "start": None, "end": None}, ""),
    ],
)
def test_the_answer_stands_alone(task: str, values: dict[str, Any], line: str) -> None:
    assert to_bytes([result(values)], layout(task), format="plain").decode() == line + "\n"


def test_of_a_regression_it_is_the_number() -> None:
    assert to_bytes([result({"score": 3.0})], layout("label", "score"), format="plain") == b"3.0\n"


def test_an_input_field_of_the_same_name_is_not_the_answer() -> None:
    broken = result(fields={"text": "x", "answer": "mine"}, problem=failed().problem)
    assert to_bytes([broken], layout("answer"), format="plain") == b"\n"


TEXTS = st.text(st.characters(exclude_categories=[]), min_size=1)


@given(st.lists(st.none() | st.just(0) | TEXTS, max_size=9))
def test_line_n_is_record_n(answers: list[Any]) -> None:
    results = [
        failed() if answer == 0 else result({"label": answer, "score": None, "labels": None})
        for answer in answers
    ]
    lines = to_bytes(results, layout("label"), format="plain").decode().splitlines()
    assert len(lines) == len(answers)
    assert all((line == "") == (not answer) for line, answer in zip(lines, answers, strict=True))


def test_nothing_steers_a_terminal() -> None:
    values = {"answer": "a\x1b[2Jb", "score": 0.5, "start": 0, "end": 5}
    shown = to_bytes([result(values)], layout("answer"), format="plain", terminal=Terminal(True, 80))
    assert shown == b"a\\x1b[2Jb\n"
    assert to_bytes([result(values)], layout("answer"), format="plain") == b"a\x1b[2Jb\n"


@pytest.mark.parametrize("task", ["embed", "tag", "attention"])
def test_a_task_without_one_answer_a_line_refuses_plain(task: str, tmp_path: Path) -> None:
    asked = replace(layout("label"), task=task, formats=TASKS[task].request.formats)
    with pytest.raises(UsageError, match=f"`{task}` does not write plain") as caught:
        to_file(tmp_path / "out.txt", [], asked, format="plain")
    assert "jsonl" in str(caught.value.hint)
    assert not list(tmp_path.iterdir())


def test_several_heads_have_no_answer_of_their_own(tmp_path: Path) -> None:
    asked = layout("label", "a_label", "a_score", "b_label", "b_score")
    with pytest.raises(UsageError, match="plain holds one answer a line"):
        to_file(tmp_path / "out.txt", [], asked, format="plain")
    assert not list(tmp_path.iterdir())


def test_the_answer_to_a_whole_file_has_lines() -> None:
    whole = replace(layout("translate", "translation"), is_whole_file=True, answers=("translation",))
    for text in ("# eins\n\n- zwei\r\n\tdrei\n", "# eins\n\n- zwei\r\n\tdrei"):
        written = to_bytes([result({"translation": text})], whole, format="plain")
        assert written.decode() == "# eins\n\n- zwei\r\n\tdrei\n"
    assert (
        to_bytes([result({"translation": "a\nb"})], replace(whole, is_whole_file=False), format="plain")
        == b"a b\n"
    )
