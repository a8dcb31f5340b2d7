"""Static embeddings: what SentenceTransformer makes of the same directory, and without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, StaticEmbedding

import bertcli
from bertcli import cli
from bertcli.models.check import full_check
from bertcli.models.checkpoint import open_checkpoint
from tests.checkpoints import TEXTS, make_tokenizer, write_json

Capture = pytest.CaptureFixture[str]


def build_static(path: Path, *, normalize: bool = True) -> Path:
    """As sentence-transformers saves one."""
    tokenizer = make_tokenizer("bert")
    table = np.random.default_rng(4).normal(size=(len(tokenizer), 24)).astype(np.float32)
    modules = [StaticEmbedding(tokenizer, embedding_weights=table), *[Normalize()] * normalize]
    SentenceTransformer(modules=modules, device="cpu").save(str(path))
    return path


def build_model2vec(path: Path) -> Path:
    """As Model2Vec saves one whose vocabulary is quantised: tokens share vectors, and each has a weight."""
    tokenizer = make_tokenizer("bert")
    rng = np.random.default_rng(5)
    path.mkdir()
    tokenizer.backend_tokenizer.save(str(path / "tokenizer.json"))
    tensors = {
        "embeddings": rng.normal(size=(50, 16)).astype(np.float16),
        "mapping": rng.integers(50, size=len(tokenizer)),
        "weights": rng.uniform(size=len(tokenizer)),
    }
    save_file(tensors, path / "model.safetensors")
    write_json(path / "config.json", {"model_type": "model2vec", "architectures": ["StaticModel"]})
    kinds = {
        "": "sentence_transformers.models.StaticEmbedding",
        "1_Normalize": "sentence_transformers.models.Normalize",
    }
    modules = [
        {"idx": number, "name": str(number), "path": folder, "type": kind}
        for number, (folder, kind) in enumerate(kinds.items())
    ]
    (path / "1_Normalize").mkdir()
    write_json(path / "modules.json", modules)
    return path


@pytest.fixture(scope="module")
def static(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_static(tmp_path_factory.mktemp("static"))


@pytest.mark.parametrize("build", [build_static, build_model2vec])
def test_embeddings_are_those_of_sentence_transformers(build: type, tmp_path: Path, capsys: Capture) -> None:
    path = build(tmp_path / "model")
    texts = [*TEXTS, " ".join(TEXTS * 40)]  # no length is too long
    file = tmp_path / "texts.txt"
    file.write_text("\n".join(texts), encoding="utf-8")
    options = ("-m", str(path), "-o", str(tmp_path / "found.npy"))
    assert cli.main(["embed", str(file), *options]) == 0
    assert "instant cpu float32" in capsys.readouterr().err
    expected = SentenceTransformer(str(path), device="cpu").encode(texts)
    assert np.load(tmp_path / "found.npy") == pytest.approx(expected, abs=1e-5)


def test_tokens_and_searches(static: Path, capsys: Capture) -> None:
    assert cli.main(["embed", "-q", "--tokens", "-m", str(static), "-t", TEXTS[0], "-f", "jsonl"]) == 0
    (row,) = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    mean = np.mean([token["embedding"] for token in row["tokens"]], axis=0)
    expected = SentenceTransformer(str(static), device="cpu").encode(TEXTS[0])
    assert mean / np.linalg.norm(mean) == pytest.approx(expected, abs=1e-5)
    hits = bertcli.load(str(static)).search("the capital of Italy", TEXTS, k=1)
    assert hits[0]["index"] == 0


def test_what_a_table_cannot_do_is_refused(static: Path, capsys: Capture) -> None:
    for arguments, said in (
        (["embed", "--engine", "packed"], "leave out --engine packed"),
        (["embed", "--pooling", "max"], "max pooling contradicts"),
        (["embed", "--layer", "1"], "the model has no layer 1"),
        (["fill"], "has no fill head"),
        (["attention"], "has no attention"),
    ):
        assert cli.main([*arguments, "-m", str(static), "-t", "a [MASK]"]) in (1, 2)
        assert said in capsys.readouterr().err
    assert not full_check(open_checkpoint(static))


def test_no_torch_is_imported(static: Path) -> None:
    program = (
        "import sys; from bertcli import cli; code = cli.main(sys.argv[1:]);"
        " sys.exit(code or ('torch' in sys.modules))"
    )
    command = [sys.executable, "-c", program, "embed", "-q", "-m", str(static), "-t", "a text", "-f", "jsonl"]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
