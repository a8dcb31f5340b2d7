"""Outputs are written whole or not at all, and nothing that exists is lost without --overwrite."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path

import pytest

from bertcli import console
from bertcli.errors import OutputError
from bertcli.journal import FileOutput, Output, open_output, refuse_input
from bertcli.journal.outputs import JOURNAL_BEGINS


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_has_its_name_only_when_complete(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    output = FileOutput(str(path), overwrite=False)
    output.write(b"one")
    assert names(tmp_path) == ["a.txt.part"]
    output.close(complete=True, rest=b" two")
    assert names(tmp_path) == ["a.txt"]
    assert path.read_bytes() == b"one two"


def test_an_interrupted_file_stays_part_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    console.configure()
    output = FileOutput(str(tmp_path / "a.txt"), overwrite=False)
    output.write(b"one\n")
    output.close(complete=False)
    assert names(tmp_path) == ["a.txt.part"]
    assert (tmp_path / "a.txt.part").read_bytes() == b"one\n"
    assert "a.txt.part has the finished records" in capsys.readouterr().err


def test_when_nothing_was_finished_nothing_is_left(tmp_path: Path) -> None:
    FileOutput(str(tmp_path / "a.txt"), overwrite=False).close(complete=False)
    assert names(tmp_path) == []


@pytest.mark.parametrize("link", [False, True])
def test_a_part_of_somebody_elses_is_left_alone(link: bool, tmp_path: Path) -> None:
    mine = tmp_path / ("mine" if link else "a.txt.part")
    mine.write_text("mine")
    if link:
        (tmp_path / "a.txt.part").symlink_to(mine)
    for overwrite in (False, True):
        with pytest.raises(OutputError, match="no regular file" if link else "has no journal"):
            FileOutput(str(tmp_path / "a.txt"), overwrite=overwrite)
    assert mine.read_text() == "mine"
    assert names(tmp_path) == (["a.txt.part", "mine"] if link else ["a.txt.part"])


@pytest.mark.parametrize("name", ["a.txt", "a.txt.part"])
def test_work_is_replaced_with_overwrite_only(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("old")
    if name.endswith(".part"):
        (tmp_path / "a.txt.journal").write_bytes(JOURNAL_BEGINS + b"1}")
    with pytest.raises(OutputError) as caught:
        FileOutput(str(tmp_path / "a.txt"), overwrite=False)
    assert "--overwrite" in str(caught.value.hint)
    assert (tmp_path / name).read_text() == "old"
    output = FileOutput(str(tmp_path / "a.txt"), overwrite=True)
    output.write(b"new")
    output.close(complete=True)
    assert names(tmp_path) in (["a.txt"], ["a.txt", "a.txt.journal"])
    assert (tmp_path / "a.txt").read_text() == "new"


def test_an_empty_part_holds_no_work(tmp_path: Path) -> None:
    (tmp_path / "a.txt.part").touch()
    FileOutput(str(tmp_path / "a.txt"), overwrite=False).close(complete=True)
    assert names(tmp_path) == ["a.txt"]


def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    output = FileOutput(str(tmp_path / "a.txt"), overwrite=False)
    output.write(b"mine")
    (tmp_path / "a.txt").write_text("theirs")
    with pytest.raises(OutputError, match="exists already"):
        output.close(complete=True)
    assert (tmp_path / "a.txt").read_text() == "theirs"
    assert (tmp_path / "a.txt.part").read_text() == "mine"


def test_the_old_file_stays_until_the_new_one_is_complete(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")
    output = FileOutput(str(tmp_path / "a.txt"), overwrite=True)
    output.write(b"new")
    output.flush()
    assert (tmp_path / "a.txt").read_text() == "old"
    output.close(complete=False)
    assert (tmp_path / "a.txt").read_text() == "old"


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        FileOutput(str(tmp_path / "a.txt"), overwrite=False).close(complete=True)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o640


def test_a_symbolic_link_stays(tmp_path: Path) -> None:
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to("real.txt")
    output = FileOutput(str(tmp_path / "link.txt"), overwrite=True)
    output.write(b"new")
    output.close(complete=True)
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new"


def test_of_a_link_that_leads_nowhere_its_target_is_named(tmp_path: Path) -> None:
    (tmp_path / "link.txt").symlink_to(tmp_path / "gone" / "real.txt")
    with pytest.raises(OutputError, match=f"directory '{tmp_path}/gone' does not exist"):
        FileOutput(str(tmp_path / "link.txt"), overwrite=False)


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path, words in (
        (tmp_path / "no" / "a.txt", "does not exist"),
        (tmp_path, "is a directory"),
        (tmp_path / "file" / "a.txt", "not a directory"),
        (tmp_path / ("x" * 300), "file name too long"),
    ):
        with pytest.raises(OutputError, match=words) as caught:
            open_output(str(path), io.BytesIO(), overwrite=False)
        assert caught.value.where == str(path)
        assert caught.value.hint


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_that_must_not_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="permission denied"):
        open_output(str(tmp_path / "a.txt"), io.BytesIO(), overwrite=False)


def test_devices_and_fifos_are_written_straight_through(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reading = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    for path in (fifo, Path(os.devnull)):
        output = open_output(str(path), io.BytesIO(), overwrite=False)
        output.write(b"x")
        output.close(complete=True)
    assert os.read(reading, 9) == b"x"
    os.close(reading)
    assert names(tmp_path) == ["fifo"]


@pytest.mark.parametrize("path", [None, "-", "/dev/stdout", "/dev/fd/1"])
def test_names_of_standard_output(path: str | None) -> None:
    stdout = io.BytesIO()
    output = open_output(path, stdout, overwrite=False)
    output.write(b"x")
    output.close(complete=True)
    assert stdout.getvalue() == b"x"


def test_the_output_must_not_be_an_input(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    os.link(tmp_path / "a.txt", tmp_path / "same.txt")
    (tmp_path / "link.txt").symlink_to("a.txt")
    inputs = ["-", str(tmp_path / "no.txt"), str(tmp_path / "a.txt")]
    for name in ("a.txt", "same.txt", "link.txt"):
        with pytest.raises(OutputError, match="is an input and the output"):
            refuse_input([str(tmp_path / name)], io.BytesIO(), inputs)
    with open(tmp_path / "a.txt", "ab") as stdout, pytest.raises(OutputError):
        refuse_input([], stdout, inputs)
    refuse_input([], io.BytesIO(), inputs)
    refuse_input([str(tmp_path / "b.txt")], io.BytesIO(), inputs)
    refuse_input([os.devnull], io.BytesIO(), [os.devnull])


@pytest.mark.parametrize("name", ["a.npy.part", "a.npy.journal", "a.ids", "a.ids.part"])
def test_nothing_that_is_written_for_an_output_may_be_an_input(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("text")
    (tmp_path / "link").symlink_to("a.npy")
    for output in ("a.npy", "link"):
        outputs = [str(tmp_path / output), str(tmp_path / "a.ids")]
        with pytest.raises(OutputError, match=f"written over on the way to {outputs[0]}") as caught:
            refuse_input(outputs, io.BytesIO(), [str(tmp_path / name)])
        assert caught.value.where == str(tmp_path / name)


def test_a_pipe_has_neither_part_nor_journal(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "fifo.part").write_text("text")
    refuse_input([str(tmp_path / "fifo")], io.BytesIO(), [str(tmp_path / "fifo.part")])


def test_a_reader_that_has_gone_is_no_output_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as stdout:
        output = Output(stdout, "standard output", eager=True)
        with pytest.raises(BrokenPipeError):
            output.write(b"x")
        output.close(complete=False)
        stdout.write(b"nobody is told, and nobody complains")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the device that is always full")
def test_a_full_disk_is_reported_once() -> None:
    with open("/dev/full", "wb") as stdout:
        output = Output(stdout, "standard output")
        output.write(b"x")
        with pytest.raises(OutputError, match="no space left on device") as caught:
            output.flush()
        assert caught.value.hint
        output.close(complete=False)
