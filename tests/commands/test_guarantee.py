"""From a labelled file to one with a guarantee: sample, evaluate label --guarantee, label --guarantee."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bertcli import cli
from tests.conftest import Make

Capture = pytest.CaptureFixture[str]
Rows = list[dict[str, Any]]

CLASSES = ["joy", "fear", "anger"]
WORDS = ["paris", "france", "wine", "bread", "river", "stone", "green", "light", "north", "winter"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def model(checkpoints: Make) -> Path:
    return checkpoints("bert", "label", labels=CLASSES)


@pytest.fixture
def run(capsys: Capture) -> Callable[..., tuple[Rows, str]]:
    """Run a command that ends with `code`; what it prints, and what it says."""

    def command(*arguments: object, code: int = 0) -> tuple[Rows, str]:
        capsys.readouterr()
        assert cli.main([*map(str, arguments)]) == code, capsys.readouterr().err
        seen = capsys.readouterr()
        return [json.loads(line) for line in seen.out.splitlines() if line.startswith("{")], " ".join(
            seen.err.split()
        )

    return command


Run = Callable[..., tuple[Rows, str]]


def write(name: str, rows: Rows) -> str:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return name


def texts(count: int) -> str:
    rows = [{"text": f"{WORDS[n % 10]} {WORDS[n * 7 // 10 % 10]} {n}"} for n in range(count)]
    return write("texts.jsonl", rows)


def checked(rows: Rows, wrong: int) -> str:
    """The rows as a person would have corrected them: the `wrong` least certain answers are."""
    doubtful = sorted(rows, key=lambda row: row["score"])[:wrong]
    for row in doubtful:
        row["label"] = CLASSES[CLASSES.index(row["label"]) - 1]
    return write("checked.jsonl", [{k: v for k, v in row.items() if k != "score"} for row in rows])


def test_labels_over_the_threshold_of_a_checked_sample_are_accepted(model: Path, run: Run) -> None:
    file = texts(150)
    labelled, _ = run("label", file, "-m", model)
    sample, said = run("sample", write("labelled.jsonl", labelled), "-n", 120)
    assert "120 of 150 records drawn by random" in said
    assert all(row["sample_weight"] == row["sample_draws"] == 1 for row in sample)
    wrong = 30
    bound = [checked(sample, wrong), "-m", model, "--guarantee", 0.1, "-o", "bound.json"]
    (report,), said = run("evaluate", "label", *bound, "--json")
    assert "label FILE --guarantee bound.json" in said
    guarantee = report["guarantee"]
    stored = json.loads(Path("bound.json").read_text())
    assert stored["above"] == pytest.approx(guarantee["above"], rel=1e-5)
    assert guarantee["checked"] == 120
    assert 0 < guarantee["wrong"] < wrong

    rows, said = run("label", file, "-m", model, "--guarantee", "bound.json")
    accepted = [row for row in rows if row["decision"] == "accepted"]
    assert accepted
    assert {row["decision"] for row in rows if row not in accepted} == {"review"}
    assert min(row["score"] for row in accepted) > max(
        row["score"] for row in rows if row["decision"] == "review"
    )
    count = f"{len(accepted)} accepted + {150 - len(accepted)} to review"
    assert f"{count} (at most 10 % of the file wrong, 95 % confidence)" in said
    assert [row["label"] for row in rows] == [row["label"] for row in labelled]


def test_the_guarantee_is_shown_on_the_page_of_the_report(model: Path, run: Run, capsys: Capture) -> None:
    labelled, _ = run("label", texts(60), "-m", model)
    capsys.readouterr()
    file = checked(labelled, 0)
    assert cli.main(["evaluate", "label", file, "-m", str(model), "--guarantee", "0.05"]) == 0
    page = capsys.readouterr().out
    assert "guarantee: at most 5 % of the file wrong, 95 % confidence" in page
    assert "all labels may be taken unseen, about 100 % of the file" in page


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--long", "truncate"], "--long was window, and is truncate"),
        (["--emit", "label,margin"], "--guarantee is for the label of one head"),
        (["--dtype", "bfloat16"], "--dtype bfloat16: the guarantee is for scores in float32"),
        (["--labels", "a,b"], ""),
    ],
)
def test_a_guarantee_is_refused_with_other_options(
    model: Path, run: Run, options: list[str], message: str
) -> None:
    labelled, _ = run("label", texts(60), "-m", model)
    run("evaluate", "label", checked(labelled, 0), "-m", model, "--guarantee", 0.05, "-o", "bound.json")
    code = 2 if message else 1  # this model has no sentence embeddings for labels of one's own
    _, said = run("label", "texts.jsonl", "-m", model, "--guarantee", "bound.json", *options, code=code)
    assert message in said


def test_a_guarantee_of_another_model_is_refused(model: Path, checkpoints: Make, run: Run) -> None:
    labelled, _ = run("label", texts(60), "-m", model)
    run("evaluate", "label", checked(labelled, 0), "-m", model, "--guarantee", 0.05, "-o", "bound.json")
    other = checkpoints("bert", "label", labels=["x", "y"])
    _, said = run("label", "texts.jsonl", "-m", other, "--guarantee", "bound.json", code=2)
    assert "the guarantee is for the model" in said
    _, said = run("label", "texts.jsonl", "-m", model, "--guarantee", "texts.jsonl", code=2)
    assert "texts.jsonl: is not a guarantee" in said


def test_a_sample_that_is_not_checked_completely_gives_no_guarantee(model: Path, run: Run) -> None:
    labelled, _ = run("label", texts(80), "-m", model)
    labelled[7]["label"] = None
    file = write("checked.jsonl", labelled)
    _, said = run("evaluate", "label", file, "-m", model, "--guarantee", 0.05, code=1)
    assert "checked.jsonl:8: the sample is not checked completely" in said


def test_weights_of_an_uncertain_sample_reach_the_metrics(model: Path, run: Run) -> None:
    labelled, _ = run("label", texts(120), "-m", model)
    file = write("labelled.jsonl", labelled)
    sample, said = run("sample", file, "-n", 100, "--by", "uncertainty")
    assert "records drawn by uncertainty in 100 draws" in said
    assert sum(row["sample_draws"] for row in sample) == 100
    answers = {row["text"]: row["label"] for row in sample}
    (report,), _ = run("evaluate", "label", checked(sample, 20), "-m", model, "--guarantee", 0.3, "--json")
    counts = [row["sample_weight"] * row["sample_draws"] for row in sample]
    right = [row["label"] == answers[row["text"]] for row in sample]
    share = sum(n for n, is_right in zip(counts, right, strict=True) if is_right) / sum(counts)
    assert report["metrics"]["accuracy"]["value"] == pytest.approx(share, rel=1e-5)
    assert report["guarantee"]["checked"] == 100
    assert "weighted by sample_weight" in report["notes"][0]


def test_diverse_records_are_drawn_by_their_embeddings(run: Run) -> None:
    rows = [{"text": f"text {n}", "embedding": [1, 0.01 * (n % 9)] if n % 20 else [0, 1]} for n in range(200)]
    rows[3]["error"] = {"type": "length", "message": "too long"}
    sample, said = run("sample", write("labelled.jsonl", rows), "-n", 40, "--by", "diversity", "--seed", 1)
    assert "of 199 records drawn by diversity in 40 draws, without 1 blank or failed" in said
    rare = [row for row in sample if row["embedding"] == [0, 1]]
    assert rare
    assert all(row["sample_weight"] < 0.8 for row in rare)
    assert any(row["sample_weight"] > 1 for row in sample)
    assert sample == run("sample", "labelled.jsonl", "-n", 40, "--by", "diversity", "--seed", 1)[0]


@pytest.mark.parametrize(
    ("by", "message"),
    [("uncertainty", "the field 'score' is missing"), ("diversity", "needs the field 'embedding'")],
)
def test_records_without_what_a_way_of_drawing_needs_are_refused(run: Run, by: str, message: str) -> None:
    _, said = run("sample", texts(5), "--by", by, code=1)
    assert message in said
    assert not run("sample", "texts.jsonl")[1].count("error")
