"""Files that are no text, known by their first bytes and refused by name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bertcli.errors import InputError
from bertcli.sources.contents import look

TAR_MAGIC, TAR_PLACE, TAR_NAME = b"ustar", 257, 100
LOOKED = TAR_PLACE + len(TAR_MAGIC)
TEXT_HINT = "bertcli reads text: txt, jsonl, json, csv, tsv, conll, and parquet"


@dataclass(frozen=True, slots=True)
class FileKind:
    """A kind of file: what it is called, and how to get at its text."""

    name: str
    hint: str = TEXT_HINT


ZIP = FileKind(
    "a zip archive (or a workbook or document made as one, such as .xlsx, .docx, .ods)",
    "unpack it and name a file in it; save a sheet as CSV, a document as text",
)
TAR = FileKind("a tar archive", "unpack it: `tar -xOf ARCHIVE NAME | bertcli …` reads one file in it")
OFFICE = FileKind("a document of an old Office program (.xls, .doc, .ppt)", "save it as CSV or text")
PICKLE = FileKind("a Python pickle", "write the data as JSONL or Parquet with the program that made it")
ARROW = FileKind("an Arrow or Feather file", "write it as Parquet: pyarrow.parquet.write_table")
ARRAY = FileKind("a NumPy array", "embeddings are searched by `bertcli search QUERY --embeddings FILE.npy`")
PROGRAM = FileKind("a program")
PICTURE = FileKind("a picture")

MAGIC: dict[bytes, FileKind] = {
    b"PK\x03\x04": ZIP,
    b"PK\x05\x06": ZIP,
    b"SQLite format 3\0": FileKind(
        "an SQLite database", 'query it: `sqlite3 -json FILE "select …" | bertcli … --from json`'
    ),
    b"%PDF-": FileKind("a PDF document", "take its text: `pdftotext FILE - | bertcli …`"),
    b"ARROW1\0\0": ARROW,
    b"FEA1": ARROW,
    b"\xff\xff\xff\xff": ARROW,
    b"\x93NUMPY": ARRAY,
    b"7z\xbc\xaf\x27\x1c": FileKind("a 7-Zip archive", "unpack it and name a file in it"),
    b"Rar!\x1a\x07": FileKind("a RAR archive", "unpack it and name a file in it"),
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": OFFICE,
    b"\x89HDF\r\n\x1a\n": FileKind("an HDF5 file", "write the texts as JSONL or Parquet"),
    b"ORC": FileKind("an ORC file", "write it as Parquet"),
    b"Obj\x01": FileKind("an Avro file", "write it as JSONL or Parquet"),
    b"\x7fELF": PROGRAM,
    b"MZ\x90\0": PROGRAM,
    b"\xca\xfe\xba\xbe": PROGRAM,
    b"\xcf\xfa\xed\xfe": PROGRAM,
    b"\0asm": PROGRAM,
    b"\x89PNG\r\n\x1a\n": PICTURE,
    b"\xff\xd8\xff": PICTURE,
    b"GIF87a": PICTURE,
    b"GIF89a": PICTURE,
    b"II*\0": PICTURE,
    b"MM\0*": PICTURE,
    b"\0\0\x01\0": PICTURE,
    b"OggS": FileKind("a sound file"),
    b"fLaC": FileKind("a sound file"),
    b"ID3": FileKind("a sound file"),
    b"!<arch>\n": FileKind("a library or package archive"),
    **{
        b"\x80%c" % version + opcode: PICKLE
        for version in range(2, 6)
        for opcode in (b"\x95", b"}", b"]", b"c")
    },
    **{
        b"\x80%c" % version + opcode: PICKLE
        for version in range(2, 6)
        for opcode in (b"(", b"X", b"K", b"\x8c")
    },
}


def refuse_binary(chunks: Iterator[bytes], label: str) -> Iterator[bytes]:
    """The chunks of an input, once their beginning may be text. Raises InputError for what is none by its first
    bytes; `label` names the input."""
    head, chunks = look(chunks, _may_become_binary)
    kind = kind_of(head)
    if kind is not None:
        raise InputError(f"is {kind.name}, not text", hint=kind.hint, where=label)
    return chunks


def kind_of(head: bytes) -> FileKind | None:
    """What begins with `head`; None for what may be text."""
    found = next((kind for magic, kind in MAGIC.items() if head.startswith(magic)), None)
    if found is None and head[TAR_PLACE : TAR_PLACE + len(TAR_MAGIC)] == TAR_MAGIC:
        return TAR
    if found is None and head[4:8] == b"\0\0\0\0" and head[8:10] == b'{"':
        return FileKind("a safetensors file", "a model is named by -m, as its directory")
    if found is None and head[:4] == b"RIFF" and head[8:12] in (b"WAVE", b"WEBP", b"AVI "):
        return PICTURE if head[8:12] == b"WEBP" else FileKind("a sound or video file")
    return found


def _may_become_binary(head: bytes) -> bool:
    """Whether more bytes are needed to decide: the first are a beginning of a signature, or a NUL is among them."""
    if len(head) < LOOKED and (b"\0" in head[:TAR_NAME] or head.startswith(b"RIFF")):
        return True
    return any(len(head) < len(magic) and magic.startswith(head) for magic in MAGIC)
