"""`bertcli train rerank`: CrossEncoder opens the result with the same scores; negatives are texts of other queries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sentence_transformers import CrossEncoder

from bertcli import cli
from bertcli.requests import ModelOptions, TrainRerank
from bertcli.runs.judged import add_negatives, judged_split
from bertcli.runs.preflight import open_model
from bertcli.training.dataset import Example, Split, hold_out_queries
from tests.conftest import Make

TOPICS = ("river", "bank", "doctor", "password", "server", "moon", "fox", "film")
QUERIES = {
    f"{topic} {number}": f"the {topic} was {number} times there" for topic in TOPICS for number in range(4)
}


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_a_cross_encoder_opens_with_the_same_scores(
    checkpoints: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"query": query, "text": text} for query, text in QUERIES.items()]
    out = tmp_path / "ranker"
    options = (
        "--epochs",
        "2",
        "--dtype",
        "float32",
        "--device",
        "cpu",
        "--threads",
        "1",
        "--max-length",
        "32",
    )
    base = ("-m", str(checkpoints("bert", "fill")), "-o", str(out))
    assert cli.main(["train", "rerank", write(tmp_path / "a.jsonl", rows), *base, *options]) == 0
    said = capsys.readouterr().err
    assert "choosing 4 negatives for each text" in said
    assert "ndcg@10" in said
    texts = list(QUERIES.values())[::3]
    flags = [word for text in texts for word in ("-t", text)]
    assert (
        cli.main(["rerank", "river 1", "-m", str(out), "--all", "--digits", "9", "-f", "jsonl", *flags]) == 0
    )
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    expected = CrossEncoder(str(out), device="cpu").rank("river 1", texts)
    assert [(row["text"], row["score"]) for row in found] == [
        (texts[int(one["corpus_id"])], pytest.approx(one["score"], abs=1e-5)) for one in expected
    ]
    assert "pipeline_tag: text-ranking" in (out / "README.md").read_text()


def test_a_cross_encoder_learns_what_is_relevant(
    checkpoints: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {"query": f"{query} {n}", "text": f"{topic} {n}", "score": 3.0 * (topic == "moon")}
        for n in range(2)
        for query in TOPICS
        for topic in TOPICS[3:6]
    ]
    out = tmp_path / "ranker"
    options = ("--epochs", "6", "--learning-rate", "1e-2", "--dtype", "float32", "--threads", "1", "-q")
    base = ("-m", str(checkpoints("bert", "fill")), "-o", str(out))
    assert cli.main(["train", "rerank", write(tmp_path / "a.jsonl", rows), *base, *options]) == 0
    assert cli.main(["evaluate", "rerank", str(tmp_path / "a.jsonl"), "-m", str(out), "--json", "-q"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["metrics"]["mrr@10"]["value"] > 0.9  # 0.52 by chance


def test_negatives_are_texts_of_other_queries(checkpoints: Make) -> None:
    examples = [Example(query, text, 1.0) for query, text in QUERIES.items()]
    examples.append(Example("river 0", QUERIES["river 1"], 1.0))
    split = hold_out_queries(examples, None, 0.25, seed=3)
    assert not {e.text for e in split.train} & {e.text for e in split.dev}
    assert len({e.text for e in split.dev}) == 8
    model = open_model(ModelOptions(model=str(checkpoints("sentence"))))
    found = add_negatives(split, model, ModelOptions(), count=4, seed=5)
    assert found == add_negatives(split, model, ModelOptions(), count=4, seed=5)
    relevant = {(e.text, e.pair) for e in examples}
    for part, given in ((found.train, split.train), (found.dev, split.dev)):
        negatives = [example for example in part if not example.target]
        assert [example for example in part if example.target] == list(given)
        assert not relevant & {(e.text, e.pair) for e in negatives}
    assert len(found.train) == 5 * len(split.train)
    assert not {e.pair for e in found.train} & ({e.pair for e in split.dev} - {e.pair for e in split.train})
    assert len(found.dev) == len(split.dev) + 9 * 8


def test_irrelevant_texts_of_the_file_are_the_negatives(tmp_path: Path) -> None:
    rows = [
        {"query": query, "text": text, "relevance": n % 3} for n, (query, text) in enumerate(QUERIES.items())
    ]
    split = judged_split(TrainRerank(files=(write(tmp_path / "a.jsonl", rows),)))
    assert isinstance(split, Split)
    assert sorted({e.target for e in (*split.train, *split.dev)}) == [0, 0.5, 1]
    assert len(split.train) + len(split.dev) == len(rows)
