"""Joining a cluster, without one."""

from __future__ import annotations

from typing import Any

import pytest

from bertcli.distributed import cluster
from bertcli.distributed.cluster import JOINS, NO_CLIENT_SERVER, Cluster
from bertcli.errors import EngineError


class FakeRay:
    """Joining it fails with each of `errors`, then not."""

    def __init__(self, *errors: str) -> None:
        self.errors = list(errors)
        self.joined = 0

    def is_initialized(self) -> bool:
        return False

    def init(self, **settings: Any) -> None:
        self.joined += 1
        if self.errors:
            raise RuntimeError(self.errors.pop(0))

    def shutdown(self) -> None:
        """Nothing to leave."""


def join(monkeypatch: pytest.MonkeyPatch, ray: FakeRay) -> None:
    monkeypatch.setattr(cluster, "_import_ray", lambda on: ray)
    monkeypatch.setattr(cluster, "_answers", lambda address: True)
    monkeypatch.setattr(cluster, "REST", 0)
    Cluster("ray://127.0.0.1:10001", 1)


def test_a_head_that_starts_no_process_for_a_client_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = FakeRay(f"RuntimeError: {NO_CLIENT_SERVER}. See the log.")
    join(monkeypatch, ray)
    assert ray.joined == 2


@pytest.mark.parametrize(("error", "attempts"), [(NO_CLIENT_SERVER, JOINS), ("another version", 1)])
def test_a_head_that_refuses_a_client_ends_the_run(
    error: str, attempts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = FakeRay(*[error] * JOINS)
    with pytest.raises(EngineError, match=error):
        join(monkeypatch, ray)
    assert ray.joined == attempts
