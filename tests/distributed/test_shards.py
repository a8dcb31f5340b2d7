"""Merged shards are the file that one run writes."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pyarrow import parquet

from bertcli import cli, console
from bertcli.records import Result
from tests.conftest import Make

Run = Callable[..., int]
Capfd = pytest.CaptureFixture[str]
KINDS = {"embed": "base", "score": "fill"}


@pytest.fixture
def run(checkpoints: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    monkeypatch.chdir(tmp_path)
    words = [
        "the",
        "capital",
        "of",
        "france",
        "is",
        "paris",
        "and",
        "nobody",
        "answers",
        "since",
        "yesterday",
    ]
    lines = [
        json.dumps(
            {
                "id": number,
                "text": " ".join(words[number % 7 :][: number % 11]),
                "b": 'q"x,\ny',
                "n": number
                if number < 9 or number == 30
                else None,  # of no type in the second of three shards
            }
        )
        for number in range(37)
    ]
    lines[12] = json.dumps({"id": 12, "text": " ".join(words * 30)})  # windows in the first half only
    lines[33] = '{"text": broken'  # an error in the last third only
    Path("in.jsonl").write_text("\n".join(lines))

    def run(*arguments: str, source: str = "in.jsonl", family: str = "bert", command: str = "label") -> int:
        console.release_stdout()
        model = str(checkpoints(family, KINDS.get(command, command)))
        return cli.main([command, source, "-m", model, "--engine", "instant", *arguments])

    yield run
    console.release_stdout()


def merge(*arguments: str) -> int:
    console.release_stdout()
    return cli.main(["merge", *arguments])


def counts(printed: str) -> str:
    return printed.splitlines()[-1].partition(" ·")[0]


@pytest.mark.parametrize("name", ["jsonl", "json", "csv", "tsv", "txt"])
def test_merged_shards_are_one_run(name: str, run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    options = ("-f", "plain") if name == "txt" else ("--all",)
    assert run("-o", f"one.{name}", *options) == 3
    one = counts(capfd.readouterr().err)
    codes = [run("-o", f"{part}.{name}", *options, "--shard", f"{part}/3") for part in (1, 2, 3)]
    assert codes == [0, 0, 3]
    capfd.readouterr()
    assert merge(f"2.{name}", f"3.{name}", f"1.{name}", "-o", f"all.{name}") == 3
    assert counts(capfd.readouterr().err) == one
    assert Path(f"all.{name}").read_bytes() == Path(f"one.{name}").read_bytes()


def test_columns_are_looked_up_and_not_searched(run: Run) -> None:
    columns = 40_000
    names = ",".join(f"c{number}" for number in range(columns))
    Path("wide.csv").write_text(f"text,{names}\n" + ("paris" + ",x" * columns + "\n") * 2)
    for part in (1, 2):
        run("-o", f"{part}.csv", "--shard", f"{part}/2", source="wide.csv")
    began = time.process_time()
    assert merge("1.csv", "2.csv", "-o", "all.csv") == 0
    assert time.process_time() - began < 5  # a search takes half a minute


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("label", ("--all",)),
        ("embed", ("--tokens",)),
        ("embed", ("--dtype", "int8", "--normalize")),
        ("score", ("--words",)),
        ("tag", ()),
        ("fill", ("--mask", "paris")),
        ("answer", ("--question", "where")),
    ],
)
def test_merged_parquet_is_one_run(command: str, options: tuple[str, ...], run: Run) -> None:
    assert run("-o", "one.parquet", *options, command=command) == 3
    for part in range(1, 4):
        run("-o", f"{part}.parquet", *options, "--shard", f"{part}/3", command=command)
    assert merge("1.parquet", "2.parquet", "3.parquet", "-o", "all.parquet") == 3
    one, merged = parquet.read_table("one.parquet"), parquet.read_table("all.parquet")
    assert merged.schema.equals(one.schema, check_metadata=True)
    assert merged.equals(one)


@pytest.mark.parametrize("options", [(), ("--id-field", "id"), ("--role", "query")], ids=" ".join)
def test_merged_vectors_are_one_run(options: tuple[str, ...], run: Run) -> None:
    model = {"family": "sentence"} if options[:1] == ("--role",) else {}
    run("-o", "one.npy", *options, command="embed", **model)
    for part in range(1, 4):
        run("-o", f"{part}.npy", *options, "--shard", f"{part}/3", command="embed", **model)
    assert merge("3.npy", "1.npy", "2.npy", "-o", "all.npy") == 3
    for suffix in ("npy", "ids.jsonl"):
        assert Path(f"all.{suffix}").read_bytes() == Path(f"one.{suffix}").read_bytes()


def test_merged_sentences_are_one_run(run: Run) -> None:
    options = ("--split-words", "-f", "conll")
    run("-o", "one.conll", *options, command="tag")
    for part in (1, 2):
        run("-o", f"{part}.conll", *options, "--shard", f"{part}/2", command="tag")
    assert merge("1.conll", "2.conll", "-o", "all.conll") == 3
    assert Path("all.conll").read_bytes() == Path("one.conll").read_bytes()


def test_compressed_shards_have_the_text_of_one_run(run: Run) -> None:
    run("-o", "one.jsonl")
    for part in (1, 2):
        run("-o", f"{part}.jsonl.gz", "--shard", f"{part}/2")
    assert merge("1.jsonl.gz", "2.jsonl.gz", "-o", "all.jsonl.gz") == 3
    assert gzip.decompress(Path("all.jsonl.gz").read_bytes()) == Path("one.jsonl").read_bytes()


@pytest.mark.parametrize("name", ["jsonl", "json", "csv"])
def test_shards_without_records(name: str, run: Run) -> None:
    run("-o", f"one.{name}", "--skip", "1", "--limit", "2")
    outputs = [f"{part}.{name}" for part in range(1, 6)]
    for part, output in enumerate(outputs, 1):
        assert run("-o", output, "--skip", "1", "--limit", "2", "--shard", f"{part}/5") == 0
    assert merge(*outputs, "-o", f"all.{name}") == 0
    assert Path(f"all.{name}").read_bytes() == Path(f"one.{name}").read_bytes()


def test_the_engine_is_that_of_the_whole_input(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from bertcli.engines import choosing

    monkeypatch.setattr(choosing, "BREAK_EVEN_TOKENS", 60)  # more than a shard has, less than the input
    run("-o", "1.jsonl", "--engine", "auto", "--shard", "1/8")
    assert json.loads(Path("1.jsonl.receipt.json").read_text())["engine"][0] == "packed"


def test_what_does_not_belong_together_is_refused(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    run("-o", "1.jsonl", "--shard", "1/2")
    run("-o", "2.jsonl", "--shard", "2/2")

    def refused(*outputs: str) -> str:
        capfd.readouterr()
        assert merge(*outputs, "-o", "all.jsonl") == 1
        assert not list(Path().glob("all.*"))
        return capfd.readouterr().err

    assert "shard 2 of 2 is missing" in refused("1.jsonl")
    assert "is shard 1, and so is" in refused("1.jsonl", "1.jsonl", "2.jsonl")
    run("-o", "other.jsonl", "--shard", "2/2", "--all")
    assert "--all was not given, and is given" in refused("1.jsonl", "other.jsonl")
    run("-o", "other.jsonl", "--shard", "2/2", "--overwrite", family="distilbert")
    assert "model" in refused("1.jsonl", "other.jsonl")
    Path("changed.jsonl").write_bytes(Path("in.jsonl").read_bytes() + b'\n{"text": "more"}')
    run("-o", "other.jsonl", "--shard", "2/2", "--overwrite", source="changed.jsonl")
    assert "in.jsonl had" in refused("1.jsonl", "other.jsonl")
    Path("2.jsonl").write_bytes(Path("2.jsonl").read_bytes()[:-1])
    assert "has changed since its run" in refused("1.jsonl", "2.jsonl")
    Path("2.jsonl.receipt.json").unlink()
    assert "run the shard again" in refused("1.jsonl", "2.jsonl")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--shard", "3/2", "-o", "x.jsonl"), "is not I/N"),
        (("--shard", "1/2"), "name it by -o FILE"),
        (("--shard", "1/2", "-o", "x.html"), "cannot be merged"),
        (("--shard", "1/2", "-o", "x.jsonl", "--dtype", "int8"), "int8 is calibrated"),
    ],
)
def test_what_cannot_be_sharded_is_refused(
    arguments: tuple[str, ...], message: str, run: Run, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 2
    assert message in capfd.readouterr().err
    assert not list(Path().glob("x.*"))


def test_a_pipe_is_refused(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("-o", "x.jsonl", "--shard", "1/2", source="-") == 2
    assert "name files" in capfd.readouterr().err


def test_a_receipt_of_another_program_is_never_replaced(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    Path("1.jsonl.receipt.json").write_text("{}")
    assert run("-o", "1.jsonl", "--shard", "1/2", "--overwrite") == 1
    assert "never replaced" in capfd.readouterr().err
    assert Path("1.jsonl.receipt.json").read_text() == "{}"


def test_a_shard_is_resumed(
    run: Run, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from bertcli.journal import journal
    from bertcli.sinks.jsonl import JsonlSink

    monkeypatch.setattr(journal, "REST", 0.0)
    monkeypatch.setattr(journal, "SHARE", 0)
    options = ("-o", "2.jsonl", "--batch-tokens", "64", "--shard", "2/2")
    run(*options)
    whole = Path("2.jsonl").read_bytes(), json.loads(Path("2.jsonl.receipt.json").read_text())["counts"]
    Path("2.jsonl").unlink()
    Path("2.jsonl.receipt.json").unlink()
    write, written = JsonlSink.write, iter(range(100))

    def interrupted(self: JsonlSink, result: Result) -> None:
        if next(written) == 9:
            raise KeyboardInterrupt
        write(self, result)

    with monkeypatch.context() as patch:
        patch.setattr(JsonlSink, "write", interrupted)
        assert run(*options) == 130
    assert not Path("2.jsonl.receipt.json").exists()
    capfd.readouterr()
    assert run(*options[:-1], "1/2", "--resume") == 1
    assert "--shard was" in capfd.readouterr().err
    assert run(*options, "--resume") == 3
    assert "from before" in capfd.readouterr().err
    assert whole == (
        Path("2.jsonl").read_bytes(),
        json.loads(Path("2.jsonl.receipt.json").read_text())["counts"],
    )


CANDIDATES = [
    *('{"text": broken', '{"text": " ", "query": "who"}'),  # of no query, at the beginning
    *(json.dumps({"query": "who", "text": f"nobody answers {number}"}) for number in range(5)),
    json.dumps({"query": "where", "text": "paris " * 90}),  # in windows, but not among the best
    *(json.dumps({"query": "where", "text": f"the capital {number}"}) for number in range(4)),
    '{"text": broken',
    json.dumps({"query": "where", "text": "of france"}),
    json.dumps({"query": " ", "text": "without a query"}),
    json.dumps({"query": "why", "text": "since yesterday"}),
    json.dumps({"query": "who", "text": "the same query again"}),
    *(json.dumps({"query": f"what {number}", "text": "is"}) for number in range(3)),
]


@pytest.mark.parametrize(
    ("name", "count"), [("jsonl", 2), ("jsonl", 5), ("jsonl", 30), ("csv", 3), ("parquet", 4)]
)
def test_candidates_of_a_query_stay_in_one_shard(
    name: str, count: int, checkpoints: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capfd
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in.jsonl").write_text("\n".join(CANDIDATES))
    model = str(checkpoints("bert", "label", labels=("score",)))

    def rerank(output: str, *options: str) -> int:
        console.release_stdout()
        shared = ["--query-field", "query", "-m", model, "--engine", "instant", "-k", "3"]
        return cli.main(["rerank", "in.jsonl", *shared, "-o", output, *options])

    assert rerank(f"one.{name}") == 3
    one = counts(capfd.readouterr().err)
    parts = [f"{part}.{name}" for part in range(1, count + 1)]
    assert {rerank(part, "--shard", f"{place}/{count}") for place, part in enumerate(parts, 1)} <= {0, 3}
    capfd.readouterr()
    assert merge(*reversed(parts), "-o", f"all.{name}") == 3
    assert counts(capfd.readouterr().err) == one
    if name == "parquet":
        assert parquet.read_table(f"all.{name}").equals(parquet.read_table(f"one.{name}"))
    else:
        assert Path(f"all.{name}").read_bytes() == Path(f"one.{name}").read_bytes()
    console.release_stdout()


def test_texts_for_one_query_are_not_divided(run: Run, capfd: Capfd) -> None:
    assert cli.main(["rerank", "who", "in.jsonl", "--shard", "1/2", "-o", "part.jsonl"]) == 2
    assert "--shard: the order for one query is of all texts" in capfd.readouterr().err


def test_a_rerank_with_another_option_is_not_merged(checkpoints: Make, run: Run, capfd: Capfd) -> None:
    Path("in.jsonl").write_text("\n".join(CANDIDATES[2:]))
    model = str(checkpoints("bert", "label", labels=("score",)))
    for part in ("1", "2"):
        console.release_stdout()
        shared = ["--query-field", "query", "-m", model, "--engine", "instant", "-k", part]
        assert cli.main(["rerank", "in.jsonl", *shared, "--shard", f"{part}/2", "-o", f"{part}.jsonl"]) in (
            0,
            3,
        )
    assert merge("1.jsonl", "2.jsonl", "-o", "all.jsonl") == 1
    assert "-k was 1, and is 2" in capfd.readouterr().err
