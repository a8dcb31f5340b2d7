"""CoNLL: words with tags, as other tools read them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertcli.errors import UsageError
from bertcli.records import Problem, Record, Result
from bertcli.sinks import Layout
from tests.sinks.writing import LABEL, REMARKS, failed, result, to_bytes, to_file
from tests.sources.reading import read

TAG = Layout("tag", ("text",), ("word_tags",), REMARKS, "text")


def tagged(*words: tuple[str, str], fields: dict[str, Any] | None = None, split: bool = False) -> Result:
    text = " ".join(word for word, _ in words)
    given = tuple(word for word, _ in words) if split else None
    values = {"word_tags": [{"word": word, "tag": tag} for word, tag in words]}
    return Result(Record(0, fields or {"text": text}, text, words=given), values)


def test_a_word_a_line() -> None:
    results = [tagged(("Peter", "B-PER"), ("said", "O")), tagged(("no", "O"))]
    assert to_bytes(results, TAG, format="conll") == b"Peter\tB-PER\nsaid\tO\n\nno\tO\n\n"


def test_the_tags_of_the_input_stand_between() -> None:
    fields = {"text": "EU said", "words": ["EU", "said"], "tags": ["B-ORG", "O"]}
    words = (("EU", "B-LOC"), ("said", "O"))
    assert to_bytes([tagged(*words, fields=fields, split=True)], TAG, format="conll") == (
        b"EU\tB-ORG\tB-LOC\nsaid\tO\tO\n\n"
    )
    assert to_bytes([tagged(*words, fields=fields)], TAG, format="conll") == b"EU\tB-LOC\nsaid\tO\n\n"


def test_records_without_an_answer_are_comments() -> None:
    broken = result(problem=Problem("csv", "a\nb"))
    written = to_bytes([failed(), result({"word_tags": None}, text=" "), broken], TAG, format="conll")
    assert written == b"# error encoding: invalid byte\n\n# blank\n\n# error csv: a b\n\n"


def test_no_columns_come_of_what_is_in_a_word() -> None:
    assert to_bytes([tagged(("a\t\nb", "O"))], TAG, format="conll") == b"a b\tO\n\n"


def test_other_results_are_refused_before_a_file_is_begun(tmp_path: Path) -> None:
    path = tmp_path / "out.conll"
    with pytest.raises(UsageError, match="`label` does not write conll"):
        to_file(path, [], LABEL)
    assert not list(tmp_path.iterdir())


WORD = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\t\n\r \0"), min_size=1).filter(
    lambda word: word.strip() and word == word.strip(" ") and word != "-DOCSTART-"  # else it is blank
)


@given(st.lists(st.lists(st.tuples(WORD, WORD), min_size=1, max_size=4), max_size=4))
def test_what_is_written_can_be_read(sentences: list[list[tuple[str, str]]]) -> None:
    written = to_bytes([tagged(*sentence) for sentence in sentences], TAG, format="conll")
    records = read(stdin=written, input_format="conll")
    assert [(record.fields["words"], record.fields["tags"]) for record in records] == [
        ([word for word, _ in sentence], [tag for _, tag in sentence]) for sentence in sentences
    ]
