"""Compressed inputs: whole, in a row, cut short, damaged, wrongly named."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from bertcli.errors import InputError
from bertcli.requests import InputOptions
from bertcli.sources import open_source
from bertcli.sources.compression import MOST_AT_ONCE, decompress
from tests.sources.reading import Dribble, read, read_until_error, texts

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstandard.compress,
}
SUFFIXES = {"gzip": ".gz", "bzip2": ".bz2", "xz": ".xz", "zstd": ".zst"}
# numbers do not compress to nothing: there is something to cut off
LINES = [str(number * 7919 % 100_003) * 3 for number in range(30_000)]
DATA = "".join(line + "\n" for line in LINES).encode()

kinds = pytest.mark.parametrize("kind", COMPRESS)


@kinds
def test_streams_in_a_row_are_one_input(kind: str) -> None:
    compress = COMPRESS[kind]
    data = compress(b"a\nb") + compress(b"") + compress(b"c\n") + b"\0" * 8 + compress(b"d\n")
    assert texts(read(stdin=data)) == ["a", "bc", "d"]
    assert texts(read(stdin=Dribble(data))) == ["a", "bc", "d"]


@kinds
def test_a_cut_file_gives_what_came_before_and_then_an_error(kind: str, tmp_path: Path) -> None:
    file = tmp_path / f"cut.txt{SUFFIXES[kind]}"
    file.write_bytes(COMPRESS[kind](DATA)[:-20])
    source = open_source(InputOptions(files=(str(file),)))
    records, error = read_until_error(source)
    assert "ends in the middle of compressed data" in error.message
    assert texts(records) == LINES[: len(records)]
    assert kind == "bzip2" or len(records) > 20_000  # bzip2 unpacks 900 kB or nothing
    assert error.where == (f"{file}:{len(records)}" if records else str(file))


@kinds
def test_damage_in_the_middle_gives_what_came_before_and_then_an_error(kind: str) -> None:
    data = bytearray(COMPRESS[kind](DATA))
    data[len(data) // 2 : len(data) // 2 + 40] = bytes(40)
    source = open_source(InputOptions(), stdin=io.BytesIO(bytes(data)), interactive=False)
    records, error = read_until_error(source)
    assert "damaged" in error.message
    # some of the damage may have been unpacked before it was noticed, but the beginning is whole
    assert texts(records[:100]) == LINES[: len(records[:100])]


@kinds
def test_a_name_that_promises_compression_is_held_to_it(kind: str, tmp_path: Path) -> None:
    plain, empty = tmp_path / f"plain{SUFFIXES[kind]}", tmp_path / f"empty{SUFFIXES[kind]}"
    plain.write_bytes(b"plain text\n")
    empty.write_bytes(b"")
    with pytest.raises(InputError, match="in spite of its name"):
        read(plain)
    with pytest.raises(InputError, match="is empty"):
        read(empty)


def test_the_content_counts_where_two_compressions_disagree(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl.gz"
    file.write_bytes(zstandard.compress(b'{"text": "t"}\n'))
    assert texts(read(file)) == ["t"]


@pytest.mark.parametrize(
    "text", [b"BZh9 is a magic number\n", b"P*M\n", b"\x1f\x8b\n", b"B\n", b"PAR1 lamp\n"]
)
def test_text_that_begins_like_something_else_is_text(text: bytes) -> None:
    (record,) = read(stdin=Dribble(text))
    assert record.problem is not None or record.text == text.decode().rstrip("\n")


def test_skippable_frames_and_long_windows_of_zstd_are_read() -> None:
    skippable = b"\x50\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"skip"
    parameters = zstandard.ZstdCompressionParameters(window_log=29)
    packed = zstandard.ZstdCompressor(compression_params=parameters).compress(b"a\nb\n")
    assert texts(read(stdin=skippable + packed)) == ["a", "b"]


@pytest.mark.slow
@kinds
def test_a_bomb_is_unpacked_in_pieces(kind: str) -> None:
    packed = COMPRESS[kind](b"x" * (40 * MOST_AT_ONCE))
    pieces = [len(piece) for piece in decompress(iter([packed]), kind)]
    assert sum(pieces) == 40 * MOST_AT_ONCE
    assert max(pieces) <= (40 if kind == "zstd" else 1) * MOST_AT_ONCE


def test_gzip_hands_on_what_has_arrived() -> None:
    packer = zlib.compressobj(wbits=31)
    first = packer.compress(b"first\n") + packer.flush(zlib.Z_SYNC_FLUSH)

    def arriving() -> object:
        yield first
        raise AssertionError("asked for more before handing on the first line")

    assert next(decompress(arriving(), "gzip")) == b"first\n"


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(InputError) as caught:
        read(stdin=b"\x28\xb5\x2f\xfd....")
    assert caught.value.hint == "pip install 'bertcli[zstd]'"
