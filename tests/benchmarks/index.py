"""How fast and how complete a search in an index is: `python -m tests.benchmarks.index [--vectors FILE.npy]`.

Makes an index of a million vectors (or of those in a file, which stands for real ones; the last 200 are the queries),
and compares its ten nearest with those of an exact search. Without a file the vectors are clustered: 20 000 centres,
with most of the variance in some of the dimensions, as embeddings have it.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bertcli.records import Record
from bertcli.search.store import Store, StoreWriter, create_store
from bertcli.sinks.jsontext import to_json

QUERIES, NEAREST = 200, 10
BLOCK = 50_000
FACTS = {"similarity": "cosine", "text_field": "text", "id_field": None, "names": ["text"]}

Floats = NDArray[np.float32]


def clustered(count: int, dim: int) -> Floats:
    """Vectors (count, dim) of length 1 about 20 000 centres."""
    rng = np.random.default_rng(0)
    scales = np.arange(1, dim + 1, dtype=np.float32) ** -0.35
    mix = rng.standard_normal((dim, dim), np.float32) * scales[:, None] / np.float32(50**0.5)
    centres = rng.standard_normal((20_000, dim), np.float32) @ mix
    vectors = np.empty((count, dim), np.float32)
    for start in range(0, count, BLOCK):
        part = vectors[start : start + BLOCK]
        part[:] = centres[rng.integers(0, len(centres), len(part))]
        part += np.float32(0.6) * rng.standard_normal(part.shape, np.float32) @ mix
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def nearest(vectors: Floats, query: Floats) -> list[int]:
    """The rows of the ten vectors nearest to a query."""
    scores = np.concatenate([vectors[at : at + BLOCK] @ query for at in range(0, len(vectors), BLOCK)])
    return [int(row) for row in np.argpartition(-scores, NEAREST)[:NEAREST]]


def make_index(path: str, vectors: Floats, threads: int) -> None:
    create_store(path, FACTS, vectors.shape[1])
    writer = StoreWriter(path, encode=to_json)
    began = time.perf_counter()
    for start in range(0, len(vectors), BLOCK):
        for row in range(start, min(start + BLOCK, len(vectors))):
            writer.add(Record(row, {"text": f"text {row}"}, None, where=f"texts.txt:{row + 1}"), vectors[row])
        writer.mark()
        writer.commit(None)
    written = time.perf_counter()
    writer.finish(threads=threads)
    print(
        f"{len(vectors):,} vectors of {vectors.shape[1]}: written in {written - began:.1f} s,"
        f" coded in {time.perf_counter() - written:.1f} s"
    )
    writer.close()


def evict(path: str) -> None:
    """Drop the files of an index from the page cache."""
    for file in Path(path).iterdir():
        descriptor = os.open(file, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def measure(path: str, vectors: Floats, queries: Floats, threads: int, title: str) -> None:
    store = Store(path)
    seconds, found = [], []
    for query in queries:
        start = time.perf_counter()
        (hits,) = store.nearest(query[None], most=NEAREST, threads=threads)
        seconds.append(time.perf_counter() - start)
        found.append({hit.record.index for hit in hits})
    shares = [
        len(hits.intersection(nearest(vectors, query))) / NEAREST
        for hits, query in zip(found, queries, strict=True)
    ]
    first, *rest = np.array(seconds) * 1e3
    print(
        f"{title}, {threads} thread(s): first query {first:.0f} ms, then median {np.median(rest):.1f} ms,"
        f" 95 % within {np.percentile(rest, 95):.1f} ms; recall@{NEAREST} {np.mean(shares):.4f}"
    )
    store.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vectors", metavar="FILE.npy")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    found: Floats = np.load(options.vectors) if options.vectors else clustered(options.rows + QUERIES, 384)
    vectors, queries = found[:-QUERIES], found[-QUERIES:]
    with tempfile.TemporaryDirectory() as folder:
        make_index(folder, vectors, options.threads)
        evict(folder)
        measure(folder, vectors, queries, options.threads, "from disk")
        measure(folder, vectors, queries, options.threads, "from the page cache")


if __name__ == "__main__":
    main()
