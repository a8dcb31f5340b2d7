"""A vector for each token, and searches with them, against sentence-transformers' MultiVectorEncoder."""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.base.modules import Normalize, Transformer
from sentence_transformers.base.modules.dense import Dense
from sentence_transformers.multi_vector_encoder.modules import HierarchicalTokenPooling, MultiVectorMask

import bertcli
from bertcli import cli
from bertcli.models.check import full_check
from bertcli.models.checkpoint import open_checkpoint
from tests.checkpoints import TEXTS, edit_json, write_json
from tests.conftest import Make

Capture = pytest.CaptureFixture[str]
QUERIES = ["who walked on the moon", "the bank, the river; and the money - all of it (again)!"]
EXPANSION = {"strategy": "fixed", "attend": False, "length": 14}


def build_colbert(
    base: Path,
    path: Path,
    *,
    expansion: dict[str, Any] | None = None,
    similarity: str = "maxsim",
    **lengths: int,
) -> Path:
    """As sentence-transformers saves one."""
    torch.manual_seed(0)
    encoder = Transformer(str(base), max_seq_length=32, query_expansion=expansion, **lengths)  # type: ignore[arg-type]
    dense = Dense(
        32, 12, bias=False, activation_function=torch.nn.Identity(), module_input_name="token_embeddings"
    )
    MultiVectorEncoder(
        modules=[
            encoder,
            dense,
            MultiVectorMask(skiplist_words=list(string.punctuation)),
            Normalize(module_input_name="token_embeddings"),
        ],
        prompts={"query": "query: ", "document": "passage: "},
        similarity_fn_name=similarity,
        device="cpu",
    ).save(str(path))
    return path


def rows(capsys: Capture, *arguments: object) -> list[dict[str, Any]]:
    capsys.readouterr()
    digits = [] if arguments[0] == "models" else ["--digits", "9"]
    assert cli.main([*map(str, arguments), *digits, "-f", "jsonl"]) == 0, capsys.readouterr().err
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def compare(model: Path, capsys: Capture, engine: str = "instant") -> None:
    """The vectors of queries and documents, and the order of a search, are those of sentence-transformers."""
    peer = MultiVectorEncoder(str(model), device="cpu")
    texts = [*TEXTS, "a text: with marks, of; all - kinds!"]
    for role, given, encode in (
        ("query", QUERIES, peer.encode_query),
        ("document", texts, peer.encode_document),
    ):
        flags = [word for text in given for word in ("-t", text)]
        found = rows(
            capsys,
            "embed",
            "--multi",
            "--role",
            role,
            "-m",
            model,
            "--long",
            "truncate",
            "--engine",
            engine,
            "--compute-dtype",
            "float32",
            *flags,
        )
        for row, expected in zip(found, encode(given, convert_to_numpy=True), strict=True):
            np.testing.assert_allclose(np.array(row["embeddings"]), expected, atol=2e-5)
    scores = peer.similarity(peer.encode_query(QUERIES), peer.encode_document(texts)).numpy()
    Path(model.parent / "q.txt").write_text("\n".join(QUERIES))
    flags = [word for text in texts for word in ("-t", text)]
    queries = ["--queries", model.parent / "q.txt"]
    found = rows(
        capsys, "search", *queries, "-m", model, "--long", "truncate", "-k", 3, "--dtype", "float32", *flags
    )
    for number, query in enumerate(QUERIES):
        hits = [hit for hit in found if hit["query"] == query]
        best = np.sort(scores[number])[::-1][:3]
        assert [hit["score"] for hit in hits] == pytest.approx(best.tolist(), abs=1e-4)
        own = [scores[number][texts.index(hit["text"])] for hit in hits]  # of equal ones, either
        assert own == pytest.approx(best.tolist(), abs=1e-4)


@pytest.mark.parametrize(
    ("engine", "family", "settings"),
    [
        ("instant", "bert", {}),
        ("packed", "bert", {"expansion": EXPANSION, "document_length": 9}),
        ("instant", "bert", {"expansion": {**EXPANSION, "attend": True}, "similarity": "meanmaxsim"}),
        ("packed", "modernbert", {"expansion": {**EXPANSION, "strategy": "min"}}),
        ("instant", "mpnet", {"expansion": EXPANSION, "similarity": "meanmaxsim"}),
        ("instant", "roberta", {"expansion": EXPANSION, "query_length": 20}),
    ],
)
def test_vectors_and_searches_are_those_of_a_multi_vector_encoder(
    engine: str, family: str, settings: dict[str, Any], checkpoints: Make, tmp_path: Path, capsys: Capture
) -> None:
    compare(build_colbert(checkpoints(family), tmp_path / "colbert", **settings), capsys, engine)


@pytest.mark.parametrize(
    "settings",
    [{}, {"attend_to_expansion_tokens": True, "skiplist_words": ["."]}, {"do_query_expansion": False}],
)
def test_models_of_pylate_are_read(
    settings: dict[str, Any], checkpoints: Make, tmp_path: Path, capsys: Capture
) -> None:
    model = build_colbert(checkpoints("bert"), tmp_path / "colbert")
    modules = json.loads((model / "modules.json").read_text())[:2]
    modules[1]["type"] = "pylate.models.Dense.Dense"
    write_json(model / "modules.json", modules)
    edit_json(model / modules[1]["path"] / "config.json", module_input_name=None, module_output_name=None)
    edit_json(
        model / "config_sentence_transformers.json",
        model_type="ColBERT",
        prompts={},
        query_prefix="[unused0] ",
        document_prefix="[D] ",
        query_length=12,
        document_length=16,
        similarity_fn_name=None,
        **settings,
    )
    compare(model, capsys)


def test_models_of_the_original_colbert_are_read(checkpoints: Make, tmp_path: Path, capsys: Capture) -> None:
    model = build_colbert(checkpoints("bert"), tmp_path / "colbert")
    dense = json.loads((model / "modules.json").read_text())[1]["path"]
    weights = load_file(model / "model.safetensors")
    weights = {
        name if name.startswith("bert.") else f"bert.{name}": tensor for name, tensor in weights.items()
    }
    weights["linear.weight"] = load_file(model / dense / "model.safetensors")["linear.weight"]
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    for name in ("modules.json", "config_sentence_transformers.json", "sentence_bert_config.json"):
        (model / name).unlink()
    edit_json(model / "config.json", architectures=["HF_ColBERT"])
    write_json(
        model / "artifact.metadata", {"query_maxlen": 12, "doc_maxlen": 16, "attend_to_mask_tokens": False}
    )
    compare(model, capsys)


def test_a_long_text_has_the_vectors_of_all_its_windows(
    checkpoints: Make, tmp_path: Path, capsys: Capture
) -> None:
    model = build_colbert(checkpoints("bert"), tmp_path / "colbert")
    text = " ".join(TEXTS)
    (row,) = rows(capsys, "embed", "--multi", "-m", model, "-t", text)
    tokens = rows(capsys, "embed", "--tokens", "-m", checkpoints("bert"), "-t", text)[0]["tokens"]
    assert row["windows"] > 1
    kept = sum(token["token"] not in string.punctuation for token in tokens)
    assert len(row["embeddings"]) == kept + 2  # and the special tokens
    lengths = np.linalg.norm(row["embeddings"], axis=1)
    np.testing.assert_allclose(lengths, 1, atol=1e-5)


def test_the_library_gives_the_same(checkpoints: Make, tmp_path: Path) -> None:
    model = build_colbert(checkpoints("bert"), tmp_path / "colbert", expansion=EXPANSION)
    peer = MultiVectorEncoder(str(model), device="cpu")
    loaded = bertcli.load(str(model))
    (found,) = loaded.embed(["a dog"], multi=True, role="document")
    np.testing.assert_allclose(
        found["embeddings"], peer.encode_document("a dog", convert_to_numpy=True), atol=2e-5
    )
    hits = loaded.search(QUERIES[0], list(TEXTS), k=2)
    scores = peer.similarity(peer.encode_query(QUERIES[:1]), peer.encode_document(list(TEXTS)))[0]
    assert [hit["score"] for hit in hits] == pytest.approx(
        torch.sort(scores, descending=True)[0][:2].tolist(), abs=1e-4
    )


def refusal(capsys: Capture, *arguments: object) -> str:
    capsys.readouterr()
    assert cli.main([*map(str, arguments)]) in (1, 2)
    return capsys.readouterr().err


def test_what_needs_one_vector_a_text_is_refused(checkpoints: Make, tmp_path: Path, capsys: Capture) -> None:
    model = build_colbert(checkpoints("bert"), tmp_path / "colbert")
    assert not [finding for finding in full_check(open_checkpoint(model)) if finding.refuses]
    assert rows(capsys, "models", "info", model)[0]["pooling"]["modules"] == ["Dense", "Normalize"]
    assert "makes a vector for each token" in refusal(capsys, "embed", "-m", model, "-t", "a text")
    assert "makes one vector a text" in refusal(
        capsys, "embed", "--multi", "-m", checkpoints("bert"), "-t", "a"
    )
    assert "--dim is for vectors" in refusal(
        capsys, "embed", "--multi", "--dim", 3, "-m", model, "-t", "a text"
    )
    assert "a vector for each token" in refusal(
        capsys, "search", "--like", 1, "-t", "a", "-t", "b", "-m", model
    )
    assert "a vector for each token" in refusal(capsys, "index", "-t", "a", "-m", model, "-o", tmp_path / "x")
    assert "one vector a text" in refusal(capsys, "search", "a", "-t", "b", "-m", model, "--dim", 3)


def test_pooled_tokens_are_refused(checkpoints: Make, tmp_path: Path, capsys: Capture) -> None:
    model = build_colbert(checkpoints("bert"), tmp_path / "colbert")
    peer = MultiVectorEncoder(str(model), device="cpu")
    peer.append(HierarchicalTokenPooling())
    peer.save(str(tmp_path / "pooled"))
    said = refusal(capsys, "embed", "--multi", "-m", tmp_path / "pooled", "-t", "a text")
    assert "HierarchicalTokenPooling" in said
