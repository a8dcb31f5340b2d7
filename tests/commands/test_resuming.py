"""An interrupted run that is resumed leaves the bytes of one that was never interrupted."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from bertcli import cli, console
from bertcli.journal import FileOutput, journal
from bertcli.sinks import compressed, parquet
from tests.conftest import Make

pytestmark = pytest.mark.slow

COMMANDS = {
    "label.jsonl": ("label", "--all"),
    "label.csv": ("label",),
    "label.txt": ("label", "-f", "plain"),
    "fill.txt.gz": ("fill", "-f", "plain"),
    "label.tsv.gz": ("label",),
    "label.jsonl.zst": ("label",),
    "label.json": ("label",),
    "fill.jsonl.gz": ("fill", "-k", "2"),
    "tag.conll": ("tag",),
    "tag.parquet": ("tag",),
    "embed.npy": ("embed",),
    "embed.parquet": ("embed",),
    "tokens.parquet": ("embed", "--tokens"),
}
MODELS = {"label": "label", "fill": "fill", "tag": "tag", "embed": "base", "attention": "base"}
INSTANT = ("--engine", "instant", "--threads", "1")
SMALL = (*INSTANT, "--batch-tokens", "64")


class Killed(BaseException):
    """As sudden as SIGKILL: nothing that comes after may tidy up."""


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Places to go on from after each block, however small."""
    monkeypatch.setattr(journal, "REST", 0.0)
    monkeypatch.setattr(journal, "SHARE", 0)
    monkeypatch.setattr(compressed, "BLOCK", 100)
    monkeypatch.setattr(parquet, "GROUP_ROWS", 12)
    monkeypatch.setattr(parquet, "MARK_ROWS", 3)
    monkeypatch.chdir(tmp_path)
    yield
    console.release_stdout()


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """60 records: long and short ones, equal ones, blank ones and a broken one."""
    words = [
        "the",
        "capital",
        "of",
        "france",
        "is",
        "paris",
        "and",
        "nobody",
        "answers",
        "since",
        "yesterday",
    ]
    lines = [
        json.dumps({"id": number, "text": " ".join(words[number % 7 :][: number % 11]) + " [MASK]"})
        for number in range(60)
    ]
    lines[0] = json.dumps({"id": 0, "text": " "})
    lines[13] = json.dumps({"id": 13, "text": None})
    lines[29] = '{"text": broken'
    lines[41] = json.dumps({"id": 41, "text": " ".join(words * 30) + " [MASK]"})
    path = tmp_path / "in.jsonl"
    path.write_text("\n".join(lines))
    return path


@pytest.fixture
def run(checkpoints: Make, texts: Path) -> Callable[..., int]:
    def run(command: str, *arguments: str, model: Path | None = None, source: Path = texts) -> int:
        found = checkpoints("bert", MODELS[command]) if model is None else model
        console.release_stdout()
        return cli.main([command, str(source), "-m", str(found), *SMALL, *arguments])

    return run


@pytest.fixture
def stop_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None, type[BaseException]], None]:
    """Let the writing of the outputs end after so many writes."""
    write, close, catch_up = FileOutput.write, FileOutput.close, journal.Journal.catch_up

    def stop_after(writes: int | None, kind: type[BaseException] = Killed) -> None:
        left = writes
        killed = False

        def counted(self: FileOutput, data: bytes) -> int:
            nonlocal left, killed
            if left is not None and (left := left - 1) < 0:
                killed = kind is Killed
                left = 0 if killed else None
                write(self, data[: len(data) // 2] if killed else data)
                self._file.flush()
                raise kind
            return write(self, data)

        def closed(self: FileOutput, complete: bool, rest: bytes = b"") -> None:
            if killed:
                self._file.close()
            else:
                close(self, complete, rest)

        monkeypatch.setattr(FileOutput, "write", counted)
        monkeypatch.setattr(FileOutput, "close", closed)
        monkeypatch.setattr(
            journal.Journal, "catch_up", lambda self, sync: None if killed else catch_up(self, sync)
        )

    return stop_after


def left(folder: Path) -> dict[str, bytes]:
    """All files but the input."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "in.jsonl"}


@pytest.mark.parametrize("name", COMMANDS)
def test_cut_anywhere_and_gone_on_with_is_never_interrupted(
    name: str,
    run: Callable[..., int],
    stop_after: Callable[..., None],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    command, *options = COMMANDS[name]
    assert run(command, *options, "-o", name) == 3  # the broken line
    whole = left(tmp_path)
    line = account(capfd.readouterr().err)
    went_on = 0
    for writes, kind in ((0, Killed), (3, KeyboardInterrupt), (7, Killed), (30, KeyboardInterrupt)):
        for file in whole:
            Path(file).unlink()
        stop_after(writes, kind)
        codes = []
        for _ in range(20):
            try:
                codes.append(run(command, *options, "-o", name, "--resume"))
            except Killed:
                codes.append(-9)
            if codes[-1] == 3:
                break
            assert codes[-1] in (130, -9)
            stop_after(writes + 4 * len(codes), kind)
        stop_after(None)
        assert codes[-1] == 3
        assert left(tmp_path) == whole
        said = capfd.readouterr().err
        assert account(said) == line
        went_on += "from before" in said
    assert went_on >= 1


@pytest.mark.parametrize("engine", ["eager", "transformers"])
def test_a_run_with_an_engine_that_has_no_option_is_resumed(
    engine: str, checkpoints: Make, seq2seq: Make, stop_after: Callable[..., None], tmp_path: Path
) -> None:
    """Attention weights in bfloat16, and translations by a model that is not described here."""
    Path("in.txt").write_text("the capital of france\nparis\nnobody answers\nsince yesterday\n")
    if engine == "eager":
        asked = ["attention", "in.txt", "-m", str(checkpoints("bert")), "--dtype", "bfloat16"]
    else:
        asked = ["translate", "in.txt", "-m", str(seq2seq("prophetnet")), "--greedy"]
    asked += ["--threads", "1", "--batch-tokens", "8"]
    assert cli.main([*asked, "-o", "whole.jsonl"]) == 0
    stop_after(2, Killed)
    with pytest.raises(Killed):
        cli.main([*asked, "-o", "cut.jsonl"])
    stop_after(None)
    assert engine in Path("cut.jsonl.journal").read_text()
    console.release_stdout()
    assert cli.main([*asked, "-o", "cut.jsonl", "--resume"]) == 0
    assert Path("cut.jsonl").read_bytes() == Path("whole.jsonl").read_bytes()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_answers_that_a_run_no_longer_knows_are_computed_to_the_same_bytes(
    dtype: str,
    checkpoints: Make,
    stop_after: Callable[..., None],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    words = ["paris", "the capital of france", "nobody answers", "and", "since yesterday the capital"]
    Path("in.txt").write_text("".join(f"{words[n % 5]} {words[n * n % 5]}\n" for n in range(300)))
    asked = ["embed", "in.txt", "-m", str(checkpoints("bert")), "--engine", "packed", "--threads", "1"]
    asked += ["--compute-dtype", dtype, "--batch-tokens", "16"]
    assert cli.main([*asked, "-o", "whole.jsonl"]) == 0
    line = account(capfd.readouterr().err)
    assert "295 duplicates" in line
    stop_after(100)
    with pytest.raises(Killed):
        cli.main([*asked, "-o", "cut.jsonl"])
    stop_after(None)
    console.release_stdout()
    assert 0 < Path("cut.jsonl.part").read_bytes().count(b"\n") < 300
    assert cli.main([*asked, "-o", "cut.jsonl", "--resume"]) == 0
    assert Path("cut.jsonl").read_bytes() == Path("whole.jsonl").read_bytes()
    assert account(capfd.readouterr().err) == line


def account(said: str) -> str:
    """The counts of the last receipt."""
    lines = [line for line in said.splitlines() if " read = " in line and "interrupted" not in line]
    parts = [part for part in lines[-1].split(" · ") if "from before" not in part]
    return " · ".join(part for part in parts if not part.endswith(("/s", " s")))


def test_what_is_left_in_between_can_be_read(
    run: Callable[..., int], stop_after: Callable[..., None], tmp_path: Path
) -> None:
    for name, writes in (("a.jsonl.gz", 4), ("a.csv", 30), ("a.parquet", 5)):
        stop_after(writes, KeyboardInterrupt)
        assert run("label", "-o", name) == 130
        stop_after(None)
        part = tmp_path / f"{name}.part"
        if name.endswith(".parquet"):
            assert pa.ipc.open_stream(part.read_bytes()).read_all().num_rows > 0
        elif name.endswith(".gz"):
            assert gzip.decompress(part.read_bytes())
        assert (tmp_path / f"{name}.journal").exists()
        assert not (tmp_path / name).exists()


@pytest.fixture
def interrupted(run: Callable[..., int], stop_after: Callable[..., None], tmp_path: Path) -> Path:
    """`out.jsonl` of a run that was killed in the middle."""
    stop_after(40)
    with pytest.raises(Killed):
        run("label", "-o", "out.jsonl")
    stop_after(None)
    return tmp_path / "out.jsonl"


def test_without_resume_nothing_of_it_is_lost(
    interrupted: Path, run: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    before = left(interrupted.parent)
    assert run("label", "-o", "out.jsonl") == 1
    assert "--resume continues it, --overwrite starts again" in capfd.readouterr().err
    assert left(interrupted.parent) == before
    assert run("label", "-o", "out.jsonl", "--overwrite") == 3
    assert list(left(interrupted.parent)) == ["out.jsonl"]


CHANGES: list[tuple[tuple[str, ...], str]] = [
    (("--all",), "--all was not given, and is given"),
    (("-k", "2"), "-k was not given, and is 2"),
    (("--text-field", "text"), "--text-field was not given, and is text"),
    (("--limit", "7"), "--limit was not given, and is 7"),
    (
        ("--max-length", "9", "--prefix", "x_"),
        "--max-length was not given, and is 9; --prefix was not given, and is x_",
    ),
    (("--batch-tokens", "65"), "--batch-tokens was 64, and is 65"),
    (("--engine", "packed", "--dtype", "float32"), "--engine was instant, and is packed"),
]


@pytest.mark.parametrize(("options", "words"), CHANGES, ids=lambda value: str(value[0]))
def test_an_option_that_matters_is_refused_by_name(
    options: tuple[str, ...],
    words: str,
    interrupted: Path,
    run: Callable[..., int],
    capfd: pytest.CaptureFixture[str],
) -> None:
    before = Path("out.jsonl.journal").read_text()
    assert run("label", "-o", "out.jsonl", "--resume", *options) == 1
    said = capfd.readouterr().err
    assert f"out.jsonl: cannot be resumed: {words}" in said
    assert "--overwrite without --resume starts again" in said
    assert Path("out.jsonl.journal").read_text() == before
    assert run("label", "-o", "out.jsonl", "--resume") == 3


def test_an_option_that_does_not_matter_is_not_asked_about(
    interrupted: Path, run: Callable[..., int]
) -> None:
    assert run("label", "-o", "out.jsonl", "--resume", "--threads", "2", "-q", "--max-errors", "9") == 3


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"id": 5,', '"id": 6,', "in.jsonl has changed"),
        ('"id": 59,', '"id": 58,', "in.jsonl has changed"),
        ('"id": 59,', '"id": 590,', "bytes, and has"),
    ],
)
def test_an_input_that_has_changed_is_refused(
    old: str,
    new: str,
    words: str,
    interrupted: Path,
    texts: Path,
    run: Callable[..., int],
    capfd: pytest.CaptureFixture[str],
) -> None:
    before = texts.read_text()
    texts.write_text(before.replace(old, new))
    assert run("label", "-o", "out.jsonl", "--resume") == 1
    assert words in capfd.readouterr().err
    texts.write_text(before)
    os.utime(texts, (1, 1))  # its date says nothing
    assert run("label", "-o", "out.jsonl", "--resume") == 3


def test_another_model_or_command_or_file_of_labels_is_refused(
    run: Callable[..., int],
    stop_after: Callable[..., None],
    checkpoints: Make,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    names = tmp_path / "names.txt"
    names.write_text("bad\ngood\n")
    nameless = checkpoints("bert", "label", labels=["LABEL_0", "LABEL_1"])
    arguments = ("-o", "out.jsonl", "--labels-file", str(names))
    stop_after(40)
    with pytest.raises(Killed):
        run("label", *arguments, model=nameless)
    stop_after(None)
    other = checkpoints("bert", "label", labels=["LABEL_0", "LABEL_1", "LABEL_2"])
    names.write_text("good\nbad\n")
    assert run("label", *arguments, "--resume", model=nameless) == 1
    assert "the file of --labels-file has changed" in capfd.readouterr().err
    names.write_text("bad\ngood\nneither\n")
    assert run("label", *arguments, "--resume", model=other) == 1
    assert f"the model was {nameless.name}, and is {other.name}" in capfd.readouterr().err
    assert run("embed", "-o", "out.jsonl", "--resume") == 1
    assert "cannot be resumed: the command was label, and is embed\n" in capfd.readouterr().err


def test_another_glossary_is_refused(
    run: Callable[..., int],
    stop_after: Callable[..., None],
    seq2seq: Make,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    terms, model = tmp_path / "terms.tsv", seq2seq("marian")
    terms.write_text("fox\tdoctor\n")
    arguments = ("-o", "out.jsonl", "--glossary", str(terms), "--max-new-tokens", "4", "--engine", "packed")
    stop_after(40)
    with pytest.raises(Killed):
        run("translate", *arguments, model=model)
    stop_after(None)
    terms.write_text("fox\tRome\n")
    assert run("translate", *arguments, "--resume", model=model) == 1
    assert "the file of --glossary has changed" in capfd.readouterr().err


def test_a_finished_run_is_recognised(
    run: Callable[..., int], texts: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("label", "-o", "out.jsonl", "--resume") == 3  # nothing to resume: a run like any other
    written = (tmp_path / "out.jsonl").stat()
    capfd.readouterr()
    assert run("label", "-o", "out.jsonl", "--resume") == 0
    assert capfd.readouterr().err == "out.jsonl is complete: there is nothing to resume\n"
    assert (tmp_path / "out.jsonl").stat() == written
    os.utime(texts, (written.st_mtime + 5, written.st_mtime + 5))
    assert run("label", "-o", "out.jsonl", "--resume") == 1
    assert "in.jsonl has changed since" in capfd.readouterr().err


def test_a_part_without_a_journal_is_nobodys(
    interrupted: Path, run: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    Path("out.jsonl.journal").unlink()
    assert run("label", "-o", "out.jsonl", "--resume") == 1
    assert "out.jsonl.part: has no journal" in capfd.readouterr().err
    assert list(left(interrupted.parent)) == ["out.jsonl.part"]


def test_a_part_that_somebody_has_cut_is_refused(
    interrupted: Path, run: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    os.truncate("out.jsonl.part", 10)
    assert run("label", "-o", "out.jsonl", "--resume") == 1
    assert "out.jsonl.part: is shorter than its journal says" in capfd.readouterr().err


@pytest.mark.parametrize("state", ["{}", '{"size": "x"}', '{"size": null}', '{"size": -1}', '{"size": 1e99}'])
def test_a_journal_that_makes_no_sense_is_damaged(
    state: str, interrupted: Path, run: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    book = Path("out.jsonl.journal")
    *lines, last = book.read_bytes().splitlines(keepends=True)
    book.write_bytes(b"".join([*lines, journal.sealed(json.loads(last) | {"state": json.loads(state)})]))
    assert run("label", "-o", "out.jsonl", "--resume") == 1
    said = capfd.readouterr().err
    assert "out.jsonl.journal: is damaged" in said or "is shorter than its journal says" in said
    first = json.loads(lines[0])
    del first["options"]
    book.write_bytes(journal.sealed(first))
    assert run("label", "-o", "out.jsonl", "--resume") == 1
    assert "out.jsonl.journal: is damaged" in capfd.readouterr().err


def test_a_journal_that_was_altered_is_damaged_and_nothing_is_touched(
    interrupted: Path, run: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    book = Path("out.jsonl.journal")
    lines = book.read_bytes().splitlines(keepends=True)
    book.write_bytes(lines[0].replace(b'"size":', b'"siZe":') + b"".join(lines[1:]))
    before = left(interrupted.parent)
    assert run("label", "-o", "out.jsonl", "--resume") == 1
    assert "out.jsonl.journal: is damaged" in capfd.readouterr().err
    assert left(interrupted.parent) == before


def test_of_altered_places_to_go_on_from_an_earlier_one_is_taken(
    interrupted: Path, run: Callable[..., int]
) -> None:
    book = Path("out.jsonl.journal")
    *lines, last = book.read_bytes().splitlines(keepends=True)
    size = json.loads(last)["state"]["size"]
    book.write_bytes(b"".join(lines) + last.replace(b'"size":%d' % size, b'"size":%d' % (size - 1)))
    assert run("label", "-o", "out.jsonl", "--resume") == 3
    went_on = Path("out.jsonl").read_bytes()
    assert run("label", "-o", "out.jsonl", "--overwrite") == 3
    assert Path("out.jsonl").read_bytes() == went_on


def test_a_run_with_overwrite_may_still_replace_when_it_is_gone_on_with(
    run: Callable[..., int], stop_after: Callable[..., None], tmp_path: Path
) -> None:
    Path("out.jsonl").write_text("old")
    stop_after(40)
    with pytest.raises(Killed):
        run("label", "-o", "out.jsonl", "--overwrite")
    stop_after(None)
    assert Path("out.jsonl").read_text() == "old"
    assert run("label", "-o", "out.jsonl", "--resume") == 3
    assert Path("out.jsonl").read_text() != "old"


def test_of_two_files_the_first_may_have_its_name_already(
    run: Callable[..., int], stop_after: Callable[..., None], tmp_path: Path
) -> None:
    assert run("embed", "-o", "a.npy") == 3
    whole = left(tmp_path)
    for file in whole:
        Path(file).unlink()
    stop_after(100)
    with pytest.raises(Killed):
        run("embed", "-o", "a.npy")
    stop_after(None)
    os.replace("a.ids.jsonl.part", "a.ids.jsonl")
    assert run("embed", "-o", "a.npy", "--resume") == 3
    assert left(tmp_path) == whole
    assert len(np.load("a.npy")) == 60


@pytest.mark.parametrize("arguments", [(), ("-o", "-"), ("-o", os.devnull), ("-o", "a.txt", "-f", "table")])
def test_what_cannot_be_gone_on_with_is_refused(
    arguments: tuple[str, ...], run: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("label", *arguments, "--resume") == 2
    assert "--resume" in capfd.readouterr().err
    assert not Path("a.txt.part").exists()


def test_a_page_is_not_gone_on_with(
    run: Callable[..., int], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("attention", "-o", "a.html", "--resume") == 2
    assert "--resume: html cannot be resumed" in capfd.readouterr().err
    assert not left(tmp_path)


@pytest.mark.parametrize(
    ("command", "source", "output"),
    [
        ("label", "a.jsonl.part", "a.jsonl"),
        ("label", "a.jsonl.journal", "a.jsonl"),
        ("embed", "a.ids.jsonl", "a.npy"),
        ("embed", "a.ids.jsonl.part", "a.npy"),
    ],
)
@pytest.mark.parametrize("option", ["--overwrite", "--resume"])
def test_an_input_is_never_written_over(
    option: str,
    command: str,
    source: str,
    output: str,
    texts: Path,
    run: Callable[..., int],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    texts.rename(source)
    Path(output).write_bytes(b"old")
    before = left(tmp_path)
    assert run(command, "-o", output, option, "--from", "jsonl", source=Path(source)) == 1
    assert f"{source}: is an input, and would be written over on the way to" in capfd.readouterr().err
    assert left(tmp_path) == before


# --- as a process -------------------------------------------------------------------------------------------


def start(checkpoints: Make, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "bertcli",
            "label",
            "-m",
            str(checkpoints("bert", "label")),
            *INSTANT,
            *arguments,
        ],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        **options,
    )


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def has_points(path: Path) -> bool:
    return path.exists() and path.read_bytes().count(b"\n") > 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_signal_leaves_a_state_to_go_on_from_within_two_seconds(
    number: signal.Signals, checkpoints: Make, tmp_path: Path
) -> None:
    lines = b"".join(b"the server is down again %d\n" % line for line in range(300))
    with start(checkpoints, "-o", "out.jsonl", stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(lines)
        process.stdin.flush()
        wait_for(lambda: has_points(tmp_path / "out.jsonl.journal"))
        process.send_signal(number)
        asked = time.monotonic()
        assert process.wait() == (-9 if number == signal.SIGKILL else 130)
        assert time.monotonic() - asked < 2
        assert process.stderr is not None
        said = process.stderr.read().decode()
    if number != signal.SIGKILL:
        assert said.splitlines()[-1].startswith("interrupted · ")
    done = subprocess.run(
        [sys.executable, "-m", "bertcli", "label", "-m", str(checkpoints("bert", "label")),
         "-o", "out.jsonl", *INSTANT, "--resume"],
        input=lines, capture_output=True, check=True,
    )  # fmt: skip
    assert b"from before" in done.stderr
    rows = [json.loads(line)["text"] for line in (tmp_path / "out.jsonl").read_bytes().splitlines()]
    assert rows == lines.decode().splitlines()


def test_another_pipe_is_refused(interrupted_pipe: Path, checkpoints: Make) -> None:
    for lines, words in (
        (b"other\n" * 400, b"records of the input have changed"),
        (b"a\n", b"the input has 1 records, and"),
    ):
        with start(checkpoints, "-o", "out.jsonl", "--resume", stdin=subprocess.PIPE) as process:
            _, said = process.communicate(lines)
            assert process.returncode == 1
            assert words in said


@pytest.fixture
def interrupted_pipe(checkpoints: Make, tmp_path: Path) -> Path:
    with start(checkpoints, "-o", "out.jsonl", stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(b"the server is down\n" * 300)
        process.stdin.flush()
        wait_for(lambda: has_points(tmp_path / "out.jsonl.journal"))
        process.kill()
    return tmp_path / "out.jsonl"


def test_it_is_said_where_resume_continues(
    run: Callable[..., int],
    stop_after: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Where that is not behind the last record of the receipt: no compressed block has ended yet."""
    monkeypatch.setattr(compressed, "BLOCK", 1 << 30)
    monkeypatch.setattr(compressed, "CHUNK", 100)
    stop_after(1, KeyboardInterrupt)
    assert run("label", "-o", "a.jsonl.gz") == 130
    said = capfd.readouterr().err.splitlines()
    assert said[-1] == "--resume continues with record 1"
    assert said[-2].startswith("interrupted · ")
