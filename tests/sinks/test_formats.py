"""Which form an output takes, and what is refused before a file is made."""

from __future__ import annotations

import builtins
import gzip
import io
import os
import zlib
from pathlib import Path
from typing import Any

import pytest
import zstandard

from bertcli.console import Terminal
from bertcli.errors import OutputError, UsageError
from bertcli.requests import OutputOptions
from bertcli.sinks import Layout, open_sink
from bertcli.sinks.formats import choose_format
from tests.sinks.writing import EMBED, LABEL, PIPE, REMARKS, result, to_bytes, to_file

SCREEN = Terminal(is_tty=True, width=80)
PRAISE = result({"label": "praise", "score": 0.9})


@pytest.mark.parametrize(
    ("path", "asked", "terminal", "form"),
    [
        (None, None, PIPE, ("jsonl", "")),
        (None, None, SCREEN, ("table", "")),
        ("-", None, SCREEN, ("table", "")),
        (None, "csv", SCREEN, ("csv", "")),
        ("a.jsonl", None, SCREEN, ("jsonl", "")),
        ("a.ndjson", None, PIPE, ("jsonl", "")),
        ("a.JSON", None, PIPE, ("json", "")),
        ("a.csv.gz", None, PIPE, ("csv", ".gz")),
        ("a.tsv.zst", None, PIPE, ("tsv", ".zst")),
        ("a.npy", None, PIPE, ("npy", "")),
        ("a.parquet", None, PIPE, ("parquet", "")),
        ("a.out", "jsonl", PIPE, ("jsonl", "")),
        ("a.csv", "json", PIPE, ("json", "")),
        (os.devnull, None, PIPE, ("jsonl", "")),
    ],
)
def test_form_by_flag_then_suffix_then_terminal(
    path: str | None, asked: Any, terminal: Terminal, form: tuple[str, str]
) -> None:
    assert choose_format(OutputOptions(output=path, format=asked), terminal) == form


def test_an_unknown_suffix_names_the_forms(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        to_file(tmp_path / "a.docx", [PRAISE])
    assert ".parquet" in str(caught.value.hint)
    assert not list(tmp_path.iterdir())


def test_a_binary_form_is_not_compressed_as_a_whole(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="parquet is not compressed"):
        to_file(tmp_path / "a.parquet.gz", [PRAISE])


@pytest.mark.parametrize("form", ["parquet", "npy"])
def test_a_binary_form_is_not_for_a_terminal(form: str) -> None:
    with pytest.raises(UsageError, match="not for a terminal"):
        to_bytes([], EMBED, terminal=SCREEN, format=form)


@pytest.mark.parametrize("form", ["jsonl", "json", "csv", "tsv", "table"])
@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_compressed_text_is_the_text(form: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    results = [PRAISE] * 3
    to_file(path, results, format=form)
    packed = path.read_bytes()
    if suffix == ".gz":
        assert gzip.decompress(packed) == to_bytes(results, format=form)
    else:
        with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(packed)) as reader:
            assert reader.read() == to_bytes(results, format=form)


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst"])
def test_a_file_does_not_show_where_its_input_paused(name: str, tmp_path: Path) -> None:
    to_file(tmp_path / name, [PRAISE] * 5)
    paused = tmp_path / f"paused-{name}"
    sink = open_sink(OutputOptions(output=str(paused)), LABEL, stdout=io.BytesIO(), terminal=PIPE)
    for _ in range(5):
        sink.write(PRAISE)
        sink.flush()
    sink.close(complete=True)
    assert paused.read_bytes() == (tmp_path / name).read_bytes()


def test_a_missing_library_leaves_no_file_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name in ("zstandard", "pyarrow"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    for name, extra in (("a.jsonl.zst", "zstd"), ("a.parquet", "parquet")):
        with pytest.raises(UsageError) as caught:
            to_file(tmp_path / name, [PRAISE])
        assert f"bertcli[{extra}]" in str(caught.value.hint)
    assert not list(tmp_path.iterdir())


def test_a_pause_shows_everything_to_the_reader_of_a_compressed_fifo(tmp_path: Path) -> None:
    path = tmp_path / "pipe.jsonl.gz"
    os.mkfifo(path)
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # or opening it for writing would wait for a reader
    unpack = zlib.decompressobj(wbits=31)
    sink = open_sink(OutputOptions(output=str(path)), LABEL, stdout=io.BytesIO(), terminal=PIPE)
    for _ in range(2):
        sink.write(PRAISE)
        sink.flush()
        assert unpack.decompress(os.read(reading, 4096)) == to_bytes([PRAISE])
    sink.close(complete=True)
    unpack.decompress(os.read(reading, 4096))
    os.close(reading)
    assert unpack.eof
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the device that is always full")
@pytest.mark.parametrize("form", ["jsonl", "json", "csv", "table", "parquet"])
def test_a_full_disk_is_an_output_error(form: str) -> None:
    with pytest.raises(OutputError, match="no space left on device"):
        to_file(Path("/dev/full"), [PRAISE], format=form)


def test_columns_are_in_the_order_of_rows() -> None:
    layout = Layout("label", ("id", "text"), ("label", "score"), ("labels", *REMARKS), "text", prefix="p_")
    assert layout.columns == (
        "id", "text", "p_label", "p_score", "p_labels", "p_windows", "p_truncated", "p_error",
    )  # fmt: skip
