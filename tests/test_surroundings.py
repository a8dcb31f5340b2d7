"""Places a program may find itself in: no home, no locale, closed descriptors, read-only code, company."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import bertcli
from tests.conftest import Make

pytestmark = pytest.mark.slow

PACKAGE = Path(bertcli.__file__).parent
TEXT = "the server is down"


@pytest.fixture
def model(checkpoints: Make) -> str:
    return str(checkpoints("bert", "label"))


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(PACKAGE.parent))
    for name in [name for name in os.environ if name.startswith("BERTCLI_")]:
        monkeypatch.delenv(name)


def shell(line: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Run a line in which `bertcli` is this one."""
    command = f'bertcli() {{ "{sys.executable}" -m bertcli "$@"; }}; {line}'
    return subprocess.run(["bash", "-c", command], capture_output=True, **options)


def answer(process: subprocess.CompletedProcess[bytes]) -> dict[str, Any]:
    assert process.returncode == 0, process.stderr
    found = json.loads(process.stdout)
    assert isinstance(found, dict)
    return found


def test_eight_runs_on_eight_outputs(model: str, tmp_path: Path) -> None:
    Path("in.txt").write_text(f"{TEXT}\n" * 20)
    runs = [
        subprocess.Popen(
            [sys.executable, "-m", "bertcli", "label", "in.txt", "-m", model, "-o", f"{number}.jsonl", "-q"]
        )
        for number in range(8)
    ]
    assert [run.wait() for run in runs] == [0] * 8
    written = {path.read_bytes() for path in tmp_path.glob("*.jsonl")}
    assert len(written) == 1
    assert len(list(tmp_path.iterdir())) == 9


def test_of_two_runs_on_one_output_the_second_is_refused(model: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bertcli", "label", "-m", model, "--engine", "instant", "-o", "a.jsonl"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as first:
        assert first.stdin is not None
        assert first.stderr is not None
        first.stdin.write(f"{TEXT}\n".encode())
        first.stdin.flush()
        while not Path("a.jsonl.part").exists() or not Path("a.jsonl.part").stat().st_size:
            assert first.poll() is None
        for option in ("--overwrite", "--resume", "-q"):
            second = subprocess.run([*command, option], input=b"other\n", capture_output=True)
            assert second.returncode == 1
            assert second.stderr.splitlines()[0] == b"bertcli: a.jsonl: is being written by another run"
        first.stdin.close()
        assert first.wait() == 0
    assert [json.loads(line)["text"] for line in Path("a.jsonl").read_text().splitlines()] == [TEXT]
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


@pytest.mark.parametrize(
    "surroundings",
    [
        {"HOME": None, "XDG_CONFIG_HOME": None, "XDG_CACHE_HOME": None, "HF_HOME": None},
        {"HOME": "/nowhere/at/all"},
        {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"LC_ALL": "xx_YY.nonsense"},
        {"TMPDIR": "/nowhere/at/all"},
        {"PATH": ""},
    ],
    ids=lambda names: " ".join(names),
)
def test_no_home_no_locale_no_temporary_folder(surroundings: dict[str, str | None], model: str) -> None:
    Path("naïve.txt").write_text("naïve café\n", encoding="utf-8")
    environment = {**os.environ, **{name: value for name, value in surroundings.items() if value is not None}}
    for name, value in surroundings.items():
        if value is None:
            environment.pop(name, None)
    command = [sys.executable, "-m", "bertcli", "label", "naïve.txt", "-m", model]
    for given in (["--text", "naïve café"], ["naïve.txt", "--prefix", "ï"]):
        done = subprocess.run([*command[:4], *given, *command[5:]], capture_output=True, env=environment)
        assert answer(done)["text"] == "naïve café"
    for output in ([], ["-o", "gelöst.jsonl"]):
        done = subprocess.run([*command, *output], capture_output=True, env=environment)
        assert done.returncode == 0, done.stderr
        written = Path("gelöst.jsonl").read_bytes() if output else done.stdout
        assert json.loads(written)["text"] == "naïve café"
        assert b"1 read = 1 done" in done.stderr


def test_a_file_name_that_is_not_utf8(model: str, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.txt")
    try:
        Path(name).write_text(f"{TEXT}\n")
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    output = os.fsdecode(b"gel\xf6st.jsonl")
    command = [sys.executable, "-m", "bertcli", "label", name, "-m", model, "-o", output]
    done = subprocess.run(command, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(Path(output).read_bytes())["text"] == TEXT
    done = subprocess.run(command, capture_output=True)
    assert done.returncode == 1
    assert b"exists already" in done.stderr
    done = subprocess.run([*command, "--resume"], capture_output=True)
    assert (done.returncode, b"is complete" in done.stderr) == (0, True)
    whole = subprocess.run([*command[:-2], "--whole-files"], capture_output=True)
    assert json.loads(whole.stdout)["text"] == f"{TEXT}\n"


def test_a_model_directory_whose_name_is_not_utf8(model: str) -> None:
    name = os.fsdecode(b"mod\xe8le")
    try:
        shutil.copytree(model, name)
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    for arguments in (["label", "-t", TEXT, "-m", name], ["models", "info", name]):
        assert answer(subprocess.run([sys.executable, "-m", "bertcli", *arguments], capture_output=True))


@pytest.mark.parametrize("closed", ["<&-", "2>&-", "<&- 2>&-"])
def test_closed_descriptors_do_not_matter_when_others_are_used(closed: str, model: str) -> None:
    done = shell(f"bertcli label -m {model} -t '{TEXT}' {closed}")
    assert answer(done)["text"] == TEXT
    done = shell(f"bertcli label -m {model} -t '{TEXT}' -o out.jsonl >&- {closed}")
    assert done.returncode == 0
    assert json.loads(Path("out.jsonl").read_bytes())["text"] == TEXT


def test_a_closed_stdin_that_is_to_be_read_is_no_input(model: str) -> None:
    for line in (f"bertcli label -m {model} <&-", f"bertcli label -m {model} - <&- 2>&1"):
        done = shell(line)
        assert done.returncode in (1, 2)
        said = done.stderr + done.stdout
        assert said.startswith(b"bertcli: ")
        assert b"Traceback" not in said
        assert b"bug" not in said


def test_a_closed_stdout_that_is_to_be_written_is_an_error(model: str) -> None:
    done = shell(f"bertcli label -m {model} -t '{TEXT}' >&-")
    assert done.returncode == 1
    assert b"standard output: cannot write: it is closed" in done.stderr


@pytest.fixture
def installed(tmp_path: Path) -> Iterator[Path]:
    """The package where nobody may write, and where nothing has been compiled."""
    site = tmp_path / "site-packages"
    shutil.copytree(PACKAGE, site / "bertcli", ignore=shutil.ignore_patterns("__pycache__"))
    for path in sorted(site.rglob("*"), reverse=True):
        path.chmod(0o555 if path.is_dir() else 0o444)
    site.chmod(0o555)
    yield site
    site.chmod(0o755)
    for path in site.rglob("*"):
        if path.is_dir():
            path.chmod(0o755)


def test_read_only_site_packages(installed: Path, model: str) -> None:
    """Root may write all the same: so it is looked whether anything was."""
    before = sorted(path for path in installed.rglob("*") if "__pycache__" not in path.parts)
    environment = {**os.environ, "PYTHONPATH": str(installed), "PYTHONDONTWRITEBYTECODE": "1"}
    code = (
        "import bertcli, sys; sys.stderr.write(bertcli.__file__); from bertcli.__main__ import main; main()"
    )
    command = [sys.executable, "-c", code, "label", "-m", model, "-t", TEXT]
    done = subprocess.run(command, capture_output=True, env=environment)
    assert answer(done)["text"] == TEXT
    assert str(installed).encode() in done.stderr
    assert sorted(path for path in installed.rglob("*")) == before
