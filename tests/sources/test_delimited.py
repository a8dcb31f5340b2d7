"""CSV and TSV, well-formed and not."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from bertcli.errors import InputError
from bertcli.records import Problem
from bertcli.requests import InputOptions
from bertcli.sources import open_source
from tests.sources.reading import problems, read, texts


def test_quoted_cells_go_over_lines_and_lines_stay_right() -> None:
    data = b'id,text\n1,"a\nb ""c"",\n"\n\n2,d\r\n3,"e\r\nf"\n4,g'
    records = read(stdin=data, input_format="csv")
    assert texts(records) == ['a\nb "c",\n', "d", "e\r\nf", "g"]
    assert [record.where for record in records] == ["stdin:2", "stdin:6", "stdin:7", "stdin:9"]
    assert list(records[0].fields) == ["id", "text"]


def test_ragged_rows_keep_the_cells_that_have_a_name() -> None:
    records = read(stdin=b"text,n\na,1\nb\nc,3,4,5\nd,4\n", input_format="csv")
    assert problems(records) == [None, "csv", "csv", None]
    assert [dict(record.fields) for record in records[1:3]] == [{"text": "b"}, {"text": "c", "n": "3"}]
    assert [record.problem for record in records[1:3]] == [
        Problem("csv", "line 3 has 1 cell, but the header has 2"),
        Problem("csv", "line 4 has 4 cells, but the header has 2"),
    ]


@pytest.mark.parametrize("header", [b"sep=;\nid;text\n", b"\xef\xbb\xbfsep=;\r\n\r\nid;text\r\n"])
def test_a_first_line_for_excel_names_the_delimiter(header: bytes) -> None:
    records = read(stdin=header + b"1;a, b\n2;c\n", input_format="csv")
    assert texts(records) == ["a, b", "c"]
    assert [record.fields["id"] for record in records] == ["1", "2"]
    assert records[0].where == f"stdin:{header.count(10) + 1}"
    assert read(stdin=b"sep=;\n", input_format="csv") == []


def test_an_unclosed_quote_is_told_where_it_begins() -> None:
    records = read(stdin=b'text,n\na,1\n"b\nc,3\n', input_format="csv")
    assert problems(records) == [None, "csv", None]
    assert records[1].problem is not None
    assert "line 3 is never closed" in records[1].problem.message
    closing = read(stdin=b'text,n\na,1\n"b,2\nc,3\n', input_format="csv", quoting="csv")
    assert problems(closing) == [None, "csv"]


LONE = [
    b'id\ttext\tn\n1\t"lone\t0\n2\tb\t1\n3\t"other\t0\n4\td"\t1\n5\te\t1\n',
    b'id,text,n\n1,"lone,0\n2,b,1\n3,"other,0\n4,"d" and more,1\n5,e,1\n',
]


@pytest.mark.parametrize("data", LONE)
def test_a_lone_quote_swallows_no_row(data: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    records = read(stdin=data, input_format="tsv" if b"\t" in data else "csv")
    assert [record.fields["id"] for record in records] == list("12345")
    assert texts(records)[0] == '"lone'
    assert problems(records) == [None] * 5
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "stdin:2: a quote opens a cell and closes none" in told


def test_a_lone_quote_in_a_row_that_fits_nowhere_costs_that_row() -> None:
    records = read(stdin=b'id,text,n\n1,"so, lone,0\n2,b,1\n3,c,1\n', input_format="csv")
    assert problems(records) == ["csv", None, None]


@pytest.mark.parametrize(
    ("row", "text"),
    [
        (b'"He said \\"great\\" and left"', 'He said "great" and left'),
        (b'"He said \\"no\\", then left"', 'He said "no", then left'),
        (b'"say \\""', 'say "'),
        (b'"C:\\dir\\"', "C:\\dir\\"),
        (b'"Great" film', '"Great" film'),
        (b'a "word" inside', 'a "word" inside'),
        (b'"two ""words"" here"', 'two "words" here'),
    ],
)
def test_quotes_in_a_row_are_read_as_they_are_meant(row: bytes, text: str) -> None:
    records = read(stdin=b"id,text,n\n1," + row + b",x\n2,b,y\n", input_format="csv")
    assert texts(records) == [text, "b"]
    assert problems(records) == [None, None]


def test_a_quoted_cell_of_one_column_over_lines_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    data = b'text\n"first\nsecond\nthird"\nfourth\n'
    assert texts(read(stdin=data, input_format="csv")) == ["first\nsecond\nthird", "fourth"]
    assert "stdin:2: a quoted cell has 3 lines" in capsys.readouterr().err
    assert texts(read(stdin=data, input_format="csv", quoting="none")) == [
        '"first',
        "second",
        'third"',
        "fourth",
    ]


def test_a_cell_over_lines_is_no_matter_where_rows_do_not_look_like_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert len(read(stdin=b'id,text,n\n1,"a\nb, c",0\n2,d,1\n', input_format="csv")) == 2
    assert not capsys.readouterr().err


def test_another_delimiter_and_no_header(capsys: pytest.CaptureFixture[str]) -> None:
    assert texts(read(stdin=b"id|text\n1|a;b\n", input_format="csv")) == ["a;b"]
    assert texts(read(stdin=b"id~text\n1~a,b\n", delimiter="~")) == ["a,b"]
    rows = read(
        stdin=b"good product,1\nbad product,0\n", input_format="csv", no_header=True, text_field="column_1"
    )
    assert [dict(row.fields) for row in rows] == [
        {"column_1": "good product", "column_2": "1"},
        {"column_1": "bad product", "column_2": "0"},
    ]
    assert not capsys.readouterr().err


@pytest.mark.parametrize(("data", "odd"), [(b"good product\nbad\n", "good product"), (b"text,7\na,1\n", "7")])
def test_a_header_that_looks_like_data_is_reported(
    data: bytes, odd: str, capsys: pytest.CaptureFixture[str]
) -> None:
    read(stdin=data, input_format="csv", text_field=data.split(b"\n")[0].split(b",")[0].decode())
    assert f"'{odd}' looks like data; --no-header" in capsys.readouterr().err


def test_a_carriage_return_in_the_middle_costs_only_its_row() -> None:
    records = read(stdin=b"text,n\na\rb,1\nc,2\n", input_format="csv")
    assert texts(records) == [None, "c"]
    assert problems(records) == ["csv", None]


def test_undecodable_cells_are_left_out_and_named() -> None:
    data = b'text,n\na,1\n"b\n\xff",2\nc,\xfe\nd,4\n'
    records = read(stdin=data, input_format="csv")
    assert problems(records) == [None, "encoding", "encoding", None]
    assert [dict(record.fields) for record in records[1:3]] == [{"n": "2"}, {"text": "c"}]
    assert records[1].problem is not None
    assert "offset 0 of line 4" in records[1].problem.message


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"text,n,text\na,1,b\n", "more than once: 'text'"),
        (b"te\xffxt,n\na,1\n", "not text"),
        (b'"text,n\na,1\n', "never closed"),
        (b"te\rxt,n\na,1\n", "carriage return that ends no line; save"),
    ],
)
def test_a_header_that_cannot_be_used_stops_the_run(data: bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.csv"
    file.write_bytes(data)
    with pytest.raises(InputError, match=message) as caught:
        read(file)
    assert caught.value.where == str(file)


def test_an_unnamed_column_is_a_field() -> None:
    assert dict(read(stdin=b",text\n0,a\n", input_format="csv")[0].fields) == {"": "0", "text": "a"}


def test_a_header_alone_names_the_fields(tmp_path: Path) -> None:
    file = tmp_path / "header.csv"
    file.write_bytes(b"id,text")
    source = open_source(InputOptions(files=(str(file),)))
    assert source.field_names == ("id", "text")
    assert list(source) == []
    source.close()


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_excels_other_delimiters_are_found_in_the_header(delimiter: str) -> None:
    data = f"id{delimiter}text\n1{delimiter}a, b\n".encode()
    assert dict(read(stdin=data, input_format="csv")[0].fields) == {"id": "1", "text": "a, b"}


@pytest.mark.parametrize("delimiter", [";", "\t", ","])
def test_a_comma_in_a_quoted_name_divides_nothing(delimiter: str) -> None:
    data = f'id{delimiter}"text, original"\n1{delimiter}"a; b"\n'.encode()
    records = read(stdin=data, input_format="csv", text_field="text, original")
    assert dict(records[0].fields) == {"id": "1", "text, original": "a; b"}


def test_a_tsv_keeps_commas_and_semicolons() -> None:
    assert texts(read(stdin=b"text\na, b; c\n", input_format="tsv")) == ["a, b; c"]


def test_nul_bytes_and_huge_cells_are_text_and_the_limit_of_csv_is_left_as_it_was() -> None:
    limit = csv.field_size_limit()
    huge = "x" * 300_000
    records = read(stdin=f"text\na\0b\n{huge}\n".encode(), input_format="csv")
    assert texts(records) == ["a\0b", huge]
    assert csv.field_size_limit() == limit
