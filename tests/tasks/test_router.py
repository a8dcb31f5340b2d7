"""Queries and documents with an encoder each, against sentence-transformers' Router."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Normalize, Router, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling, StaticEmbedding

import bertcli
from bertcli import cli
from bertcli.errors import UsageError
from tests.checkpoints import TEXTS, edit_json
from tests.conftest import Make

Capture = pytest.CaptureFixture[str]
QUERY = "who walked on the moon"


@pytest.fixture
def asymmetric(checkpoints: Make, tmp_path: Path) -> Path:
    """A model as sentence-transformers saves it, with a table of token vectors for queries."""
    encoder = Transformer(str(checkpoints("bert")), max_seq_length=32)
    router = Router.for_query_document(
        query_modules=[StaticEmbedding(encoder.tokenizer, embedding_dim=32)],
        document_modules=[encoder, Pooling(32, "mean")],
    )
    path = tmp_path / "asymmetric"
    SentenceTransformer(modules=[router, Normalize()], device="cpu").save(str(path))
    return path


def rows(capsys: Capture, *arguments: object) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert cli.main([*map(str, arguments), "--digits", "9"]) == 0, capsys.readouterr().err
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_each_role_has_its_encoder(asymmetric: Path, capsys: Capture) -> None:
    peer = SentenceTransformer(str(asymmetric), device="cpu")
    flags = [word for text in TEXTS for word in ("-t", text)]
    options = ("-m", asymmetric, "--long", "truncate", *flags)
    for role, encode in (("query", peer.encode_query), ("document", peer.encode_document)):
        found = rows(capsys, "embed", "--role", role, *options)
        np.testing.assert_allclose([row["embedding"] for row in found], encode(list(TEXTS)), atol=1e-5)
    assert cli.main([*map(str, ("embed", *options))]) == 0
    assert "has an encoder for each role" in capsys.readouterr().err


def test_a_search_uses_both_encoders(asymmetric: Path, capsys: Capture, tmp_path: Path) -> None:
    peer = SentenceTransformer(str(asymmetric), device="cpu")
    scores = peer.similarity(peer.encode_query([QUERY]), peer.encode_document(list(TEXTS)))[0].numpy()
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(TEXTS))
    made = [str(texts), "-m", str(asymmetric), "--long", "truncate", "-o"]
    assert cli.main(["embed", *made, str(tmp_path / "x.npy"), "--role", "document"]) == 0
    assert cli.main(["index", *made, str(tmp_path / "x.index")]) == 0
    for place in (
        (texts, "--long", "truncate"),
        ("--embeddings", tmp_path / "x.npy", texts),
        ("--index", tmp_path / "x.index"),
    ):
        found = rows(capsys, "search", QUERY, *place, "-m", asymmetric, "-k", 3)
        best = np.argsort(-scores, kind="stable")[:3]
        assert [hit["text"] for hit in found] == [TEXTS[number] for number in best]
        assert [hit["score"] for hit in found] == pytest.approx(scores[best].tolist(), abs=1e-5)


def test_a_role_without_a_route_is_refused(asymmetric: Path, capsys: Capture) -> None:
    config = json.loads((asymmetric / "router_config.json").read_text())
    edit_json(asymmetric / "router_config.json", structure={"document": config["structure"]["document"]})
    assert cli.main(["embed", "--role", "query", "-m", str(asymmetric), "-t", "a text"]) == 1
    assert "has no route for the role query" in capsys.readouterr().err


def test_the_library_says_that_a_model_has_one_encoder(asymmetric: Path) -> None:
    model = bertcli.load(str(asymmetric))
    for call in (lambda: model.search("a", ["b"]), lambda: model.embed(["b"], role="query")):
        with pytest.raises(UsageError, match="an encoder for each role"):
            call()
