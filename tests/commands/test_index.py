"""`bertcli index` and `bertcli search --index` as their users meet them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bertcli import cli, runs
from bertcli.runs.index import _Log
from tests.checkpoints import TEXTS, edit_json
from tests.conftest import Make

Capture = pytest.CaptureFixture[str]
Bertcli = Callable[..., list[dict[str, Any]]]
QUERY = "who walked on the moon"


@pytest.fixture(autouse=True)
def texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A file of records with a blank one among them."""
    monkeypatch.chdir(tmp_path)
    lines = [{"id": number, "text": text} for number, text in enumerate(TEXTS)]
    lines.insert(2, {"id": 99, "text": " "})
    Path("texts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return "texts.jsonl"


@pytest.fixture
def run(capsys: Capture) -> Bertcli:
    """Run a command that must end with `code`, and parse the JSON lines it prints."""

    def command(*arguments: object, code: int = 0) -> list[dict[str, Any]]:
        assert cli.main([*map(str, arguments)]) == code, capsys.readouterr().err
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return command


def refusal(capsys: Capture, *arguments: object, code: int) -> str:
    capsys.readouterr()
    assert cli.main([*map(str, arguments)]) == code
    return capsys.readouterr().err


def near(hits: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(hit["id"], hit["where"], hit["rank"], pytest.approx(hit["score"], abs=1e-5)) for hit in hits]


@pytest.mark.parametrize("family", ["sentence", "bert"])  # vectors of length 1, and others
def test_an_index_gives_the_hits_of_the_files(
    checkpoints: Make, run: Bertcli, texts: str, family: str
) -> None:
    model = checkpoints(family)
    run("index", texts, "-m", model, "-o", "x.index")
    Path("q.txt").write_text(f"{QUERY}\n\nthe bank\n")
    for options in ([QUERY], ["--queries", "q.txt"], [QUERY, "-k", 3], [QUERY, "--min-score", 0.2]):
        expected = run("search", *options, *([texts] if texts else []), "-m", model)
        assert near(run("search", *options, "--index", "x.index", "-m", model)) == near(expected)


@pytest.mark.parametrize("options", [[], ["-k", 3], ["--min-score", 0.0165], ["--queries", "q.txt"]])
def test_a_hybrid_search_finds_the_same_everywhere(
    checkpoints: Make, run: Bertcli, texts: str, options: list[object]
) -> None:
    model = checkpoints("sentence")
    run("index", texts, "-m", model, "-o", "x.index")
    run("embed", texts, "-m", model, "--role", "document", "-o", "x.parquet")
    Path("q.txt").write_text(f"{QUERY}\nthe bank\n")
    asked = [*([] if "--queries" in options else [QUERY]), *options, "--hybrid", "-m", model]
    expected = run("search", *asked, texts)
    assert near(run("search", *asked, "--index", "x.index")) == near(expected)
    found = run("search", *asked, "--embeddings", "x.parquet")
    assert [hit["id"] for hit in found] == [hit["id"] for hit in expected]
    worded = [hit for hit in expected if hit["bm25"] is not None]
    assert len(worded) > 0
    for hit in expected:
        assert hit["score"] >= (0.0165 if "--min-score" in options else 0)
        assert hit["similarity"] is not None  # all of these few are among the 100 nearest


def test_a_hybrid_search_is_reranked(checkpoints: Make, run: Bertcli, texts: str) -> None:
    reranker = checkpoints("bert", "label", labels=("score",))
    asked = [QUERY, texts, "-m", checkpoints("sentence"), "--hybrid", "--rerank", reranker, "--rerank-top", 4]
    found = run("search", *asked)
    assert len(found) == 4
    assert [hit["score"] for hit in found] == sorted((hit["score"] for hit in found), reverse=True)
    first = run("search", *asked[:5], "-k", 4)
    assert {hit["id"] for hit in found} == {hit["id"] for hit in first}


def test_words_follow_what_is_replaced_and_removed(checkpoints: Make, run: Bertcli, texts: str) -> None:
    model = checkpoints("sentence")
    run("index", texts, "-m", model, "--id-field", "id", "-o", "x.index")
    Path("more.jsonl").write_text('{"id": 3, "text": "zebra crossing"}\n{"id": 50, "text": "zebra"}\n')
    run("index", "more.jsonl", "-m", model, "-o", "x.index", "--add")
    hybrid = ("search", "zebra", "--index", "x.index", "-m", model, "--hybrid", "-k", 20)
    assert {hit["id"] for hit in run(*hybrid) if hit["bm25"]} == {3, 50}
    Path("gone.txt").write_text("50\n")
    run("index", "--remove", "gone.txt", "-o", "x.index")
    assert {hit["id"] for hit in run(*hybrid) if hit["bm25"]} == {3}


def test_what_is_done_is_reported(checkpoints: Make, capsys: Capture, texts: str) -> None:
    assert cli.main(["index", texts, "-m", str(checkpoints("sentence")), "-o", "x.index"]) == 0
    said = capsys.readouterr().err
    assert "x.index: 10 records · 32 dimensions" in said
    assert "11 read = 10 done + 1 blank" in said
    assert sorted(os.listdir()) == ["texts.jsonl", "x.index"]


def test_records_are_added_replaced_and_removed(
    checkpoints: Make, run: Bertcli, capsys: Capture, texts: str
) -> None:
    model = checkpoints("sentence")
    run("index", texts, "-m", model, "--id-field", "id", "-o", "x.index")
    Path("more.jsonl").write_text(
        '{"id": 3, "text": "a new text", "date": 1}\n{"id": 50, "text": "one more"}\n'
    )
    run("index", "more.jsonl", "-m", model, "-o", "x.index", "--add")
    found = {hit["id"]: hit for hit in run("search", QUERY, "--index", "x.index", "-m", model, "-k", 20)}
    assert found.keys() == {*range(len(TEXTS)), 50}
    assert found[3]["text"] == "a new text"
    assert found[3]["where"] == "more.jsonl:1"
    Path("gone.txt").write_text("3\n7\n1000\n")
    said = refusal(capsys, "index", "--remove", "gone.txt", "-o", "x.index", code=0)
    assert "1 of 3 records are not in x.index" in said
    assert "2 removed" in said
    left = run("search", QUERY, "--index", "x.index", "-m", model, "-k", 20)
    assert {hit["id"] for hit in left} == found.keys() - {3, 7}


def test_another_model_is_refused(checkpoints: Make, run: Bertcli, capsys: Capture, texts: str) -> None:
    model = checkpoints("sentence")
    run("index", texts, "-m", model, "-o", "x.index")
    for command in (["search", QUERY, "--index", "x.index"], ["index", texts, "-o", "x.index", "--add"]):
        said = refusal(capsys, *command, "-m", checkpoints("bert"), code=1)
        assert "x.index: was made by" in said
        assert f"-m {model}" in said
    edit_json(model / "config.json", note="changed")
    try:
        said = refusal(capsys, "search", QUERY, "--index", "x.index", "-m", model, code=1)
        assert "a model of this name that has changed" in said
    finally:
        edit_json(model / "config.json", note=None)


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["index", "texts.jsonl", "-o", "x.index"], 1, "exists already"),
        (["index", "texts.jsonl", "-o", "other", "--overwrite"], 1, "is no index, so it is not replaced"),
        (["index", "texts.jsonl", "-o", "none", "--add"], 2, "is no index to add to"),
        (
            ["index", "texts.jsonl", "-o", "x.index", "--add", "--pooling", "cls"],
            2,
            "--pooling cls: x.index was made",
        ),
        (["index", "other.csv", "-o", "x.index", "--add", "--text-field", "body"], 1, "the field body"),
        (["index", "--remove", "q.txt", "-o", "none"], 2, "is no index"),
        (["search", QUERY, "--index", "other"], 2, "is no index"),
        (["search", QUERY, "texts.jsonl", "--index", "x.index"], 2, "FILES: an index has its own texts"),
        (["search", QUERY, "--index", "x.index", "--dim", "3"], 2, "--dim: an index has its own"),
        (["search", "--like", "3", "--index", "x.index"], 2, "--index is for queries"),
        (["search", "--like", "3", "texts.jsonl", "--hybrid"], 2, "--hybrid is for queries"),
        (["search", QUERY, "--index", "x.index", "--limit", "3"], 2, "--index is searched as a whole"),
    ],
)
def test_what_cannot_be_is_refused(
    checkpoints: Make,
    run: Bertcli,
    capsys: Capture,
    texts: str,
    arguments: list[str],
    code: int,
    expected: str,
) -> None:
    model = checkpoints("sentence")
    run("index", texts, "-m", model, "-o", "x.index")
    Path("other").mkdir()
    Path("other/file").touch()
    Path("q.txt").write_text("1\n")
    Path("other.csv").write_text("id,body\n1,a text\n")
    assert expected in refusal(capsys, *arguments, "-m", model, code=code)
    assert len(run("search", QUERY, "--index", "x.index", "-m", model, "-k", 20)) == len(TEXTS)


def test_an_index_is_replaced_when_the_new_one_is_complete(
    checkpoints: Make, run: Bertcli, texts: str
) -> None:
    model = checkpoints("sentence")
    run("index", texts, "-m", model, "-o", "x.index")
    run("index", texts, "-m", model, "-o", "x.index", "--overwrite", "--limit", 2)
    assert len(run("search", QUERY, "--index", "x.index", "-m", model)) == 2
    assert sorted(os.listdir()) == ["texts.jsonl", "x.index"]


@pytest.mark.parametrize("add", [False, True])
@pytest.mark.parametrize("killed", [False, True])  # before what was done last is committed, or Ctrl-C
def test_an_interrupted_run_is_resumed(
    checkpoints: Make,
    run: Bertcli,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
    add: bool,
    killed: bool,
) -> None:
    model = checkpoints("sentence")
    Path("long.txt").write_text("".join(f"{TEXTS[n % len(TEXTS)]} {n}\n" for n in range(300)))
    run("index", "long.txt", "-m", model, "-o", "whole.index")
    if add:
        run("index", "long.txt", "-m", model, "-o", "x.index", "--limit", 1)
    command = [
        "index",
        "long.txt",
        "-m",
        model,
        "-o",
        "x.index",
        "--batch-tokens",
        64,
        *(["--add"] if add else []),
    ]
    with monkeypatch.context() as patch:
        patch.setattr(runs.index, "REST", 0)
        patch.setattr(runs.index, "SHARE", 0)
        patch.setattr(_Log, "add_block", stopping_after(3, _Log.add_block, patch if killed else None))
        run(*command, code=130)
    assert "an interrupted run" in refusal(capsys, *command, code=1)
    refused = refusal(capsys, *command, "--resume", "--limit", 290, code=1)
    assert "cannot be resumed: --limit was not given, and is 290" in refused
    said = refusal(capsys, *command, "--resume", code=0)
    assert "300 read = 300 done" in said
    assert "from before" in said
    assert "nothing to resume" in refusal(capsys, *command, "--resume", code=0)
    found = [
        run("search", QUERY, "--index", name, "-m", model, "-k", 300) for name in ("x.index", "whole.index")
    ]
    places = [sorted((hit["where"], hit["text"]) for hit in hits) for hits in found]
    assert places[0] == places[1]
    assert sorted(os.listdir()) == ["long.txt", "texts.jsonl", "whole.index", "x.index"]


def stopping_after(
    blocks: int, add_block: Callable[..., None], patch: pytest.MonkeyPatch | None
) -> Callable[..., None]:
    """`add_block` that ends the run with one of the blocks, and with `patch` commits nothing any more."""
    seen = 0

    def stop(log: _Log, block: Any) -> None:
        nonlocal seen
        seen += 1
        if seen == blocks and patch is not None:
            patch.setattr(_Log, "commit", lambda log: None)
        add_block(log, block)
        if seen == blocks:
            raise KeyboardInterrupt

    return stop
