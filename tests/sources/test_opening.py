"""What may be named on the command line, and what is said about what may not."""

from __future__ import annotations

import io
import os
import socket
import threading
from pathlib import Path

import pytest

from bertcli.errors import InputError, UsageError
from bertcli.requests import InputOptions
from bertcli.sources import open_source
from tests.sources.reading import read, texts


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    file = tmp_path / "lines.txt"
    file.write_bytes(b"one\ntwo\n")
    return file


def test_no_files_mean_stdin() -> None:
    assert texts(read(stdin=b"a\nb\n")) == ["a", "b"]


def test_a_dash_is_stdin_among_files(lines: Path) -> None:
    assert texts(read(lines, "-", lines, stdin=b"x\n")) == ["one", "two", "x", "one", "two"]


def test_texts_come_first_and_leave_stdin_alone(lines: Path) -> None:
    stdin = io.BytesIO(b"untouched\n")
    assert texts(read(texts=("t", ""), stdin=stdin)) == ["t", ""]
    assert stdin.tell() == 0
    records = read(lines, texts=("t",))
    assert texts(records) == ["t", "one", "two"]
    assert [record.where for record in records] == ["--text:1", f"{lines}:1", f"{lines}:2"]


@pytest.mark.parametrize("path", ["missing.txt", "lines.txt/below"])
def test_a_missing_file_mentions_text(path: str, lines: Path) -> None:
    with pytest.raises(InputError, match="there is no file") as caught:
        read(lines.parent / path)
    assert "--text" in (caught.value.hint or "")


@pytest.mark.parametrize("words", ["I loved every minute of it", "so long " * 100])
def test_words_in_place_of_a_path_are_recognised(words: str) -> None:
    with pytest.raises(InputError) as caught:
        read(words)
    assert "looks like text" in (caught.value.hint or "")
    assert len(caught.value.message) < 120


@pytest.mark.parametrize(
    "content", [b"id,body\n1,a\n", b'"body";n\n', b"body\n", b"n\tbody\n1\ta", b"n, body"]
)
def test_columns_are_not_read_as_lines(content: bytes, lines: Path) -> None:
    with pytest.raises(UsageError, match="a column 'body'") as caught:
        read(stdin=content, text_field="body")
    assert "--from csv" in (caught.value.hint or "")
    lines.write_bytes(content)
    with pytest.raises(UsageError, match="a column 'body'"):
        read(lines, text_field="body")
    told = content.splitlines()[0].decode()
    assert texts(read(lines, text_field="body", input_format="txt"))[0] == told
    assert texts(read(stdin=content))[0] == told


def test_lines_without_the_column_are_texts() -> None:
    records = read(stdin=b"the body, as it is\nb\n", text_field="body")
    assert [dict(record.fields) for record in records] == [{"body": "the body, as it is"}, {"body": "b"}]


def test_all_paths_are_looked_at_before_anything_is_read(lines: Path) -> None:
    with pytest.raises(InputError):
        open_source(InputOptions(files=(str(lines), "missing")))


def test_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a directory") as caught:
        read(tmp_path)
    assert caught.value.where == str(tmp_path)


def test_an_unreadable_file_is_refused(lines: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # the tests may run as root
    with pytest.raises(InputError, match="permission denied"):
        read(lines)


def test_a_file_that_vanishes_or_cannot_be_opened_is_an_input_error(lines: Path, tmp_path: Path) -> None:
    source = open_source(InputOptions(files=(str(lines),)))
    lines.unlink()
    with pytest.raises(InputError, match="cannot be read: no such file") as caught:
        list(source)
    assert caught.value.where == str(lines)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        with pytest.raises(InputError, match="cannot be read"):
            read(tmp_path / "socket")


def test_stdin_that_is_a_directory_is_an_input_error(tmp_path: Path) -> None:
    with _Stdin(os.open(tmp_path, os.O_RDONLY)) as stdin, pytest.raises(InputError, match="is a directory"):
        read(stdin=stdin)


class _Stdin(io.RawIOBase):
    """Standard input on a given descriptor, whatever is behind it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def fileno(self) -> int:
        return self._descriptor

    def close(self) -> None:
        if not self.closed:
            os.close(self._descriptor)
        super().close()


def test_a_path_that_is_not_utf8_can_be_read(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/caf\xe9.txt"
    with open(path, "wb") as file:
        file.write(b"text\n")
    records = read(os.fsdecode(path), whole_files=True)
    assert records[0].fields["file"].endswith("caf\ufffd.txt")
    assert records[0].text == "text\n"


def test_sizes_and_positions_add_up(lines: Path) -> None:
    source = open_source(InputOptions(files=(str(lines), str(lines)), texts=("ü",)))
    assert (source.size, source.live, source.prompt) == (18, False, False)
    list(source)
    assert source.position == 18
    source.close()


def test_what_is_read_of_a_file_is_soon_handed_out(tmp_path: Path) -> None:
    """The bar of a short file whose records take long goes by it."""
    file = tmp_path / "short.txt"
    file.write_bytes(b"ten bytes\n" * 1000)
    source = open_source(InputOptions(files=(str(file),)))
    handed = 0
    for _ in source:
        handed += 10
        assert handed <= source.position <= handed + max(1024, handed // 4)
    assert source.position == 10_000


def test_a_redirected_file_has_a_size_and_is_not_live(lines: Path) -> None:
    with lines.open("rb", buffering=0) as stdin:
        stdin.read(4)
        source = open_source(InputOptions(), stdin=stdin, interactive=False)
        assert (source.size, source.live) == (4, False)
        assert texts(source) == ["two"]
        source.close()
        assert not stdin.closed


def test_a_pipe_is_live_and_has_no_size() -> None:
    out, into = os.pipe()
    os.close(into)
    with open(out, "rb") as stdin:
        source = open_source(InputOptions(), stdin=stdin, interactive=False)
        assert (source.size, source.live) == (None, True)
        assert list(source) == []


def test_a_fifo_is_read_as_it_comes(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    writer = threading.Thread(target=fifo.write_bytes, args=(b'{"text": "json through a fifo"}\n',))
    writer.start()
    source = open_source(InputOptions(files=(str(fifo),)))
    assert source.live
    assert texts(source) == ["json through a fifo"]
    writer.join()


def test_a_closed_stdin_is_said_to_be_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(UsageError, match="no standard input"):
        open_source(InputOptions())


@pytest.mark.parametrize(
    "options",
    [
        InputOptions(whole_files=True, input_format="csv"),
        InputOptions(whole_files=True, null=True),
        InputOptions(null=True, input_format="jsonl"),
        InputOptions(encoding="klingon"),
        InputOptions(encoding="base64"),
        InputOptions(encoding="idna"),
        InputOptions(encoding="punycode"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: InputOptions) -> None:
    with pytest.raises(UsageError) as caught:
        open_source(options, stdin=io.BytesIO(), interactive=False)
    assert caught.value.hint


def test_nothing_behind_the_limit_is_read() -> None:
    """A pipe that never ends does not keep a limited run from ending."""
    out, into = os.pipe()
    with open(out, "rb") as stdin:
        os.write(into, b"a\nb\n")
        assert texts(read(stdin=stdin, limit=2, input_format="txt")) == ["a", "b"]
    os.close(into)


def test_files_are_opened_one_at_a_time(tmp_path: Path) -> None:
    for number in range(50):
        (tmp_path / f"{number}.txt").write_text("x\n")
    source = open_source(InputOptions(files=tuple(map(str, tmp_path.iterdir()))))
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    for _ in source:
        assert not before or len(os.listdir("/proc/self/fd")) <= before + 2
    source.close()


def test_closing_in_the_middle_is_harmless(lines: Path) -> None:
    source = open_source(InputOptions(files=(str(lines),)))
    records = iter(source)
    next(records)
    source.close()
    source.close()
    assert [record.text for record in records] == ["two"]  # what had been read is still there


def test_an_array_of_vectors_is_no_text(tmp_path: Path) -> None:
    file = tmp_path / "docs.npy"
    file.write_bytes(b"\x93NUMPY")
    with pytest.raises(UsageError, match="holds vectors and no text") as caught:
        read(file)
    assert "--embeddings" in (caught.value.hint or "")
