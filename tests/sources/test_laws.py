"""Laws that hold for any texts, any form, any compression and any way the bytes arrive."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma
import tempfile
from collections.abc import Callable
from pathlib import Path

import orjson
import pyarrow
import pytest
import zstandard
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from bertcli.errors import BertcliError
from tests.sources.reading import Dribble, content, read, texts

pytestmark = pytest.mark.slow

quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
characters = st.characters(exclude_categories=["Cs"])
any_text = st.text(characters, max_size=30)
line = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), max_size=30)
sizes = st.lists(st.integers(1, 9), min_size=1, max_size=8)


def as_txt(values: list[str]) -> bytes:
    return "".join(value + "\n" for value in values).encode()


def as_jsonl(values: list[str]) -> bytes:
    return b"".join(orjson.dumps({"text": value}) + b"\n" for value in values)


def delimited(delimiter: str) -> Callable[[list[str]], bytes]:
    def write(values: list[str]) -> bytes:
        file = io.StringIO()
        writer = csv.writer(file, delimiter=delimiter, lineterminator="\n", quoting=csv.QUOTE_ALL)
        writer.writerows([["n", "text"], *([number, value] for number, value in enumerate(values))])
        return file.getvalue().encode()

    return write


def as_parquet(values: list[str]) -> bytes:
    file = io.BytesIO()
    table = pyarrow.table({"text": pyarrow.array(values, pyarrow.string())})
    parquet.write_table(table, file, row_group_size=3)
    return file.getvalue()


FORMS = {
    "txt": (line, as_txt),
    "jsonl": (any_text, as_jsonl),
    "csv": (any_text, delimited(",")),
    "tsv": (any_text, delimited("\t")),
    "parquet": (any_text, as_parquet),
}
COMPRESSIONS = {
    "": lambda data: data,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.compress,
}


@pytest.mark.parametrize("suffix", COMPRESSIONS)
@pytest.mark.parametrize("form", FORMS)
@quick
@given(data=st.data())
def test_what_is_written_is_read_back(form: str, suffix: str, data: st.DataObject, tmp_path: Path) -> None:
    strategy, write = FORMS[form]
    values = data.draw(st.lists(strategy, max_size=8))
    if form == "tsv":  # lines that all look like rows are rows: a quote does not join them
        assume(not any("\t" in value and "\n" in value for value in values))
    packed = COMPRESSIONS[suffix](write(values))
    named, nameless = tmp_path / f"file.{form}{suffix}", tmp_path / "file"
    named.write_bytes(packed)
    nameless.write_bytes(packed)
    expected = read(named)
    assert texts(expected) == values
    assert [record.index for record in expected] == list(range(len(values)))
    assert content(read(nameless, input_format=form)) == content(expected)
    assert content(read(input_format=form, stdin=packed)) == content(expected)


PIECES = [b"\xef\xbb\xbf", b"text", b"n", b",", b"\t", b'"', b"\r\n", b"\n", b"\r", b"\0", b"\xff", b" "]
PIECES += [b'{"text": "a"}', b'{"text":', b'{"text": 12345678901234567890123}', b"[", b"null", b"{}"]
messy = st.binary(max_size=60) | st.lists(st.sampled_from([*PIECES, "ß€😀".encode()]), max_size=14).map(
    b"".join
)


@pytest.mark.parametrize("form", ["txt", "jsonl", "csv", "tsv"])
@quick
@given(data=messy, sizes=sizes)
def test_chunk_boundaries_change_nothing(form: str, data: bytes, sizes: list[int], tmp_path: Path) -> None:
    """Not even for rubbish: a file, a pipe and a trickle give the same records or the same error."""
    file = tmp_path / "file"
    file.write_bytes(data)
    outcome = attempt(lambda: read(file, input_format=form))
    assert attempt(lambda: read(input_format=form, stdin=data)) == outcome
    assert attempt(lambda: read(input_format=form, stdin=Dribble(data, sizes))) == outcome


def attempt(act: Callable[[], list]) -> object:
    try:
        return content(act())
    except BertcliError as error:
        return error.message, error.hint


@pytest.mark.parametrize("suffix", COMPRESSIONS)
@quick
@given(values=st.lists(any_text, max_size=6), sizes=sizes)
def test_sniffing_survives_a_trickle(suffix: str, values: list[str], sizes: list[int]) -> None:
    data = COMPRESSIONS[suffix](as_jsonl(values))
    assert texts(read(stdin=Dribble(data, sizes))) == values


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-16", "utf-16-be", "utf-32", "latin-1", "shift_jis", "cp500"]
)
@quick
@given(data=st.data(), sizes=sizes)
def test_encodings_read_back_in_any_pieces(encoding: str, data: st.DataObject, sizes: list[int]) -> None:
    alphabet = (
        'aß é,{"' if encoding in ("latin-1", "cp500") else 'aあ漢,{"' + "字" * (encoding != "shift_jis")
    )
    values = data.draw(st.lists(st.text(alphabet, min_size=1, max_size=8), max_size=6))
    encoded = "".join(value + "\n" for value in values).encode(encoding)
    assert texts(read(stdin=Dribble(encoded, sizes), encoding=encoding, input_format="txt")) == values


@quick
@given(st.lists(line, max_size=12), st.integers(0, 15), st.none() | st.integers(0, 15))
def test_skip_and_limit_are_slices(values: list[str], skip: int, limit: int | None) -> None:
    stop = None if limit is None else skip + limit
    for form, write in (("txt", as_txt), ("csv", delimited(",")), ("parquet", as_parquet)):
        taken = read(stdin=write(values), input_format=form, skip=skip, limit=limit)
        assert texts(taken) == values[skip:stop]
        assert [record.index for record in taken] == list(range(len(taken)))


@quick
@given(st.lists(st.lists(line, max_size=4), max_size=4))
def test_several_files_are_one_after_another(files: list[list[str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{number}.txt" for number in range(len(files))]
        for path, values in zip(paths, files, strict=True):
            path.write_bytes(as_txt(values))
        if paths:
            assert texts(read(*paths)) == [value for values in files for value in values]


@quick
@given(st.lists(line, min_size=1, max_size=6))
def test_final_newline_carriage_returns_and_mark_make_no_difference(values: list[str]) -> None:
    values[-1] = values[-1] or "last"  # an empty last line without its newline is no line
    plain = content(read(stdin=as_txt(values), input_format="txt"))
    unended = as_txt(values)[:-1]
    windows = as_txt(values).replace(b"\n", b"\r\n")
    for variant in (unended, windows, windows[:-2], b"\xef\xbb\xbf" + as_txt(values)):
        assert content(read(stdin=variant, input_format="txt")) == plain


@quick
@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1), max_size=6
    )
)
def test_null_separated_texts_may_hold_anything_else(values: list[str]) -> None:
    joined = "\0".join(values).encode()
    for data in (joined, joined + b"\0" * bool(values)):
        assert texts(read(stdin=data, null=True)) == [
            v.removeprefix("\ufeff") if n == 0 else v for n, v in enumerate(values)
        ]
