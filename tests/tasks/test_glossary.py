"""Glossaries: which terms a text has, and that they come out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import bertcli
from bertcli.cli import main
from bertcli.engines.seq2seq import Generation, Phrase
from bertcli.engines.seq2seq.constrained import Met
from bertcli.engines.seq2seq.translator import open_translator
from bertcli.errors import InputError, UsageError
from bertcli.models.checkpoint import open_checkpoint
from bertcli.records import Window
from bertcli.tasks.glossary import Glossary, Term, contains, parse_terms
from tests.checkpoints import TEXTS
from tests.conftest import Make

# Words that the test vocabulary has as one piece, as several, and several words.
TERMS = {"fox": "doctor", "Paris": "Rome", "birds": "river banks", "the river": "Monday's", "film": "ox"}


def write(folder: Path, terms: dict[str, str]) -> str:
    (folder / "terms.tsv").write_text("".join(f"{source}\t{target}\n" for source, target in terms.items()))
    return str(folder / "terms.tsv")


def wanted(text: str) -> list[str]:
    return [each.term.target for each in Glossary(Term(*term) for term in TERMS.items()).find(text)]


def translate(path: Path, **options: Any) -> list[dict[str, Any]]:
    """Translations by the packed engine, which a glossary needs, unless `engine` says otherwise."""
    loaded = bertcli.load(str(path), dtype="float32", engine=options.pop("engine", "packed"))
    return list(loaded.translate(TEXTS, split="none", **options))


@pytest.mark.parametrize("options", [{}, {"greedy": True}, {"beam": 2}, {"k": 3}], ids=str)
@pytest.mark.parametrize("family", ["marian", "bart", "mbart", "m2m_100", "pegasus", "t5"])
def test_terms_come_out_and_other_records_stay_as_they_are(
    seq2seq: Make, tmp_path: Path, family: str, options: dict[str, Any]
) -> None:
    path = seq2seq(family)
    glossary = write(tmp_path, TERMS)
    without = translate(path, **options)
    found = translate(path, glossary=glossary, **options)
    for text, before, after in zip(TEXTS, without, found, strict=True):
        if not wanted(text):
            assert before == after
        for each in after.get("translations", [{"text": after["translation"]}]):
            assert all(contains(each["text"], term) for term in wanted(text))
        assert "missing_terms" not in after
    changed = [
        before["translation"] != after["translation"] for before, after in zip(without, found, strict=True)
    ]
    assert 3 <= sum(changed) < len(TEXTS)


def test_a_batch_of_one_gives_what_a_batch_of_many_gives(seq2seq: Make, tmp_path: Path) -> None:
    path, glossary = seq2seq("marian"), write(tmp_path, TERMS)
    model = bertcli.load(str(path), dtype="float32")
    together = list(model.translate(TEXTS, glossary=glossary))
    for text, found in zip(TEXTS, together, strict=True):
        [alone] = model.translate([text], glossary=glossary)
        assert alone["translation"] == found["translation"]
        assert alone["score"] == pytest.approx(found["score"], abs=1e-5)


def test_a_term_that_the_model_writes_by_itself_changes_nothing(seq2seq: Make, tmp_path: Path) -> None:
    model = bertcli.load(str(seq2seq("t5")), engine="packed")
    [before] = model.translate([TEXTS[6]])
    word = max(before["translation"].split(), key=len)
    glossary = write(tmp_path, {"fox": word})
    assert list(model.translate([TEXTS[6]], glossary=glossary)) == [before]


def test_the_score_is_that_of_the_forced_tokens(seq2seq: Make) -> None:
    """Against the log-probabilities that transformers gives to the same target."""
    import torch
    import transformers

    path = seq2seq("marian")
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(path).eval()
    engine: Any = open_translator(open_checkpoint(path), dtype="float32")
    ids = [5, 9, 44, 1]
    [found] = engine.constrain(Window(ids), [Phrase((30, 31)), Phrase((17,))], Generation(beam=4))
    with torch.inference_mode():
        logits = model(
            input_ids=torch.tensor([ids]), decoder_input_ids=torch.tensor([[0, *found.ids[:-1]]])
        ).logits[0]
    steps = logits.log_softmax(-1).gather(1, torch.tensor(found.ids)[:, None])[:, 0]
    theirs = (
        steps.sum() if found.is_finished else steps[:-1].sum()
    )  # Marian forces its last token at the limit
    assert found.log_prob == pytest.approx(float(theirs), abs=1e-3)
    assert (30, 31) in list(zip(found.ids, found.ids[1:], strict=False))
    assert 17 in found.ids


def test_a_limit_that_leaves_no_room_is_said(seq2seq: Make, tmp_path: Path) -> None:
    glossary = write(tmp_path, {"fox": "doctor walked slowly"})
    options = ["-m", str(seq2seq("marian")), "-t", TEXTS[6], "-t", TEXTS[0], "-q", "--max-new-tokens", "2"]
    assert main(["translate", *options, "--glossary", glossary, "-o", str(tmp_path / "o.jsonl")]) == 0
    found, other = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert found["missing_terms"] == ["doctor walked slowly"]
    assert found["truncated"] is True
    assert "missing_terms" not in other


def test_a_long_sentence_demands_a_term_where_it_has_it(seq2seq: Make, tmp_path: Path) -> None:
    glossary = write(tmp_path, {"fox": "doctor"})
    text = " ".join(["bank"] * 30 + ["fox"] + ["bank"] * 30)
    [found] = bertcli.load(str(seq2seq("marian"))).translate([text], glossary=glossary, max_length=24)
    assert found["windows"] > 2
    assert contains(found["translation"], "doctor")


def test_a_run_with_a_glossary_can_be_repeated(seq2seq: Make, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("\n".join(TEXTS))
    options = ["translate", str(tmp_path / "in.txt"), "-m", str(seq2seq("marian")), "-q"]
    output = ["-o", str(tmp_path / "o.jsonl")]
    glossary = ["--glossary", write(tmp_path, TERMS)]
    assert main([*options, *glossary, *output]) == 0
    whole = (tmp_path / "o.jsonl").read_bytes()
    assert main([*options, *glossary, *output, "--overwrite"]) == 0
    assert (tmp_path / "o.jsonl").read_bytes() == whole


def test_the_instant_engine_takes_no_glossary(seq2seq: Make, tmp_path: Path) -> None:
    for options in ({"glossary": write(tmp_path, TERMS)}, {"align": True}):
        with pytest.raises(UsageError, match="the instant engine does not support it"):
            translate(seq2seq("marian"), engine="instant", **options)


def test_models_on_transformers_take_no_glossary(seq2seq: Make, tmp_path: Path) -> None:
    for options in ({"glossary": write(tmp_path, TERMS)}, {"align": True}):
        with pytest.raises(UsageError, match="runs on transformers"):
            translate(seq2seq("prophetnet"), **options)


def test_a_term_beyond_the_vocabulary_is_refused(seq2seq: Make, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot write Ω"):
        translate(seq2seq("marian"), glossary=write(tmp_path, {"fox": "Ω"}))


# Finding terms


@pytest.mark.parametrize(
    ("terms", "text", "found"),
    [
        (["cat"], "The Cat, a CAT; concat cats cat's", ["cat", "cat", "cat"]),
        (["US"], "The US and us", ["US"]),
        (["New York", "York"], "new york, New  York and York", ["New York", "York"]),
        (["bank account", "bank", "account"], "a bank account", ["bank account"]),
        (["C++", "C"], "C++ or C#", ["C++", "C"]),
        (["straße"], "STRASSE", ["straße"]),
        (["東京"], "私は東京に住む", ["東京"]),
        (["e-mail"], "E-Mail me", ["e-mail"]),
    ],
)
def test_words_are_whole_and_the_longest_term_counts(terms: list[str], text: str, found: list[str]) -> None:
    assert [each.term.source for each in Glossary(Term(term, "x") for term in terms).find(text)] == found


def test_a_target_term_is_whole() -> None:
    assert contains("Ein Hund!", "Hund")
    assert contains("(Hund)", "Hund")
    assert not contains("Hunde", "Hund")
    assert not contains("hund", "Hund")
    assert contains("東京都", "東京")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.tsv", "source\ttarget\na b\tc d\n\n#x\ty\n"),
        ("a.txt", "a  b\tc d\n#x\ty"),
        ("a.csv", 'Source,Target\n"a b",c d\n#x,"y"\n'),
        ("a.jsonl", '{"source": "a b", "target": "c d"}\n\n{"target": "y", "source": "#x"}'),
    ],
)
def test_files_of_terms(name: str, content: str) -> None:
    assert [(term.source, term.target) for term in parse_terms(content, name)] == [
        ("a b", "c d"),
        ("#x", "y"),
    ]


@pytest.mark.parametrize(
    ("name", "content", "where"),
    [
        ("a.tsv", "a\tb\nonly\n", "a.tsv:2"),
        ("a.tsv", " \tb\n", "a.tsv:1"),
        ("a.csv", "a\tb\n", "a.csv:1"),
        ("a.jsonl", '{"source": "a"}\n', "a.jsonl:1"),
        ("a.jsonl", "[1]\n", "a.jsonl:1"),
        ("a.jsonl", "{\n", "a.jsonl:1"),
        ("a.tsv", "source\ttarget\n", "a.tsv"),
    ],
)
def test_a_bad_line_is_named(name: str, content: str, where: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_terms(content, name)
    assert caught.value.where == where


def test_a_phrase_that_is_left_is_missing_again() -> None:
    met = Met((Phrase((1, 2, 3)), Phrase((1, 4))))
    for token, tokens in [(1, 1), (2, 2), (1, 1), (4, 0), (1, 1), (2, 2), (3, 3), (9, 3), (1, 4), (4, 5)]:
        met = met.after(token)
        assert met.tokens == tokens
    assert met.is_complete
