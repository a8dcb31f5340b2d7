"""The words of the code: one name for one thing, and no word that the glossary retired.

The glossary is in docs/contributing.md.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tests.test_docs import CONTEXTS, ROOT

PACKAGE = ROOT / "bertcli"
MODULES = sorted(PACKAGE.rglob("*.py"))


def _is_free(node: ast.FunctionDef | ast.ClassDef, module: Path) -> bool:
    """Whether a name need not be unique: a private one, or that of a command."""
    return node.name.startswith("_") or (_area(module) == "commands" and bool(node.decorator_list))


def _area(module: Path) -> str:
    return module.relative_to(PACKAGE).with_suffix("").parts[0]


def _name(module: Path) -> str:
    return str(module.relative_to(PACKAGE).with_suffix(""))


# Defined more than once on purpose: entry points, the functions behind a command of that name, and a request and
# the task it asks for, and the model of the library and of Ray Data.
SHARED_NAMES = {"main", "run", "embed", "bench", "compare", "evaluate", "fill", "label", "search", "tag"}
SHARED_NAMES |= {
    "Answer",
    "Attention",
    "Embed",
    "Fill",
    "Label",
    "Model",
    "Rerank",
    "Score",
    "Search",
    "Tag",
    "Translate",
}


def _glossary() -> list[list[str]]:
    """The rows of the glossary: term, meaning, words it replaces."""
    text = (ROOT / "docs" / "contributing.md").read_text(encoding="utf-8")
    section = text.partition("## Glossary\n")[2].partition("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def _retired() -> set[str]:
    """The words in code spans of the last column: they are retired from identifiers."""
    return {word for row in _glossary() for word in re.findall(r"`(\w+)`", row[2])}


PROTOCOLS = {"tell"}  # methods that Python or a library names: a file's position


def _words(identifier: str) -> set[str]:
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", identifier)}


def _identifiers(tree: ast.AST) -> Iterator[str]:
    """Every name that a module defines: classes, functions, arguments, variables and attributes."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.arg(arg=name):
                yield name
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name


def test_the_glossary_has_rows() -> None:
    assert len(_glossary()) > 10
    assert all(len(row) == 3 and row[0] and row[1] for row in _glossary())
    assert {"pack", "told", "company"} <= _retired()


@pytest.mark.parametrize("module", MODULES, ids=_name)
def test_no_retired_word_comes_back(module: Path) -> None:
    retired = _retired()
    assert not _words(module.stem) & retired
    tree = ast.parse(module.read_text(encoding="utf-8"))
    assert {name for name in {*_identifiers(tree)} - PROTOCOLS if _words(name) & retired} == set()


def test_each_public_name_is_defined_once() -> None:
    places = defaultdict(set)
    for module in MODULES:
        for node in ast.parse(module.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not _is_free(node, module):
                places[node.name].add(module)
    twice = {
        name: sorted(map(_name, modules))
        for name, modules in places.items()
        if len(modules) > 1 and name not in SHARED_NAMES
    }
    assert not twice


@pytest.mark.parametrize("ctx", CONTEXTS, ids=lambda ctx: ctx.command_path)
def test_help_texts_of_one_sentence_end_with_a_full_stop(ctx: click.Context) -> None:
    texts = {"command": ctx.command.help or ""}
    texts |= {p.opts[0]: p.help or "" for p in ctx.command.get_params(ctx) if isinstance(p, click.Option)}
    first = {
        name: re.sub(r"\s*\[[^]]*\]$", "", text.partition("\n\n")[0].strip()) for name, text in texts.items()
    }
    assert {name: text for name, text in first.items() if not text.endswith((".", ":", "?"))} == {}
