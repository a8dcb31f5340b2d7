"""What the file says is right: gold answers, read from the fields of records.

A record whose gold answer is missing or makes no sense fails like any other that cannot be processed. A label
the model does not have is another matter: every figure would be wrong without a word, so the run ends there,
with the labels of both.

What `label` and `tag` wrote can be read as gold answers: labels with their scores, spans with their places,
and both as JSON in the cells of CSV.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from bertcli.errors import RecordError, UsageError, quoted
from bertcli.records import Problem, Record

LABEL_FIELDS = ("label", "category", "class", "target")
SEVERAL_FIELDS = ("labels", *LABEL_FIELDS)
NUMBER_FIELDS = ("score", *LABEL_FIELDS)
ANY_FIELDS = ("labels", "label", "score", "category", "class", "target")
"""Where the gold answer usually is, of one label, of several, of a number, and where nothing but the file
says which of these it is: the first that is there."""

TAG_FIELDS = ("tags", "spans")
QUESTION_FIELD, ANSWERS_FIELD = "question", "answers"
"""As in SQuAD."""

WEIGHT_FIELD, DRAWS_FIELD = "sample_weight", "sample_draws"
"""The fields in which `sample` writes the weight of a record and how often it was drawn."""

WORD = re.compile(r"\w+|[^\w\s]")
ROUNDING = 1e-4  # of the scores of a text's labels, taken together

LOOKED_AT = 10_000  # records that are read to list the labels of a file
LISTED = 20


class UnknownLabelError(Exception):
    """A gold label that the model does not have."""


def gold_field(names: Sequence[str], asked: str | None, *usual: str, where: str, option: str) -> str:
    """The field that holds the gold answer: the one `asked` for, else the first of the `usual` ones that is
    there. Raises UsageError, which lists the fields, when there is none."""
    for name in (asked,) if asked is not None else usual:
        if name in names or not names:  # an empty input has no fields
            return name
    usually = f"no field {' or '.join(usual)} with the right answer"
    wanted = usually if asked is None else f"no field '{asked}' ({option})"
    hint = f"its fields: {quoted(names)}" + ("" if asked is not None else f"; name one with {option}")
    raise UsageError(f"the first record has {wanted}", hint=hint, where=where)


def watched(records: Iterable[Record], read: Callable[[Record], object]) -> Iterator[Record]:
    """The records, with a problem where `read` finds no gold answer for a text that has one coming."""
    for record in records:
        if record.problem is None and not record.blank:
            try:
                read(record)
            except RecordError as error:
                record = replace(record, problem=Problem(error.type, error.message))
        yield record


class Labels:
    """Reads labels as their places among the model's `names`."""

    def __init__(self, field: str, names: Sequence[str]) -> None:
        self._field = field
        self._names = tuple(names)
        self._places = {name: place for place, name in enumerate(names)}
        self._seen: dict[str, None] = {}

    def one(self, record: Record) -> int:
        """The place of the record's label. Raises RecordError where it has none, UnknownLabelError."""
        return self._place(_label(record.fields.get(self._field), self._field))

    def several(self, record: Record) -> list[int]:
        """The places of the record's labels, of which there may be none."""
        value = record.fields.get(self._field)
        found = listed(value)
        if found is None:
            found = [] if value is None and self._field in record.fields else [value]
        return [self._place(_label(label, self._field)) for label in found]

    def watch(self, records: Iterable[Record], read: Callable[[Record], object]) -> Iterator[Record]:
        """`watched`; for a label the model does not have, raises UsageError with the labels of both, after a
        look at the records that follow."""
        records = iter(records)
        current: list[Record] = []  # the record that `watched` is at

        def remembered() -> Iterator[Record]:
            for record in records:
                current[:] = [record]
                yield record

        try:
            yield from watched(remembered(), read)
        except UnknownLabelError as unknown:
            self._look_ahead(records, read)
            model, file = _listed(self._names), _listed(tuple(self._seen))
            raise UsageError(
                f"the label '{unknown}' is not one of the model's",
                where=current[0].where,
                hint=f"the model's: {model}; the file's: {file}",
            ) from None

    def _place(self, label: str) -> int:
        self._seen[label] = None
        if label not in self._places:
            raise UnknownLabelError(label)
        return self._places[label]

    def _look_ahead(self, records: Iterator[Record], read: Callable[[Record], object]) -> None:
        for record in islice(records, LOOKED_AT):
            try:
                read(record)
            except (RecordError, UnknownLabelError):
                continue


def squad_answers(record: Record, field: str) -> list[tuple[str, Any]]:
    """The answers to the record's question in the form of SQuAD, `{"text": [...], "answer_start": [...]}`: pairs of a
    text and where it starts in the context, None where the file does not say. Raises RecordError."""
    found = record.fields.get(field)
    texts = found.get("text") if isinstance(found, dict) else None
    starts = found.get("answer_start") if isinstance(found, dict) else None
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise _unreadable(field, found, "an object with a list `text` of answers")
    if starts is None:
        starts = [None] * len(texts)
    if not isinstance(starts, list) or len(starts) != len(texts):
        raise _unreadable(field, found, "an object with as many answers as places where they start")
    return list(zip(texts, starts, strict=True))


def number(record: Record, field: str) -> float:
    """The number in a field; CSV has it as text. Raises RecordError."""
    found = record.fields.get(field)
    if isinstance(found, bool) or not isinstance(found, int | float | str):
        raise _unreadable(field, found, "a number")
    try:
        value = float(found)
    except (ValueError, OverflowError):
        value = math.nan
    if not math.isfinite(value):
        raise _unreadable(field, found, "a number")
    return value


def tags(record: Record, field: str) -> list[str]:
    """The tags of the record's words. Raises RecordError when there are none, or not one a word."""
    found = record.fields.get(field)
    if not isinstance(found, list) or not all(isinstance(tag, str) for tag in found):
        raise _unreadable(field, found, "a list of tags")
    if record.words is None:
        raise RecordError("field", "the words are not given as a list")
    if len(found) != len(record.words):
        raise RecordError("field", f"{len(record.words)} words have {len(found)} tags")
    return found


def tagged(record: Record, field: str, *, per_word: bool = False) -> Record:
    """The record with its words, and a tag for each of them in `field`.

    The field may also hold spans, as `tag` writes them: they become tags in BIO, or with `per_word` their
    labels as they are. A record whose words or tags make no sense gets a problem.
    """
    if record.problem is not None:
        return record
    found = listed(record.fields.get(field))
    given = listed(record.fields.get("words")) if record.words is None else record.words
    try:
        if _are_spans(found, field):
            given, found = _words_with_tags(record.text or "", found or [], per_word)
        if given is not None and all(isinstance(word, str) for word in given):
            record = replace(record, text=" ".join(given), words=tuple(given))
        if found is not None:
            record = replace(record, fields={**record.fields, field: found})
        if not record.blank:
            tags(record, field)
    except RecordError as error:
        return replace(record, problem=Problem(error.type, error.message))
    return record


def _are_spans(found: list[Any] | None, field: str) -> bool:
    """Whether these are spans and no tags; where there are none, the name of the field decides."""
    if not found:
        return found is not None and field.endswith("spans")
    return all(isinstance(item, dict) for item in found)


def _words_with_tags(text: str, spans: Sequence[Any], per_word: bool) -> tuple[list[str], list[str]]:
    """The words of a text and their tags. Words in a span end at white space, others at punctuation too."""
    words: list[str] = []
    tags_found: list[str] = []
    at = 0
    for start, end, label in [*sorted(_span(span, text) for span in spans), (len(text), len(text), "")]:
        if start < at:
            raise RecordError("field", f"the spans at {start} and before it overlap")
        between = WORD.findall(text[at:start])
        inside = text[start:end].split()
        words += [*between, *inside]
        tags_found += ["O"] * len(between)
        tags_found += [label if per_word else f"{'I' if n else 'B'}-{label}" for n in range(len(inside))]
        at = end
    return words, tags_found


def _span(span: Mapping[str, Any], text: str) -> tuple[int, int, str]:
    start, end, label = (span.get(name) for name in ("start", "end", "label"))
    if type(start) is not int or type(end) is not int or not isinstance(label, str):
        raise RecordError("field", "a span lacks start, end or label")
    if not 0 <= start < end <= len(text):
        raise RecordError("field", f"the span from {start} to {end} is not in the text")
    if span.get("text", text[start:end]) != text[start:end]:
        raise RecordError("field", f"the span from {start} to {end} has another text than the record there")
    return start, end, label


def listed(value: Any) -> list[Any] | None:
    """A list, which CSV has as JSON; None for anything else."""
    if isinstance(value, str) and value.startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, list) else None


def is_ranking(labels: Sequence[Any]) -> bool:
    """Whether these are the likeliest labels of one that holds, as `label -k N` writes them: the scores share
    one. Of labels that hold together, each has more than half."""
    scores = [label.get("score") if isinstance(label, dict) else None for label in labels]
    numbers = [score for score in scores if isinstance(score, int | float)]
    return 1 < len(numbers) == len(labels) and sum(numbers) <= 1 + ROUNDING


def label_name(value: Any) -> str | None:
    """The name of the label that a file's value means: text as it is, a whole number as its digits; of an
    object as `label` writes it, its label."""
    if isinstance(value, dict):
        value = value.get("label")
    if isinstance(value, str) and value.strip():
        return value
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, int) else None


def _label(value: Any, field: str) -> str:
    name = label_name(value)
    if name is None:
        raise _unreadable(field, value, "a label")
    return name


def _unreadable(field: str, value: Any, what: str) -> RecordError:
    if value is None or value == "":
        return RecordError("field", f"the field '{field}' is missing or empty")
    shown = f"'{value}'" if isinstance(value, str) else str(value)
    shown = shown if len(shown) <= 40 else shown[:39] + "…"
    return RecordError("field", f"the field '{field}' holds {shown}, which is not {what}")


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more
