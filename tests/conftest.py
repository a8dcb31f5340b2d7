"""Fixtures for every test: tiny checkpoints, built when first asked for and kept for the session."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from bertcli import console, interrupts

settings.register_profile("bertcli", deadline=None)  # laws are asked on busy machines too
settings.load_profile("bertcli")

# A shell starts background jobs with SIGINT ignored, which would hide it from the tests that send it.
signal.signal(signal.SIGINT, signal.default_int_handler)

Make = Callable[..., Path]


@pytest.fixture(autouse=True)
def new_console() -> None:
    """No test inherits the settings, such as -q, of a command that another one ran."""
    console.reset()


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """`checkpoints("bert", "label", labels=…)` -> a directory, shared by all tests that ask for the same.

    The family `skills` is a BERT with several heads, `sentence` one in sentence-transformers' layout; the
    kind `tagger` is a tag head that finds something. Tests must not write into these; `checkpoint_copy` gives
    one that may be changed.
    """
    built: dict[str, Path] = {}

    def make(family: str, kind: str = "base", **settings: Any) -> Path:
        from tests.checkpoints import (
            FOREIGN,
            build,
            build_foreign,
            build_sentence,
            build_skills,
            build_tagger,
        )

        key = repr((family, kind, sorted(settings.items(), key=lambda item: item[0])))
        if key not in built:
            path = tmp_path_factory.mktemp(f"{family}-{kind}")
            if family == "skills":
                build_skills(path)
            elif family == "sentence":
                build_sentence(path, **settings)
            elif family in FOREIGN:
                build_foreign(family, kind, path, **settings)
            elif kind == "tagger":
                build_tagger(family, path, **settings)
            else:
                build(family, kind, path, **settings)
            built[key] = path
        return built[key]

    return make


@pytest.fixture(scope="session")
def seq2seq(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """`seq2seq("marian")` -> a directory with a random encoder-decoder, shared by all tests that ask for the same."""
    built: dict[str, Path] = {}

    def make(family: str, **settings: Any) -> Path:
        from tests.seq2seq_checkpoints import build_seq2seq

        key = repr((family, sorted(settings.items(), key=lambda item: item[0])))
        if key not in built:
            built[key] = build_seq2seq(family, tmp_path_factory.mktemp(family), **settings)
        return built[key]

    return make


@pytest.fixture
def checkpoint_copy(checkpoints: Make, tmp_path: Path) -> Make:
    """Like `checkpoints`, in a directory of the test's own."""

    def make(family: str, kind: str = "base", **settings: Any) -> Path:
        import shutil

        return Path(shutil.copytree(checkpoints(family, kind, **settings), tmp_path / f"{family}-{kind}"))

    return make


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Signals do in the test what they do in the command."""
    before = {number: signal.getsignal(number) for number in interrupts.ENDING}
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    monkeypatch.setattr(interrupts, "_seen", False)
    interrupts.watch()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rewrite-cases", action="store_true", help="Write the golden cases anew.")
