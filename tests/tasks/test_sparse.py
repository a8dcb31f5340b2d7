"""Sparse embeddings and searches with them, against sentence-transformers' SparseEncoder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SparseEncoder
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sparse_encoder.modules import SpladePooling

import bertcli
from bertcli import cli
from bertcli.models.check import full_check
from bertcli.models.checkpoint import open_checkpoint
from tests.checkpoints import TEXTS, edit_json
from tests.conftest import Make

Capture = pytest.CaptureFixture[str]
QUERY = "who walked on the moon"


@pytest.fixture(scope="module")
def splade(checkpoints: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_splade(checkpoints("bert", "fill"), tmp_path_factory.mktemp("splade"))


def build_splade(base: Path, path: Path, **pooling: Any) -> Path:
    """As sentence-transformers saves one."""
    encoder = Transformer(str(base), transformer_task="fill-mask", max_seq_length=32)
    SparseEncoder(modules=[encoder, SpladePooling(**pooling)], device="cpu").save(str(path))
    return path


def rows(capsys: Capture, *arguments: object) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert cli.main([*map(str, arguments), "--digits", "9", "-f", "jsonl"]) == 0, capsys.readouterr().err
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def expected_terms(model: Path, texts: tuple[str, ...]) -> list[dict[str, Any]]:
    peer = SparseEncoder(str(model), device="cpu")
    decoded = peer.decode(peer.encode(list(texts)))
    return [{term: pytest.approx(weight, rel=1e-5, abs=1e-5) for term, weight in one} for one in decoded]


@pytest.mark.parametrize(
    ("engine", "pooling"),
    [("instant", {}), ("packed", {"pooling_strategy": "sum", "activation_function": "log1p_relu"})],
)
def test_terms_are_those_of_a_sparse_encoder(
    engine: str, pooling: dict[str, str], checkpoints: Make, tmp_path: Path, capsys: Capture
) -> None:
    model = build_splade(checkpoints("bert", "fill"), tmp_path / "splade", **pooling)
    flags = [word for text in TEXTS for word in ("-t", text)]
    found = rows(
        capsys,
        "embed",
        "--sparse",
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
    terms = [{one["term"]: one["weight"] for one in row["terms"]} for row in found]
    assert terms == expected_terms(model, TEXTS)
    weights = [one["weight"] for one in found[0]["terms"]]
    assert weights == sorted(weights, reverse=True)


def test_only_the_largest_weights_are_kept_where_the_files_say_so(
    splade: Path, checkpoints: Make, tmp_path: Path, capsys: Capture
) -> None:
    model = build_splade(checkpoints("bert", "fill"), tmp_path / "splade")
    edit_json(model / "config_sentence_transformers.json", max_active_dims=5)
    (row,) = rows(capsys, "embed", "--sparse", "-m", model, "--long", "truncate", "-t", TEXTS[0])
    assert len(row["terms"]) == 5
    assert [{one["term"]: one["weight"] for one in row["terms"]}] == expected_terms(model, TEXTS[:1])


def test_a_long_text_has_the_terms_of_its_windows(splade: Path, capsys: Capture) -> None:
    text = " ".join(TEXTS[:3])
    (row,) = rows(capsys, "embed", "--sparse", "-m", splade, "-t", text)
    assert row["windows"] > 1
    (cut,) = rows(capsys, "embed", "--sparse", "-m", splade, "-t", text, "--long", "truncate")
    whole, first = ({one["term"]: one["weight"] for one in each["terms"]} for each in (row, cut))
    assert sum(whole.values()) > sum(first.values())


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")  # of torch, for sentence-transformers
@pytest.mark.parametrize("similarity", ["dot", "cosine"])
def test_a_search_compares_terms(similarity: str, checkpoints: Make, tmp_path: Path, capsys: Capture) -> None:
    model = build_splade(checkpoints("bert", "fill"), tmp_path / "splade")
    edit_json(model / "config_sentence_transformers.json", similarity_fn_name=similarity)
    peer = SparseEncoder(str(model), device="cpu")
    scores = peer.similarity(peer.encode_query([QUERY]), peer.encode_document(list(TEXTS)))[0].numpy()
    order = np.argsort(-scores)[:4].tolist()
    file = tmp_path / "texts.txt"
    file.write_text("\n".join(TEXTS), encoding="utf-8")
    found = rows(capsys, "search", QUERY, file, "-m", model, "-k", 4, "--long", "truncate")
    assert [row["text"] for row in found] == [TEXTS[place] for place in order]
    assert [row["score"] for row in found] == pytest.approx(scores[order], rel=1e-4)
    hits = bertcli.load(str(model)).search(QUERY, TEXTS, k=4, long="truncate")
    assert [hit["index"] for hit in hits] == order


def test_what_is_not_sparse_is_refused(splade: Path, checkpoints: Make, capsys: Capture) -> None:
    dense = checkpoints("sentence")
    for arguments, said in (
        (["embed", "-m", splade], "`embed --sparse` and `search` give them"),
        (["label", "-m", splade, "--labels", "a,b"], "makes sparse embeddings"),
        (["search", "--like", "1", "-m", splade], "give a QUERY"),
        (["embed", "--sparse", "-m", dense], "makes no sparse embeddings"),
        (["embed", "--sparse", "--dim", "3", "-m", splade], "--dim is for vectors"),
    ):
        assert cli.main([*map(str, arguments), "-t", "a text"]) in (1, 2)
        assert said in capsys.readouterr().err
    assert not [found for found in full_check(open_checkpoint(splade)) if found.refuses]
