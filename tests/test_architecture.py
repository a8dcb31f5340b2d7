"""Which packages may import which packages and libraries (docs/architecture.md)."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bertcli.cli import COMMANDS
from tests.conftest import Make

PACKAGE = Path(__file__).parent.parent / "bertcli"
# Beside the model is a script that made some of its data, which the package does not import.
MODULES = sorted(set(PACKAGE.rglob("*.py")) - set(PACKAGE.glob("bundled/*.py")))

# From the top layer to the lowest: a package imports only from the layers below its own, also for types.
LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"__main__"}),
    frozenset({"cli"}),
    frozenset({"commands"}),
    frozenset({"options", "ray"}),
    frozenset({"model"}),
    frozenset({"runs"}),
    frozenset({"reports"}),
    frozenset({"benchmark"}),
    frozenset({"distributed", "pipeline", "search", "training"}),
    frozenset({"workers"}),
    frozenset({"planning", "receipt", "sinks", "evaluation"}),
    frozenset({"lookahead"}),
    frozenset({"feed", "journal", "sources", "tasks", "verification"}),
    frozenset({"engines"}),
    frozenset({"models"}),
    frozenset({"architectures"}),
    frozenset({"console", "storage"}),
    frozenset({"interrupts", "records", "requests", "__init__"}),
    frozenset({"errors"}),
)

# Imports that the layers allow and that are refused all the same, except for types.
REFUSED: dict[str, frozenset[str]] = {
    "pipeline": frozenset({"options", "sources", "models", "console", "journal"}),
    "workers": frozenset({"options", "sources", "models", "console", "journal"}),
    "benchmark": frozenset({"options", "sources", "sinks", "models", "console", "journal"}),
    "planning": frozenset({"options", "sources", "models", "console", "journal"}),
    "evaluation": frozenset({"options", "sources", "journal", "feed", "console"}),
    "tasks": frozenset({"options", "sources", "journal", "feed"}),
    "search": frozenset({"options", "sources", "journal", "feed", "console"}),
    "sinks": frozenset({"models", "engines", "tasks", "sources", "feed"}),
    "sources": frozenset({"models", "engines", "tasks", "sinks"}),
    "engines": frozenset({"console", "records"}),
    "receipt": frozenset({"models", "engines", "options", "journal"}),
    "options": frozenset({"models", "engines"}),
}

LIBRARIES: dict[str, tuple[str, ...]] = {
    "click": ("cli", "commands", "options"),
    "numpy": (
        "architectures",
        "model",
        "tasks",
        "training",
        "models",
        "engines",
        "verification",
        "sinks",
        "evaluation",
        "search",
        "benchmark",
        "distributed",
        "ray",
    ),
    "torch": ("engines", "training"),
    "transformers": ("engines", "training", "models.tokenizer_cache", "models.types"),
    "tokenizers": ("models", "training"),
    "safetensors": ("models", "engines", "training"),
    "huggingface_hub": ("models",),
    "rich": ("sinks.table",),
    "yaml": ("options", "training.recipe"),
    "pyarrow": ("ray", "sources", "sinks", "search"),
    "zstandard": ("sources", "sinks"),
    "sacrebleu": ("evaluation.translations",),
    "faiss": ("search.codes",),
    "tantivy": ("search.words",),
    "fsspec": ("storage",),
    "ray": ("distributed",),
    "orjson": ("sources", "sinks", "models", "search"),
}


@functools.cache
def _tree(module: Path) -> ast.Module:
    return ast.parse(module.read_text(encoding="utf-8"))


def _name(module: Path) -> str:
    """`tasks.label` for bertcli/tasks/label.py, `tasks` for bertcli/tasks/__init__.py."""
    parts = module.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def _package(name: str) -> str:
    return name.partition(".")[0]


def _nodes(tree: ast.AST, *, types: bool) -> Iterator[ast.AST]:
    """Every node; without `types` not those that only a type checker reads."""
    for node in ast.iter_child_nodes(tree):
        if not types and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        yield from _nodes(node, types=types)


@functools.cache
def _imports(module: Path, *, types: bool = False) -> tuple[str, ...]:
    """The dotted names a module imports, at its top or later; with `types` also those for types alone."""
    return tuple(_import_names(module, types=types))


def _import_names(module: Path, *, types: bool) -> Iterator[str]:
    for node in _nodes(_tree(module), types=types):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _packages(module: Path, *, types: bool = False) -> set[str]:
    """The other packages and modules of bertcli that a module imports."""
    found = set()
    for name in _imports(module, types=types):
        top, _, rest = name.partition(".")
        if top == "bertcli":
            found.add("__init__" if rest.startswith("__") else _package(rest))
    return found - {_package(_name(module))}


def _layer(package: str) -> int:
    return next(layer for layer, packages in enumerate(LAYERS) if package in packages)


def test_every_package_has_a_layer() -> None:
    assert {_package(_name(module)) for module in MODULES} <= frozenset[str]().union(*LAYERS)


@pytest.mark.parametrize("module", MODULES, ids=_name)
def test_a_package_imports_from_lower_layers_only(module: Path) -> None:
    package = _package(_name(module))
    if package == "__init__":
        return  # its functions import the API when they are called; all may import its version
    for other in _packages(module, types=True):
        assert _layer(other) > _layer(package), f"{package} imports {other}"
    for other in _packages(module):
        assert other not in REFUSED.get(package, ()), f"{package} imports {other}"


@pytest.mark.parametrize("module", MODULES, ids=_name)
def test_a_library_is_imported_by_its_packages_only(module: Path) -> None:
    name = _name(module)
    for library in {imported.partition(".")[0] for imported in _imports(module)} - sys.stdlib_module_names:
        if library == "bertcli":
            continue
        assert library in LIBRARIES, f"{name} imports {library}, which LIBRARIES does not list"
        packages = LIBRARIES[library]
        assert any(name == package or name.startswith(package + ".") for package in packages), (
            f"{name} imports {library}"
        )


@pytest.mark.parametrize("module", MODULES, ids=_name)
def test_only_the_console_writes_stderr_and_only_the_entry_point_exits(module: Path) -> None:
    name = _name(module)
    nodes = list(ast.walk(_tree(module)))
    used = {ast.unparse(node) for node in nodes if isinstance(node, ast.Attribute)}
    arguments = {node.arg for node in nodes if isinstance(node, ast.keyword)}
    # A prompt is part of reading a terminal.
    if _package(name) != "console" and name != "sources.prompt":
        assert "sys.stderr" not in used
        assert "err" not in arguments  # of click.echo
        assert not any(name.startswith("traceback.print") for name in used)
    if name != "__main__":
        assert not used & {"sys.exit", "os._exit"}


# --- what a process really loads ----------------------------------------------------------------------------

REPORT = """
import sys
from bertcli import cli
code = cli.main(sys.argv[1:])
print("\\n" + " ".join(sorted(name for name in sys.modules if "." not in name)))
raise SystemExit(code)
"""


def _loaded(*arguments: str, folder: Path) -> set[str]:
    """The top-level modules that `bertcli ARGUMENTS` has imported when it ends."""
    process = subprocess.run(
        [sys.executable, "-c", REPORT, *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        stdin=subprocess.DEVNULL,
    )
    assert process.returncode == 0, process.stderr
    return set(process.stdout.splitlines()[-1].split())


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [[], *([name] for name in COMMANDS)], ids=" ".join)
def test_help_loads_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    heavy = {library for library in LIBRARIES if library != "click"}
    assert not _loaded(*arguments, "--help", folder=tmp_path) & heavy


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "kind"),
    [
        ("fill", "fill"),
        ("label", "label"),
        ("embed", "base"),
        ("tag", "tag"),
        ("score", "fill"),
        ("attention", "base"),
        ("answer", "answer"),
    ],
)
def test_a_quick_answer_loads_neither_torch_nor_transformers(
    command: str, kind: str, checkpoints: Make, tmp_path: Path
) -> None:
    arguments = [command, "-m", str(checkpoints("bert", kind)), "-t", "a [MASK] b"]
    arguments += ["--question", "what"] if command == "answer" else []
    loaded = _loaded(*arguments, folder=tmp_path)
    assert "numpy" in loaded
    assert not loaded & {"torch", "transformers", "rich", "pyarrow", "yaml", "huggingface_hub"}


@pytest.mark.slow
@pytest.mark.parametrize(("command", "kind"), [("fill", "fill"), ("label", "label"), ("embed", "base")])
def test_the_packed_engine_runs_without_transformers(
    command: str, kind: str, checkpoints: Make, tmp_path: Path
) -> None:
    model = str(checkpoints("roberta", kind))
    loaded = _loaded(command, "-m", model, "-t", "a <mask> b", "--engine", "packed", folder=tmp_path)
    assert "torch" in loaded
    assert not loaded & {"transformers", "rich", "pyarrow", "yaml", "huggingface_hub"}
