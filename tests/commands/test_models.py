"""`bertcli models` as its users meet it: JSON lines in a pipe, a page on demand, exit codes, no traceback."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from bertcli import cli, console
from bertcli.models import library
from bertcli.models.checkpoint import open_checkpoint
from tests.checkpoints import SKILLS, edit_json
from tests.conftest import Make

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(library, "BUNDLED", tmp_path / "none")
    return tmp_path / "hub"


def _add(cache: Path, name: str, source: Path) -> Path:
    snapshot = cache / f"models--{name.replace('/', '--')}" / "snapshots" / "0123"
    return Path(shutil.copytree(source, snapshot))


def _rows(capsys: Capture, *arguments: str, code: int = 0) -> list[dict[str, Any]]:
    assert cli.main(["models", *arguments]) == code
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_info_tells_what_the_checkpoint_holds(checkpoints: Make, capsys: Capture) -> None:
    path = checkpoints("skills")
    (row,) = _rows(capsys, "info", str(path))
    checkpoint = open_checkpoint(path)
    assert row["name"] == path.name
    assert row["fingerprint"] == checkpoint.fingerprint()
    assert row["parameters"] == checkpoint.parameters()
    assert row["max_length"] == checkpoint.max_length
    assert row["dtypes"] == ["F32"]
    assert {head["name"]: head["labels"] for head in row["heads"] if head["labels"]} == {
        name: skill["labels"] for name, skill in SKILLS.items()
    }
    assert row["engines"] == ["instant", "packed"]


def test_info_names_the_engines_a_model_runs_on(checkpoints: Make, capsys: Capture) -> None:
    (row,) = _rows(capsys, "info", str(checkpoints("roberta", "label")))
    assert row["engines"] == ["instant", "packed"]


@pytest.mark.parametrize(("family", "kind"), [("skills", "base"), ("sentence", "base"), ("roberta", "tag")])
def test_info_as_a_page(family: str, kind: str, checkpoints: Make, capsys: Capture) -> None:
    assert cli.main(["models", "info", str(checkpoints(family, kind)), "-f", "table"]) == 0
    page = capsys.readouterr().out
    assert page.startswith(checkpoints(family, kind).name)
    assert open_checkpoint(checkpoints(family, kind)).fingerprint() in page
    assert "\x1b" not in page


def test_a_line_that_goes_on_is_indented(
    checkpoints: Make, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = checkpoints("bert", "label", labels=[f"label number {number}" for number in range(9)])
    monkeypatch.setattr(console, "terminal", lambda stdout: console.Terminal(True, 40, False))
    assert cli.main(["models", "info", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("head "))
    assert all(len(line) <= 40 for line in lines)
    assert len(lines) > start + 2
    assert all(line.startswith("  ") and line[2] != " " for line in lines[start + 1 :])


def test_a_sound_model_passes_without_a_row(checkpoints: Make, capsys: Capture) -> None:
    assert _rows(capsys, "check", str(checkpoints("bert", "label"))) == []
    assert cli.main(["models", "check", str(checkpoints("bert", "label")), "-f", "table"]) == 0
    assert "nothing found that would make it answer wrongly" in capsys.readouterr().err


def test_a_refusal_ends_with_1_and_a_warning_with_0(checkpoint_copy: Make, capsys: Capture) -> None:
    path = checkpoint_copy("bert", "label")
    edit_json(path / "config.json", id2label={"0": "LABEL_0", "1": "LABEL_1"})
    (warning,) = _rows(capsys, "check", str(path))
    assert warning["severity"] == "warn"
    edit_json(path / "config.json", id2label={"0": "a", "7": "b"})
    (refusal,) = _rows(capsys, "check", str(path), code=1)
    assert refusal["severity"] == "refuse"
    assert "id2label" in refusal["message"]
    assert refusal["hint"]


def test_a_pickle_is_described_and_refused(checkpoint_copy: Make, capsys: Capture) -> None:
    path = checkpoint_copy("bert", "label")
    (path / "model.safetensors").rename(path / "pytorch_model.bin")
    (row,) = _rows(capsys, "info", str(path))
    assert (row["files"], row["dtypes"], row["parameters"]) == (["pytorch_model.bin"], [], None)
    (refusal,) = _rows(capsys, "check", str(path), code=1)
    assert "pickle" in refusal["message"]


def test_list_shows_models_and_what_is_wrong_with_them(
    cache: Path, checkpoints: Make, capsys: Capture
) -> None:
    _add(cache, "owner/sound", checkpoints("bert", "fill"))
    (_add(cache, "owner/broken", checkpoints("bert")) / "model.safetensors").unlink()
    rows = {row["name"]: row for row in _rows(capsys, "list")}
    assert list(rows) == ["owner/broken", "owner/sound"]
    assert rows["owner/sound"]["heads"] == ["fill"]
    assert rows["owner/sound"]["bytes"] > 0
    assert "no weights" in rows["owner/broken"]["problem"]
    assert cli.main(["models", "list", "-f", "table"]) == 0
    header, broken, sound = capsys.readouterr().out.splitlines()
    assert header.split() == ["MODEL", "SIZE", "KIND", "HEADS"]
    assert "no weights" in broken
    assert sound.split()[0] == "owner/sound"


def test_an_empty_list_says_where_it_looked(capsys: Capture, cache: Path) -> None:
    assert cli.main(["models", "list"]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert str(cache) in captured.err


@pytest.mark.parametrize("command", ["info", "check"])
def test_a_model_that_is_not_there_is_two_lines(command: str, capsys: Capture) -> None:
    for arguments in ([], ["nowhere"], ["./nowhere"]):
        assert cli.main(["models", command, *arguments]) == 1
        captured = capsys.readouterr()
        assert captured.out == ""
        assert len(captured.err.splitlines()) == 2


def test_pull_reports_where_the_model_is(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "pull", lambda name, allow_pickle: Path("/cache") / name)
    assert _rows(capsys, "pull", "a/b") == [{"name": "a/b", "path": "/cache/a/b"}]


def test_control_characters_in_labels_do_not_steer_the_terminal(
    checkpoint_copy: Make, capsys: Capture
) -> None:
    path = checkpoint_copy("bert", "label")
    edit_json(path / "config.json", id2label={"0": "\x1b[2J", "1": "b"})
    assert cli.main(["models", "info", str(path), "-f", "table"]) == 0
    assert "\x1b" not in capsys.readouterr().out


def test_info_tells_the_temperature_of_a_calibrated_head(checkpoint_copy: Make, capsys: Capture) -> None:
    path = checkpoint_copy("bert", "label")
    (row,) = _rows(capsys, "info", str(path))
    assert row["heads"][0]["temperature"] == 1.0
    edit_json(path / "config.json", bertcli={"temperature": {"label": 1.43}})
    (row,) = _rows(capsys, "info", str(path))
    assert row["heads"][0]["temperature"] == 1.43
    assert cli.main(["models", "info", str(path), "-f", "table"]) == 0
    assert "(temperature 1.43)" in capsys.readouterr().out


@pytest.mark.parametrize("variable", ["BERTCLI_MODEL", "BERTCLI_MODELS_INFO_MODEL", "file"])
def test_info_and_check_take_the_model_of_the_settings(
    variable: str, checkpoints: Make, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, other = checkpoints("bert", "label"), checkpoints("bert", "fill")
    if variable == "file":
        (tmp_path / "bertcli.yaml").write_text(f"model: {path}\n")
    else:
        monkeypatch.setenv(variable, str(path))
    assert _rows(capsys, "info")[0]["name"] == path.name
    assert _rows(capsys, "info", str(other))[0]["name"] == other.name
    if variable != "BERTCLI_MODELS_INFO_MODEL":
        assert _rows(capsys, "check") == []


@pytest.mark.parametrize("name", ["", " "])
def test_an_empty_name_is_no_model(name: str, capsys: Capture) -> None:
    assert cli.main(["models", "info", name]) == 2
    assert "name of the model is empty" in capsys.readouterr().err
