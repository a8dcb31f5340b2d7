"""A cluster and an input for the tests of Ray. Ray is no package for tests: `pip install "bertcli[ray]"`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.distributed.clusters import LocalCluster, skip_without_ray, write_texts


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """One node with three cores, for all tests of a module."""
    skip_without_ray()
    started = LocalCluster(cpus=3)
    yield started
    started.close()


@pytest.fixture
def start_cluster() -> Iterator[Callable[..., LocalCluster]]:
    """`start_cluster(cpus, **environment)` -> a cluster of the test's own, whose nodes may be killed."""
    skip_without_ray()
    clusters: list[LocalCluster] = []

    def start(cpus: int, **environment: str) -> LocalCluster:
        clusters.append(LocalCluster(cpus, **environment))
        return clusters[-1]

    yield start
    for each in clusters:
        each.close()


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "texts.jsonl"
    write_texts(path)
    return path
