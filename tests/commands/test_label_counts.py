"""The small table of how often each label was given."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from bertcli.receipt import Receipt
from bertcli.runs.label_counts import given, table
from bertcli.tasks.choice import Choice
from tests.conftest import Make
from tests.sinks.writing import failed, result


def rows(name: str, *scores: float) -> list[dict[str, Any]]:
    return [{name: "abc"[place], "score": score} for place, score in enumerate(scores)]


@pytest.mark.parametrize(
    ("values", "several", "expected"),
    [
        ({"label": "a", "score": 0.5}, False, [("label", "a")]),
        ({"label": "a", "score": 0.5, "labels": rows("label", 0.5, 0.4)}, False, [("label", "a")]),
        ({"label": "a", "labels": rows("label", 0.9, 0.6, 0.1)}, True, [("label", "a"), ("label", "b")]),
        ({"label": None, "labels": rows("label", 0.1)}, True, [("label", "(none)")]),
        ({"mood_label": "a", "mood_score": 1.0, "topic_label": "b"}, False,
         [("mood_label", "a"), ("topic_label", "b")]),
        ({"spans": [{"label": "LOC"}, {"label": "LOC"}]}, False, [("spans", "LOC")] * 2),
        ({"word_tags": [{"word": "x", "tag": "O"}]}, False, [("words", "O")]),
        ({"score": 0.3}, False, []),
    ],
)  # fmt: skip
def test_what_a_result_gives(values: dict[str, Any], several: bool, expected: list[Any]) -> None:
    assert list(given(result(values), Choice("abc", several=several))) == expected


def test_records_without_an_answer_give_nothing() -> None:
    assert not list(given(failed(), None))
    assert not list(given(result({"label": None, "score": None}, text=" "), None))


def test_the_most_frequent_label_comes_first_and_lines_fit() -> None:
    counts = Counter({("label", "good"): 1200, ("label", "b\x1bad"): 600, ("label", "日本" * 40): 1})
    counts |= {("label", f"rare {number}"): 1 for number in range(30)}
    lines = list(table(counts, 60))
    assert lines[0].split() == ["label", "records"]
    assert lines[1].split() == ["good", "1", "200", "━" * 20]
    assert lines[2].split() == ["b\\x1bad", "600", "━" * 10]
    assert lines[-1] == "and 13 more labels"
    assert len(lines) == 22
    assert all(len(line) + line.count("日") + line.count("本") < 60 for line in lines)


def test_the_counts_of_an_interrupted_run_come_back() -> None:
    receipt, again = Receipt(done=3), Receipt()
    receipt.labels.update([("label", "a"), ("label", "a\tb"), ("label", "a")])
    again.resume(receipt.counts())
    assert again.labels == receipt.labels
    assert (again.done, again.before) == (3, 3)


@pytest.mark.slow
@pytest.mark.parametrize(("options", "shown"), [((), True), (("-q",), False)])
def test_it_is_shown_on_a_terminal(
    options: tuple[str, ...], shown: bool, checkpoints: Make, tmp_path: Path
) -> None:
    (tmp_path / "in.txt").write_text("the capital\nnobody answers\n")
    model = str(checkpoints("bert", "label"))
    command = [sys.executable, "-m", "bertcli", "label", "in.txt", "-m", model, "--engine", "instant"]
    command += options
    main, side = pty.openpty()
    subprocess.run([*command, "-o", "out.jsonl"], cwd=tmp_path, stderr=side, check=True)
    os.close(side)
    said = os.read(main, 10_000).decode() if shown else ""
    assert ("label     records" in said) == shown
    if shown:
        assert said.rstrip().splitlines()[-1].startswith("2 read = 2 done")
    piped = subprocess.run([*command, "-o", "b.jsonl"], cwd=tmp_path, capture_output=True, check=True)
    assert b"records" not in piped.stderr
    os.close(main)
