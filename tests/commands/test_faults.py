"""What goes wrong around a run: it says so in a line, ends with 1, and can be resumed."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Make

pytestmark = pytest.mark.slow

COUNT = 1500


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("faults") / "in.jsonl"
    with path.open("w") as file:
        for number in range(COUNT):
            text = " ".join(["the server is down again"] * (1 + number % 3)) + f" {number}"
            file.write(json.dumps({"id": number, "text": text}) + "\n")
    return path


Bertcli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def command(checkpoints: Make) -> Callable[..., list[str]]:
    def command(*arguments: object) -> list[str]:
        model = str(checkpoints("bert", "label"))
        fixed = [sys.executable, "-m", "bertcli", "label", "-m", model, "--engine", "instant"]
        return [*fixed, *map(str, arguments)]

    return command


@pytest.fixture(scope="module")
def bertcli(command: Callable[..., list[str]]) -> Bertcli:
    def bertcli(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command(*arguments), capture_output=True, text=True, **options)  # type: ignore[call-overload]

    return bertcli


def ids(path: Path) -> list[int]:
    return [json.loads(line)["id"] for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def whole(texts: Path, bertcli: Bertcli) -> bytes:
    """The output of a run of `texts` that nothing interrupted."""
    path = texts.with_name("whole.jsonl")
    assert bertcli(texts, "-o", path).returncode == 0
    assert ids(path) == list(range(COUNT))
    return path.read_bytes()


def assert_resumes(bertcli: Bertcli, output: Path, *inputs: Path, whole: bytes) -> None:
    done = bertcli(*inputs, "-o", output, "--resume")
    assert (done.returncode, "from before" in done.stderr) == (0, True), done.stderr
    assert output.read_bytes() == whole


def test_a_file_that_may_not_grow(texts: Path, whole: bytes, bertcli: Bertcli, tmp_path: Path) -> None:
    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))

    done = bertcli(texts, "-o", tmp_path / "out.jsonl", preexec_fn=limited)
    assert done.returncode == 1
    assert f"bertcli: {tmp_path}/out.jsonl: cannot write: file too large\n" in done.stderr
    assert_resumes(bertcli, tmp_path / "out.jsonl", texts, whole=whole)


@pytest.mark.parametrize(
    ("call", "number", "hint"),
    [
        ("pwrite", errno.ENOSPC, "free some space, then continue with --resume"),
        ("pwrite", errno.EDQUOT, "free some space, then continue with --resume"),
        ("pwrite", errno.EROFS, "--resume continues from there"),
        ("fsync", errno.EIO, "--resume continues from there"),
        ("ftruncate", errno.EIO, "--resume continues from there"),
    ],
)
def test_a_journal_that_cannot_be_written_on(
    call: str,
    number: int,
    hint: str,
    texts: Path,
    whole: bytes,
    command: Callable[..., list[str]],
    bertcli: Bertcli,
    tmp_path: Path,
) -> None:
    code = (
        "import os, sys; from bertcli.journal import journal; journal.REST, journal.SHARE = 0.0, 0\n"
        "call, number = sys.argv.pop(), int(sys.argv.pop()); real, left = getattr(os, call), [3]\n"
        "def failing(descriptor, *rest):\n"
        "    if os.readlink(f'/proc/self/fd/{descriptor}').endswith('.journal'):\n"
        "        left[0] -= 1\n"
        "        if left[0] <= 0: raise OSError(number, os.strerror(number))\n"
        "    return real(descriptor, *rest)\n"
        "setattr(os, call, failing)\n"
        "from bertcli import cli; raise SystemExit(cli.main(sys.argv[1:]))"
    )
    arguments = command(texts, "-o", tmp_path / "out.jsonl")[3:]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments, str(number), call], capture_output=True, text=True
    )
    assert done.returncode == 1
    reason = os.strerror(number).lower()
    assert f"bertcli: {tmp_path}/out.jsonl.journal: cannot write: {reason}\n  {hint}\n" in done.stderr
    assert_resumes(bertcli, tmp_path / "out.jsonl", texts, whole=whole)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 128 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = shutil.which("mount") and not subprocess.call(
        ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(place)], stderr=subprocess.DEVNULL
    )
    if not mounted:
        pytest.skip("needs the right to mount")
    yield place
    subprocess.check_call(["umount", str(place)])


def test_a_full_disk(texts: Path, whole: bytes, small_disk: Path, bertcli: Bertcli) -> None:
    done = bertcli(texts, "-o", small_disk / "out.jsonl")
    assert done.returncode == 1
    assert f"{small_disk}/out.jsonl: cannot write: no space left on device\n" in done.stderr
    assert "free some space, then continue with --resume" in done.stderr
    subprocess.check_call(["mount", "-o", "remount,size=8m", str(small_disk)])
    assert_resumes(bertcli, small_disk / "out.jsonl", texts, whole=whole)


def test_an_input_that_vanishes_before_its_turn(
    texts: Path, whole: bytes, command: Callable[..., list[str]], bertcli: Bertcli, tmp_path: Path
) -> None:
    lines = texts.read_text().splitlines(keepends=True)
    inputs = [tmp_path / "first.jsonl", tmp_path / "second.jsonl"]
    inputs[0].write_text("".join(lines[:1000]))
    inputs[1].write_text("".join(lines[1000:]))
    away = tmp_path / "away"
    code = (
        "import os, sys; from bertcli.sources import stream; opened = stream.open_contents\n"
        "def vanish(source, options):\n"
        "    if source.path.endswith('second.jsonl'): os.replace(source.path, sys.argv.pop())\n"
        "    return opened(source, options)\n"
        "stream.open_contents = vanish\n"
        "from bertcli import cli; raise SystemExit(cli.main(sys.argv[1:-1]))"
    )
    arguments = command(*inputs, "-o", tmp_path / "out.jsonl")[3:]
    done = subprocess.run([sys.executable, "-c", code, *arguments, str(away)], capture_output=True, text=True)
    assert done.returncode == 1
    assert "second.jsonl: cannot be read: no such file or directory" in done.stderr
    gone = bertcli(*inputs, "-o", tmp_path / "out.jsonl", "--resume")
    assert gone.returncode == 1
    assert f"there is no file '{inputs[1]}'" in gone.stderr
    shutil.copy(away, inputs[1])
    assert_resumes(bertcli, tmp_path / "out.jsonl", *inputs, whole=whole)


def test_an_input_that_is_cut_while_it_is_read(
    command: Callable[..., list[str]], bertcli: Bertcli, tmp_path: Path
) -> None:
    texts = tmp_path / "long.jsonl"
    line = json.dumps({"text": "down " * 100})
    texts.write_text(f"{line}\n" * 5000)
    with subprocess.Popen(command(texts, "-o", tmp_path / "out.jsonl"), stderr=subprocess.PIPE) as process:
        wait_for(lambda: (tmp_path / "out.jsonl.journal").exists())
        os.truncate(texts, 600_000)
        assert process.wait() == 1
        assert process.stderr is not None
        assert b"ends after 600 000 of 2 565 000 bytes" in process.stderr.read()
    assert not (tmp_path / "out.jsonl").exists()


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def has_points(path: Path) -> bool:
    return path.exists() and path.read_bytes().count(b"\n") > 1


def test_an_output_directory_that_disappears(
    texts: Path, whole: bytes, command: Callable[..., list[str]], bertcli: Bertcli, tmp_path: Path
) -> None:
    place, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    place.mkdir()
    with subprocess.Popen(
        command(texts, "-o", place / "out.jsonl"), stderr=subprocess.PIPE, text=True
    ) as process:
        wait_for(lambda: has_points(place / "out.jsonl.journal"))
        process.send_signal(signal.SIGSTOP)
        place.rename(elsewhere)
        process.send_signal(signal.SIGCONT)
        assert process.wait() == 1
        assert process.stderr is not None
        said = process.stderr.read()
    assert f"{place}/out.jsonl.part: has disappeared while it was written\n" in said
    missing = bertcli(texts, "-o", place / "out.jsonl", "--resume")
    assert missing.returncode == 1
    assert f"directory '{place}' does not exist" in missing.stderr
    elsewhere.rename(place)
    assert_resumes(bertcli, place / "out.jsonl", texts, whole=whole)
