"""Examples from files: what cannot be learnt from is left out, and told with its place and its reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bertcli import console
from bertcli.errors import InputError
from bertcli.requests import InputOptions
from bertcli.training.dataset import Example
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
    (read_tagged, '{"words": ["a", "b"], "tags": ["O"]}\n', "2 words have 1 tags"),
    (read_tagged, '{"words": ["a"], "tags": null}\n', "the field 'tags' is missing or empty"),
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


SPANS = '[{"label": "PER", "start": 0, "end": 13, "text": "Ada Lovelace-", "score": 0.9}]'


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", f'{{"text": "Ada Lovelace-sings.", "spans": {SPANS}}}\n'),
        ("a.json", f'[{{"text": "Ada Lovelace-sings.", "spans": {SPANS}}}]'),
        ("a.csv", 'text,spans\nAda Lovelace-sings.,"{}"\n'.format(SPANS.replace('"', '""'))),
        ("a.tsv", f"text\tspans\nAda Lovelace-sings.\t{SPANS}\n"),
        (
            "b.csv",
            'words,tags\n"[""Ada"",""Lovelace-"",""sings"",""."" ]","[""B-PER"",""I-PER"",""O"",""O""]"\n',
        ),
    ],
)
def test_what_tag_wrote_can_be_learnt(name: str, content: str, warnings: list[str]) -> None:
    Path(name).write_text(content)
    (example,) = read_tagged(InputOptions(files=(name,)))
    assert example.words == ("Ada", "Lovelace-", "sings", ".")
    assert example.target == ("B-PER", "I-PER", "O", "O")
    assert example.text == "Ada Lovelace- sings ."
    assert not warnings


def test_spans_that_leave_no_word_out_are_a_tag_a_word(warnings: list[str]) -> None:
    spans = '[{"label": "NOUN", "start": 0, "end": 9}, {"label": "PUNCT", "start": 9, "end": 10}]'
    Path("a.jsonl").write_text(f'{{"text": "well-made.", "spans": {spans}}}\n')
    (example,) = read_tagged(InputOptions(files=("a.jsonl",)))
    assert (example.words, example.target) == (("well-made", "."), ("NOUN", "PUNCT"))


BEST = [{"label": "x", "score": 0.7}, {"label": "y", "score": 0.3}]
BOTH = [{"label": "x", "score": 0.7}, {"label": "y", "score": 0.6}]


@pytest.mark.parametrize(
    ("labels", "target"), [(BEST, "x"), (BOTH, ("x", "y")), ([], ()), (["x", 3], ("x", "3"))]
)
@pytest.mark.parametrize("as_csv", [False, True])
def test_what_label_wrote_can_be_learnt(
    labels: list[Any], target: Any, as_csv: bool, warnings: list[str]
) -> None:
    """The likeliest ones of which one holds are that one; of those that hold together, all."""
    if as_csv:
        cell = json.dumps(labels).replace('"', '""')
        Path("a.csv").write_text(f'text,labels\na,"{cell}"\n')
    else:
        Path("a.csv").write_text(json.dumps({"text": "a", "labels": labels}) + "\n")
    (example,) = read_labelled(
        InputOptions(files=("a.csv",), input_format="csv" if as_csv else "jsonl"), None
    )
    assert example.target == target
