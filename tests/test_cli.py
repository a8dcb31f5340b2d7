from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

import bertcli
from bertcli import cli, errors
from tests.fake_commands import fake_cli

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in [name for name in os.environ if name.startswith(("BERTCLI_", "XDG_", "_BERTCLI"))]:
        monkeypatch.delenv(name)


def _subclasses(kind: type[errors.BertcliError]) -> Iterator[type[errors.BertcliError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _subclasses(below)


# --- in this process ----------------------------------------------------------------------------------------


def _raising(error: BaseException) -> Callable[..., int]:
    def act(name: str, request: object) -> int:
        raise error

    return act


@pytest.mark.parametrize("code", [0, 3, 130])
def test_what_a_command_returns_is_the_exit_code(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    assert fake_cli(monkeypatch, lambda name, request: code)(["label"]) == code


def test_a_command_that_returns_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fake_cli(monkeypatch, lambda name, request: None)(["label"]) == 0


@pytest.mark.parametrize("kind", list(_subclasses(errors.BertcliError)))
def test_an_error_is_two_lines_and_its_own_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: type[errors.BertcliError]
) -> None:
    main = fake_cli(monkeypatch, _raising(kind("no good", hint="do better", where="a.csv:7")))
    assert main(["label"]) == kind.exit_code
    captured = capsys.readouterr()
    assert captured.err == "bertcli: a.csv:7: no good\n  do better\n"
    assert captured.out == ""


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (KeyboardInterrupt(), 130, ""),
        (BrokenPipeError(), 0, ""),
        (OSError(errno.ENOSPC, "No space left on device", "out.csv"), 1, "out.csv: no space left on device"),
        (PermissionError(errno.EACCES, "Permission denied"), 1, "bertcli: permission denied"),
        (MemoryError(), 1, "out of memory"),
        (ImportError("libfoo.so is missing", name="torch"), 1, "cannot import torch: libfoo.so is missing"),
        (type("OutOfMemoryError", (RuntimeError,), {})("CUDA"), 1, "the device is out of memory"),
        (
            ZeroDivisionError("division\nby zero"),
            1,
            "this is a bug in bertcli: ZeroDivisionError: division by zero",
        ),
        (AssertionError(), 1, "this is a bug in bertcli: AssertionError\n"),
        (ImportError("no name", name="bertcli.x"), 1, "this is a bug in bertcli: ImportError: no name"),
        (ValueError("x" * 5000), 1, "this is a bug in bertcli: ValueError: xxx"),
    ],
)
def test_every_exception_ends_in_a_line_or_two(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    message: str,
) -> None:
    assert fake_cli(monkeypatch, _raising(error))(["label"]) == code
    stderr = capsys.readouterr().err
    assert message in stderr
    assert (stderr == "") == (message == "")
    assert len(stderr.splitlines()) <= 2
    assert len(stderr) < 500


@pytest.mark.parametrize("arguments", [["--debug", "label"], ["label", "--debug"]])
def test_debug_shows_the_traceback_before_the_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert fake_cli(monkeypatch, _raising(errors.InputError("no good")))(arguments) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("Traceback")
    assert lines[-1] == "bertcli: no good"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lable"], "bertcli: no such command: lable\n  did you mean 'label'?\n"),
        (["xyzzy"], "bertcli: no such command: xyzzy\n  the commands are label, embed, models\n"),
        (["models", "inof"], "bertcli: no such command: inof\n  did you mean 'info'?\n"),
        (["label", "--limt", "3"], "bertcli: no such option: --limt\n  did you mean --limit?\n"),
        (["label", "--xyzzy"], "bertcli: no such option: --xyzzy\n  `bertcli label --help` explains\n"),
        (["--confg", "x"], "bertcli: no such option: --confg\n  did you mean --config?\n"),
        (["label", "-k"], "bertcli: option '-k' requires an argument\n"),
        (["--config", os.devnull], "bertcli: no command given\n  `bertcli --help` lists them\n"),
    ],
)
def test_a_mistyped_command_line_says_what_was_meant(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    main = fake_cli(monkeypatch, lambda name, request: pytest.fail("the command ran"))
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", message)


@pytest.mark.parametrize("way", [("label", "a.jsonl"), ("fill", "a.txt"), ("a.yaml",)], ids=" ".join)
def test_a_missing_option_is_named(way: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", *way]) == 2
    assert capsys.readouterr().err.splitlines()[0] == "bertcli: missing -o/--output"


def test_a_missing_argument_is_named_with_its_values(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["completion"]) == 2
    assert capsys.readouterr().err.splitlines()[0] == "bertcli: missing SHELL: one of bash, zsh, fish"


def test_without_arguments_the_help_page_goes_to_stderr(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main = fake_cli(monkeypatch, lambda name, request: None)
    assert main([]) == 2
    bare = capsys.readouterr()
    assert main(["--help"]) == 0
    assert (bare.out, bare.err) == ("", capsys.readouterr().out)


def test_the_help_page_lists_the_commands_in_their_order(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_cli(monkeypatch, lambda name, request: None)(["-h"])
    page = capsys.readouterr().out
    places = [page.index(f"  {name}  ") for name in ("label ", "embed ", "models")]
    assert places == sorted(places)


def test_the_help_page_says_of_each_command_what_the_command_says_of_itself() -> None:
    context = click.Context(cli.cli)
    for name, summary in cli.COMMANDS.items():
        command = cli.cli.get_command(context, name)
        assert command is not None
        assert command.get_short_help_str(200) == summary


@pytest.mark.parametrize("name", ["label", "fill", "tag", "score", "answer", "embed"])
def test_help_shows_what_most_need_and_help_all_the_rest(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([name, "--help"]) == 0
    short = capsys.readouterr().out
    assert cli.main([name, "--help-all"]) == 0
    whole = capsys.readouterr().out
    assert len(short.splitlines()) < 0.7 * len(whole.splitlines())
    for option in ("--text-field", "--output", "--model"):
        assert option in short
    for option in ("--max-record-bytes", "--allow-pickle", "--batch-tokens"):
        assert option not in short
        assert option in whole
    assert re.search(r"Show \d+ more options and exit", short)


@pytest.mark.parametrize("columns", [60, 80])
def test_a_help_page_has_its_headings_in_order_and_fits_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    fake_cli(monkeypatch, lambda name, request: None)(["label", "--help"])
    lines = capsys.readouterr().out.splitlines()
    headings = [line for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert headings == ["Label:", "Input:", "Output:", "Run:", "Examples:"]
    assert max(map(len, lines)) < columns
    assert lines[-1] == "  $ bertcli label reviews.csv"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"bertcli {bertcli.__version__}\n"


# --- as a process -------------------------------------------------------------------------------------------

FAKE_COMMAND = """
import sys
sys.path.insert(0, {folder!r})
from bertcli import cli
from bertcli.__main__ import main
cli.COMMANDS, cli.MODULE = {{"label": ""}}, "label_module"
main()
"""


def _process(folder: Path, module: str, *arguments: str) -> subprocess.Popen[str]:
    """`bertcli label`, whose module is the given source text."""
    (folder / "label_module.py").write_text(module)
    return subprocess.Popen(
        [sys.executable, "-c", FAKE_COMMAND.format(folder=str(folder)), "label", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


BLOCKING = """
import sys
def wait():
    sys.stderr.write("ready\\n"); sys.stderr.flush()
    sys.stdin.read()
"""
COMMAND = """
from bertcli.options.command import command
@command(examples="")
def label():
    "Label."
"""


@pytest.mark.parametrize(
    "module",
    [
        pytest.param(BLOCKING + COMMAND + "    wait()\n", id="while the command runs"),
        pytest.param(BLOCKING + "wait()\n" + COMMAND, id="while a module is imported"),
        pytest.param(
            BLOCKING + "try:\n    wait()\nexcept:\n    import nowhere\n" + COMMAND, id="inside a bare except"
        ),
    ],
)
def test_an_interrupt_is_quiet(tmp_path: Path, module: str) -> None:
    with _process(tmp_path, module) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        assert process.stderr.read() == ""


def test_an_interrupt_inside_a_finaliser_is_not_lost(tmp_path: Path) -> None:
    module = """
import sys
class Late:
    def __del__(self):
        raise KeyboardInterrupt
""" + COMMAND.replace('    "Label."', '    "Label."\n    Late()\n    sys.stdin.read()')
    with _process(tmp_path, module) as process:
        assert process.wait() == 130
        assert process.stderr is not None
        assert process.stderr.read() == ""


def _bertcli(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "bertcli", *arguments]


def test_a_reader_that_leaves_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.run(
        _bertcli("completion", "bash"), stdout=writing, stderr=subprocess.PIPE, text=True
    )
    os.close(writing)
    assert (process.returncode, process.stderr) == (0, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_one_line() -> None:
    with open("/dev/full", "w") as full:
        process = subprocess.run(
            _bertcli("completion", "zsh"), stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert process.returncode == 1
    assert process.stderr.splitlines()[0] == "bertcli: no space left on device"


def test_a_closed_stdout_and_stderr_are_survived() -> None:
    for closed in ("1>&-", "2>&-", "0<&- 1>&- 2>&-"):
        command = " ".join(_bertcli("nonsense")) + " " + closed
        process = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
        assert process.returncode == 2
        assert "Traceback" not in process.stderr


# --- completion ---------------------------------------------------------------------------------------------

ASK = """
compopt() {{ printf 'compopt %s %s\\n' "$@"; }}
eval "$(bertcli completion bash)"
export BERTCLI_CONFIG={config}
COMP_WORDS=({words}) COMP_CWORD={index}
_bertcli_completion bertcli
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture
def completions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """What a real bash offers after the given words."""
    script = tmp_path / "bin" / "bertcli"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m bertcli "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}:{os.environ['PATH']}")

    def ask(line: str, config: str = "") -> list[str]:
        words = line.split(" ")
        source = ASK.format(
            words=" ".join(f'"{word}"' for word in words), index=len(words) - 1, config=config
        )
        process = subprocess.run(
            ["bash", "--norc", "-c", source], capture_output=True, text=True, check=True, cwd=ROOT
        )
        assert process.stderr == ""
        return process.stdout.split("\n")[:-1]

    return ask


@pytest.mark.slow
def test_bash_completes_commands_options_values_and_files(completions: Callable[..., list[str]]) -> None:
    assert completions("bertcli compl") == ["completion"]
    assert completions("bertcli completion ") == ["bash", "zsh", "fish"]
    assert "--text-field" in completions("bertcli label --text")
    assert completions("bertcli label --engine in") == ["instant"]
    assert completions("bertcli label READ") == ["compopt -o default", ""]
    assert completions("bertcli label -m ./mod") == ["compopt -o dirnames", ""]


def test_completion_does_not_stumble_over_broken_settings(completions: Callable[..., list[str]]) -> None:
    Path("broken.yaml").write_text("nonsense: [")
    assert completions("bertcli compl", str(Path("broken.yaml").absolute())) == ["completion"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_a_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["completion", shell]) == 0
    assert f"_BERTCLI_COMPLETE={shell}_complete" in capsys.readouterr().out
