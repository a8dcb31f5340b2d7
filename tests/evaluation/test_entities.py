"""Entities are counted as seqeval counts them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics import classification_report

from bertcli.evaluation.entities import EntityCounts

IOB = ["O", *(f"{prefix}-{kind}" for prefix in "BI" for kind in ("PER", "LOC"))]
IOBES = [*IOB, *(f"{prefix}-{kind}" for prefix in "ES" for kind in ("PER", "LOC"))]


def sentences(tags: list[str]) -> st.SearchStrategy[list[tuple[list[str], list[str]]]]:
    pairs = st.lists(st.tuples(st.sampled_from(tags), st.sampled_from(tags)), min_size=1, max_size=12)
    return st.lists(
        pairs.map(lambda pairs: ([gold for gold, _ in pairs], [answer for _, answer in pairs])),
        min_size=1,
        max_size=6,
    )


@given(rows=sentences(IOB) | sentences(IOBES))
def test_entities_are_seqevals(rows: list[tuple[list[str], list[str]]]) -> None:
    # Prefixes are known by B- and I-: a sentence that holds both and no entity of its own.
    gold = [*(gold for gold, _ in rows), ["B-PER", "I-PER"]]
    answers = [*(answers for _, answers in rows), ["B-PER", "I-PER"]]
    entities = EntityCounts(gold, answers)
    counts = entities.counts(np.ones(len(gold)))
    report = classification_report(gold, answers, output_dict=True, zero_division=0)
    for place, label in enumerate(entities.types):
        assert counts.precision[place] == pytest.approx(report[label]["precision"])
        assert counts.recall[place] == pytest.approx(report[label]["recall"])
        assert counts.f1[place] == pytest.approx(report[label]["f1-score"])
        assert counts.support[place] == report[label]["support"]
    for average in ("macro", "micro"):
        figures = report[f"{average} avg"]
        for name, theirs in (("precision", "precision"), ("recall", "recall"), ("f1", "f1-score")):
            assert counts.averages()[f"{average}_{name}"] == pytest.approx(figures[theirs])


SPELLINGS = {
    "prefix": (["O", "B-PER", "I-PER", "B-LOC", "I-LOC"], False),
    "underscore": (["O", "B_PER", "I_PER", "B_LOC", "I_LOC"], False),
    "suffix": (["O", "PER-B", "PER-I", "LOC-B", "LOC-I"], True),
    "alone": (["O", "B", "I"], False),
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*seems not to be NE tag")
@pytest.mark.parametrize("spelling", SPELLINGS)
@given(data=st.data())
def test_other_spellings_are_counted_as_seqeval_counts_them(spelling: str, data: st.DataObject) -> None:
    tags, suffix = SPELLINGS[spelling]
    rows = data.draw(sentences(tags))
    gold = [*(gold for gold, _ in rows), tags[1:3]]
    answers = [*(answers for _, answers in rows), tags[1:3]]
    report = classification_report(gold, answers, output_dict=True, zero_division=0, suffix=suffix)
    averages = EntityCounts(gold, answers, tags).measure()(np.ones(len(gold)))
    for average in ("macro", "micro"):
        for name, theirs in (("precision", "precision"), ("recall", "recall"), ("f1", "f1-score")):
            assert averages[f"{average}_{name}"] == pytest.approx(report[f"{average} avg"][theirs])


def test_lower_case_tags_are_counted_as_seqeval_counts_upper_case() -> None:
    gold, answers = [["b-per", "i-per", "o", "b-loc"]], [["b-per", "o", "o", "b-loc"]]
    lower = EntityCounts(gold, answers).measure()(np.ones(1))
    upper = [[[tag.upper() for tag in row] for row in side] for side in (gold, answers)]
    report = classification_report(*upper, output_dict=True, zero_division=0)
    assert lower["micro_f1"] == pytest.approx(report["micro avg"]["f1-score"])


def test_a_sentence_drawn_twice_counts_twice() -> None:
    gold = [["B-PER", "O"], ["B-LOC", "I-LOC"]]
    answers = [["B-PER", "O"], ["B-LOC", "O"]]
    drawn = EntityCounts(gold, answers).measure()(np.array([2.0, 1.0]))
    written_out = EntityCounts([gold[0], *gold], [answers[0], *answers]).measure()(np.ones(3))
    assert drawn == pytest.approx(written_out)


def test_sentences_without_entities_have_no_types() -> None:
    entities = EntityCounts([["O", "O"]], [["O", "O"]])
    assert entities.types == ()
    assert set(entities.measure()(np.ones(1)).values()) == {0.0}
