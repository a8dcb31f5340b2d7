"""Runs on a real Ray cluster of local processes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bertcli import console, requests
from bertcli.distributed import actor
from bertcli.distributed.actor import Actor, Job
from bertcli.models.checkpoint import open_checkpoint
from tests.conftest import Make
from tests.distributed.clusters import LocalCluster, command

pytestmark = pytest.mark.slow
needs_ray = pytest.mark.usefixtures("cluster")


PACKED = ("--engine", "packed", "--dtype", "float32", "--batch-tokens", "256")
TASKS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "label": (("bert", "label"), PACKED),
    "label, in NumPy": (("bert", "label"), ("--engine", "instant", "--batch-tokens", "64")),
    "label, by transformers": (("megatron-bert", "label"), ("--dtype", "float32", "--batch-tokens", "256")),
    "embed": (("sentence",), ("--engine", "packed", "--compute-dtype", "float32", "--batch-tokens", "256")),
    "fill": (("bert", "fill"), PACKED),
    "tag": (("bert", "tagger"), PACKED),
    "score": (("bert", "fill"), PACKED),
    "answer": (("bert", "answer"), (*PACKED, "--question", "Who is in London?")),
}


@needs_ray
@pytest.mark.parametrize("task", TASKS)
def test_a_file_has_the_bytes_of_one_machine_whatever_the_number_of_workers(
    task: str, cluster: LocalCluster, checkpoints: Make, texts: Path, tmp_path: Path
) -> None:
    model, options = TASKS[task]
    if task == "fill":
        texts.write_text(texts.read_text().replace(" good", " [MASK]"))
    _compare(cluster, [task.split(",")[0], texts, "-m", checkpoints(*model), *options], tmp_path)


@needs_ray
def test_an_order_has_the_bytes_of_one_machine(
    cluster: LocalCluster, checkpoints: Make, texts: Path, tmp_path: Path
) -> None:
    model = checkpoints("bert", "label", labels=("score",))
    _compare(cluster, ["rerank", "a good camera", texts, "-m", model, "--all", *PACKED], tmp_path)


TRANSLATIONS = {
    "beam search": ("marian", ("--engine", "packed", "--dtype", "float32", "--batch-tokens", "256")),
    "in NumPy": ("marian", ("--engine", "instant", "--greedy")),
    "a glossary and an alignment": ("marian", ("--beam", "2", "--align", "--glossary", "terms.tsv")),
    "by transformers": ("prophetnet", ("--greedy", "--dtype", "float32", "--threads", "1")),
}


@needs_ray
@pytest.mark.parametrize("how", TRANSLATIONS)
def test_translations_have_the_bytes_of_one_machine(
    how: str, cluster: LocalCluster, seq2seq: Make, texts: Path, tmp_path: Path
) -> None:
    family, options = TRANSLATIONS[how]
    terms = tmp_path / "terms.tsv"
    terms.write_text("camera\tfilm\nphone\talong\n")
    given = [str(terms) if option == "terms.tsv" else option for option in options]
    texts.write_text("".join(texts.read_text().splitlines(keepends=True)[80:120]))
    shared = ["translate", texts, "-m", seq2seq(family), "--max-new-tokens", "6", *given]
    _compare(cluster, shared, tmp_path)
    if "--glossary" in options:
        assert b'"alignment":[{' in (tmp_path / "local.jsonl").read_bytes()


def _compare(cluster: LocalCluster, shared: Sequence[Any], tmp_path: Path) -> None:
    """Run a command here, and on 2 and 3 workers of a cluster."""
    local = command(None, *shared, "-o", tmp_path / "local.jsonl")
    assert local.returncode == 3, local.stderr  # the malformed line
    for workers in (2, 3):
        output = tmp_path / f"{workers}.jsonl"
        found = command(
            cluster, *shared, "-o", output, "--workers", workers, on="auto" if workers == 2 else "ray://"
        )
        assert found.returncode == 3, found.stderr
        assert output.read_bytes() == (tmp_path / "local.jsonl").read_bytes()
        assert found.stdout == ""
        others = [line for line in found.stderr.splitlines() if "waiting for the cluster" not in line]
        assert len(others) <= len(local.stderr.splitlines()), found.stderr
        assert (
            " on 1 node" in found.stderr
        )  # of however many workers: those that start late need not be waited for


@needs_ray
def test_a_model_that_workers_do_not_have_comes_from_the_driver(
    cluster: LocalCluster, checkpoints: Make, texts: Path, tmp_path: Path
) -> None:
    program = tmp_path / "program.py"
    program.write_text(ELSEWHERE)
    shared = ["label", texts, "-m", checkpoints("bert", "label"), "--engine", "packed", "--dtype", "float32"]
    local = command(None, *shared, "-o", tmp_path / "local.jsonl")
    found = command(cluster, *shared, "-o", tmp_path / "ray.jsonl", "--workers", 1, program=[program])
    assert (local.returncode, found.returncode) == (3, 3), found.stderr
    assert "1 worker on 1 node" in found.stderr
    assert (tmp_path / "ray.jsonl").read_bytes() == (tmp_path / "local.jsonl").read_bytes()


ELSEWHERE = """
import sys
from dataclasses import replace
from bertcli.cli import main
from bertcli.distributed.actor import Job

found = Job.of
Job.of = lambda *given, **more: replace(found(*given, **more), base="/nowhere")
sys.exit(main())
"""


def _answer(model: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> dict[str, Any]:
    monkeypatch.setattr(console, "quiet_libraries", lambda: None)
    options = requests.ModelOptions(engine="packed", device="cpu", threads=1)
    job = replace(Job.of(open_checkpoint(model), None, options), **changes)
    return Actor().open({name: getattr(job, name) for name in Job.__slots__})


def test_another_version_is_refused(checkpoints: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = _answer(checkpoints("bert"), monkeypatch, version="0.0.1")
    assert "the driver has bertcli 0.0.1, and a worker has" in answer["refused"][0]
    assert "bertcli[ray]==0.0.1" in answer["refused"][1]


def test_a_model_with_another_fingerprint_is_not_taken_by_its_path(
    checkpoints: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _answer(checkpoints("bert"), monkeypatch, fingerprint="0" * 16) == {"absent": True}


def test_files_of_another_model_are_refused(
    checkpoints: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(console, "quiet_libraries", lambda: None)
    model = checkpoints("bert")
    monkeypatch.setattr(actor, "write_files", lambda files, folder: os.symlink(model, folder / "base"))
    job = Job(str(tmp_path / "nowhere"), None, "0" * 16, None, requests.ModelOptions(engine="packed"))
    answer = Actor().open({name: getattr(job, name) for name in Job.__slots__}, {"base": {}})
    assert "the model is another one than the driver's" in answer["refused"][0]
