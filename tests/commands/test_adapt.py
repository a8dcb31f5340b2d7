"""`label --adapt` as its users meet it."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bertcli
from bertcli import cli
from bertcli.errors import UsageError
from bertcli.tasks.zero_shot import adapted
from tests.checkpoints import TEXTS
from tests.conftest import Make

Capture = pytest.CaptureFixture[str]
LABELS = "praise,complaint,news"


@pytest.fixture(autouse=True)
def texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("texts.txt").write_text("\n".join([*TEXTS[:4], "", *TEXTS[4:]]))
    return "texts.txt"


def label(capsys: Capture, *arguments: object, code: int = 0) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert cli.main(["label", *map(str, arguments)]) == code, capsys.readouterr().err
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_labels_are_those_of_the_adapted_directions(checkpoints: Make, texts: str, capsys: Capture) -> None:
    path = checkpoints("sentence")
    found = label(capsys, texts, "-m", path, "--labels", LABELS, "--adapt", "--all")
    model = bertcli.load(str(path))
    names = LABELS.split(",")
    words, sentences = (
        model.embed(given) for given in (names, [f"This text is about {name}." for name in names])
    )
    directions = words + sentences
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    vectors = model.embed(list(TEXTS))
    near = vectors @ adapted(directions, vectors).T / 0.05
    scores = np.exp(near) / np.exp(near).sum(axis=1, keepdims=True)
    rows = [row for row in found if row["text"]]
    for row, expected in zip(rows, scores, strict=True):
        by_name = {one["label"]: one["score"] for one in row["labels"]}
        assert [by_name[name] for name in names] == pytest.approx(expected.tolist(), abs=1e-3)
    assert found[4]["label"] is None
    listed = model.label([*TEXTS], labels=LABELS, adapt=True)
    assert [one["label"] for one in listed] == [row["label"] for row in rows]


def test_shards_have_the_labels_of_the_whole_input(checkpoints: Make, texts: str, capsys: Capture) -> None:
    options = (texts, "-m", checkpoints("sentence"), "--labels", LABELS, "--adapt")
    whole = label(capsys, *options)
    for part in (1, 2):
        label(capsys, *options, "--shard", f"{part}/2", "-o", f"{part}.jsonl")
    parts = [json.loads(line) for part in (1, 2) for line in Path(f"{part}.jsonl").read_text().splitlines()]
    assert [row["label"] for row in parts] == [row["label"] for row in whole]
    assert [row["score"] for row in parts if row["label"]] == pytest.approx(
        [row["score"] for row in whole if row["label"]], abs=1e-4
    )


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], "--adapt is for labels of your own"),
        (["--labels", LABELS, "--multi-label"], "--multi-label gives a text several"),
        (["--labels", LABELS, "--guarantee", "x.json"], "--guarantee is for labels as they were measured"),
    ],
)
def test_what_cannot_be_adapted_is_refused(
    checkpoints: Make, texts: str, capsys: Capture, options: list[str], expected: str
) -> None:
    assert cli.main(["label", texts, "-m", str(checkpoints("sentence")), "--adapt", *options]) == 2
    assert expected in capsys.readouterr().err


def test_a_pipe_and_a_judge_of_pairs_are_refused(
    checkpoints: Make, texts: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["--labels", LABELS, "--adapt"]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a text\n")))
    assert cli.main(["label", "-m", str(checkpoints("sentence")), *options]) == 2
    assert "reads the input twice" in capsys.readouterr().err
    judge = checkpoints("bert", "label", labels=("contradiction", "neutral", "entailment"))
    assert cli.main(["label", texts, "-m", str(judge), *options]) == 2
    assert "judges each text with each label" in capsys.readouterr().err
    with pytest.raises(UsageError, match="reads the texts twice"):
        bertcli.load(str(checkpoints("sentence"))).label(iter(TEXTS), labels=LABELS, adapt=True)
