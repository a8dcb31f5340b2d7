"""What must hold for the bytes of a case: one class a kind of input.

`make(chance)` makes the bytes of a case; `run(data)` raises for anything but what a user may see: an answer,
or a BertcliError.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import random
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import click

from bertcli.cli import cli
from bertcli.console import Terminal
from bertcli.errors import BertcliError
from bertcli.models.check import full_check
from bertcli.models.checkpoint import open_checkpoint
from bertcli.models.tokenizer import Tokenizer
from bertcli.models.weights import open_weights
from bertcli.options import settings
from bertcli.records import Problem, Record, Result
from bertcli.requests import InputOptions, OutputOptions
from bertcli.sinks import REMARKS, Layout, open_sink
from bertcli.sinks.jsontext import to_json
from bertcli.sources import open_source
from tests.fuzz.seeds import altered, as_json, mangled

MOST_RECORD_BYTES = 4096


class Target(Protocol):
    def make(self, chance: random.Random) -> bytes: ...

    def run(self, data: bytes) -> None: ...


LINES = ("plain text", "", "  ", "Ünïcödé 😀", "\u202e backwards", "a\tb\tc", "x" * 300)
SOURCES: Mapping[str, tuple[bytes, ...]] = {
    "txt": ("\n".join(LINES).encode(), "\r\n".join(LINES).encode("utf-16"), b"a\0b\0c"),
    "jsonl": (
        b'{"text": "a", "n": 1, "x": [1.5, null, {"deep": true}]}\n\n{"text": "b"}\n{"text": null}\n',
        b'{"id": 12345678901234567890123, "text": "\\ud83d\\ude00", "x": NaN, "y": 1e400}\n[1]\n{}\n',
    ),
    "csv": (
        b'id,text,"a ""b"""\n1,"several\nlines, one cell",x\n2,plain,y\n\n3,,\n',
        b"id;text\r\n1;a\r\n2;b;c\r\n",
    ),
    "tsv": (b'id\ttext\n1\t"a"\n2\tb\n',),
    "conll": (b"# text = a b\nEU B-ORG\nrejects O\n\n-DOCSTART- O\n\nPeter\tB-PER\n",),
    "conllu": (b"# sent_id = 1\n1-2\tvom\t_\t_\n1\tvon\tvon\tADP\t_\n2\tdem\tder\tDET\t_\n\n",),
}


class Source:
    """Records keep their place and can be written down again, whatever the bytes, and none is too big."""

    def __init__(self, form: str) -> None:
        self._form = form

    def make(self, chance: random.Random) -> bytes:
        seeds = SOURCES[self._form]
        data = mangled(chance.choice(seeds), chance, seeds)
        return data * chance.choice((1, 1, 1, 1, 30)) if chance.random() < 0.9 else chance.randbytes(60)

    def run(self, data: bytes) -> None:
        for form, field in ((self._form, None), (None, "text")):
            encoding = "utf-16" if data[:2] == b"\xff\xfe" else "utf-8"
            options = InputOptions(
                input_format=form,  # type: ignore[arg-type]
                text_field=field,
                encoding=encoding,
                max_record_bytes=MOST_RECORD_BYTES,
                null=form is None and data[:1] == b"\0",
                split_words=len(data) % 2 == 0,
            )
            _read_all(options, data)


def _read_all(options: InputOptions, data: bytes) -> None:
    source = open_source(options, stdin=io.BytesIO(data), interactive=False)
    try:
        for count, record in enumerate(source):
            assert record.index == count
            assert record.text is None or len(record.text) <= MOST_RECORD_BYTES
            assert (record.text or "").encode() is not None  # no halves of surrogate pairs
            json.loads(to_json(Result(record, problem=record.problem).row()))
    except BertcliError as error:
        _check_message(error)
    finally:
        source.close()


def _check_message(error: BertcliError) -> None:
    assert error.message
    assert "\n" not in error.message.strip() or len(error.message) < 2000
    assert not error.message.endswith(".")


class Compressed:
    """gzip, bzip2, xz and Zstandard around lines."""

    def __init__(self) -> None:
        import zstandard

        lines = b"".join(b'{"text": "line %d"}\n' % number for number in range(200))
        bomb = b"x" * 200_000
        kinds: tuple[Callable[[bytes], bytes], ...] = (
            gzip.compress, bz2.compress, lzma.compress, zstandard.compress
        )  # fmt: skip
        self._seeds = [compress(content) for compress in kinds for content in (lines, bomb, b"")]

    def make(self, chance: random.Random) -> bytes:
        return mangled(chance.choice(self._seeds), chance, self._seeds)

    def run(self, data: bytes) -> None:
        _read_all(InputOptions(max_record_bytes=MOST_RECORD_BYTES), data)


class Parquet:
    """Parquet from a pipe, which is copied to a file first."""

    def __init__(self) -> None:
        import pyarrow
        from pyarrow import parquet

        table = pyarrow.table(
            {
                "text": ["a", None, "😀", "x" * 50],
                "n": [1, 2, None, 4],
                "f": [0.5, float("nan"), None, 1.0],
                "l": [[1, 2], [], None, [3]],
            }
        )
        file = io.BytesIO()
        parquet.write_table(table, file)
        self._seed = file.getvalue()

    def make(self, chance: random.Random) -> bytes:
        return mangled(self._seed, chance)

    def run(self, data: bytes) -> None:
        _read_all(InputOptions(input_format="parquet", max_record_bytes=MOST_RECORD_BYTES), data)


class SettingsFile:
    """bertcli.yaml: settings, or an error with its place."""

    SEEDS = (
        b"model: ./m\nlabel:\n  batch-tokens: 512\n  labels: [a, b]\ndigits: 3\n",
        b"# c\nmodels:\n  list:\n    format: jsonl\nfill: {k: 3, words_only: true}\n",
        b"a: &x {b: *x}\n? [1, 2]\n: 3\n",
    )

    def __init__(self, folder: Path) -> None:
        self._file = folder / "bertcli.yaml"

    def make(self, chance: random.Random) -> bytes:
        return mangled(chance.choice(self.SEEDS), chance, self.SEEDS)

    def run(self, data: bytes) -> None:
        self._file.write_bytes(data)
        try:
            held = settings.read(self._file)
            settings.refuse_unknown_settings(held, cli, click.Context(cli, info_name="bertcli"))
        except BertcliError as error:
            _check_message(error)


class Checkpoint:
    """One file of a sound checkpoint directory replaced: it is opened and checked, or refused."""

    def __init__(self, name: str, model: Path, folder: Path) -> None:
        self._document = json.loads((model / name).read_text(encoding="utf-8"))
        self._folder = Path(shutil.copytree(model, folder / f"with-{name}"))
        self._file = self._folder / name

    def make(self, chance: random.Random) -> bytes:
        return as_json(altered(self._document, chance), chance)

    def run(self, data: bytes) -> None:
        self._file.write_bytes(data)
        try:
            checkpoint = open_checkpoint(self._folder)
            full_check(checkpoint)
            checkpoint.fingerprint()
            tokenizer = Tokenizer.of(checkpoint)
            ids = tokenizer.encode("The capital of France, naïve 😀 [MASK] [SEP]", mask=True).ids
            assert all(0 <= token < checkpoint.vocab_size for token in ids)
            tokenizer.decode(ids)
        except BertcliError as error:
            _check_message(error)


class SafetensorsHeader:
    """A header that lies: nothing outside the file is read, and no memory is taken on its word."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "model.safetensors"
        self._header: dict[str, Any] = {
            "__metadata__": {"format": "pt"},
            "a.weight": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
            "b.bias": {"dtype": "BF16", "shape": [4], "data_offsets": [24, 32]},
            "c": {"dtype": "I64", "shape": [], "data_offsets": [32, 40]},
        }

    def make(self, chance: random.Random) -> bytes:
        header = as_json(altered(self._header, chance), chance)
        told = chance.choice((len(header),) * 8 + (0, 2**40, 2**64 - 1, len(header) - 1, len(header) + 1))
        return max(0, told).to_bytes(8, "little") + header + b"\1" * chance.choice((40, 40, 40, 0, 39, 41))

    def run(self, data: bytes) -> None:
        self._file.write_bytes(data)
        weights = open_weights(self._file.parent)
        for name in weights.names:
            stored = weights.tensors[name]
            assert 8 <= stored.start <= stored.start + stored.bytes <= len(data)
            try:
                assert weights.read(name).shape == stored.shape
            except BertcliError as error:
                _check_message(error)


class Index:
    """The index of a checkpoint in several files names nothing outside its directory."""

    def __init__(self, model: Path, folder: Path) -> None:
        self._folder = Path(shutil.copytree(model, folder / "shards"))
        self._file = self._folder / "model.safetensors.index.json"
        self._document = json.loads(self._file.read_text(encoding="utf-8"))

    def make(self, chance: random.Random) -> bytes:
        document = altered(self._document, chance)
        if isinstance(document, dict) and isinstance(document.get("weight_map"), dict):
            for name in document["weight_map"]:
                if chance.random() < 0.02:
                    document["weight_map"][name] = chance.choice(
                        (
                            "../x.safetensors",
                            "/etc/passwd",
                            "..",
                            "",
                            ".",
                            "a/b",
                            "a\\b",
                            "\0",
                            "no.safetensors",
                        )
                    )
        return as_json(document, chance)

    def run(self, data: bytes) -> None:
        self._file.write_bytes(data)
        weights = open_weights(self._folder)
        assert all(file.parent == self._folder for file in weights.files)


class Table:
    """Labels and texts in a table, whatever they hold, move no cursor and start no style."""

    STYLE = re.compile(r"\x1b\[[0-9;]*m")

    def make(self, chance: random.Random) -> bytes:
        pieces = ["\x1b[2J", "\x1b]0;title\x07", "\x9b31m", "[bold red]", "[/]", "\r", "\b", "\u202e", "\x00",
                  "text", "😀", "\u0301" * 9, "漢字", "\n", "\x85", "\ud800", "\u200d"]  # fmt: skip
        texts = ["".join(chance.choices(pieces, k=chance.randrange(12))) for _ in range(3)]
        return json.dumps(texts).encode()

    def run(self, data: bytes) -> None:
        try:
            label, text, name = (str(part) for part in json.loads(data))
        except (ValueError, TypeError, RecursionError):  # bytes that a guided fuzzer made up
            label = text = name = data.decode("utf-8", "surrogateescape")
        for task, values in (
            ("label", {"label": label, "score": 0.5}),
            ("label", {"label": label, "score": 0.5, "labels": [{"label": label, "score": 0.5}]}),
            ("tag", {"spans": [{"label": label, "start": 0, "end": len(text), "text": text, "score": 0.5}]}),
            ("fill", {"fills": [{"words": [label], "score": 0.5, "text": text}]}),
        ):
            for color in (False, True):
                self._show(task, values, text, name, color)

    def _show(self, task: str, values: dict[str, Any], text: str, name: str, color: bool) -> None:
        layout = Layout(task, ("id", "text"), tuple(values), REMARKS, "text", "id")
        out = io.BytesIO()
        terminal = Terminal(is_tty=False, width=60, color=color)
        sink = open_sink(OutputOptions(format="table"), layout, stdout=out, terminal=terminal)
        record = Record(0, {"id": name, "text": text}, text)
        sink.write(Result(record, values))
        sink.write(Result(record, problem=Problem("engine", name)))
        sink.close(True)
        shown = self.STYLE.sub("", out.getvalue().decode()) if color else out.getvalue().decode()
        steering = re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown)
        assert steering is None, ascii(shown)


def targets(models: Mapping[str, Path], folder: Path) -> dict[str, Target]:
    """All targets by name. `models`: checkpoints `skills`, `sentence`, `unigram`, `bytes` and `shards`."""
    folder.mkdir(exist_ok=True)
    alone = folder / "alone"
    alone.mkdir()
    return {
        **{form: Source(form) for form in SOURCES},
        "compressed": Compressed(),
        "parquet": Parquet(),
        "settings": SettingsFile(folder),
        "header": SafetensorsHeader(alone),
        "index": Index(models["shards"], folder),
        "config": Checkpoint("config.json", models["skills"], folder),
        "modules": Checkpoint("modules.json", models["sentence"], folder),
        "wordpiece": Checkpoint("tokenizer.json", models["sentence"], folder / "wordpiece"),
        "unigram": Checkpoint("tokenizer.json", models["unigram"], folder / "unigram"),
        "bytes": Checkpoint("tokenizer.json", models["bytes"], folder / "bytes"),
        "table": Table(),
    }


def build_models(build: Callable[..., Path]) -> dict[str, Path]:
    """The checkpoints the targets start from; `build` is the fixture `checkpoints` or its like."""
    return {
        "skills": build("skills"),
        "sentence": build("sentence"),
        "unigram": build("xlm-roberta", "fill"),
        "bytes": build("roberta", "fill"),
        "shards": build("bert", "fill", shards=True),
    }
