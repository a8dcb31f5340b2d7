"""Runs in int8: calibrated on their first texts or on a file, cached, resumed to the same bytes, reported."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bertcli import cli, console
from bertcli.engines.int8 import has_int8_products
from bertcli.engines.packed import Packed
from bertcli.journal import journal
from tests.conftest import Make

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not has_int8_products(), reason="no AVX-512 VNNI"),
]

WORDS = ["the", "capital", "of", "france", "is", "paris", "and", "nobody", "answers", "since", "yesterday"]
Run = Callable[..., int]


@pytest.fixture
def run(checkpoints: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(journal, "REST", 0.0)
    monkeypatch.setattr(journal, "SHARE", 0)
    lines = [" ".join(WORDS[number % 7 :][: 1 + number % 10]) + f" {number}" for number in range(60)]
    rows = [json.dumps({"id": number, "text": line}) for number, line in enumerate(lines)]
    Path("in.jsonl").write_text("\n".join(rows))
    Path("other.jsonl").write_text("\n".join(rows[::-3]))

    def run(command: str, *arguments: str, source: str = "in.jsonl") -> int:
        console.release_stdout()
        kind, dtype = {"label": ("label", "--dtype"), "embed": ("base", "--compute-dtype")}[command]
        small = ("--threads", "1", "--batch-tokens", "64")
        model = str(checkpoints("bert", kind))
        return cli.main([command, source, "-m", model, dtype, "int8", *small, *arguments])

    yield run
    console.release_stdout()


@pytest.fixture(autouse=True)
def rounds_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Round all products, whatever is faster on this processor."""
    monkeypatch.setattr("bertcli.engines.fused.is_worth_rounding", lambda role, weight: True)


def break_line(number: int) -> None:
    lines = Path("in.jsonl").read_text().splitlines()
    lines[number] = '{"text": broken'
    Path("in.jsonl").write_text("\n".join(lines))


def digest_in(printed: str) -> str:
    found = re.search(r"packed cpu int8 \((\w{8})\)", printed)
    assert found is not None
    return found[1]


def test_what_int8_changes_is_reported(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("label", "-o", "a.jsonl") == 0
    printed = capfd.readouterr().err
    assert re.search(
        r"int8 beside float32, 60 texts: \d+ with another answer \(\d+\.\d%\), no score off by", printed
    )
    assert run("embed", "-o", "a.npy") == 0
    printed = capfd.readouterr().err
    found = re.search(r"cosine at least · 1 in 100 · median (\S+) · (\S+) · (\S+)\n", printed)
    assert found is not None
    assert 0.9 < float(found[1]) <= float(found[2]) <= float(found[3]) < 1


def test_that_nothing_is_rounded_is_reported(
    run: Run, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    run("label", "-o", "a.jsonl")
    assert "none is rounded" not in capfd.readouterr().err
    monkeypatch.setattr("bertcli.engines.fused.is_worth_rounding", lambda role, weight: False)
    run("label", "--calibration", "other.jsonl", "-o", "b.jsonl")
    assert "int8 would make no product of this model faster here, or lose too much: none is rounded" in (
        capfd.readouterr().err
    )


def test_a_calibration_is_made_once(
    run: Run, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    run("label", "-o", "one.jsonl")
    first = capfd.readouterr().err
    opened = []
    init = Packed.__init__
    monkeypatch.setattr(
        Packed, "__init__", lambda self, *a, **k: (opened.append(k["dtype"]), init(self, *a, **k))[1]
    )
    run("label", "-o", "two.jsonl")
    assert opened == ["int8"]
    assert digest_in(capfd.readouterr().err) == digest_in(first)
    assert Path("one.jsonl").read_bytes() == Path("two.jsonl").read_bytes()
    (cached,) = Path("cache/bertcli/calibrations").iterdir()
    cached.write_bytes(cached.read_bytes()[:-1])
    run("label", "-o", "three.jsonl")  # a damaged file does not count
    assert opened[1:] == ["float32", "int8", "int8"]
    assert Path("one.jsonl").read_bytes() == Path("three.jsonl").read_bytes()


def test_another_processor_makes_its_own(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for has_amx in (True, False):
        monkeypatch.setattr("torch.cpu._is_amx_tile_supported", lambda has_amx=has_amx: has_amx)
        run("label", "-o", "out.jsonl", "--overwrite")
    assert len(list(Path("cache/bertcli/calibrations").iterdir())) == 2


def test_other_texts_are_another_calibration(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    run("label", "-o", "a.jsonl")
    own = digest_in(capfd.readouterr().err)
    run("label", "--calibration", "other.jsonl", "-o", "b.jsonl")
    other = digest_in(capfd.readouterr().err)
    assert own != other
    run("label", "--calibration", "other.jsonl", "-o", "c.jsonl", source="other.jsonl")
    assert digest_in(capfd.readouterr().err) == other


@pytest.mark.parametrize("keeps_cache", [True, False])
def test_a_resumed_run_ends_in_the_same_bytes(
    run: Run, keeps_cache: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    break_line(40)
    assert run("label", "-o", "whole.jsonl") == 3
    digest = digest_in(capfd.readouterr().err)
    assert run("label", "-o", "cut.jsonl", "--max-errors", "1") == 3
    capfd.readouterr()
    if not keeps_cache:
        for path in Path("cache/bertcli/calibrations").iterdir():
            path.unlink()
    assert run("label", "-o", "cut.jsonl", "--resume") == 3
    printed = capfd.readouterr().err
    assert "from before" in printed
    assert digest_in(printed) == digest
    assert Path("cut.jsonl").read_bytes() == Path("whole.jsonl").read_bytes()


def test_a_run_calibrated_otherwise_is_not_resumed(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    break_line(40)
    run("label", "-o", "a.jsonl", "--max-errors", "1")
    assert run("label", "-o", "a.jsonl", "--resume", "--calibration", "other.jsonl") == 1
    assert "the calibration of int8 was" in capfd.readouterr().err


def test_shards_share_a_calibration(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    shared = ("--calibration", "other.jsonl")
    run("label", "-o", "whole.jsonl", *shared)
    for part in (1, 2):
        assert run("label", "-o", f"{part}.jsonl", "--shard", f"{part}/2", *shared) == 0
    console.release_stdout()
    assert cli.main(["merge", "1.jsonl", "2.jsonl", "-o", "all.jsonl"]) == 0
    assert Path("all.jsonl").read_bytes() == Path("whole.jsonl").read_bytes()


def test_a_calibration_file_without_texts_is_refused(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    Path("empty.jsonl").touch()
    assert run("label", "-o", "a.jsonl", "--calibration", "empty.jsonl") == 2
    assert "empty.jsonl: --calibration: there is no text" in capfd.readouterr().err
