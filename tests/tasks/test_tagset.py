"""Rows of tags, and the spans they make."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertcli.tasks.tagset import Tagset

BIO = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
BIOES = ("O", *(f"{prefix}-{kind}" for kind in ("PER", "LOC") for prefix in "BIES"))
IO = ("O", "PER", "LOC")
POS = ("NOUN", "VERB", "B", "DATE-TIME")


def spans(row: str, tags: tuple[str, ...]) -> list[tuple[int, int, str]]:
    return [tuple(span) for span in Tagset(tags).spans(tags.index(tag) for tag in row.split())]


@pytest.mark.parametrize(
    ("tags", "row", "expected"),
    [
        (BIO, "O B-PER I-PER O", [(1, 3, "PER")]),
        (BIO, "B-PER B-PER I-LOC", [(0, 1, "PER"), (1, 2, "PER"), (2, 3, "LOC")]),
        (BIO, "I-PER I-PER O I-PER", [(0, 2, "PER"), (3, 4, "PER")]),
        (BIOES, "B-PER I-PER E-PER S-PER", [(0, 3, "PER"), (3, 4, "PER")]),
        (BIOES, "B-PER E-PER I-PER E-PER", [(0, 2, "PER"), (2, 4, "PER")]),
        (BIOES, "S-LOC E-LOC O E-LOC", [(0, 1, "LOC"), (1, 2, "LOC"), (3, 4, "LOC")]),
        (("O", "B-A", "I-A", "L-A", "U-A"), "B-A L-A U-A I-A", [(0, 2, "A"), (2, 3, "A"), (3, 4, "A")]),
        (("O", "B-A-B", "I-A-B"), "B-A-B I-A-B", [(0, 2, "A-B")]),
        (("O", "B-A", "I-A", "MISC"), "B-A MISC MISC", [(0, 1, "A"), (1, 3, "MISC")]),
        (IO, "PER PER O PER LOC", [(0, 2, "PER"), (3, 4, "PER"), (4, 5, "LOC")]),
        (POS, "NOUN NOUN B DATE-TIME", [(0, 1, "NOUN"), (1, 2, "NOUN"), (2, 3, "B"), (3, 4, "DATE-TIME")]),
        (("O", "B", "I"), "B I O I B B", [(0, 2, "_"), (3, 4, "_"), (4, 5, "_"), (5, 6, "_")]),
        (("O", "PER-B", "PER-I", "LOC-B"), "PER-B PER-I O LOC-B", [(0, 2, "PER"), (3, 4, "LOC")]),
        (("O", "B_PER", "I_PER"), "B_PER I_PER B_PER", [(0, 2, "PER"), (2, 3, "PER")]),
        (("o", "b-per", "i-per"), "b-per i-per o i-per", [(0, 2, "per"), (3, 4, "per")]),
        (("O", "B-A", "M-A", "E-A", "S-A"), "B-A M-A E-A S-A", [(0, 3, "A"), (3, 4, "A")]),
        (("O", "B-A", "I-A", "X-A"), "B-A X-A O", [(0, 2, "A")]),
        (("O", "B-pers.name", "I-pers.name"), "B-pers.name I-pers.name", [(0, 2, "pers.name")]),
        (
            ("O", "art-other", "place-other"),
            "art-other place-other",
            [(0, 1, "art-other"), (1, 2, "place-other")],
        ),
        (BIO, "", []),
    ],
)
def test_rows_and_their_spans(tags: tuple[str, ...], row: str, expected: list[tuple[int, int, str]]) -> None:
    assert spans(row, tags) == expected


@given(st.sampled_from([BIO, BIOES, IO, POS]), st.data())
def test_spans_spelled_in_bio_give_the_same_spans(tags: tuple[str, ...], data: st.DataObject) -> None:
    tagset = Tagset(tags)
    row = data.draw(st.lists(st.integers(0, len(tags) - 1), max_size=20))
    found = tagset.spans(row)
    spelled = ["O"] * len(row)
    for first, stop, label in found:
        spelled[first:stop] = [tagset.spelled(label, begins=place == first) for place in range(first, stop)]
    names = tuple(dict.fromkeys([*spelled, *(() if tagset.per_word else ("O", "B-", "I-"))]))
    assert Tagset(names).spans(map(names.index, spelled)) == found
    covered = {place for first, stop, _ in found for place in range(first, stop)}
    assert covered == {place for place, output in enumerate(row) if tags[output] != "O"}


@pytest.mark.parametrize(
    ("tags", "doubt"),
    [
        (BIO, None),
        (IO, None),
        (POS, None),
        (("O", "art-other", "place-other", "place-city"), None),
        (("O", "B-A", "I-A", "X-A"), "the tag X-A is of no known scheme"),
        (("O", "begin-PER", "in-PER", "begin-LOC", "in-LOC"), "begin, in before each type"),
    ],
)
def test_a_scheme_that_is_not_known_is_reported(tags: tuple[str, ...], doubt: str | None) -> None:
    found = Tagset(tags).doubt
    assert found is None if doubt is None else doubt in str(found)
