"""Files -> examples: which field is the label, and what cannot be learnt from is left out with a warning."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bertcli import console
from bertcli.errors import InputError
from bertcli.evaluation.gold import ANY_FIELDS, gold_field, label_name
from bertcli.sources import open_source
from bertcli.training.examples import Example, number_of

if TYPE_CHECKING:
    from bertcli.options import InputOptions
    from bertcli.records import Record
    from bertcli.sources import Source


def read_labelled(options: InputOptions, label_field: str | None) -> list[Example]:
    """The labelled texts of some files; what has no text or no label is left out, with a warning.

    Raises UsageError when the records have no field with labels, InputError when none is usable.
    """
    with closing(open_source(options)) as source:
        field = gold_field(
            source.field_names, label_field, *ANY_FIELDS, option="--label-field", where=_listed(options)
        )

        def example(record: Record) -> Example | None:
            target = _target(record.fields.get(field))
            return None if record.blank or target is None else Example(str(record.text), record.pair, target)

        return _collected(source, example, "label", _listed(options))


def read_tagged(options: InputOptions) -> list[Example]:
    """The tagged sentences of some files: CoNLL columns, or records with `words` and `tags`.

    Raises InputError when none is usable.
    """

    def example(record: Record) -> Example | None:
        tags = record.fields.get("tags")
        if record.words is None or not isinstance(tags, list) or len(tags) != len(record.words):
            return None
        return Example(str(record.text), None, tuple(str(tag) for tag in tags), record.words)

    with closing(open_source(replace(options, split_words=True))) as source:
        return _collected(source, example, "tags for its words", _listed(options))


def read_plain(options: InputOptions) -> list[Example]:
    """The texts of some files. Raises InputError when there are none."""

    def example(record: Record) -> Example | None:
        return None if record.blank else Example(str(record.text), None, None)

    with closing(open_source(options)) as source:
        return _collected(source, example, "text", _listed(options))


def _collected(
    source: Source, convert: Callable[[Record], Example | None], lacking: str, where: str
) -> list[Example]:
    """The examples that `convert` makes of records; the others are counted in a warning."""
    found: list[Example] = []
    left_out, first = 0, ""
    for record in source:
        example = None if record.problem is not None else convert(record)
        if example is None:
            left_out, first = left_out + 1, first or record.where
        else:
            found.append(example)
    if not found:
        what = "no text" if lacking == "text" else f"no record has a text with a {lacking}"
        raise InputError(what, where=first or where)
    if left_out:
        counted = (
            f"1 record is left out, at {first}"
            if left_out == 1
            else (f"{left_out} records are left out, the first at {first}")
        )
        console.warn(f"{counted}: no text or no {lacking}")
    return found


def _listed(options: InputOptions) -> str:
    """The inputs, for messages about all of them."""
    return ", ".join(options.files) or "-"


def _target(value: Any) -> Any:
    """What a field says a text should get: a class, a tuple of them, a number; None where it says nothing."""
    if isinstance(value, list):
        names = [label_name(label) for label in value]
        return None if None in names else tuple(names)
    readable = label_name(value) is not None or number_of(value) is not None
    return value if readable else None
