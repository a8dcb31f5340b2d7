"""No command but `models pull` opens a socket: with sockets that raise, and where there is no network at all,
the answers are the same."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Make

pytestmark = pytest.mark.slow

PACKAGE = Path(__file__).parent.parent / "bertcli"
NETWORK = {
    "aiohttp", "asyncio", "fsspec", "ftplib", "http", "httpx", "huggingface_hub", "requests", "smtplib", "socket",
    "socketserver", "ssl", "telnetlib", "urllib3", "webbrowser", "xmlrpc",
}  # fmt: skip

# Every command in one process; each ends with its exit code on a line of its own.
RUN_ALL = """
import json, os, sys
forbidden = sys.argv[1] == "forbid"
def refuse(event, arguments):
    if forbidden and event.startswith("socket.") and event != "socket.__new__":
        raise RuntimeError(f"a socket: {event} {arguments}")
    if forbidden and event == "socket.__new__" and arguments[1] not in (-1, 1):  # 1: within this machine
        raise RuntimeError(f"a socket: {event} {arguments}")
sys.addaudithook(refuse)
from bertcli import cli
for arguments in json.loads(sys.argv[2]):
    code = cli.main(arguments)
    sys.stdout.write(f"\\n{code}\\n")
    sys.stdout.flush()
for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK"):
    assert os.environ[name] == "1", name
import huggingface_hub.constants
assert huggingface_hub.constants.HF_HUB_OFFLINE and huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY
"""


@pytest.fixture(scope="module")
def commands(checkpoints: Make, tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    folder = tmp_path_factory.mktemp("network")
    labelled, sentences = folder / "labelled.jsonl", folder / "tagged.conll"
    labelled.write_text(
        "".join(
            json.dumps({"text": f"text {n}", "label": ("positive", "negative")[n % 2]}) + "\n"
            for n in range(9)
        )
    )
    texts = folder / "texts.txt"
    texts.write_text("a text\nanother\n")
    sentences.write_text("a O\nb B-PER\n\n")
    kinds = ("label", "fill", "tag", "base", "answer")
    label, fill, tag, base, answer = (str(checkpoints("bert", kind)) for kind in kinds)
    two = ["-t", "a [MASK] b", "-t", "another [MASK]"]
    return [
        ["label", "-m", label, *two],
        ["label", "-m", label, "--engine", "packed", "--dtype", "float32", *two],
        ["fill", "-m", fill, *two],
        ["embed", "-m", base, *two],
        ["tag", "-m", tag, *two],
        ["score", "-m", fill, *two],
        ["attention", "-m", base, *two],
        ["answer", "-m", answer, "--question", "who", *two],
        ["search", "-m", base, "another", *two],
        ["compare", "--models", label, label, str(texts), "--task", "label", "--json"],
        ["train", "label", "-m", base, str(labelled), "-o", str(folder / "made"), "--overwrite", "-q"],
        ["evaluate", "label", "-m", label, str(labelled), "--json"],
        ["models", "list"],
        ["models", "info", label],
        ["models", "check", label],
        ["completion", "bash"],
    ]


def _run(commands: list[list[str]], manner: str, *before: str) -> str:
    done = subprocess.run(
        [*before, sys.executable, "-c", RUN_ALL, manner, json.dumps(commands)],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env=os.environ
        | {"HF_HUB_CACHE": "/nowhere", "HF_HUB_OFFLINE": "0", "PYTHONPATH": str(PACKAGE.parent)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def answers(commands: list[list[str]]) -> str:
    """With sockets that raise."""
    return _run(commands, "forbid")


def test_every_command_answers_without_a_socket(commands: list[list[str]], answers: str) -> None:
    assert [line for line in answers.splitlines() if line.isdigit()] == ["0"] * len(commands)


def test_every_command_answers_where_there_is_no_network(commands: list[list[str]], answers: str) -> None:
    if shutil.which("unshare") is None:
        pytest.skip("there is no unshare on this machine")
    tried = subprocess.run(["unshare", "-rn", "true"], capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"this machine makes no network namespace: {tried.stderr.strip()}")
    assert _run(commands, "allow", "unshare", "-rn") == answers


def test_only_pull_storage_and_clusters_import_what_can_reach_a_network() -> None:
    reaching = {
        (file.relative_to(PACKAGE).as_posix(), name.partition(".")[0])
        for file in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
        if name.partition(".")[0] in NETWORK or name.startswith("urllib.request")
    }
    assert reaching == {
        ("distributed/cluster.py", "socket"),  # whether there is a cluster at the address of --on
        ("models/library.py", "huggingface_hub"),
        ("storage.py", "fsspec"),
    }
