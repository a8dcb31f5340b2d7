"""Objects in storage as input and output, in fsspec's memory file system; in S3 in `test_s3.py`."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pyarrow as pa
import pytest
from fsspec.registry import known_implementations
from pyarrow import parquet

from bertcli import cli, console
from bertcli.records import Result
from bertcli.sinks.jsonl import JsonlSink
from tests.conftest import Make

Run = Callable[..., int]
LINES = "".join(json.dumps({"id": number, "text": f"text {number}"}) + "\n" for number in range(20))


@pytest.fixture
def memory() -> Iterator[fsspec.AbstractFileSystem]:
    system = fsspec.filesystem("memory")
    system.store.clear()
    system.pipe("/in.jsonl", LINES.encode())
    yield system
    system.store.clear()


@pytest.fixture
def run(
    checkpoints: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: fsspec.AbstractFileSystem
) -> Iterator[Run]:
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, source: str = "memory://in.jsonl", command: str = "label") -> int:
        console.release_stdout()
        model = str(checkpoints("bert", "base" if command == "embed" else command))
        return cli.main([command, source, "-m", model, "--engine", "instant", *arguments])

    yield run
    console.release_stdout()


@pytest.mark.parametrize("name", ["out.jsonl", "out.json", "out.jsonl.gz", "out.parquet"])
def test_an_object_is_what_a_file_is(name: str, run: Run, memory: fsspec.AbstractFileSystem) -> None:
    Path("in.jsonl").write_text(LINES)
    assert run("-o", name, source="in.jsonl") == 0
    assert run("-o", f"memory://folder/{name}") == 0
    assert sorted(memory.find("/")) == [f"/folder/{name}", "/in.jsonl"]
    written, expected = memory.cat(f"/folder/{name}"), Path(name).read_bytes()
    if name == "out.parquet":
        names = parquet.read_table(name).column_names
        assert (
            parquet.read_table(pa.BufferReader(written))
            .select(names)
            .equals(parquet.read_table(pa.BufferReader(expected)))
        )
    elif name == "out.jsonl.gz":
        assert gzip.decompress(written) == gzip.decompress(expected)
    else:
        assert written == expected


@pytest.mark.parametrize("form", ["parquet", "jsonl.gz"])
def test_objects_of_other_formats_are_read(form: str, run: Run, memory: fsspec.AbstractFileSystem) -> None:
    assert run("-o", f"memory://a.{form}") == 0
    assert run("-o", "b.jsonl", "--prefix", "new_", source=f"memory://a.{form}") == 0
    assert [json.loads(line)["id"] for line in Path("b.jsonl").read_text().splitlines()] == list(range(20))


@pytest.mark.parametrize("name", ["jsonl", "csv", "parquet"])
def test_shards_are_read_written_and_merged(name: str, run: Run, memory: fsspec.AbstractFileSystem) -> None:
    assert run("-o", f"one.{name}") == 0
    for part in (1, 2, 3):
        assert run("-o", f"memory://{part}.{name}", "--shard", f"{part}/3") == 0
    console.release_stdout()
    assert cli.main(["merge", *(f"memory://{part}.{name}" for part in (1, 2, 3)), "-o", f"all.{name}"]) == 0
    if name == "parquet":
        assert parquet.read_table("all.parquet").equals(parquet.read_table("one.parquet"))
    else:
        assert Path(f"all.{name}").read_bytes() == Path(f"one.{name}").read_bytes()
    console.release_stdout()
    assert (
        cli.main(["merge", *(f"memory://{part}.{name}" for part in (1, 2, 3)), "-o", f"memory://all.{name}"])
        == 0
    )
    assert memory.exists(f"/all.{name}")


def test_an_interrupted_object_does_not_appear(
    run: Run, memory: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, written = JsonlSink.write, iter(range(100))

    def interrupted(self: JsonlSink, result: Result) -> None:
        if next(written) == 9:
            raise KeyboardInterrupt
        write(self, result)

    monkeypatch.setattr(JsonlSink, "write", interrupted)
    assert run("-o", "memory://out.jsonl") == 130
    assert memory.find("/") == ["/in.jsonl"]


def test_an_existing_object_is_replaced_when_asked(
    run: Run, memory: fsspec.AbstractFileSystem, capfd: pytest.CaptureFixture[str]
) -> None:
    memory.pipe("/out.jsonl", b"precious")
    assert run("-o", "memory://out.jsonl") == 1
    assert "exists already" in capfd.readouterr().err
    assert memory.cat("/out.jsonl") == b"precious"
    assert run("-o", "memory://out.jsonl", "--overwrite") == 0
    assert memory.cat("/out.jsonl").count(b"\n") == 20


@pytest.mark.parametrize(
    ("source", "arguments", "message"),
    [
        ("memory://none.jsonl", (), "memory://none.jsonl: does not exist"),
        ("memory://", (), "is a directory"),
        ("https://example.org is down", (), "it looks like text"),
        ("https://example.org/a.jsonl", (), "nothing is downloaded: curl -s https://example.org/a.jsonl |"),
        ("nowhere://a.jsonl", (), "no storage is known by nowhere://"),
        ("gs://bucket/a.jsonl", (), 'pip install "bertcli[cloud]"'),
        ("memory://in.jsonl", ("-o", "gs://bucket/a.jsonl"), 'pip install "bertcli[cloud]"'),
        ("memory://in.jsonl", ("-o", "memory://out.jsonl", "--resume"), "write to a file and copy it"),
        ("memory://in.jsonl", ("-o", "memory://out"), "names no output format"),
        ("memory://in.jsonl", ("-o", "memory://in.jsonl", "--overwrite"), "is an input and the output"),
    ],
)
def test_what_cannot_be_is_said_in_two_lines(
    source: str, arguments: tuple[str, ...], message: str, run: Run, capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setitem(known_implementations, "gs", {"class": "no_such.Module", "err": "Install it"})
    assert run(*arguments, source=source) in (1, 2)
    printed = capfd.readouterr().err
    assert message in printed
    assert printed.count("\n") == 2


def test_vectors_need_a_file(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("-o", "memory://out.npy", command="embed") == 2
    assert "npy needs a file on this machine" in capfd.readouterr().err
