"""`bertcli compare` as its users meet it: files, models, and an exit code to rely on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bertcli import cli
from tests.checkpoints import TEXTS
from tests.conftest import Make

Capture = pytest.CaptureFixture[str]
LABELS = ["joy", "fear", "anger"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "texts.txt").write_text("\n".join([*TEXTS, ""]), encoding="utf-8")
    return tmp_path


@pytest.fixture
def report(capsys: Capture) -> Callable[..., dict[str, Any]]:
    """The figures of a comparison that ends with `code`."""

    def compare(*arguments: object, code: int = 0) -> dict[str, Any]:
        capsys.readouterr()
        assert cli.main(["compare", "--json", *map(str, arguments)]) == code, capsys.readouterr().err
        return json.loads(capsys.readouterr().out)

    return compare


def write(name: str, rows: list[dict[str, Any]]) -> str:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return name


@pytest.mark.parametrize(
    ("task", "kind", "settings"),
    [
        ("label", "label", {"labels": LABELS}),
        ("embed", "base", {}),
        ("tag", "tagger", {}),
        ("fill", "fill", {}),
    ],
)
def test_models_are_compared_as_their_outputs_are(
    checkpoints: Make, report: Callable[..., Any], task: str, kind: str, settings: dict[str, Any]
) -> None:
    one = checkpoints("bert", kind, **settings)
    other = one if kind == "tagger" else checkpoints("bert", kind, seed=7, **settings)
    if task == "fill":
        Path("texts.txt").write_text("The [MASK] of France\nI [MASK] it\n")
    for name, model in (("a.jsonl", one), ("b.jsonl", other)):
        extra = ["-k", "1"] if task == "fill" else []
        assert cli.main([task, "-q", "-m", str(model), "texts.txt", "-o", name, *extra]) == 0
    by_models = report("--models", one, other, "texts.txt", "--task", task)
    by_files = report("a.jsonl", "b.jsonl")
    assert by_models["records"] == by_files["records"] > 1
    assert (by_models["flipped"], by_models["flips"]) == (by_files["flipped"], by_files["flips"])
    for name, spread in by_files["drift"].items():
        assert by_models["drift"][name] == pytest.approx(spread, abs=1e-4)
    assert bool(by_files["worst"]) == (one != other)


def test_a_model_that_is_not_there_is_told_before_the_other_runs(checkpoints: Make, capsys: Capture) -> None:
    capsys.readouterr()
    model = str(checkpoints("bert", "label", labels=LABELS))
    assert cli.main(["compare", "texts.txt", "--models", model, "nowhere"]) == 1
    told = capsys.readouterr().err
    assert "no model called nowhere" in told
    assert " read = " not in told


def test_a_model_is_equal_to_itself(checkpoints: Make, report: Callable[..., Any]) -> None:
    path = checkpoints("bert", "label", labels=LABELS)
    figures = report("--models", path, path, "texts.txt", "--max-flips", 0, "--max-drift", 0)
    assert (figures["flipped"], figures["worst"], figures["kept"]) == (0, [], True)


@pytest.mark.parametrize(
    ("limit", "code"),
    [
        ((), 0),
        (("--max-flips", "1"), 1),
        (("--max-flips", "2"), 0),
        (("--max-flips", "49%"), 1),
        (("--max-flips", "50%"), 0),
        (("--max-drift", "0.2"), 1),
        (("--max-drift", "0.3"), 0),
    ],
)
def test_the_exit_code_says_whether_too_much_changed(
    report: Callable[..., Any], limit: tuple[str, ...], code: int
) -> None:
    a = [{"text": str(n), "label": "x", "score": 0.5} for n in range(4)]
    b = [row | {"label": "xy"[n % 2], "score": 0.5 + n / 12} for n, row in enumerate(a)]
    figures = report(write("a.jsonl", a), write("b.jsonl", b), *limit, code=code)
    assert (figures["flipped"], figures["kept"]) == (2, code == 0)


FAILED = {"text": "x", "error": {"type": "no-mask", "message": "no mask"}}


@pytest.mark.parametrize(
    ("row", "limit", "message"),
    [
        (FAILED, (), "every record failed on both sides"),
        (FAILED, ("--max-flips", "0"), "every record failed on both sides"),
        (FAILED, ("--max-drift", "1"), "every record failed on both sides"),
        ({"text": "x", "embedding": [1.0, 0.0]}, ("--max-flips", "0"), "--max-flips has nothing to judge"),
        ({"text": "x", "score": 0.5}, ("--max-flips", "50%"), "--max-flips has nothing to judge"),
        ({"text": " ", "label": None, "score": None}, ("--max-flips", "0"), "--max-flips has nothing"),
        ({"text": "x", "spans": []}, ("--max-drift", "0"), "--max-drift has nothing to judge"),
    ],
)
def test_a_check_that_judged_nothing_fails(
    row: dict[str, Any], limit: tuple[str, ...], message: str, capsys: Capture
) -> None:
    files = write("a.jsonl", [row, row]), write("b.jsonl", [row, row])
    assert cli.main(["compare", *files, *limit]) == 1
    assert message in capsys.readouterr().err


def test_skip_and_limit_hold_for_both_files(report: Callable[..., Any]) -> None:
    a = [{"label": "x"}, {"label": "x"}, {"label": "x"}]
    b = [{"label": "y"}, {"label": "x"}, {"label": "y"}]
    figures = report(write("a.jsonl", a), write("b.jsonl", b), "--skip", 1, "--limit", 1)
    assert (figures["records"], figures["flipped"]) == (1, 0)


def test_settings_about_models_do_not_keep_files_from_being_compared(
    report: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("bertcli.yaml").write_text("model: none\nengine: packed\ncompare:\n  task: embed\n")
    monkeypatch.setenv("BERTCLI_MAX_LENGTH", "32")
    files = write("a.jsonl", [{"label": "x"}]), write("b.jsonl", [{"label": "y"}])
    assert report(*files, "--debug")["flipped"] == 1


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["a.jsonl"], 2, "two files are compared, not 1"),
        (["a.jsonl", "b.jsonl", "-t", "x"], 2, "two files are compared, not 3"),
        (["--models", "A", "B"], 2, "reads its input twice"),
        (["--models", "A", "B", "-"], 2, "reads its input twice"),
        (["--models", "A", "B", "texts.txt", "--task", "tag", "--pair-field", "x"], 2, "one text a record"),
        (["a.jsonl", "b.jsonl", "--max-flips", "x"], 2, "neither a number nor a share"),
        (["a.jsonl", "b.jsonl", "--max-flips", "101%"], 2, "neither a number nor a share"),
        (["a.jsonl", "b.jsonl", "--max-flips", "-1"], 2, "neither a number nor a share"),
        (["a.jsonl", "b.jsonl", "--models", "A", "B", "-m", "C"], 2, "no such option: -m"),
        (
            ["a.jsonl", "b.jsonl", "--engine", "packed", "--task", "label"],
            2,
            "--task, --engine: no model runs",
        ),
        (["a.jsonl", "b.jsonl", "--head", "x", "--overlap", "3"], 2, "--head, --overlap: no model runs"),
        (["a.jsonl", "b.jsonl", "--strict", "--unsafe-model"], 2, "--unsafe-model, --strict: no model runs"),
        (["a.jsonl", "none.jsonl"], 1, "there is no file 'none.jsonl'"),
        (["empty.jsonl", "empty.jsonl"], 1, "there is no record to compare"),
        (["a.jsonl", "broken.jsonl"], 1, "broken.jsonl:1: line 1 is not JSON"),
        (["a.jsonl", "texts.txt"], 1, "a.jsonl:1: has no answer that the other file has too"),
    ],
)
def test_what_cannot_be_compared_is_told(
    capsys: Capture, arguments: list[str], code: int, message: str
) -> None:
    write("a.jsonl", [{"label": "x"}])
    write("b.jsonl", [{"label": "y"}])
    Path("broken.jsonl").write_text("nonsense\n")
    Path("empty.jsonl").touch()
    assert cli.main(["compare", *arguments]) == code
    seen = capsys.readouterr()
    assert message in seen.err
    assert not seen.out
