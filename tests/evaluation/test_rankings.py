"""nDCG@10, MRR@10 and MAP, against pytrec_eval."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers import CrossEncoder

from bertcli import cli
from bertcli.evaluation.rankings import mean_measure, ranking_figures
from tests.checkpoints import TEXTS
from tests.conftest import Make

JUDGED = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=25).filter(any), min_size=1, max_size=8)


@settings(max_examples=25)
@given(JUDGED, st.integers(0, 1 << 30))
def test_figures_are_those_of_trec_eval(judged: list[list[int]], seed: int) -> None:
    pytrec_eval = pytest.importorskip("pytrec_eval")
    rng = np.random.default_rng(seed)
    queries = np.concatenate([np.full(len(grades), number) for number, grades in enumerate(judged)])
    relevance = np.concatenate(judged).astype(np.float64)
    scores = rng.permutation(len(queries)).astype(np.float64)
    shuffled = rng.permutation(len(queries))
    found = ranking_figures(queries[shuffled], scores[shuffled], relevance[shuffled])
    rows = list(zip(queries.tolist(), scores.tolist(), relevance.tolist(), strict=True))
    names = [f"q{number}" for number in range(len(judged))]
    qrels = {
        name: {f"d{row}": int(r) for row, (q, _, r) in enumerate(rows) if f"q{q}" == name} for name in names
    }
    run = {name: {f"d{row}": s for row, (q, s, _) in enumerate(rows) if f"q{q}" == name} for name in names}
    theirs = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut_10", "recip_rank", "map"}).evaluate(run)
    assert found["ndcg@10"] == pytest.approx([theirs[name]["ndcg_cut_10"] for name in names], abs=1e-9)
    assert found["map"] == pytest.approx([theirs[name]["map"] for name in names], abs=1e-9)
    reciprocal = [theirs[name]["recip_rank"] for name in names]  # of all texts
    assert found["mrr@10"] == pytest.approx([one if one >= 0.1 else 0.0 for one in reciprocal], abs=1e-9)
    means = mean_measure(found)(np.ones(len(names)))
    assert means["map"] == pytest.approx(np.mean([theirs[name]["map"] for name in names]))


def test_a_file_of_judged_texts_is_measured(
    checkpoints: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytrec_eval = pytest.importorskip("pytrec_eval")
    model = checkpoints("bert", "label", labels=["LABEL_0"])
    grades = {"who walked on the moon": [0, 2, 0, 0, 1], "the bank": [0, 0, 1, 0], "nothing": [0, 0]}
    rows = [
        {"query": query, "text": text, "relevance": grade}
        for query, given in grades.items()
        for text, grade in zip(TEXTS, given, strict=False)
    ]
    rows = rows[::2] + rows[1::2]  # the texts of a query need not follow each other
    rows.append({"query": "the bank", "text": "no grade", "relevance": None})
    file = tmp_path / "judged.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = ["evaluate", "rerank", str(file), "-m", str(model), "--long", "truncate"]
    assert cli.main([*options, "--json"]) == 3
    report = json.loads(capsys.readouterr().out)
    peer = CrossEncoder(str(model), device="cpu")
    judged = {query: given for query, given in grades.items() if any(given)}
    run = {
        query: {str(n): float(peer.predict((query, TEXTS[n]))) for n in range(len(given))}
        for query, given in judged.items()
    }
    qrels = {query: {str(n): grade for n, grade in enumerate(given)} for query, given in judged.items()}
    theirs = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut_10", "map", "recip_rank"}).evaluate(run)
    for ours, name in (("ndcg@10", "ndcg_cut_10"), ("map", "map"), ("mrr@10", "recip_rank")):
        expected = np.mean([one[name] for one in theirs.values()])
        assert report["metrics"][ours]["value"] == pytest.approx(expected, abs=1e-5)
    assert report["queries"] == 2
    assert cli.main(options) == 3
    page = capsys.readouterr().out
    assert "2 queries" in page
    assert "note: 1 query has no relevant text" in page
