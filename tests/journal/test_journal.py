"""The journal of an output: what is believed of it, and who may have it."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertcli.errors import OutputError
from bertcli.journal import Journal, Mark, Point, journal, journal_of
from bertcli.journal.outputs import JOURNAL_BEGINS

FACTS = {"command": "label", "options": {"--limit": None}}


def point(records: int, *added: int) -> Point:
    return Point(records, f"digest of {records}", records, {"done": records}, Mark({"size": records}, added))


def kept(path: Path, *points: Point) -> None:
    """Leave a journal with these points, and a part, as an interrupted run does."""
    (path.parent / f"{path.name}.part").write_text("something")
    book = Journal(str(path))
    book.begin(FACTS)
    for each in points:
        book.keep(each, lambda: None)
    book.catch_up(lambda: None)
    book.close()


def test_the_last_point_is_found_again_with_all_that_was_added(tmp_path: Path) -> None:
    kept(tmp_path / "a", point(1, 10), point(2, 20, 21), point(3))
    found = Journal(str(tmp_path / "a"))
    assert found.begun == FACTS
    assert found.point == Point(3, "digest of 3", 3, {"done": 3}, Mark({"size": 3}, (10, 20, 21)))
    found.keep(point(4, 40), lambda: None)
    found.close()
    again = Journal(str(tmp_path / "a"))
    assert again.point is not None
    assert (again.point.records, again.point.mark.added) == (4, (10, 20, 21, 40))
    again.close()


@given(cut=st.integers(0, 10_000), tail=st.binary(max_size=5))
def test_of_a_torn_end_nothing_is_believed(cut: int, tail: bytes, tmp_path_factory) -> None:
    path = tmp_path_factory.mktemp("journal") / "a"
    kept(path, *(point(records, records) for records in range(1, 4)))
    whole = journal_of(str(path)).read_bytes()
    lines = whole.splitlines(keepends=True)
    cut = len(JOURNAL_BEGINS) + cut % (len(whole) + 1 - len(JOURNAL_BEGINS))  # else it is nobody's journal
    journal_of(str(path)).write_bytes(whole[:cut] + tail.replace(b"\n", b" "))
    lengths = [sum(map(len, lines[: count + 1])) for count in range(len(lines))]
    intact = sum(length <= cut for length in lengths)
    found = Journal(str(path))
    assert (found.begun is None) == (intact == 0)
    assert (0 if found.point is None else found.point.records) == max(0, intact_points(lines, intact))
    if found.begun is None:
        found.begin(FACTS)
    found.keep(point(9, 9), lambda: None)
    found.close()
    mended = Journal(str(path))
    assert mended.point is not None
    assert mended.point.records == 9
    mended.close()


@given(where=st.floats(0, 0.999), bit=st.integers(0, 7))
def test_of_an_altered_line_nothing_is_believed(where: float, bit: int, tmp_path_factory) -> None:
    path = tmp_path_factory.mktemp("journal") / "a"
    kept(path, *(point(records, records) for records in range(1, 4)))
    data = bytearray(journal_of(str(path)).read_bytes())
    at = len(JOURNAL_BEGINS) + int(where * (len(data) - len(JOURNAL_BEGINS)))
    data[at] ^= 1 << bit
    journal_of(str(path)).write_bytes(data)
    intact = journal_of(str(path)).read_bytes()[:at].count(b"\n")
    found = Journal(str(path))
    assert (found.begun is None) == (intact == 0)
    assert found.point == (None if intact < 2 else point(intact - 1, *range(1, intact)))
    found.close()


def intact_points(lines: list[bytes], intact: int) -> int:
    return json.loads(lines[intact - 1])["records"] if intact > 1 else 0


@pytest.mark.parametrize(
    "line", ["[]", "{}", "null", '{"records": "x"}', '{"records": 1}', "[" * 100_000, '{"journal": 99}']
)
def test_a_nonsense_line_ends_what_is_believed(line: str, tmp_path: Path) -> None:
    kept(tmp_path / "a", point(1))
    data = journal.sealed(json.loads(line)) if line.startswith('{"') else f"{line}\n".encode()
    with journal_of(str(tmp_path / "a")).open("ab") as file:
        file.write(data)
    found = Journal(str(tmp_path / "a"))
    assert found.point is not None
    assert found.point.records == 1
    found.close()
    journal_of(str(tmp_path / "a")).write_bytes(data)
    if data.startswith(JOURNAL_BEGINS):
        found = Journal(str(tmp_path / "a"))
        assert found.begun is None
        found.close()
    else:  # it may be somebody's own
        with pytest.raises(OutputError, match="is not a journal of bertcli"):
            Journal(str(tmp_path / "a"))
        assert journal_of(str(tmp_path / "a")).read_bytes() == data


@pytest.mark.parametrize("kind", ["text", "link", "fifo"])
def test_what_is_no_journal_is_left_alone(kind: str, tmp_path: Path) -> None:
    place = journal_of(str(tmp_path / "a"))
    (tmp_path / "mine").write_text("mine")
    match kind:
        case "text":
            place.write_text("dear diary")
        case "link":
            place.symlink_to(tmp_path / "mine")
        case "fifo":
            os.mkfifo(place)
    with pytest.raises(OutputError, match="symbolic link" if kind == "link" else "not a journal"):
        Journal(str(tmp_path / "a"))
    assert os.path.lexists(place)
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_lock_call_that_is_always_interrupted_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ctypes

    calls = []

    class Library:
        def flock(self, descriptor: int, operation: int) -> int:
            calls.append(operation)
            ctypes.set_errno(errno.EINTR)
            return -1

    monkeypatch.setattr(ctypes, "CDLL", lambda *arguments, **options: Library())
    Journal(str(tmp_path / "a")).close()
    assert 1 < len(calls) < 100


def test_what_is_vouched_for_is_on_the_disk_before_the_line(tmp_path: Path) -> None:
    book = Journal(str(tmp_path / "a"))
    book.begin(FACTS)
    seen: list[int] = []

    def sync() -> None:
        seen.append(journal_of(str(tmp_path / "a")).read_bytes().count(b"\n"))

    book.keep(point(1), sync)
    book.keep(point(2), sync)
    book.catch_up(sync)
    assert seen == [1, 2]  # lines at the time: the first, and then that of point 1
    book.close()


def test_lines_keep_their_distance(tmp_path: Path) -> None:
    now = 0.0
    book = Journal(str(tmp_path / "a"), clock=lambda: now)
    book.begin(FACTS)
    syncs: list[int] = []
    for step in range(100):
        now = step / 10
        book.keep(point(step + 1), lambda step=step: syncs.append(step))
    assert len(syncs) == 10
    book.close()


def test_a_slow_disk_is_written_less(tmp_path: Path) -> None:
    now = 0.0

    def sync() -> None:
        nonlocal now
        now += 1.0

    book = Journal(str(tmp_path / "a"), clock=lambda: now)
    book.begin(FACTS)
    for step in range(100):
        now += 1.0
        book.keep(point(step + 1), sync)
    lines = journal_of(str(tmp_path / "a")).read_bytes().count(b"\n")
    assert 1 + 100 / (journal.SHARE + 1) <= lines <= 3 + 100 / journal.SHARE
    book.close()


def test_a_journal_without_a_part_is_not_left(tmp_path: Path) -> None:
    book = Journal(str(tmp_path / "a"))
    book.begin(FACTS)
    book.close()
    assert list(tmp_path.iterdir()) == []


def test_a_second_run_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    hold = (
        "import sys, time; from bertcli.journal import Journal; held = Journal(sys.argv[1]);"
        "print('held', flush=True); time.sleep(60)"
    )
    first = subprocess.Popen([sys.executable, "-c", hold, str(tmp_path / "a")], stdout=subprocess.PIPE)
    assert first.stdout is not None
    assert first.stdout.readline() == b"held\n"
    with pytest.raises(OutputError, match="is being written by another run") as caught:
        Journal(str(tmp_path / "a"))
    assert caught.value.where == str(tmp_path / "a")
    Journal(str(tmp_path / "b")).close()
    first.kill()
    first.wait()
    first.stdout.close()
    Journal(str(tmp_path / "a")).close()
    assert list(tmp_path.iterdir()) == []


def test_a_link_and_its_target_are_one_output(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("a")
    held = Journal(str(tmp_path / "a"))
    with pytest.raises(OutputError, match="another run"):
        Journal(str(tmp_path / "link"))
    held.close()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_that_must_not_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="permission denied"):
        Journal(str(tmp_path / "a"))
