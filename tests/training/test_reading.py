"""Examples from files: what cannot be learnt from is left out, and told with its place and its reason."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bertcli import console
from bertcli.errors import InputError
from bertcli.options import InputOptions
from bertcli.training.examples import Example
from bertcli.training.reading import read_labelled, read_plain, read_tagged

Read = Callable[[InputOptions], list[Example]]


def labelled(options: InputOptions) -> list[Example]:
    return read_labelled(options, None)


GOOD = {
    labelled: '{"text": "a", "label": "x"}\n',
    read_tagged: '{"words": ["a", "b"], "tags": ["O", "X"]}\n',
    read_plain: '{"text": "a"}\n',
}
BAD = [
    (labelled, '{"text": "a", "label": null}\n', "no text or no label"),
    (labelled, '{"text": " ", "label": "x"}\n', "no text or no label"),
    (labelled, '{"text": 3, "label": "x"}\n', "the field 'text' is a number, not a string"),
    (read_tagged, '{"words": ["a", "b"], "tags": ["O"]}\n', "no list of words with as many tags"),
    (read_plain, '{"text": ""}\n', "no text"),
    (read_plain, "[1]\n", "line 2 is an array, not an object"),
]


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    monkeypatch.chdir(tmp_path)
    said: list[str] = []
    monkeypatch.setattr(console, "warn", said.append)
    return said


@pytest.mark.parametrize(("read", "line", "reason"), BAD)
def test_the_first_that_is_left_out_is_told_with_its_reason(
    read: Read, line: str, reason: str, warnings: list[str]
) -> None:
    Path("one.jsonl").write_text(GOOD[read] + line + GOOD[read])
    assert len(read(InputOptions(files=("one.jsonl",)))) == 2
    Path("two.jsonl").write_text(GOOD[read] + line + "{oops\n")
    assert len(read(InputOptions(files=("two.jsonl",)))) == 1
    assert warnings == [
        f"1 record is left out, at one.jsonl:2: {reason}",
        f"2 records are left out, the first at two.jsonl:2: {reason}",
    ]


@pytest.mark.parametrize(("read", "line", "reason"), [case for case in BAD if "line 2" not in case[2]])
def test_a_file_without_an_example_says_why(read: Read, line: str, reason: str, warnings: list[str]) -> None:
    for count, counted in (1, "1 record"), (2, "2 records"):
        Path("d.jsonl").write_text(line * count)
        with pytest.raises(InputError) as error:
            read(InputOptions(files=("d.jsonl",)))
        assert error.value.message == f"nothing can be learnt from {counted}: {reason}"
        assert error.value.where == "d.jsonl:1"
    assert not warnings


def test_an_empty_file_has_nothing_to_learn_from(warnings: list[str]) -> None:
    Path("d.txt").touch()
    with pytest.raises(InputError, match="there is no record to learn from"):
        read_plain(InputOptions(files=("d.txt",)))


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_what_tag_wrote_is_read(suffix: str, tmp_path: Path) -> None:
    text = "Ann Lee lives in New York."
    spans = [
        {"label": "PER", "start": 0, "end": 7, "text": "Ann Lee", "score": 0.9},
        {"label": "LOC", "start": 17, "end": 25, "text": "New York", "score": 0.9},
    ]
    file = tmp_path / f"tagged.{suffix}"
    if suffix == "jsonl":
        file.write_text(json.dumps({"text": text, "spans": spans}) + "\n")
    else:
        with file.open("w", newline="") as opened:
            csv.writer(opened).writerows([["text", "spans"], [text, json.dumps(spans)]])
    (example,) = read_tagged(InputOptions(files=(str(file),)))
    assert example.words == ("Ann", "Lee", "lives", "in", "New", "York", ".")
    assert example.target == ("B-PER", "I-PER", "O", "O", "B-LOC", "I-LOC", "O")
