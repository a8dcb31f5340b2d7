"""Plain text: lines, NUL-separated texts, whole files, literal texts."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from bertcli.errors import InputError
from bertcli.records import Problem
from tests.sources.reading import Dribble, problems, read, texts


def test_every_line_is_a_record_whatever_is_in_it() -> None:
    data = b"fine\n\xff\xfe\n\n \nna\xc3\xafve\n\0\x0b\x0c\xe2\x80\xa8\n"
    records = read(stdin=data)
    assert texts(records) == ["fine", None, "", " ", "naïve", "\0\x0b\x0c\u2028"]
    assert problems(records) == [None, "encoding", None, None, None, None]
    assert [record.blank for record in records] == [False, False, True, True, False, False]
    assert [record.where for record in records] == [f"stdin:{number}" for number in range(1, 7)]


@pytest.mark.parametrize("data", [b"", b"\xef\xbb\xbf"])
def test_an_empty_input_has_no_records(data: bytes) -> None:
    assert read(stdin=data) == []


def test_an_undecodable_byte_is_named_and_costs_only_its_line() -> None:
    records = read(stdin="gut\ncafé\nwieder gut\n".encode("latin-1"))
    assert texts(records) == ["gut", None, "wieder gut"]
    assert dict(records[1].fields) == {}
    assert records[1].problem == Problem(
        "encoding",
        "byte 0xe9 at offset 3 of line 2 is not utf-8; "
        "name the right one with --encoding, for example latin-1",
    )


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_bytes_without_the_mark_that_tells_their_order_are_refused(encoding: str) -> None:
    with pytest.raises(InputError, match="no byte-order mark") as caught:
        read(stdin="naïve\n".encode(f"{encoding}-be"), encoding=encoding)
    assert caught.value.hint == f"name {encoding}-le or {encoding}-be"
    assert texts(read(stdin="naïve\n".encode(f"{encoding}-be"), encoding=f"{encoding}-be")) == ["naïve"]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("sizes", [(100,), (1,), (3,)])
def test_a_byte_order_mark_names_the_encoding(encoding: str, sizes: tuple[int, ...]) -> None:
    data = "\ufefftext,n\nnaïve,1\n“so”,2\n".encode(encoding)
    assert texts(read(stdin=Dribble(data, sizes), input_format="csv")) == ["naïve", "“so”"]
    assert texts(read(stdin=Dribble(data, sizes)))[0] == "text,n"
    lines = '\ufeff{"text": "a"}\n{"text": "é"}\n'.encode(encoding)
    assert texts(read(stdin=Dribble(lines, sizes))) == ["a", "é"]


@pytest.mark.parametrize("order", ["le", "be"])
def test_utf16_without_a_mark_is_refused_by_name(order: str) -> None:
    with pytest.raises(InputError, match="UTF-16 without a byte-order mark") as caught:
        read(stdin="a text without mark\n".encode(f"utf-16-{order}"))
    assert caught.value.hint == f"name it: --encoding utf-16-{order}"


@pytest.mark.parametrize(
    ("data", "likely"),
    [(b"\x93so\x94", "cp1252"), (b"5 \x80", "cp1252"), (b"caf\xe9", "latin-1"), (b"\xe9\x81", "latin-1")],
)
def test_the_likely_encoding_is_named(data: bytes, likely: str) -> None:
    (record,) = read(stdin=data)
    assert record.problem is not None
    assert record.problem.message.endswith(f"--encoding, for example {likely}")


def test_broken_utf16_costs_only_its_line() -> None:
    data = "eins\n".encode("utf-16") + b"z\0\x00\xd8w\0\n\0" + "drei\n".encode("utf-16-le") + b"x"
    records = read(stdin=data, encoding="utf-16")
    assert texts(records) == ["eins", None, "drei", None]
    assert records[1].problem is not None
    assert "offset 2 of line 2 is not utf-16" in records[1].problem.message


def test_null_separated_texts_keep_their_newlines() -> None:
    assert texts(read(stdin=b"a\r\nb\0\0c", null=True)) == ["a\r\nb", "", "c"]


def test_a_whole_file_is_one_record(tmp_path: Path) -> None:
    first, second, binary, cut = (tmp_path / name for name in ("a.csv", "b.md.gz", "c.bin", "d.gz"))
    first.write_bytes(b"\xef\xbb\xbfx,y\r\n1,2")
    second.write_bytes(gzip.compress(b"# title\n"))
    binary.write_bytes(b"\x80")
    cut.write_bytes(gzip.compress(b"some text")[:-4])
    records = read(first, second, binary, cut, "-", stdin=b"", whole_files=True)
    assert texts(records) == ["x,y\r\n1,2", "# title\n", None, None, ""]
    assert problems(records) == [None, None, "encoding", "file", None]
    assert [record.fields["file"] for record in records] == [
        str(first),
        str(second),
        str(binary),
        str(cut),
        "-",
    ]
    assert [list(record.fields) for record in records] == [["file", "text"]] * 2 + [["file"]] * 2 + [
        ["file", "text"]
    ]
    assert records[0].where == str(first)


def test_an_argument_that_is_not_text_is_a_problem() -> None:
    records = read(texts=("fine", "caf\udce9"))
    assert texts(records) == ["fine", None]
    assert problems(records) == [None, "encoding"]
