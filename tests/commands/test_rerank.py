"""`bertcli rerank` and `search --rerank`: the scores and the order of sentence-transformers' CrossEncoder."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from sentence_transformers import CrossEncoder

import bertcli
from bertcli import cli
from bertcli.models.tokenizer import Tokenizer
from tests.checkpoints import TEXTS, edit_json
from tests.conftest import Make

Capture = pytest.CaptureFixture[str]
Run = Callable[..., list[dict[str, Any]]]
QUERY = "who walked on the moon"
IDENTITY = "torch.nn.modules.linear.Identity"


@pytest.fixture(autouse=True)
def texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A file of ten texts with a blank line among them."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "texts.txt").write_text("\n".join([*TEXTS[:4], "", *TEXTS[4:]]), encoding="utf-8")
    return "texts.txt"


@pytest.fixture
def run(capsys: Capture) -> Run:
    """Run a command that must end with `code`, and parse the JSON lines it prints."""

    def command(*arguments: object, code: int = 0) -> list[dict[str, Any]]:
        capsys.readouterr()
        assert cli.main([*map(str, arguments), "--digits", "9"]) == code, capsys.readouterr().err
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return command


def failed(capsys: Capture, *arguments: object, code: int = 2) -> str:
    """What a command that must fail says."""
    capsys.readouterr()
    assert cli.main([*map(str, arguments)]) == code
    seen = capsys.readouterr()
    assert not seen.out
    return seen.err


def ranked(model: Path, query: str = QUERY, texts: tuple[str, ...] = TEXTS) -> list[tuple[str, Any]]:
    """The texts in the order of `CrossEncoder.rank`, with their scores."""
    found = CrossEncoder(str(model), device="cpu").rank(query, list(texts))
    return [(texts[int(one["corpus_id"])], pytest.approx(one["score"], abs=1e-5)) for one in found]


def scored(rows: list[dict[str, Any]]) -> list[tuple[str, float]]:
    assert [row["rank"] for row in rows] == list(range(1, len(rows) + 1))
    return [(row["text"], row["score"]) for row in rows]


@pytest.mark.parametrize(
    ("family", "engine"), [("bert", "instant"), ("bert", "packed"), ("roberta", "instant")]
)
def test_the_order_is_that_of_a_cross_encoder(
    family: str, engine: str, checkpoints: Make, run: Run, texts: str
) -> None:
    model = checkpoints(family, "label", labels=["LABEL_0"])
    options = (texts, "-m", model, "--engine", engine, "--long", "truncate")
    assert scored(run("rerank", QUERY, *options, "--all")) == ranked(model)
    found = run("rerank", QUERY, *options, "-k", 3)
    assert scored(found) == ranked(model)[:3]
    lines = Path(texts).read_text(encoding="utf-8").split("\n")
    assert [row["where"] for row in found] == [f"{texts}:{lines.index(row['text']) + 1}" for row in found]


def test_the_activation_is_the_declared_one(checkpoint_copy: Make, run: Run, texts: str) -> None:
    model = checkpoint_copy("bert", "label", labels=["LABEL_0"])
    # config.json of the ms-marco models before and after sentence-transformers 4; a bare regression has the default
    for declared in (
        {"sbert_ce_default_activation_function": IDENTITY},
        {"sentence_transformers": {"activation_fn": IDENTITY}, "sbert_ce_default_activation_function": None},
        {"problem_type": "regression", "sentence_transformers": None},
    ):
        edit_json(model / "config.json", **declared)
        assert scored(run("rerank", QUERY, texts, "-m", model, "--long", "truncate")) == ranked(model)


def test_a_long_text_has_the_score_of_its_best_window(checkpoints: Make, run: Run) -> None:
    path = checkpoints("bert", "label", labels=["LABEL_0"])
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(path).eval()
    text = " ".join(TEXTS[:4])
    query, ids = (tokenizer(one, add_special_tokens=False)["input_ids"] for one in (QUERY, text))
    size = 40 - 3 - len(query)
    scores = []
    for start in range(0, len(ids), size):
        window = ids[start : start + size]
        pair = [tokenizer.cls_token_id, *query, tokenizer.sep_token_id, *window, tokenizer.sep_token_id]
        types = [0] * (len(query) + 2) + [1] * (len(window) + 1)
        with torch.no_grad():
            output = model(input_ids=torch.tensor([pair]), token_type_ids=torch.tensor([types]))
        scores.append(output.logits.sigmoid().item())
    (row,) = run("rerank", QUERY, "-t", text, "-m", path, "--max-length", 40, "--overlap", 0)
    assert (row["windows"], row["score"]) == (len(scores), pytest.approx(max(scores), abs=1e-5))
    (cut,) = run("rerank", QUERY, "-t", text, "-m", path, "--max-length", 40, "--long", "truncate")
    assert cut["truncated"] is True


def test_each_query_of_a_file_orders_its_own_records(checkpoints: Make, run: Run, capsys: Capture) -> None:
    model = checkpoints("bert", "label", labels=["LABEL_0"])
    asked = {QUERY: TEXTS[:5], "the bank": TEXTS[3:9]}
    rows: list[dict[str, Any]] = [
        {"q": query, "text": text} for query, texts in asked.items() for text in texts
    ]
    rows.insert(2, {"q": QUERY, "text": ""})
    rows.insert(4, {"text": "no query"})
    Path("q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = ("--query-field", "q", "q.jsonl", "-m", model, "--long", "truncate", "-k", 3)
    found = run("rerank", *options, code=3)
    for (query, texts), best in zip(asked.items(), (found[:3], found[3:]), strict=True):
        assert scored(best) == ranked(model, query, texts)[:3]
        assert {row["q"] for row in best} == {query}
    assert cli.main(["rerank", *map(str, options), "-f", "table"]) == 3
    seen = capsys.readouterr()
    lines = seen.out.splitlines()
    assert [line for line in lines if not line.startswith("q.jsonl")] == [QUERY, "", "the bank"]
    assert "q.jsonl:5: not reranked: there is no field 'q'" in seen.err
    assert "13 read = 11 done + 1 blank + 1 failed" in seen.err


def test_the_query_is_tokenised_once(
    checkpoints: Make, run: Run, texts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    encode = Tokenizer.encode
    monkeypatch.setattr(Tokenizer, "encode", lambda self, text: seen.append(text) or encode(self, text))
    run("rerank", QUERY, texts, "-m", checkpoints("bert", "label", labels=["LABEL_0"]))
    assert seen.count(QUERY) == 1


def test_a_pipe_is_reranked_too(
    checkpoints: Make, run: Run, texts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = checkpoints("bert", "label", labels=["LABEL_0"])
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(Path(texts).read_bytes())))
    assert scored(run("rerank", QUERY, "-m", model)) == scored(run("rerank", QUERY, texts, "-m", model))


def test_the_library_gives_what_the_command_gives(checkpoints: Make, run: Run, texts: str) -> None:
    path = checkpoints("bert", "label", labels=["LABEL_0"])
    model = bertcli.load(str(path))
    hits = model.rerank(QUERY, TEXTS, long="truncate")
    assert [(TEXTS[hit["index"]], hit["score"]) for hit in hits] == ranked(path)
    assert [hit["index"] for hit in model.rerank(QUERY, iter(TEXTS), k=2, long="truncate")] == [
        hit["index"] for hit in hits[:2]
    ]
    request = bertcli.requests.Rerank(query=QUERY, files=[texts], output="best.jsonl", model=str(path), k=4)
    receipt = bertcli.run(request)
    assert (receipt.read, receipt.done, receipt.blank) == (11, 10, 1)
    written = [json.loads(line)["text"] for line in Path("best.jsonl").read_text().splitlines()]
    assert written == [row["text"] for row in run("rerank", QUERY, texts, "-m", path, "-k", 4)]


def test_a_search_is_reranked(checkpoints: Make, run: Run, texts: str, capsys: Capture) -> None:
    nearest, model = checkpoints("sentence"), checkpoints("bert", "label", labels=["LABEL_0"])
    options = (texts, "-m", nearest, "--long", "truncate")
    best = {row["text"]: row["score"] for row in run("search", QUERY, *options, "-k", 4)}
    expected = ranked(model, QUERY, tuple(best))
    found = run("search", QUERY, *options, "-k", 3, "--rerank", model, "--rerank-top", 4)
    assert scored(found) == expected[:3]
    assert [row["similarity"] for row in found] == [best[row["text"]] for row in found]
    assert cli.main(["embed", "-q", *map(str, options), "-o", "vectors.npy"]) == 0
    reranked = ("--embeddings", "vectors.npy", "--rerank", model, "--rerank-top", 4)
    least = np.nextafter(found[1]["score"], 0)
    again = run("search", QUERY, *options, *reranked, "--min-score", least)
    assert scored(again) == expected[:2]
    assert "name the files" in failed(capsys, "search", QUERY, "-m", nearest, *reranked)
    Path("queries.txt").write_text(f"{QUERY}\nthe bank\n")
    both = run("search", "--queries", "queries.txt", *options, "-k", 2, "--rerank", model)
    assert [row["query"] for row in both] == [QUERY, QUERY, "the bank", "the bank"]
    assert [(row["text"], row["score"]) for row in both] == ranked(model)[:2] + ranked(model, "the bank")[:2]


def test_what_cannot_be_reranked_is_refused(checkpoints: Make, capsys: Capture, texts: str) -> None:
    two = checkpoints("bert", "label")
    assert "no head with one output" in failed(capsys, "rerank", QUERY, texts, "-m", two, code=1)
    assert "no head with one output" in failed(
        capsys, "search", QUERY, texts, "-m", checkpoints("sentence"), "--rerank", two, code=1
    )
    assert "there is no query" in failed(capsys, "rerank")
    assert "the query is blank" in failed(capsys, "rerank", " ", texts)
    one = checkpoints("bert", "label", labels=["LABEL_0"])
    Path("c.csv").write_text("text,score\na text,1\n")
    assert "--prefix" in failed(capsys, "rerank", QUERY, "c.csv", "-m", one)
    assert "--rerank is for queries" in failed(capsys, "search", "--like", 1, texts, "--rerank", one)
