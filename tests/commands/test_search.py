"""`bertcli search` as its users meet it: the same hits from texts, from a pipe, from vectors in a file."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import semantic_search

from bertcli import cli
from tests.checkpoints import TEXTS, edit_json
from tests.conftest import Make

Capture = pytest.CaptureFixture[str]
Run = Callable[..., list[dict[str, Any]]]
QUERY = "who walked on the moon"


@pytest.fixture(autouse=True)
def texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A file of ten texts with a blank line among them."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "texts.txt").write_text("\n".join([*TEXTS[:4], "", *TEXTS[4:]]), encoding="utf-8")
    return "texts.txt"


@pytest.fixture
def run(capsys: Capture) -> Run:
    """Run `bertcli search` that must end with `code`, and parse the JSON lines it prints."""

    def command(*arguments: object, code: int = 0) -> list[dict[str, Any]]:
        assert cli.main(["search", *map(str, arguments)]) == code, capsys.readouterr().err
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return command


def error(capsys: Capture, *arguments: object, code: int = 2) -> str:
    """What a search that must fail says."""
    capsys.readouterr()
    assert cli.main(["search", *map(str, arguments)]) == code
    seen = capsys.readouterr()
    assert not seen.out
    return seen.err


def embed(model: Path, *arguments: str) -> None:
    assert cli.main(["embed", "-q", "-m", str(model), "texts.txt", *arguments]) == 0


def near(hits: list[dict[str, Any]]) -> list[tuple[str, Any]]:
    return [(hit["where"].rpartition(":")[2], pytest.approx(hit["score"], abs=1e-5)) for hit in hits]


def test_hits_are_those_of_sentence_transformers(checkpoints: Make, run: Run, texts: str) -> None:
    model = checkpoints("sentence")
    peer = SentenceTransformer(str(model), device="cpu")
    ((*expected,),) = semantic_search(peer.encode([QUERY]), peer.encode(list(TEXTS)), top_k=5)
    found = run(QUERY, texts, "-m", model, "-k", 5, "--long", "truncate")  # as the peer does
    assert [hit["text"] for hit in found] == [TEXTS[hit["corpus_id"]] for hit in expected]
    assert [hit["score"] for hit in found] == [pytest.approx(hit["score"], abs=1e-4) for hit in expected]
    assert [hit["rank"] for hit in found] == [1, 2, 3, 4, 5]
    lines = Path(texts).read_text(encoding="utf-8").split("\n")
    assert [hit["where"] for hit in found] == [f"texts.txt:{lines.index(hit['text']) + 1}" for hit in found]


@pytest.mark.parametrize("family", ["sentence", "bert"])  # vectors of length 1, and others
@pytest.mark.parametrize("name", ["x.npy", "x.parquet"])
def test_vectors_in_a_file_give_the_same_hits(
    checkpoints: Make, run: Run, texts: str, name: str, family: str
) -> None:
    model = checkpoints(family)
    embed(model, "-o", name)
    queries = ("--queries", "q.txt")
    Path("q.txt").write_text(f"{QUERY}\n\nthe bank\n")
    for asked in ((QUERY,), queries, ("--like", 3)):
        expected = run(*asked, texts, "-m", model, "-k", 4)
        assert len(expected) == (8 if asked is queries else 4)
        assert near(run(*asked, "--embeddings", name, "-m", model, "-k", 4)) == near(expected)
        found = run(*asked, texts, "--embeddings", name, "-m", model, "-k", 4)
        assert [hit["text"] for hit in found] == [hit["text"] for hit in expected]


@pytest.mark.parametrize("options", [("QUERY",), ("--near-duplicates", "0.99"), ("--like", "1")])
def test_a_search_in_embeddings_ends_with_a_receipt(
    checkpoints: Make, capsys: Capture, texts: str, options: tuple[str, ...]
) -> None:
    model = checkpoints("sentence")
    embed(model, "-o", "x.npy")
    capsys.readouterr()
    assert cli.main(["search", *options, "--embeddings", "x.npy", "-m", str(model)]) == 0
    engine = " · instant cpu float32" if options == ("QUERY",) else ""
    assert re.search(rf"^11 read = 10 done \+ 1 blank · .*/s{engine}$", capsys.readouterr().err, re.MULTILINE)


@pytest.mark.parametrize(
    ("options", "unread"),
    [(["--limit", "3"], "--limit"), (["--delimiter", ";", "--skip", "1"], "--delimiter, --skip")],
)
def test_options_that_a_search_in_embeddings_ignores_are_refused(
    checkpoints: Make, capsys: Capture, texts: str, options: list[str], unread: str
) -> None:
    model = checkpoints("sentence")
    embed(model, "-o", "x.npy")
    said = error(capsys, QUERY, "--embeddings", "x.npy", "-m", model, *options)
    assert f"{unread}: --embeddings is searched as a whole" in said


def test_smaller_vectors_find_what_larger_ones_do(checkpoints: Make, run: Run, texts: str) -> None:
    model = checkpoints("sentence")
    whole = run(QUERY, texts, "-m", model, "-k", 3)
    for dtype, off in (("float16", 1e-3), ("int8", 1e-2)):
        embed(model, "-o", f"{dtype}.npy", "--dtype", dtype)
        found = run(QUERY, "--embeddings", f"{dtype}.npy", "-m", model, "-k", 3)
        assert [hit["score"] for hit in found] == pytest.approx([hit["score"] for hit in whole], abs=off)
    embed(model, "-o", "cut.npy", "--dim", "8")
    found = run(QUERY, "--embeddings", "cut.npy", "-m", model, "--dim", 8, "-k", 3)
    assert near(found) == near(run(QUERY, texts, "-m", model, "--dim", 8, "-k", 3))


def test_the_models_own_number_of_dimensions_is_compared(checkpoint_copy: Make, run: Run, texts: str) -> None:
    model = checkpoint_copy("sentence")
    asked = {
        like: near(run(*like, texts, "-m", model, "--dim", 8, "-k", 3)) for like in ((QUERY,), ("--like", 3))
    }
    edit_json(model / "config_sentence_transformers.json", truncate_dim=8)
    embed(model, "-o", "own.npy")
    assert np.load("own.npy").shape[1] == 8
    for like, expected in asked.items():
        assert near(run(*like, texts, "-m", model, "-k", 3)) == expected
        assert near(run(*like, "--embeddings", "own.npy", "-m", model, "-k", 3)) == expected


def test_a_pipe_is_searched_too(
    checkpoints: Make, run: Run, texts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = checkpoints("sentence")
    for asked in ((QUERY,), ("--like", 1), ("--near-duplicates", 0.1)):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(Path(texts).read_bytes())))
        piped = run(*asked, "-m", model)
        assert json.dumps(piped).replace("stdin:", "texts.txt:") == json.dumps(
            run(*asked, texts, "-m", model)
        )


def test_the_least_score_holds(checkpoints: Make, run: Run, texts: str) -> None:
    model = checkpoints("sentence")
    every = [hit["score"] for hit in run(QUERY, texts, "-m", model, "-k", 99)]
    assert len(every) == len(TEXTS)
    least = every[3] - 1e-6
    assert [hit["score"] for hit in run(QUERY, texts, "-m", model, "--min-score", least)] == every[:4]


def test_near_duplicates_are_told_in_pairs(checkpoints: Make, run: Run, texts: str) -> None:
    model = checkpoints("sentence")
    with open(texts, "a", encoding="utf-8") as file:
        file.write(f"\n{TEXTS[0].upper()}\n{TEXTS[2]}\n")  # the model lower-cases
    found = run("--near-duplicates", 0.99999, texts, "-m", model)
    lines = [tuple(int(hit[one]["where"].rpartition(":")[2]) for one in ("first", "second")) for hit in found]
    assert lines == [(1, 12), (3, 13)]
    assert [hit["second"]["text"] for hit in found] == [TEXTS[0].upper(), TEXTS[2]]


def test_queries_have_a_prompt_of_their_own(checkpoints: Make, run: Run, texts: str) -> None:
    prompts = {"query": "the bank ", "passage": "in 1969 "}
    model = checkpoints("sentence", prompts=prompts, default_prompt="passage")
    peer = SentenceTransformer(str(model), device="cpu")
    vectors = peer.encode_query([QUERY]), peer.encode(list(TEXTS))
    ((*expected,),) = semantic_search(*vectors, top_k=4)
    found = run(QUERY, texts, "-m", model, "-k", 4, "--long", "truncate")
    assert [hit["text"] for hit in found] == [TEXTS[hit["corpus_id"]] for hit in expected]
    assert [hit["score"] for hit in found] == [pytest.approx(hit["score"], abs=1e-4) for hit in expected]


ROLES = {"query": "the bank ", "document": "in 1969 ", "passage": "the moon "}


@pytest.mark.slow
@pytest.mark.parametrize("default", [None, "query"])
@pytest.mark.parametrize(
    "named", ["query", "document", "query document", "query passage", "passage document"]
)
def test_queries_and_documents_have_the_prompts_of_sentence_transformers(
    named: str, default: str | None, checkpoints: Make, run: Run, texts: str
) -> None:
    prompts = {name: ROLES[name] for name in named.split()}
    if default not in prompts:
        default = None
    model = checkpoints("sentence", prompts=prompts, default_prompt=default)
    peer = SentenceTransformer(str(model), device="cpu")
    # It documents `passage` as the second name for documents, and adds an empty `document` before it looks.
    only_passage = {"prompt_name": "passage"} if "document" not in prompts and "passage" in prompts else {}
    vectors = peer.encode_query([QUERY]), peer.encode_document(list(TEXTS), **only_passage)
    ((*expected,),) = semantic_search(*vectors, top_k=4)
    found = run(QUERY, texts, "-m", model, "-k", 4, "--long", "truncate")
    assert [hit["score"] for hit in found] == [pytest.approx(hit["score"], abs=1e-4) for hit in expected]
    for role, vector in zip(("query", "document"), (vectors[0], vectors[1][7:8]), strict=True):
        Path("one.txt").write_text(QUERY if role == "query" else TEXTS[7], encoding="utf-8")
        options = ["--role", role, "-o", f"{role}.npy", "--long", "truncate"]
        assert cli.main(["embed", "-q", "-m", str(model), "one.txt", *options]) == 0
        assert np.load(f"{role}.npy") == pytest.approx(vector, abs=1e-5)


@pytest.mark.parametrize("similarity", ["dot", "euclidean", "manhattan"])
def test_the_models_own_similarity_ranks(
    similarity: str, checkpoint_copy: Make, run: Run, texts: str
) -> None:
    model = checkpoint_copy("sentence", normalize=False)
    edit_json(model / "config_sentence_transformers.json", similarity_fn_name=similarity)
    peer = SentenceTransformer(str(model), device="cpu")
    near_to = peer.similarity(peer.encode([QUERY]), peer.encode(list(TEXTS)))[0].numpy()
    expected = [(TEXTS[place], near_to[place]) for place in np.argsort(-near_to)]
    found = run(QUERY, texts, "-m", model, "-k", 99, "--long", "truncate")
    assert [(hit["text"], hit["score"]) for hit in found] == [
        (text, pytest.approx(score, rel=1e-4)) for text, score in expected
    ]
    embed(model, "-o", "x.parquet", "--long", "truncate")
    assert near(run(QUERY, "--embeddings", "x.parquet", "-m", model, "-k", 99)) == near(found)
    like = run("--like", 3, texts, "-m", model, "-k", 99, "--long", "truncate")
    assert near(run("--like", 3, "--embeddings", "x.parquet", "-k", 99)) == near(like)
    assert [hit["score"] for hit in like] == sorted((hit["score"] for hit in like), reverse=True)
    least = found[3]["score"] - 1e-4
    assert len(run(QUERY, texts, "-m", model, "--min-score", least, "--long", "truncate")) == 4


def test_a_similarity_that_nobody_knows_is_refused(
    checkpoint_copy: Make, capsys: Capture, texts: str
) -> None:
    model = checkpoint_copy("sentence")
    edit_json(model / "config_sentence_transformers.json", similarity_fn_name="maxsim")
    assert "similarity_fn_name 'maxsim'" in error(capsys, QUERY, texts, "-m", model, code=1)


@pytest.mark.parametrize("name", ["x.npy", "x.parquet"])
@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], "without a role"),
        (["--role", "query"], "as query"),
        (["--prompt-name", "query"], "'the bank '"),
        (["--role", "document"], None),
        (["--prompt-name", "document"], None),
        (["--prompt", "in 1969 "], None),
    ],
)
def test_embeddings_of_another_role_are_told(
    name: str, options: list[str], told: str | None, checkpoints: Make, capsys: Capture, texts: str
) -> None:
    model = checkpoints("sentence", prompts=ROLES)
    embed(model, "-o", name, *options)
    capsys.readouterr()
    assert cli.main(["search", QUERY, "--embeddings", name, "-m", str(model)]) == 0
    seen = capsys.readouterr().err
    assert told is None or told in seen
    assert ("--role document" in seen) is (told is not None)


def test_a_role_is_no_matter_where_the_model_has_none(checkpoints: Make, capsys: Capture, texts: str) -> None:
    model = checkpoints("sentence")
    embed(model, "-o", "x.npy")
    assert cli.main(["search", QUERY, "--embeddings", "x.npy", "-m", str(model)]) == 0
    assert "role" not in capsys.readouterr().err


def test_the_role_is_written_beside_the_vectors(checkpoints: Make, texts: str) -> None:
    model = checkpoints("sentence", prompts=ROLES)
    embed(model, "-o", "x.npy", "--role", "document")
    first, *others = [json.loads(line) for line in Path("x.ids.jsonl").read_text().splitlines()]
    assert first == {"row": 0, "id": 0, "role": "document", "prompt": "in 1969 "}
    assert all(line["role"] == "document" and "prompt" not in line for line in others)
    embed(model, "-o", "x.parquet", "--role", "document")
    metadata = pyarrow.parquet.read_schema("x.parquet").metadata
    assert (metadata[b"bertcli.role"], metadata[b"bertcli.prompt"]) == (b"document", b"in 1969 ")


def test_prompts_that_cannot_be_meant_are_told(checkpoints: Make, capsys: Capture, texts: str) -> None:
    model = checkpoints("sentence", prompts=ROLES)
    for options, told in (
        (["--prompt", "x ", "--prompt-name", "query"], "cannot go together"),
        (["--prompt", "x " * 40], "a window of the model 30"),
        (["--prompt", "x" * 20_000], "20000 characters"),
        (["--role", "both"], "query"),
    ):
        assert cli.main(["embed", "-m", str(model), "-t", "a", *options]) == 2
        assert told in capsys.readouterr().err


def test_a_record_that_fails_is_told_and_remembered(checkpoints: Make, capsys: Capture) -> None:
    model = checkpoints("sentence")
    Path("x.jsonl").write_text('{"text":"a bank"}\nnonsense\n{"text":"the moon"}\n')
    assert cli.main(["search", QUERY, "x.jsonl", "-m", str(model)]) == 3
    seen = capsys.readouterr()
    assert len(seen.out.splitlines()) == 2
    assert "x.jsonl:2: not searched: line 2 is not JSON" in seen.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "there is no query"),
        (["--like", "1", "--queries", "q.txt", "texts.txt"], "--queries and --like cannot go together"),
        (["--near-duplicates", "0.9", "-k", "3", "texts.txt"], "--near-duplicates gives all pairs"),
        (["--queries", "empty.txt", "texts.txt"], "empty.txt: holds no query"),
        (["--like", "12", "texts.txt"], "there is no record 12, only 11"),
        (["--like", "5", "texts.txt"], "record 5 has no vector"),
        (["a", "texts.txt", "--pair-field", "b"], "no such option: --pair-field"),
        (["a", "scored.jsonl"], "the input already has a field named 'score'"),
        (["a", "texts.txt", "--dim", "33"], "--dim 33 is not in the vectors"),
        (["a", "--embeddings", "short.npy"], "holds vectors of 3"),
        (["a", "texts.txt", "--prompt-name", "b"], "no prompt named b"),
        (["a", "texts.txt", "-f", "npy", "-o", "x.npy"], "-f/--format: 'npy' is not one of"),
    ],
)
def test_what_cannot_be_meant_is_told(
    checkpoints: Make, capsys: Capture, arguments: list[str], message: str
) -> None:
    import numpy as np

    Path("empty.txt").write_text("\n")
    Path("q.txt").write_text("a\n")
    Path("scored.jsonl").write_text('{"text":"a","score":1}\n')
    np.save("short.npy", np.ones((2, 3), dtype=np.float32))
    assert message in error(capsys, *arguments, "-m", checkpoints("sentence"))


def test_a_file_of_too_few_texts_is_told(checkpoints: Make, capsys: Capture, texts: str) -> None:
    model = checkpoints("sentence")
    embed(model, "-o", "x.npy")
    Path("few.txt").write_text("one\n")
    told = error(capsys, QUERY, "few.txt", "--embeddings", "x.npy", "-m", model, code=1)
    assert "only 1, to go with the embeddings" in told


def test_no_hit_is_shown_when_the_record_of_another_cannot_be_had(
    checkpoints: Make, capsys: Capture, texts: str
) -> None:
    model = checkpoints("sentence")
    embed(model, "-o", "x.npy")
    first = Path("texts.txt").read_text().splitlines()[0]
    Path("few.txt").write_text(first + "\n")
    told = error(capsys, first, "few.txt", "--embeddings", "x.npy", "-m", model, "-k", "2", code=1)
    assert "only 1, to go with the embeddings" in told


@pytest.mark.parametrize(
    ("vectors", "output"), [("x.parquet", "x.parquet"), ("x.npy", "x.ids.jsonl"), ("x.npy", "link.jsonl")]
)
def test_the_vectors_are_never_written_over(
    checkpoints: Make, capsys: Capture, texts: str, vectors: str, output: str
) -> None:
    model = checkpoints("sentence")
    embed(model, "-o", vectors)
    Path("link.jsonl").symlink_to("x.npy")
    before = Path(output).read_bytes()
    told = error(capsys, QUERY, "--embeddings", vectors, "-m", model, "-o", output, "--overwrite", code=1)
    assert "is an input and the output" in told
    assert Path(output).read_bytes() == before


@pytest.mark.parametrize("asked", [["-k", "1"], ["--near-duplicates", "0.9"]])
@pytest.mark.parametrize("more", [-1, 1])
def test_as_many_records_as_embeddings_or_none(
    checkpoints: Make, capsys: Capture, texts: str, asked: list[str], more: int
) -> None:
    model = checkpoints("sentence")
    embed(model, "-o", "x.npy")
    lines = Path("texts.txt").read_text().splitlines()
    Path("others.txt").write_text("\n".join(lines[:-1] if more < 0 else [*lines, "one more"]) + "\n")
    query = [lines[0]] if asked[0] == "-k" else []
    told = error(capsys, *query, "others.txt", "--embeddings", "x.npy", "-m", model, *asked, code=1)
    assert f"{len(lines) + more}" in told
    assert "embeddings" in told


@pytest.mark.parametrize("named", ["x.npy", "x.parquet"])
def test_vectors_that_are_not_of_these_texts_are_told(
    checkpoints: Make, capsys: Capture, texts: str, named: str
) -> None:
    model, other = checkpoints("sentence"), checkpoints("bert", seed=7)
    embed(model, "-o", named)
    files = [texts] if named.endswith("npy") else []

    for of, known in ((model, True), (other, False)):
        capsys.readouterr()
        assert cli.main(["search", QUERY, *files, "--embeddings", named, "-m", str(of)]) == 0
        assert (f"{named}: vector " in capsys.readouterr().err) is not known


def test_that_nothing_is_near_enough_is_told(checkpoints: Make, capsys: Capture, texts: str) -> None:
    for least, said in (("1", True), ("-1", False)):
        assert (
            cli.main(["search", QUERY, texts, "-m", str(checkpoints("sentence")), "--min-score", least]) == 0
        )
        seen = capsys.readouterr()
        assert ("nothing found" in seen.err) is said is not bool(seen.out)


def test_queries_may_come_through_a_pipe(
    checkpoints: Make, run: Run, texts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [texts, "-m", checkpoints("sentence"), "-k", 1]
    with open("q.txt", "w+") as file:
        file.write(f"{QUERY}\nanother\n")
        file.flush()
        monkeypatch.setattr("bertcli.runs.preflight.STDIN", file.fileno())
        file.seek(0)
        piped = run("--queries", "-", *asked)
    assert piped == run("--queries", "q.txt", *asked)


def test_among_no_vectors_there_are_no_duplicates(run: Run) -> None:
    import numpy as np

    np.save("none.npy", np.empty((0, 3), dtype=np.float32))
    Path("none.txt").write_text("")
    assert run("none.txt", "--near-duplicates", "0.9", "--embeddings", "none.npy") == []


def test_a_file_in_the_place_of_the_query_is_told(
    checkpoints: Make, capsys: Capture, texts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a\n")))
    capsys.readouterr()
    assert cli.main(["search", "texts.txt", "-m", str(checkpoints("sentence"))]) == 0
    assert "texts.txt is a file, and taken as the query" in capsys.readouterr().err


def test_a_file_among_the_lines_of_a_file_of_queries_is_a_query(
    checkpoints: Make, capsys: Capture, texts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("queries.txt").write_text("refund\ntexts.txt\n")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a\n")))
    capsys.readouterr()
    assert cli.main(["search", "--queries", "queries.txt", "-m", str(checkpoints("sentence"))]) == 0
    assert "is a file" not in capsys.readouterr().err
