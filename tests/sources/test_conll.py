"""CoNLL: sentences of words with tags."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertcli.records import Record
from tests.sources.reading import Dribble, problems, read


def sentences(records: list[Record]) -> list[tuple[list[str], list[str] | None]]:
    return [(record.fields["words"], record.fields.get("tags")) for record in records]


def test_a_sentence_is_a_record() -> None:
    data = b"\n\nEU\tB-ORG\nrejects\tO\n\n\nPeter\tB-PER\r\n Blackburn \tI-PER\r\n\r\n"
    records = read(stdin=data, input_format="conll")
    assert [dict(record.fields) for record in records] == [
        {"text": "EU rejects", "words": ["EU", "rejects"], "tags": ["B-ORG", "O"]},
        {"text": "Peter Blackburn", "words": ["Peter", "Blackburn"], "tags": ["B-PER", "I-PER"]},
    ]
    assert [record.text for record in records] == ["EU rejects", "Peter Blackburn"]
    assert [record.words for record in records] == [("EU", "rejects"), ("Peter", "Blackburn")]
    assert [record.where for record in records] == ["stdin:3", "stdin:7"]


@pytest.mark.parametrize("name", ["in.conll", "in.iob", "in.bio", "IN.CONLL"])
def test_the_suffix_tells_the_form(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("a\tX\n")
    assert sentences(read(tmp_path / name)) == [(["a"], ["X"])]


def test_the_first_column_is_the_word_and_the_last_the_tag() -> None:
    spaced = b"EU NNP  B-NP B-ORG\nsaid VBD B-VP O"
    tabbed = b"New York\tNNP\tB-LOC\n\xc2\xa0\t_\tO"
    assert sentences(read(stdin=spaced, input_format="conll")) == [(["EU", "said"], ["B-ORG", "O"])]
    assert sentences(read(stdin=tabbed, input_format="conll")) == [(["New York", "\xa0"], ["B-LOC", "O"])]


def test_one_column_has_no_tags() -> None:
    records = read(stdin=b"EU\nrejects\n\n#\ncall", input_format="conll")
    assert sentences(records) == [(["EU", "rejects"], None), (["#", "call"], None)]
    assert list(records[0].fields) == ["text", "words"]


def test_comments_and_documents_are_no_words() -> None:
    data = b"-DOCSTART- -X- O O\n\n# text = # a\n# sent_id = 1\n#\tO\n# \tO\n\n-DOCSTART-\tO\n\na\tO\n"
    assert sentences(read(stdin=data, input_format="conll")) == [(["#", "#"], ["O", "O"]), (["a"], ["O"])]


def test_a_hash_may_be_a_word_between_blanks() -> None:
    assert sentences(read(stdin=b"a O\n\n# O\nb O\n", input_format="conll")) == [
        (["a"], ["O"]),
        (["#", "b"], ["O", "O"]),
    ]


def test_a_line_that_does_not_fit_costs_only_its_sentence() -> None:
    data = b"a\tO\n\nb\tO\nc\nd\tO\n\ne\tO\n\nf\t\n\n\tO\n\n\xff\tO\ng\tO\n\nh\tO"
    records = read(stdin=data, input_format="conll")
    assert problems(records) == [None, "conll", None, "conll", "conll", "encoding", None]
    assert dict(records[1].fields) == {"text": "b c d", "words": ["b", "c", "d"]}
    assert dict(records[5].fields) == {}
    assert [record.problem.message for record in records if record.problem][:3] == [
        "line 4 has 1 column, but the first line with a word has 2",
        "line 9 has an empty column where its word or its tag should be",
        "line 11 has an empty column where its word or its tag should be",
    ]


CONLLU = """\
# sent_id = 1
# text = Vámonos al mar
1-2\tVámonos\t_\t_\t_\t_\t_\t_\t_\t_
1\tVamos\tir\tVERB\t_\t_\t0\troot\t_\t_
2\tnos\tnosotros\tPRON\t_\t_\t1\tobj\t_\t_
2.1\tmissing\t_\t_\t_\t_\t_\t_\t_\t_
3\t#\t#\tSYM\t_\t_\t_\t_\t_\t_

1\tal\tO
"""


def test_universal_dependencies(tmp_path: Path) -> None:
    (tmp_path / "in.conllu").write_text(CONLLU, encoding="utf-8")
    for records in (read(tmp_path / "in.conllu"), read(stdin=CONLLU.encode(), input_format="conllu")):
        assert sentences(records)[0] == (["Vamos", "nos", "#"], ["VERB", "PRON", "SYM"])
        assert records[1].problem is not None
        assert records[1].problem.message == "line 9 has 3 columns, and CoNLL-U has ten between tabs"


WORD = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\t\n\r \0"), min_size=1).filter(
    lambda word: word == word.strip(" ") and word != "-DOCSTART-"
)


@given(
    st.lists(st.lists(st.tuples(WORD, WORD), min_size=1, max_size=5), max_size=5),
    st.lists(st.integers(1, 20), max_size=20),
)
def test_what_is_written_is_read_in_any_pieces(
    sentences_: list[list[tuple[str, str]]], sizes: list[int]
) -> None:
    lines = ["".join(f"{word}\t{tag}\n" for word, tag in sentence) for sentence in sentences_]
    records = read(stdin=Dribble("\n".join(lines).encode(), sizes), input_format="conll")
    assert sentences(records) == [
        ([word for word, _ in sentence], [tag for _, tag in sentence]) for sentence in sentences_
    ]


def test_a_sentence_comes_when_it_is_complete() -> None:
    from bertcli.sources.conll import read_conll

    def blocks():
        yield b"a\tO\n\n"
        raise AssertionError("read too far")

    rows = read_conll(blocks(), universal=False, encoding="utf-8", most=1000).rows
    assert next(rows)[1]["words"] == ["a"]


# Words in other forms


def test_words_that_make_the_text_are_its_words() -> None:
    data = b'{"text":"a b c","words":["a b","c"]}\n{"text":"a b","words":["a","c"]}\n{"text":"a","words":"a"}'
    assert [record.words for record in read(stdin=data)] == [("a b", "c"), None, None]


def test_a_list_of_words_is_a_text_where_words_may_be_split() -> None:
    data = (
        b'{"id":"1","tokens":["EU","rejects"]}\n{"id":"2","tokens":"EU said"}\n{"id":"3","tokens":["EU",1]}'
    )
    records = read(stdin=data, text_field="tokens", split_words=True)
    assert [record.text for record in records] == ["EU rejects", "EU said", None]
    assert [record.words for record in records] == [("EU", "rejects"), None, None]
    assert problems(records) == [None, None, "field"]
    assert problems(read(stdin=data, text_field="tokens")) == ["field", None, "field"]


def test_words_is_the_field_of_a_list_of_words() -> None:
    data = b'{"id":"1","words":["EU","rejects"]}'
    assert read(stdin=data, split_words=True)[0].text == "EU rejects"
