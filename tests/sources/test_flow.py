"""Records come as soon as they have arrived, take no more memory the more there are, and lose no piece."""

from __future__ import annotations

import io
import os
import tracemalloc
import zlib
from collections.abc import Callable, Iterator

import pytest

from bertcli.requests import InputOptions
from bertcli.sources import Source, open_source
from bertcli.sources.lines import whole_lines
from tests.sources.reading import read, texts

pytestmark = pytest.mark.slow


@pytest.fixture
def pipe() -> Iterator[tuple[Callable[[bytes], object], Callable[..., Source], Callable[[], None]]]:
    """Write to a pipe, open it as a source, end it. Every write fits the pipe, so none of them can hang."""
    out, into = os.pipe()
    ended = []

    def end() -> None:
        if not ended:
            os.close(into)
            ended.append(True)

    with open(out, "rb") as stdin:
        yield (
            lambda data: os.write(into, data),
            lambda **options: open_source(InputOptions(**options), stdin=stdin, interactive=False),
            end,
        )
        end()


def test_a_line_is_read_before_the_next_is_written_and_a_part_of_one_waits(pipe) -> None:
    write, open_pipe, end = pipe
    source = open_pipe()
    write(b"first\nsec")
    records = iter(source)
    assert next(records).text == "first"
    write(b"ond\nrest")
    assert next(records).text == "second"
    end()
    assert texts(records) == ["rest"]


@pytest.mark.parametrize(
    ("form", "pieces"),
    [
        ("jsonl", [b'{"text": "1"}\n', b'{"text": "2"}\n']),
        ("csv", [b"text\n1\n", b"2\n"]),
        ("txt", [b"1\n", b"2\n"]),
    ],
)
def test_every_form_flows_also_compressed(pipe, form: str, pieces: list[bytes]) -> None:
    write, open_pipe, _ = pipe
    packer = zlib.compressobj(wbits=31)
    records: Iterator = iter(open_pipe(input_format=form))
    for number, piece in enumerate(pieces, 1):
        write(packer.compress(piece) + packer.flush(zlib.Z_SYNC_FLUSH))
        assert next(records).text == str(number)


def test_names_of_a_pipe_of_plain_text_need_no_whole_line(pipe) -> None:
    write, open_pipe, _ = pipe
    source = open_pipe(input_format="jsonl")
    write(b'{"body": "a"}\n{"body"')
    assert source.field_names == ("body",)


def test_a_pipe_that_does_not_block_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    out, into = os.pipe()
    os.set_blocking(out, False)

    def someone_writes(*_: object) -> None:
        os.write(into, b"late\n")
        os.close(into)

    monkeypatch.setattr("select.select", someone_writes)
    with open(out, "rb") as stdin:
        assert texts(read(stdin=stdin)) == ["late"]


def peak(form: str, make: Callable[[int], bytes], count: int) -> int:
    """Bytes allocated at most while `count` records are read; the input itself is made as it is read."""

    class Endless(io.RawIOBase):
        done = 0

        def read(self, size: int = -1, /) -> bytes:
            numbers = range(self.done, min(self.done + 2000, count))
            self.done = numbers.stop
            return b"".join(map(make, numbers))

    source = open_source(InputOptions(input_format=form), stdin=Endless(), interactive=False)
    tracemalloc.start()
    try:
        assert sum(1 for _ in source) in (count, count - 1)  # a header is no record
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("form", "make"),
    [
        ("txt", lambda n: b"some text %d\n" % n),
        ("txt", lambda n: b"caf\xe9 %d\n" % n),
        ("jsonl", lambda n: b'{"text": "some text %d"}\n' % n),
        ("jsonl", lambda n: b"broken %d\n" % n),
        ("csv", lambda n: b"text,x\n" if n == 0 else b'"some text %d",x\n' % n),
        ("csv", lambda n: b"text,x\n" if n == 0 else b"caf\xe9 %d,x\n" % n),
    ],
)
def test_memory_does_not_grow_with_the_input(form: str, make: Callable[[int], bytes]) -> None:
    options = {"form": form, "make": make}
    peak(count=2000, **options)  # what is imported or cached once does not count
    assert peak(count=24_000, **options) < 1.2 * peak(count=6000, **options)


def test_a_long_line_is_whole_in_every_form() -> None:
    long = "word " * 1_000_000
    assert texts(read(stdin=f"a\n{long}\nb".encode(), input_format="txt")) == ["a", long, "b"]
    assert texts(read(stdin=b'{"text": "%s"}\n' % long.encode())) == [long]
    assert texts(read(stdin=f'text\n"{long}"\n'.encode(), input_format="csv")) == [long]


def test_a_line_in_many_pieces_is_searched_once() -> None:
    """No piece is looked at again when the next one comes: the work grows with the length alone."""
    searched = []

    class Piece(bytes):
        def rfind(self, *arguments: object) -> int:
            searched.append(len(self))
            return super().rfind(*arguments)

    (line,) = whole_lines(iter([Piece(b"x" * 7)] * 1000), most=7000)
    assert len(line) == sum(searched) == 7000
