"""Which field is the text, and rows -> Records."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

from bertcli.errors import UsageError, quoted
from bertcli.records import ExactNumber, Problem, Record

if TYPE_CHECKING:
    from bertcli.requests import InputOptions

PlacedRow: TypeAlias = tuple[str, dict[str, Any], Problem | None]
"""`file:line`, fields, what is wrong."""

TYPES = {
    str: "a string",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    list: "an array",
    dict: "an object",
    type(None): "null",
    bytes: "binary",
}
MISSING = object()
LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def choose_text_field(
    names: tuple[str, ...], strings: tuple[str, ...], options: InputOptions, where: str
) -> str:
    """The field the first record's text is in: the one asked for, else `text`, else its only string.

    Where a text may be a list of words, `words` comes before strings of other names.

    `names` are its fields, `strings` those that hold strings. Raises UsageError, which lists the fields, when
    there is no such field, when several could be meant, and when a pair or id field does not exist.
    """
    listed = "its fields: " + (quoted(names) or "none")
    asked = {
        "--text-field": options.text_field,
        "--pair-field": options.pair_field,
        "--id-field": options.id_field,
    }
    for option, name in asked.items():
        if name is not None and name not in names:
            raise UsageError(f"the first record has no field '{name}' ({option})", hint=listed, where=where)
    if options.text_field is not None:
        return options.text_field
    if "text" in names:
        return "text"
    if options.split_words and "words" in names:
        return "words"
    candidates = [name for name in strings if name not in (options.pair_field, options.id_field)]
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        message = "several fields could be the text"
        hint = "choose one with --text-field: " + quoted(candidates)
    else:
        message, hint = "no field of the first record holds a string", listed
    raise UsageError(message, hint=hint, where=where)


def make_records(
    rows: Iterator[PlacedRow], text_field: str, pair_field: str | None, *, split_words: bool = False
) -> Iterator[Record]:
    """Number the rows and find their texts.

    A row whose text (or pair) is absent, not a string or not made of characters becomes a record with a
    `field` problem and all its fields; null means no text. With `split_words` a list of strings is a
    text too: its words, joined by blanks. A field `words` that joined so gives the text says how it is split
    (see `sources.conll`).
    """
    for index, (where, fields, problem) in enumerate(rows):
        text = fields.get(text_field, MISSING)
        words = _words(text if split_words and type(text) is list else fields.get("words"))
        if split_words and type(text) is list and words is not None:
            text = " ".join(words)
        elif words is not None and " ".join(words) != text:
            words = None
        pair = None if pair_field is None else fields.get(pair_field, MISSING)
        if not _is_text(text):
            problem = problem or _not_text(text, text_field)
            text = None
        if not _is_text(pair):
            problem = problem or _not_text(pair, pair_field)
            pair = None
        yield Record(index, fields, text, pair, where, problem, words)


def _is_text(value: object) -> bool:
    """Whether a field can be a text: null can. Half of a surrogate pair is in no encoding of Unicode."""
    if type(value) is not str:
        return value is None
    return value.isascii() or LONE_SURROGATE.search(value) is None


def _words(value: object) -> tuple[str, ...] | None:
    """A list of strings as a tuple; None for anything else."""
    if type(value) is list and all(type(word) is str for word in value):
        return tuple(value)
    return None


def _not_text(value: object, name: str | None) -> Problem:
    if value is MISSING:
        return Problem("field", f"there is no field '{name}'")
    if isinstance(value, str):
        lone = ascii(LONE_SURROGATE.findall(value)[0])[1:-1]
        return Problem("field", f"the field '{name}' holds {lone}, half of a surrogate pair and no character")
    return Problem("field", f"the field '{name}' is {json_type(value)}, not a string")


def json_type(value: object) -> str:
    """What JSON calls the type of `value`, with its article; Parquet has more types than JSON."""
    if isinstance(value, ExactNumber):
        return TYPES[float]
    return TYPES.get(type(value), f"of type {type(value).__name__}")
