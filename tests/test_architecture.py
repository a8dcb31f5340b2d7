"""Who may import whom, and which library lives in which room (docs/architecture.md)."""

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
MODULES = sorted(PACKAGE.rglob("*.py"))

# From the top of the house to its foundation: a room imports only from the floors below its own.
FLOORS: tuple[frozenset[str], ...] = (
    frozenset({"__main__"}),
    frozenset({"cli"}),
    frozenset({"commands"}),
    frozenset({"command"}),
    frozenset({"options", "settings"}),
    frozenset({"model"}),
    frozenset({"parameters", "runs"}),
    frozenset({"reports"}),
    frozenset({"benchmark"}),
    frozenset({"distributed", "pipeline", "search", "training"}),
    frozenset({"planning", "workers", "receipt", "settings_file", "sinks", "evaluation"}),
    frozenset({"feed", "journal", "sources", "tasks", "verification"}),
    frozenset({"engines"}),
    frozenset({"models"}),
    frozenset({"architectures"}),
    frozenset({"console", "storage"}),
    frozenset({"interrupts", "records", "requests", "__init__"}),
    frozenset({"errors"}),
)

# What a lower floor would allow and the house does not: each room knows only its own thing.
STRANGERS: dict[str, frozenset[str]] = {
    "pipeline": frozenset({"options", "settings", "command", "sources", "models", "console", "journal"}),
    "workers": frozenset({"options", "sources", "models", "console", "journal"}),
    "benchmark": frozenset({"options", "settings", "sources", "sinks", "models", "console", "journal"}),
    "planning": frozenset({"options", "sources", "models", "console", "journal"}),
    "evaluation": frozenset({"options", "sources", "journal", "feed", "console"}),
    "tasks": frozenset({"options", "sources", "journal", "feed"}),
    "search": frozenset({"options", "sources", "journal", "feed", "console"}),
    "sinks": frozenset({"models", "engines", "tasks", "sources", "feed"}),
    "sources": frozenset({"models", "engines", "tasks", "sinks"}),
    "engines": frozenset({"console", "records"}),
    "receipt": frozenset({"models", "engines", "options", "journal"}),
    "settings": frozenset({"models", "engines", "journal", "sources"}),
    "command": frozenset({"models", "engines", "sources", "sinks", "tasks"}),
    "options": frozenset({"models", "engines"}),
}

LIBRARIES: dict[str, tuple[str, ...]] = {
    "click": ("cli", "command", "commands", "options", "parameters", "settings"),
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
    ),
    "torch": ("engines", "training"),
    "transformers": ("engines", "training", "models.tokenizer_cache", "models.types"),
    "tokenizers": ("models", "training"),
    "safetensors": ("models", "engines", "training"),
    "huggingface_hub": ("models",),
    "rich": ("sinks.table",),
    "yaml": ("settings", "settings_file", "training.recipe"),
    "pyarrow": ("sources", "sinks", "search"),
    "zstandard": ("sources", "sinks"),
    "sacrebleu": ("evaluation.translations",),
    "fsspec": ("storage",),
    "orjson": ("sources", "sinks", "models", "search"),
}


@functools.cache
def _tree(module: Path) -> ast.Module:
    return ast.parse(module.read_text(encoding="utf-8"))


def _name(module: Path) -> str:
    """`tasks.label` for bertcli/tasks/label.py, `tasks` for bertcli/tasks/__init__.py."""
    parts = module.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def _room(name: str) -> str:
    return name.partition(".")[0]


def _running_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node but those that only a type checker sees."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        yield from _running_nodes(node)


@functools.cache
def _imports(module: Path) -> tuple[str, ...]:
    """The dotted names a module imports, at its top or later."""
    return tuple(_import_names(module))


def _import_names(module: Path) -> Iterator[str]:
    for node in _running_nodes(_tree(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _rooms(module: Path) -> Iterator[str]:
    """The rooms of the package that a module imports."""
    for name in _imports(module):
        top, _, rest = name.partition(".")
        if top == "bertcli":
            yield "__init__" if rest.startswith("__") else _room(rest)


def _floor(room: str) -> int:
    return next(floor for floor, rooms in enumerate(FLOORS) if room in rooms)


def test_every_room_has_a_floor() -> None:
    assert {_room(_name(module)) for module in MODULES} <= frozenset[str]().union(*FLOORS)


@pytest.mark.parametrize("module", MODULES, ids=_name)
def test_imports_lead_downstairs(module: Path) -> None:
    room = _room(_name(module))
    if room == "__init__":
        return  # its functions import the API when they are called; all may import its version
    for other in set(_rooms(module)) - {room}:
        assert _floor(other) > _floor(room), f"{room} imports {other}"
        assert other not in STRANGERS.get(room, ()), f"{room} imports {other}"


@pytest.mark.parametrize("module", MODULES, ids=_name)
def test_a_library_stays_in_its_rooms(module: Path) -> None:
    name = _name(module)
    for library in {imported.partition(".")[0] for imported in _imports(module)} - sys.stdlib_module_names:
        if library == "bertcli":
            continue
        assert library in LIBRARIES, f"{name} imports {library}, which has no room yet"
        rooms = LIBRARIES[library]
        assert any(name == room or name.startswith(room + ".") for room in rooms), f"{name} imports {library}"


@pytest.mark.parametrize("module", MODULES, ids=_name)
def test_only_the_console_writes_stderr_and_only_the_entry_point_exits(module: Path) -> None:
    name = _name(module)
    nodes = list(ast.walk(_tree(module)))
    used = {ast.unparse(node) for node in nodes if isinstance(node, ast.Attribute)}
    arguments = {node.arg for node in nodes if isinstance(node, ast.keyword)}
    # A prompt is part of reading a terminal.
    if _room(name) != "console" and name != "sources.prompt":
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
def test_the_packed_engine_runs_the_family_without_transformers(
    command: str, kind: str, checkpoints: Make, tmp_path: Path
) -> None:
    model = str(checkpoints("roberta", kind))
    loaded = _loaded(command, "-m", model, "-t", "a <mask> b", "--engine", "packed", folder=tmp_path)
    assert "torch" in loaded
    assert not loaded & {"transformers", "rich", "pyarrow", "yaml", "huggingface_hub"}
