"""Files -> examples: which field is the label, and what cannot be learnt from is left out with a warning."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bertcli import console
from bertcli.errors import InputError, RecordError, UsageError
from bertcli.evaluation.gold import (
    ANSWERS_FIELD,
    ANY_FIELDS,
    QUESTION_FIELD,
    TAG_FIELDS,
    gold_field,
    is_ranking,
    label_name,
    listed,
    squad_answers,
    tagged,
)
from bertcli.evaluation.rankings import RELEVANCE_FIELDS, relevance
from bertcli.sources import open_source
from bertcli.tasks.tagset import Tagset
from bertcli.training.dataset import Example, number_of

if TYPE_CHECKING:
    from bertcli.records import Record
    from bertcli.requests import InputOptions


def read_labelled(options: InputOptions, label_field: str | None) -> list[Example]:
    """The labelled texts of some files; what has no text or no label is left out, with a warning.

    Raises UsageError when the records have no field with labels, InputError when none is usable.
    """
    with closing(open_source(options)) as source:
        field = gold_field(
            source.field_names, label_field, *ANY_FIELDS, option="--label-field", where=_listed(options)
        )
        if field == source.text_field:
            raise UsageError(
                f"'{field}' cannot be both the text and its label",
                hint="name the two with --text-field and --label-field",
            )

        def example(record: Record) -> Example | None:
            target = _target(record.fields.get(field))
            return None if record.blank or target is None else Example(str(record.text), record.pair, target)

        return _collected(source, example, "no text or no label", _listed(options))


def read_tagged(options: InputOptions) -> list[Example]:
    """The tagged sentences of some files: CoNLL columns, records with `words` and `tags`, or records with a
    text and `spans` of it as `tag` writes them.

    Raises InputError when none is usable, UsageError when the records have no field with tags.
    """

    def example(record: Record) -> Example | None:
        if record.blank or record.words is None:
            return None
        return Example(str(record.text), None, tuple(record.fields[field]), record.words)

    with closing(open_source(replace(options, split_words=True))) as source:
        field = gold_field(source.field_names, None, *TAG_FIELDS, option="--from", where=_listed(options))
        records = (tagged(record, field) for record in source)
        examples = _collected(records, example, "no text", _listed(options))
    examples = _without_prefixes(examples) if field == "spans" else examples
    doubt = Tagset(sorted({tag for one in examples for tag in one.target})).doubt
    if doubt is not None:
        console.warn(f"{_listed(options)}: {doubt}")
    return examples


def _without_prefixes(examples: list[Example]) -> list[Example]:
    """The examples with labels for tags, where their spans are single words and leave no word out: parts of
    speech."""
    if any(not tag.startswith("B-") for example in examples for tag in example.target):
        return examples
    return [
        replace(example, target=tuple(tag.removeprefix("B-") for tag in example.target))
        for example in examples
    ]


def read_questions(options: InputOptions) -> list[Example]:
    """The questions of some files in the form of SQuAD: a context, a question, and `answers` with the lists `text` and
    `answer_start`, which are empty where the context has no answer. The target is a tuple of (text, start).

    Raises UsageError when the records have no such fields, InputError when none is usable.
    """
    pair_field = options.pair_field or QUESTION_FIELD
    with closing(open_source(replace(options, pair_field=pair_field))) as source:
        if ANSWERS_FIELD not in source.field_names:
            raise UsageError(
                f"the records have no field {ANSWERS_FIELD}",
                hint='it holds {"text": [...], "answer_start": [...]}, as in SQuAD',
                where=_listed(options),
            )

        def example(record: Record) -> Example | None:
            if record.blank or not record.pair:
                return None
            try:
                found = tuple(squad_answers(record, ANSWERS_FIELD))
            except RecordError:
                return None
            context = str(record.text)
            if any(
                type(start) is not int or context[start : start + len(text)] != text for text, start in found
            ):
                return None
            return Example(context, record.pair, found)

        return _collected(
            source, example, "no question, or answers that are not in the context", _listed(options)
        )


def read_judged(options: InputOptions, label_field: str | None) -> list[Example]:
    """Queries with a text each, and how relevant it is as the target: the number in `label_field` or in the usual
    fields, 1 where there is none. The query is the text of the example, the text its pair. What lacks one of them is
    left out, with a warning.

    Raises UsageError when the records have no query, InputError when none is usable.
    """
    with closing(open_source(options)) as source:
        usual = [name for name in RELEVANCE_FIELDS if name in source.field_names]
        field: str | None = None
        if label_field is not None or usual:
            names, where = source.field_names, _listed(options)
            field = gold_field(names, label_field, *usual, option="--label-field", where=where)

        def example(record: Record) -> Example | None:
            if record.blank or record.pair is None or not record.pair.strip():
                return None
            try:
                return Example(
                    record.pair, str(record.text), 1.0 if field is None else relevance(record, field)
                )
            except RecordError:
                return None

        return _collected(source, example, "no text, no query or no relevance", _listed(options))


def read_plain(options: InputOptions) -> list[Example]:
    """The texts of some files. Raises InputError when there are none."""

    def example(record: Record) -> Example | None:
        return None if record.blank else Example(str(record.text), None, None)

    with closing(open_source(options)) as source:
        return _collected(source, example, "no text", _listed(options))


def read_pairs(options: InputOptions, target_field: str) -> list[tuple[str, str]]:
    """The texts of some files with their translations, both without blanks around them; what lacks one of the two is
    left out, with a warning.

    Raises UsageError when the records have no field of that name, InputError when none is usable.
    """

    def example(record: Record) -> Example | None:
        target = record.fields.get(target_field)
        if record.blank or not isinstance(target, str) or not target.strip():
            return None
        return Example(str(record.text).strip(), None, target.strip())

    with closing(open_source(options)) as source:
        if target_field not in source.field_names and source.field_names:
            raise UsageError(
                f"the records have no field '{target_field}'",
                hint=f"name the translation's with --target-field: {', '.join(source.field_names)}",
                where=_listed(options),
            )
        examples = _collected(source, example, "no text or no translation", _listed(options))
    return [(one.text, one.target) for one in examples]


def _collected(
    records: Iterable[Record], convert: Callable[[Record], Example | None], lacking: str, where: str
) -> list[Example]:
    """The examples that `convert` makes of records. The others, which are `lacking` something or could not be
    read at all, are counted in a warning with the place of the first and what is wrong there. Raises
    InputError where there are no examples."""
    found: list[Example] = []
    left_out, first, reason = 0, where, ""
    for record in records:
        example = None if record.problem is not None else convert(record)
        if example is not None:
            found.append(example)
            continue
        left_out += 1
        if left_out == 1:
            first = record.where
            reason = lacking if record.problem is None else record.problem.message
    if not found and not left_out:
        raise InputError("there is no record to learn from", hint="the input is empty", where=where)
    counted = "1 record" if left_out == 1 else f"{left_out} records"
    if not found:
        raise InputError(f"nothing can be learnt from {counted}: {reason}", where=first)
    if left_out == 1:
        console.warn(f"{counted} is left out, at {first}: {reason}")
    elif left_out:
        console.warn(f"{counted} are left out, the first at {first}: {reason}")
    return found


def _listed(options: InputOptions) -> str:
    """The inputs, for messages about all of them."""
    return ", ".join(options.files) or "stdin"


def _target(value: Any) -> Any:
    """What a field says a text should get: a class, a tuple of them, a number; None where it says nothing."""
    labels = listed(value)
    if labels is not None:
        names = [label_name(label) for label in labels]
        if is_ranking(labels):
            return names[0]
        return None if None in names else tuple(names)
    readable = label_name(value) is not None or number_of(value) is not None
    return value if readable else None
