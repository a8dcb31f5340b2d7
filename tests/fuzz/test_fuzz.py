"""A few hundred cases of every target; `python -m tests.fuzz` runs as many as you like."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import Make
from tests.fuzz.targets import Target, build_models, targets

pytestmark = pytest.mark.slow

NAMES = (
    "txt", "jsonl", "csv", "tsv", "conll", "conllu", "compressed", "parquet", "settings", "header", "index",
    "config", "modules", "wordpiece", "unigram", "bytes", "table",
)  # fmt: skip
FROM_NOTHING = ("txt", "jsonl", "csv", "conll", "compressed", "settings", "header", "index", "config")


@pytest.fixture(scope="module")
def found(checkpoints: Make, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Target]:
    return targets(build_models(checkpoints), tmp_path_factory.mktemp("fuzz") / "targets")


def test_every_target_is_here(found: dict[str, Target]) -> None:
    assert tuple(found) == NAMES


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(case=st.integers(0, 2**40))
def test_a_file_that_an_attacker_wrote(name: str, case: int, found: dict[str, Target]) -> None:
    target = found[name]
    target.run(target.make(random.Random(case)))


@pytest.mark.parametrize("name", FROM_NOTHING)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.binary(max_size=300))
def test_any_bytes(name: str, data: bytes, found: dict[str, Target]) -> None:
    found[name].run(data)


def test_the_same_number_makes_the_same_case(found: dict[str, Target]) -> None:
    for target in found.values():
        assert target.make(random.Random(7)) == target.make(random.Random(7))
