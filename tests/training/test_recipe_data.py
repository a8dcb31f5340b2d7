"""The data of a recipe: any format, samples, sentences, held-out examples."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertcli.errors import UsageError
from bertcli.training.dataset import Example, joined, recased
from bertcli.training.recipe import DataSource, LabelSettings, TagSettings
from bertcli.training.recipe_data import drawn, evenly_spaced, label_split, scored_pairs, tag_split, texts_of

ROWS = [{"text": f"text {n}", "label": "ab"[n % 2]} for n in range(20)]


def jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def settings_of(*paths: Path, **settings: Any) -> LabelSettings:
    return LabelSettings(name="s", data=tuple(DataSource(path) for path in paths), **settings)


def test_every_form_gives_the_same_examples(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    forms = [
        jsonl(tmp_path / "a.jsonl", ROWS),
        tmp_path / "a.csv",
        tmp_path / "a.jsonl.gz",
        tmp_path / "a.parquet",
    ]
    forms[1].write_text("text,label\n" + "".join(f"{row['text']},{row['label']}\n" for row in ROWS))
    forms[2].write_bytes(gzip.compress(forms[0].read_bytes()))
    parquet.write_table(pyarrow.Table.from_pylist(ROWS), forms[3])
    found = [label_split(settings_of(path), seed=1) for path in forms]
    assert all(held == found[0] for held in found)
    assert len(found[0].train) == 18
    assert len(found[0].dev) == 2


def test_fields_can_be_named(tmp_path: Path) -> None:
    rows = [{"body": row["text"], "more": "b", "team": row["label"]} for row in ROWS]
    source = DataSource(jsonl(tmp_path / "a.jsonl", rows), None, "body", "more", "team")
    held = label_split(LabelSettings(name="s", data=(source,), dev_fraction=0.0), seed=1)
    assert held.train[3] == Example("text 3", "b", "b")
    assert not held.dev


def test_dev_files_are_what_is_held_out(tmp_path: Path) -> None:
    train, dev = jsonl(tmp_path / "a.jsonl", ROWS[:15]), jsonl(tmp_path / "b.jsonl", ROWS[15:])
    held = label_split(settings_of(train, dev=(DataSource(dev),)), seed=1)
    assert [e.text for e in held.dev] == [row["text"] for row in ROWS[15:]]


def test_a_second_text_is_found_under_its_usual_name(tmp_path: Path) -> None:
    rows = [{"text": "a", "text_pair": "b", "score": 2.5}]
    (pair,) = scored_pairs([DataSource(jsonl(tmp_path / "a.jsonl", rows))], seed=1)
    assert pair == Example("a", "b", 2.5)


def test_scored_pairs_need_two_texts_and_a_number(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="second text"):
        scored_pairs([DataSource(jsonl(tmp_path / "a.jsonl", [{"text": "a", "score": 1}]))], seed=1)
    rows = [{"text": "a", "text_pair": "b", "score": "good"}]
    with pytest.raises(UsageError, match="not a number"):
        scored_pairs([DataSource(jsonl(tmp_path / "b.jsonl", rows))], seed=1)


def test_conll_becomes_sentences(tmp_path: Path) -> None:
    path = tmp_path / "a.conll"
    path.write_text("Ann\tB-PER\nruns\tO\n\nBob\tB-PER\n")
    held = tag_split(TagSettings(name="t", data=(DataSource(path),), dev_fraction=0.0), seed=1)
    assert [e.words for e in held.train] == [("Ann", "runs"), ("Bob",)]
    assert held.train[0].target == ("B-PER", "O")


def test_sentences_are_cut_and_every_nth_record_is_held_out(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    line = (
        'The first sentence number {} is here. "A second one follows it, too!" Short one. '
        "And this is the last of them"
    )
    path.write_text("\n".join(line.format(n) for n in range(10)))
    learnt, held = texts_of(DataSource(path), "sentence", 1, holdout_every=5)
    assert learnt[:3] == [
        "The first sentence number 1 is here.",
        '"A second one follows it, too!',
        "And this is the last of them",
    ]
    assert {text for text in held if "number" in text} == {
        "The first sentence number 0 is here.",
        "The first sentence number 5 is here.",
    }


@given(count=st.integers(0, 60), limit=st.none() | st.integers(0, 70), seed=st.integers(0, 5))
def test_a_sample_is_in_order_without_repeats(count: int, limit: int | None, seed: int) -> None:
    found = drawn(range(count), limit, seed)
    assert found == sorted(set(found))
    assert len(found) == (count if limit is None else min(count, limit))
    assert found == drawn(range(count), limit, seed)


def test_a_sample_is_of_everywhere() -> None:
    found = [item for seed in range(300) for item in drawn(range(10), 2, seed)]
    assert all(30 < found.count(item) < 90 for item in range(10))  # 60 are expected, 7 are one deviation


@given(count=st.integers(0, 50), limit=st.integers(0, 60))
def test_what_is_evenly_spaced_is_no_more_than_the_limit(count: int, limit: int) -> None:
    found = evenly_spaced(range(count), limit)
    assert found == sorted(set(found))
    assert len(found) == (min(count, limit) if limit else count)


@given(count=st.integers(1, 40), most=st.integers(1, 5), seed=st.integers(0, 3))
def test_joining_keeps_every_sentence_once(count: int, most: int, seed: int) -> None:
    sentences = [Example(f"w{n} x", None, (f"t{n}", "O"), (f"w{n}", "x")) for n in range(count)]
    found = joined(sentences, most, seed)
    words = [word for one in found for word in one.words if word != "x"]
    assert sorted(words) == sorted(f"w{n}" for n in range(count))
    assert all(len(one.words) == len(one.target) <= 2 * most for one in found)
    assert all(one.text == " ".join(one.words) for one in found)
    if most > 1:
        assert sum(len(one.words) == 2 for one in found) >= count // 2


def test_a_share_of_the_sentences_is_read_once_more_in_capitals_or_in_lower_case() -> None:
    sentences = [Example(f"Ann{n} runs", None, ("B-PER", "O"), (f"Ann{n}", "runs")) for n in range(20)]
    found = recased(sentences, 0.2, seed=7)
    assert found[:20] == sentences
    assert [one.words[0][:3] for one in found[20:]] == ["ANN", "ann", "ANN", "ann"]
    assert all(one.target == ("B-PER", "O") and one.text == " ".join(one.words) for one in found)
    assert recased(sentences, 0.2, seed=8) != found
    assert recased(sentences, 0.0, seed=7) == sentences
