"""`bertcli evaluate` as its users meet it: figures that agree with what the other commands answer."""

from __future__ import annotations

import csv
import io
import json
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from seqeval.metrics import f1_score as entity_f1
from sklearn.metrics import accuracy_score, f1_score

from bertcli import cli
from bertcli.models import library
from tests.checkpoints import TEXTS
from tests.conftest import Make

pytestmark = pytest.mark.slow

Capture = pytest.CaptureFixture[str]
Run = Callable[..., list[dict[str, Any]]]

CLASSES = ["joy", "fear", "anger"]
IOB = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(library, "BUNDLED", tmp_path / "none")
    return tmp_path


@pytest.fixture
def run(capsys: Capture) -> Run:
    """Run a command that must end with `code`, and parse the JSON lines it prints."""

    def command(*arguments: object, code: int = 0) -> list[dict[str, Any]]:
        assert cli.main([*map(str, arguments)]) == code, capsys.readouterr().err
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return command


def error(capsys: Capture, *arguments: object, code: int = 2) -> str:
    """What a command that must fail says."""
    capsys.readouterr()
    assert cli.main([*map(str, arguments)]) == code
    seen = capsys.readouterr()
    assert not seen.out
    return seen.err


def write(name: str, rows: list[dict[str, Any]]) -> str:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return name


def other(label: str) -> str:
    """A class that is not this one."""
    return CLASSES[CLASSES.index(label) - 1]


def labelled(labels: list[Any], field: str = "label") -> str:
    return write(
        "dev.jsonl",
        [{"text": text, field: labels[place % len(labels)]} for place, text in enumerate(TEXTS)],
    )


def test_label_agrees_with_scikit_learn_on_what_label_answers(checkpoints: Make, run: Run) -> None:
    path = checkpoints("bert", "label", labels=CLASSES)
    file = labelled(CLASSES)
    answers = [row["x_label"] for row in run("label", file, "-m", path, "--prefix", "x_")]
    (report,) = run("evaluate", "label", file, "-m", path, "--json")
    gold = [CLASSES[place % 3] for place in range(len(TEXTS))]
    metrics = report["metrics"]
    assert metrics["accuracy"]["value"] == pytest.approx(accuracy_score(gold, answers), rel=1e-5)
    assert metrics["macro_f1"]["value"] == pytest.approx(f1_score(gold, answers, average="macro"), rel=1e-5)
    assert all(m["low"] <= m["value"] <= m["high"] for m in metrics.values())
    assert report["records"] == {"read": 10, "done": 10, "blank": 0, "failed": 0}
    assert report["head"] == "label"
    cells = sum(map(sum, report["confusion"]["counts"]))
    assert cells == sum(row["support"] for row in report["labels"]) == 10
    for row in report["labels"]:
        assert row["answered"] == answers.count(row["label"])


def test_several_labels_may_hold(checkpoints: Make, run: Run) -> None:
    path = checkpoints("bert", "label", labels=CLASSES, problem_type="multi_label_classification")
    file = labelled([["joy"], [], ["fear", "anger"]], "labels")
    rows = run("label", file, "-m", path, "--prefix", "x_", "--threshold", 0.4)
    (report,) = run("evaluate", "label", file, "-m", path, "--json", "--threshold", 0.4, "--suspects", 3)
    flags = [[c in row["labels"] for c in CLASSES] for row in rows]
    found = [[c in {entry["label"] for entry in row["x_labels"]} for c in CLASSES] for row in rows]
    expected = f1_score(flags, found, average="micro", zero_division=0)
    assert report["metrics"]["micro_f1"]["value"] == pytest.approx(expected, rel=1e-5)
    assert report["metrics"]["accuracy"]["value"] == pytest.approx(accuracy_score(flags, found))
    assert "confusion" not in report
    for suspect in report["suspects"]:
        assert {suspect["given"], suspect["likelier"]} <= {*CLASSES, *(f"not {c}" for c in CLASSES)}


def test_a_regression_is_measured_by_correlation_and_error(checkpoints: Make, run: Run) -> None:
    path = checkpoints("bert", "label", labels=["LABEL_0"], problem_type="regression")
    scores = [row["score"] for row in run("label", labelled(["x"], "ignored"), "-m", path)]
    file = write(
        "dev.jsonl", [{"text": text, "label": score} for text, score in zip(TEXTS, scores, strict=True)]
    )
    (report,) = run("evaluate", "label", file, "-m", path, "--json")
    metrics = {name: figure["value"] for name, figure in report["metrics"].items()}
    assert metrics["spearman"] == metrics["pearson"] == pytest.approx(1)
    assert metrics["mean_absolute_error"] == pytest.approx(0, abs=1e-5)


def test_labels_of_ones_own(checkpoints: Make, run: Run, capsys: Capture) -> None:
    path = checkpoints("sentence")
    options = ["--labels", "travel,money", "--template", "{}"]
    file = labelled(["travel", "money"])
    rows = run("label", file, "-m", path, *options, "--prefix", "x_")
    (report,) = run("evaluate", "label", file, "-m", path, *options, "--json")
    right = sum(row["label"] == row["x_label"] for row in rows)
    assert report["metrics"]["accuracy"]["value"] == pytest.approx(right / len(rows))
    assert "temperature" in error(capsys, "evaluate", "label", file, "-m", path, *options, "--calibrate")


def test_records_that_fail_are_told_and_counted(checkpoints: Make, capsys: Capture) -> None:
    path = checkpoints("bert", "label", labels=CLASSES)
    rows: list[dict[str, Any]] = [
        {"text": "a", "label": "joy"},
        {"text": "b"},
        {"text": " ", "label": "joy"},
        {"text": "d", "label": "fear"},
    ]
    assert cli.main(["evaluate", "label", write("dev.jsonl", rows), "-m", str(path), "--json"]) == 3
    seen = capsys.readouterr()
    report = json.loads(seen.out)
    assert report["records"] == {"read": 4, "done": 2, "blank": 1, "failed": 1}
    assert report["failures"] == [
        {"where": "dev.jsonl:2", "type": "field", "message": "the field 'label' is missing or empty"}
    ]
    assert "dev.jsonl:2: not measured" in seen.err
    assert "4 read = 2 done + 1 blank + 1 failed" in seen.err


def test_where_nothing_can_be_measured_there_is_no_report(checkpoints: Make, capsys: Capture) -> None:
    path = checkpoints("bert", "label", labels=CLASSES)
    file = write("dev.jsonl", [{"text": "a", "label": None}])
    assert "no record could be measured" in error(capsys, "evaluate", "label", file, "-m", path, code=3)
    Path("empty.jsonl").write_text("")
    assert "no record" in error(capsys, "evaluate", "label", "empty.jsonl", "-m", path, code=1)
    assert "no field 'mood'" in error(capsys, "evaluate", "label", file, "-m", path, "--label-field", "mood")


def test_labels_of_another_model_are_refused(checkpoints: Make, capsys: Capture) -> None:
    path = checkpoints("bert", "label", labels=CLASSES)
    said = error(capsys, "evaluate", "label", labelled(["joy", "bliss", "fear"]), "-m", path)
    assert "dev.jsonl:2" in said
    assert "'bliss'" in said
    assert "joy, fear, anger" in said
    assert "joy, bliss, fear" in said


def test_calibrate_stores_what_makes_the_next_run_calibrated(checkpoint_copy: Make, run: Run) -> None:
    path = checkpoint_copy("bert", "label", labels=CLASSES)
    before = run("label", labelled(["x"], "ignored"), "-m", path, "--prefix", "x_")
    nearly = [row["x_label"] for row in before[:7]] + [other(row["x_label"]) for row in before[7:]]
    file = labelled(nearly)
    (first,) = run("evaluate", "label", file, "-m", path, "--json", "--calibrate")
    stored = json.loads((path / "config.json").read_text())["bertcli"]["temperature"]["label"]
    assert stored == pytest.approx(first["calibration"]["temperature"], rel=1e-5)
    (second,) = run("evaluate", "label", file, "-m", path, "--json")
    assert second["calibration"]["own"] == pytest.approx(stored, rel=1e-5)
    assert second["calibration"]["temperature"] == pytest.approx(stored, rel=1e-3)
    assert second["calibration"]["ece"] == pytest.approx(first["calibration"]["ece_then"], abs=1e-4)
    assert second["metrics"] == first["metrics"]
    after = run("label", file, "-m", path, "--prefix", "x_")
    assert [row["x_label"] for row in after] == [row["x_label"] for row in before]
    assert [row["x_score"] for row in after] != [row["x_score"] for row in before]


def test_calibrate_leaves_models_of_the_cache_alone(
    checkpoint_copy: Make, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = checkpoint_copy("bert", "label", labels=CLASSES)
    monkeypatch.setenv("HF_HUB_CACHE", str(path.parent))
    before = (path / "config.json").read_bytes()
    said = error(capsys, "evaluate", "label", labelled(CLASSES), "-m", path, "--calibrate", code=1)
    assert "cache" in said
    assert (path / "config.json").read_bytes() == before


def test_answers_that_are_all_right_store_no_temperature(
    checkpoint_copy: Make, run: Run, capsys: Capture
) -> None:
    path = checkpoint_copy("bert", "label", labels=CLASSES)
    rows = run("label", labelled(["x"], "ignored"), "-m", path)
    file = write("right.jsonl", [{"text": row["text"], "label": row["label"]} for row in rows])
    assert cli.main(["evaluate", "label", file, "-m", str(path), "--calibrate", "--json"]) == 0
    assert "none is stored" in capsys.readouterr().err
    assert "bertcli" not in json.loads((path / "config.json").read_text())


def test_suspects_are_places_in_the_file(checkpoints: Make, run: Run) -> None:
    path = checkpoints("bert", "label", labels=CLASSES)
    (report,) = run("evaluate", "label", labelled(CLASSES), "-m", path, "--json", "--suspects", 2)
    assert len(report["suspects"]) <= 2
    for suspect in report["suspects"]:
        name, line = suspect["where"].split(":")
        row = json.loads(Path(name).read_text().splitlines()[int(line) - 1])
        assert (suspect["text"], suspect["given"]) == (row["text"], row["label"])
        assert suspect["likelier"] != suspect["given"]


def test_a_plot_is_a_page_that_needs_nothing(checkpoints: Make, run: Run) -> None:
    labels = ["<b>&", "fear", "anger"]
    path = checkpoints("bert", "label", labels=labels)
    (report,) = run("evaluate", "label", labelled(labels), "-m", path, "--json", "--plot", "a.html")
    page = Path("a.html").read_text()
    assert "<b>" not in page
    assert "src=" not in page
    assert "href=" not in page
    start = page.index("<svg")
    drawing = ElementTree.fromstring(page[start : page.index("</svg>", start) + len("</svg>")])
    told = [title.text for title in drawing.iter("title")]
    for row, counts in zip(labels, report["confusion"]["counts"], strict=True):
        for column, count in zip(labels, counts, strict=True):
            assert any((text or "").startswith(f"{row} answered as {column}: {count} ") for text in told)


def test_a_plot_that_cannot_be_is_refused_before_the_run(checkpoints: Make, capsys: Capture) -> None:
    path = checkpoints("bert", "label", labels=CLASSES)
    command = ["evaluate", "label", labelled(CLASSES), "-m", path, "--plot"]
    assert "name the file .html" in error(capsys, *command, "a.png")
    Path("a.html").write_text("mine")
    assert "exists already" in error(capsys, *command, "a.html", code=1)
    assert Path("a.html").read_text() == "mine"


def test_tag_agrees_with_seqeval_on_what_tag_answers(checkpoints: Make, run: Run, capsys: Capture) -> None:
    path = checkpoints("bert", "tag", labels=IOB)
    sentences = [text.split() for text in TEXTS]
    gold = [[IOB[(place + number) % 5] for number in range(len(s))] for place, s in enumerate(sentences)]
    blocks = [
        "".join(f"{word}\t{tag}\n" for word, tag in zip(words, tags, strict=True))
        for words, tags in zip(sentences, gold, strict=True)
    ]
    Path("dev.conll").write_text("\n".join(blocks))
    assert cli.main(["tag", "dev.conll", "-m", str(path), "-o", "out.conll"]) == 0
    answers = [
        [line.split("\t")[-1] for line in block.splitlines()]
        for block in Path("out.conll").read_text().strip().split("\n\n")
    ]
    capsys.readouterr()
    (report,) = run("evaluate", "tag", "dev.conll", "-m", path, "--json")
    expected = {average: entity_f1(gold, answers, average=average) for average in ("micro", "macro")}
    for average, figure in expected.items():
        assert report["metrics"][f"{average}_f1"]["value"] == pytest.approx(figure, rel=1e-5)
    rows = [
        {"text": "other", "words": words, "tags": tags} for words, tags in zip(sentences, gold, strict=True)
    ]
    (as_records,) = run("evaluate", "tag", write("dev.jsonl", rows), "-m", path, "--json")
    assert as_records["metrics"] == report["metrics"]


def test_tags_of_every_word_are_measured_by_words(checkpoints: Make, run: Run, capsys: Capture) -> None:
    tags = ["NOUN", "VERB", "PUNCT"]
    path = checkpoints("bert", "tag", labels=tags)
    rows = [{"words": text.split(), "tags": [tags[len(w) % 3] for w in text.split()]} for text in TEXTS]
    (report,) = run("evaluate", "tag", write("dev.jsonl", rows), "-m", path, "--json")
    assert report["words"] == sum(len(row["words"]) for row in rows)
    assert report["metrics"]["accuracy"]["value"] == report["metrics"]["micro_f1"]["value"]
    assert sum(map(sum, report["confusion"]["counts"])) == report["words"]
    wrong = [{"words": ["a"], "tags": ["B-PER"]}]
    said = error(capsys, "evaluate", "tag", write("x.jsonl", wrong), "-m", path)
    assert "NOUN, PUNCT, VERB" in said
    assert "B-PER" in said


@pytest.mark.parametrize("form", ["jsonl", "json", "csv", "tsv", "parquet"])
def test_what_tag_and_label_wrote_is_gold(form: str, checkpoints: Make, run: Run, capsys: Capture) -> None:
    """A model agrees with its own answers, whatever they went through; `compare` reads them too."""
    tagger = checkpoints("bert", "tagger")
    several = checkpoints("bert", "label", labels=CLASSES, problem_type="multi_label_classification")
    Path("texts.txt").write_text("\n".join(["Ada met a well-known man.", "", *TEXTS]) + "\n")
    cases = {
        "tag": (tagger, ()),
        "label": (several, ("--threshold", "0.4")),
    }
    for task, (model, options) in cases.items():
        for name in (f"{task}.{form}", f"plain-{task}.jsonl"):
            assert cli.main([task, "texts.txt", "-m", str(model), *options, "-o", name]) == 0
        (report,) = run("evaluate", task, f"{task}.{form}", "-m", model, *options, "--json")
        assert report["records"]["failed"] == 0
        assert report["records"]["blank"] == 1
        assert report["metrics"]["micro_f1"]["value"] == 1
        (compared,) = run("compare", f"plain-{task}.jsonl", f"{task}.{form}", "--json")
        assert (compared["flipped"], compared["kept"]) == (0, True)


def test_types_the_model_does_not_have_are_missed_and_told(
    checkpoints: Make, run: Run, capsys: Capture
) -> None:
    path = checkpoints("bert", "tag", labels=IOB)
    rows = [{"words": ["Ada", "sings"], "tags": ["B-PER", "O"]}, {"words": ["Mars"], "tags": ["B-MISC"]}]
    (report,) = run("evaluate", "tag", write("dev.jsonl", rows), "-m", path, "--json")
    assert "MISC" in report["notes"][0]
    (missed,) = [row for row in report["labels"] if row["label"] == "MISC"]
    assert (missed["recall"], missed["support"]) == (0, 1)


def test_fill_is_repeatable_and_says_how_it_masked(checkpoints: Make, run: Run) -> None:
    path = checkpoints("bert", "fill")
    Path("texts.txt").write_text("\n".join(TEXTS))
    command = ["evaluate", "fill", "texts.txt", "-m", path, "--json"]
    (one,), (again,) = run(*command), run(*command, "--batch-tokens", "64")
    assert one["metrics"].keys() == {"accuracy", "top_5_accuracy", "perplexity"}
    for name, figure in one["metrics"].items():
        assert again["metrics"][name]["value"] == pytest.approx(figure["value"], rel=1e-4)
    assert one["masking"] == "0.15 of the pieces hidden one at a time"
    (other,) = run(*command, "--seed", 1, "--share", 0.5, "--together")
    assert other["pieces"] > one["pieces"]
    assert other["masking"] == "0.5 of the pieces hidden together"


def test_the_engine_is_chosen_by_what_hiding_every_piece_takes(
    checkpoints: Make, run: Run, capsys: Capture
) -> None:
    Path("long.txt").write_text(" ".join(TEXTS * 20))
    command = ["evaluate", "fill", "long.txt", "-m", checkpoints("bert", "fill"), "-v", "--limit", 1]
    for share, engine in ((0.01, "instant"), (1, "packed")):
        assert cli.main([*map(str, command), "--share", str(share)]) == 0
        assert f"{engine} engine" in capsys.readouterr().err


def test_embed_compares_the_cosine_with_the_score(checkpoints: Make, run: Run) -> None:
    path = checkpoints("sentence")
    rows = [{"text": TEXTS[place], "text_pair": TEXTS[place // 2], "score": 5 - place} for place in range(6)]
    (report,) = run("evaluate", "embed", write("pairs.jsonl", rows), "-m", path, "--json")
    assert report["metrics"].keys() == {"spearman", "pearson"}
    assert report["pooling"] == "mean pooling"
    renamed = [{"a": row["text"], "b": row["text_pair"], "alike": row["score"]} for row in rows]
    fields = ["--text-field", "a", "--pair-field", "b", "--score-field", "alike"]
    (other,) = run("evaluate", "embed", write("other.jsonl", renamed), "-m", path, "--json", *fields)
    assert other["metrics"] == report["metrics"]


def test_a_pipe_is_a_file(checkpoints: Make, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    path = checkpoints("bert", "label", labels=CLASSES)
    data = Path(labelled(CLASSES)).read_bytes()
    (of_file,) = run("evaluate", "label", "dev.jsonl", "-m", path, "--json")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    (of_pipe,) = run("evaluate", "label", "-m", path, "--json")
    assert of_pipe["metrics"] == of_file["metrics"]
    assert of_pipe["files"] == ["-"]


def test_a_page_is_plain_and_fits_80_columns(checkpoints: Make, capsys: Capture) -> None:
    many = [f"a class with a long name, number {number}" for number in range(30)]
    for labels in (CLASSES, many):
        path = checkpoints("bert", "label", labels=labels)
        assert cli.main(["evaluate", "label", labelled(labels), "-m", str(path), "--suspects", "3"]) == 0
        page = capsys.readouterr().out
        assert "accuracy" in page
        assert "\x1b" not in page
        assert max(map(len, page.splitlines())) <= 80


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_suspects_are_written_with_their_ids(
    suffix: str, checkpoints: Make, capsys: Capture, tmp_path: Path
) -> None:
    path = str(checkpoints("bert", "label", labels=("a", "b")))
    rows = [{"key": f"k{n}", "text": f"{text} {n}", "label": "ab"[n % 2]} for n, text in enumerate(TEXTS * 4)]
    file = str(tmp_path / f"suspects.{suffix}")
    command = [
        "evaluate",
        "label",
        write("dev.jsonl", rows),
        "-m",
        path,
        "--id-field",
        "key",
        "--suspects",
        file,
    ]
    assert cli.main(command) == 0
    shown = capsys.readouterr().err
    lines = Path(file).read_text().splitlines()
    found = [json.loads(line) for line in lines] if suffix == "jsonl" else list(csv.DictReader(lines))
    assert found
    assert {row["id"] for row in found} <= {row["key"] for row in rows}
    assert f"{len(found)} labels that are likely wrong are in {file}" in shown
    assert cli.main(command) == 1
    assert "exists already" in capsys.readouterr().err


def test_answer_measures_what_answer_answers(checkpoints: Make, run: Run) -> None:
    context = "the dog runs in the park and the cat sleeps"
    model = checkpoints("bert", "answer")
    options = ("--context-field", "context", "--question-field", "question", "-m", model)
    rows = [{"context": context, "question": question} for question in ("where is the dog", "the cat", "who")]
    asked = write("asked.jsonl", rows)
    found = [row["answer"] for row in run("answer", asked, *options, "--no-answer-threshold", "inf")]
    gold = [[found[0], "never"], ["the park"], []]
    answers = [{"text": texts, "answer_start": [0] * len(texts)} for texts in gold]
    file = write("dev.jsonl", [row | {"answers": one} for row, one in zip(rows, answers, strict=True)])
    always = run("evaluate", "answer", file, *options, "--no-answer-threshold", "inf", "--json")[0]["metrics"]
    assert always["exact_match"]["value"] == pytest.approx((1 + (found[1] == "the park")) / 3)
    assert always["no_answer_accuracy"]["value"] == 0
    assert always["answerable_f1"]["value"] == pytest.approx(always["f1"]["value"] * 3 / 2)
    never = run("evaluate", "answer", file, *options, "--no-answer-threshold", "-inf", "--json")[0]["metrics"]
    assert never["no_answer_accuracy"]["value"] == 1
    assert never["f1"]["value"] == pytest.approx(1 / 3)


def test_answers_in_another_form_than_that_of_squad_fail(checkpoints: Make, capsys: Capture) -> None:
    rows = [{"context": "the dog", "question": "who", "answers": "the dog"}]
    options = ("--context-field", "context", "-m", checkpoints("bert", "answer"))
    said = error(capsys, "evaluate", "answer", write("dev.jsonl", rows), *options, code=3)
    assert "holds 'the dog', which is not an object with a list `text` of answers" in said
    rows = [{"context": "the dog", "question": "who"}]
    said = error(capsys, "evaluate", "answer", write("dev.jsonl", rows), *options)
    assert "no field 'answers' (--answers-field)" in said
