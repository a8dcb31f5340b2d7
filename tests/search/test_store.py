"""An index finds what an exact search finds, and is what its last transaction says, wherever a writer stops."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bertcli.errors import InputError, UsageError
from bertcli.records import Record
from bertcli.search import store as module
from bertcli.search.store import Store, StoreWriter, create_store
from bertcli.sinks.jsontext import to_json
from bertcli.tasks.similarity import Similarity, similarities

DIM = 32
Floats = NDArray[np.float32]


@pytest.fixture
def path(tmp_path: Path) -> str:
    return make(tmp_path / "index")


def make(path: Path, similarity: Similarity = "cosine") -> str:
    facts = {"similarity": similarity, "text_field": "text", "id_field": "id", "names": []}
    create_store(str(path), facts, DIM)
    return str(path)


def vectors(count: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).standard_normal((count, DIM)).astype(np.float32)


def add(writer: StoreWriter, rows: Floats, first: int = 0) -> None:
    for number, vector in enumerate(rows, first):
        fields = {"id": f"r{number}", "text": f"text {number}"}
        writer.add(Record(number, fields, fields["text"], where=f"a.jsonl:{number}"), vector)
    writer.mark()


def write(path: str, rows: Floats, first: int = 0) -> None:
    with closing(StoreWriter(path, encode=to_json)) as writer:
        add(writer, rows, first)
        writer.commit(None, names=["id", "text"])
        writer.finish(threads=1)


def ids(path: str, query: Floats, most: int = 5) -> list[str]:
    with closing(Store(path)) as store:
        (hits,) = store.nearest(query[None], most=most)
        return [hit.record.fields["id"] for hit in hits]


def exact(rows: Floats, query: Floats, similarity: Similarity = "cosine", most: int = 5) -> list[str]:
    scores = similarities(rows, query[None], similarity)[:, 0]
    return [f"r{row}" for row in np.argsort(-scores, kind="stable")[:most].tolist()]


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean", "manhattan"])
@pytest.mark.parametrize("uncoded", [10, 2500, 5000])  # codes for all rows, for some, for none
def test_hits_are_those_of_an_exact_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, similarity: Similarity, uncoded: int
) -> None:
    monkeypatch.setattr(module, "UNCODED", uncoded)
    monkeypatch.setattr(module, "QUERIES", 3)
    path, rows = make(tmp_path / "index", similarity), vectors(4000)
    write(path, rows[:3000])
    write(path, rows[3000:], 3000)
    with closing(Store(path)) as store:
        coded = {10: 4000, 2500: 3000, 5000: 0}[uncoded]
        assert store.state.coded == (0 if similarity == "manhattan" else coded)
        found = store.nearest(vectors(8, seed=1), most=5, least=-100.0)
    for query, hits in zip(vectors(8, seed=1), found, strict=True):
        scores = similarities(rows, query[None], similarity)[:, 0]
        assert [hit.record.fields["id"] for hit in hits] == exact(rows, query, similarity)
        assert [hit.score for hit in hits] == [scores[hit.record.index] for hit in hits]


def test_only_what_is_near_enough_is_found(path: str) -> None:
    write(path, vectors(50))
    with closing(Store(path)) as store:
        (hits,) = store.nearest(vectors(1), most=50, least=0.9)
    assert [hit.record.index for hit in hits] == [0]


def test_records_are_replaced_and_removed(path: str) -> None:
    rows = vectors(40)
    write(path, rows)
    write(path, -rows[:10])  # the same ids
    rows[:10] *= -1
    with closing(StoreWriter(path, encode=to_json)) as writer:
        assert len(writer) == 40
        assert writer.remove(["r3", "r39", "none"]) == 2
        writer.finish(threads=1, compact=True)
        assert writer.state.rows == len(writer) == 38
    query = rows[12]
    left = exact(rows, query, most=40)
    assert ids(path, query, 40) == [name for name in left if name not in ("r3", "r39")]


def test_many_removed_rows_are_dropped_and_few_are_not(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_REMOVED", 5)
    write(path, vectors(20))
    for count, rows in ((5, 25), (6, 20)):
        write(path, vectors(count, seed=2))
        with closing(Store(path)) as store:
            assert (len(store), store.state.rows) == (20, rows)


def test_everything_may_be_removed_and_something_added(path: str) -> None:
    write(path, vectors(3))
    with closing(StoreWriter(path, encode=to_json)) as writer:
        writer.remove(["r0", "r1", "r2"])
        writer.finish(threads=1, compact=True)
    assert ids(path, vectors(1)[0]) == []
    write(path, vectors(2))
    assert sorted(ids(path, vectors(1)[0])) == ["r0", "r1"]


def test_what_was_not_committed_is_not_there(path: str) -> None:
    """A writer that ends anywhere leaves the last transaction, and the next one writes behind it."""
    rows = vectors(30)
    write(path, rows[:10])
    with closing(StoreWriter(path, encode=to_json)) as writer:
        add(writer, rows[10:20], 10)
    for name, width in (("vectors.0", 4 * DIM), ("ids.0", 8)):  # appended, and killed before the transaction
        with (Path(path) / name).open("ab") as file:
            file.write(b"x" * (5 * width + 3))
    assert set(ids(path, rows[0], 30)) == {f"r{number}" for number in range(10)}
    write(path, rows[10:], 10)
    assert ids(path, rows[25]) == exact(rows, rows[25])


def test_a_failed_transaction_changes_nothing(path: str) -> None:
    write(path, vectors(5))
    with closing(StoreWriter(path, encode=to_json)) as writer:
        before = writer.state
        add(writer, vectors(2), 5)
        writer._pending.append(("key", "place", object(), vectors(1)[0]))  # type: ignore[arg-type]
        writer.mark()
        with pytest.raises(Exception, match="type"):
            writer.commit({"records": 3})
        assert writer.state == before
    assert len(ids(path, vectors(1)[0], 10)) == 5


@pytest.mark.parametrize("damage", ["vectors.0", "ids.0", "index.sqlite"])
def test_a_damaged_index_is_refused(path: str, damage: str) -> None:
    write(path, vectors(5))
    file = Path(path) / damage
    file.write_bytes(file.read_bytes()[:20])
    with pytest.raises(InputError, match="cannot be read"):
        Store(path)


def test_another_directory_is_no_index(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no index"):
        Store(str(tmp_path))


def test_values_come_back_as_they_were(path: str) -> None:
    fields: dict[str, Any] = {"id": 7, "text": "tête", "n": 2**70, "list": [None, True, {"a": 1.5}]}
    with closing(StoreWriter(path, encode=to_json)) as writer:
        writer.add(Record(0, fields, "tête", where="b\udcff.jsonl:1"), vectors(1)[0])
        writer.mark()
        writer.commit(None)
    with closing(Store(path)) as store:
        ((hit,),) = store.nearest(vectors(1), most=1)
    assert dict(hit.record.fields) == fields
    assert hit.record.text == "tête"
