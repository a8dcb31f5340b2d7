from __future__ import annotations

import os
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from bertcli.errors import InputError
from bertcli.options import settings
from bertcli.tasks.commas import comma_separated
from tests.fake_commands import fake_cli

Main = Callable[[list[str]], int]


@pytest.fixture
def taken() -> dict[str, Any]:
    """What the command that ran last was given."""
    return {}


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, taken: dict[str, Any]) -> Main:
    """The program with fake commands, in an empty folder with an empty environment."""
    for name in [name for name in os.environ if name.startswith(("BERTCLI_", "XDG_"))]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("HOME", raising=False)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def act(name: str, request: Any) -> None:
        taken.clear()
        taken.update(request if isinstance(request, dict) else vars(request), name=name)

    return fake_cli(monkeypatch, act)


def write(text: str | bytes, path: str = "bertcli.yaml") -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(text.encode() if isinstance(text, str) else text)


SOURCES = ["flag", "command variable", "variable", "command section", "top of the file"]


@pytest.mark.parametrize(
    "present", [subset for size in range(len(SOURCES) + 1) for subset in combinations(SOURCES, size)]
)
def test_the_strongest_source_wins(
    main: Main, taken: dict[str, Any], monkeypatch: pytest.MonkeyPatch, present: tuple[str, ...]
) -> None:
    lines = []
    if "top of the file" in present:
        lines.append("limit: 1")
    if "command section" in present:
        lines += ["label:", "  limit: 2"]
    write("\n".join(lines))
    if "variable" in present:
        monkeypatch.setenv("BERTCLI_LIMIT", "3")
    if "command variable" in present:
        monkeypatch.setenv("BERTCLI_LABEL_LIMIT", "4")
    assert main(["label", *(["--limit", "5"] if "flag" in present else [])]) == 0
    values = dict(zip(SOURCES, (5, 4, 3, 2, 1), strict=True))
    assert taken["limit"] == (values[present[0]] if present else None)


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        ("text-field: body", "text_field", "body"),
        ("text_field: body", "text_field", "body"),
        ("prefix: yes", "prefix", "yes"),
        ("prefix: ''", "prefix", ""),
        ("id-field: 007", "id_field", "007"),
        ("id-field: 2024-01-31", "id_field", "2024-01-31"),
        ("whole-files: true", "whole_files", True),
        ("whole-files: off", "whole_files", False),
        ("strict: yes", "max_errors", 1),
        ("limit:", "limit", None),
        ("encoding: null", "encoding", "utf-8"),
        ("# nothing but a comment", "limit", None),
        ("", "limit", None),
    ],
)
def test_a_value_means_what_it_would_on_the_command_line(
    main: Main, taken: dict[str, Any], line: str, field: str, value: object
) -> None:
    write(line)
    assert main(["label"]) == 0
    assert taken[field] == value


def test_a_list_stands_for_names_between_commas(main: Main, taken: dict[str, Any]) -> None:
    write('label:\n  labels:\n    - no\n    - late, or lost\n    - 5" nail\n  k: 2')
    assert main(["label"]) == 0
    assert comma_separated(taken["labels"]) == ["no", "late, or lost", '5" nail']
    assert taken["k"] == 2


def test_a_setting_for_all_reaches_every_command_that_has_the_option(
    main: Main, taken: dict[str, Any]
) -> None:
    write("normalize: false\nplain: true\nlimit: 3\n")
    for command in (["label"], ["embed"], ["models", "info"]):
        assert main(command) == 0
        assert taken["plain"] if taken["name"] == "info" else taken["limit"] == 3
    assert main(["embed"]) == 0
    assert taken["normalize"] is False


def test_sections_follow_groups_of_commands(
    main: Main, taken: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    write("models:\n  info:\n    plain: true\n")
    assert main(["models", "info"]) == 0
    assert taken["plain"] is True
    monkeypatch.setenv("BERTCLI_MODELS_INFO_PLAIN", "false")
    assert main(["models", "info"]) == 0
    assert taken["plain"] is False


def test_dtype_for_all_commands_is_what_they_compute_in(
    main: Main, taken: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    write("dtype: bfloat16\nembed:\n  dtype: int8\n")
    assert main(["label"]) == 0
    assert taken["dtype"] == "bfloat16"
    assert main(["embed"]) == 0
    assert (taken["dtype"], taken["output_dtype"]) == ("bfloat16", "int8")
    monkeypatch.setenv("BERTCLI_DTYPE", "float16")
    monkeypatch.setenv("BERTCLI_EMBED_DTYPE", "float32")
    assert main(["embed"]) == 0
    assert (taken["dtype"], taken["output_dtype"]) == ("float16", "float32")


@pytest.mark.parametrize(
    ("text", "message", "hint", "code"),
    [
        ("limt: 3", "bertcli.yaml:1: unknown setting 'limt'", "did you mean 'limit'?", 2),
        (
            "label:\n  limts: 3",
            "bertcli.yaml:2: unknown setting 'limts' for `label`",
            "did you mean 'limit'?",
            2,
        ),
        ("lable:\n  k: 3", "bertcli.yaml:2: unknown section 'lable'", "did you mean 'label'?", 2),
        ("models:\n  inof: {k: 3}", "unknown section 'inof' for `models`", "did you mean 'info'?", 2),
        (
            "embed:\n  labels: a",
            "bertcli.yaml:2: unknown setting 'labels' for `embed`",
            "bertcli COMMAND --help",
            2,
        ),
        ("text: hello", "unknown setting 'text'", "", 2),
        ("\nlimit: many", "bertcli.yaml:2: limit: 'many' is not a whole number", "", 2),
        ("limit: true", "bertcli.yaml:1: limit: 'true' is not a whole number", "", 2),
        ("digits: 3.5", "bertcli.yaml:1: digits: '3.5' is not a whole number", "", 2),
        ("limit: [1, 2]", "bertcli.yaml:1: limit: '1,2' is not a whole number", "", 2),
        ("quiet: perhaps", "bertcli.yaml:1: quiet: 'perhaps' is neither true nor false", "", 2),
        ("long: cut", "bertcli.yaml:1: long: 'cut' is not one of", "", 2),
        ("limit:\n  a: 3", "'limit' takes a value, not a section", "", 2),
        ("label: 3", "bertcli.yaml:1: 'label' is a command", "put its options below it", 2),
        ("limit: 1\nlimit: 2", "bertcli.yaml:2: 'limit' is given twice", "", 2),
        ("text-field: a\ntext_field: b", "bertcli.yaml:2: 'text-field' is given twice", "", 2),
        ("label:\n  labels: [[a]]", "bertcli.yaml:2: a list has plain values only", "", 2),
        ("- limit", "bertcli.yaml:1: settings are lines of the form `option: value`", "", 2),
        ("limit: [1", "bertcli.yaml:1:10: not valid YAML", "", 1),
        ("a: b\n  c: d", "bertcli.yaml:2:4: not valid YAML", "", 1),
        (b"a: \xff", "bertcli.yaml: not valid YAML", "", 1),
        ("a: \x00", "bertcli.yaml: not valid YAML", "", 1),
    ],
)
def test_a_file_that_makes_no_sense_is_refused_at_its_line(
    main: Main, capsys: pytest.CaptureFixture[str], text: str | bytes, message: str, hint: str, code: int
) -> None:
    write(text)
    assert main(["label"]) == code
    captured = capsys.readouterr()
    assert message in captured.err
    assert hint in captured.err
    assert captured.out == ""
    assert len(captured.err.splitlines()) <= 2


def test_a_typo_is_found_in_the_section_of_another_command(
    main: Main, capsys: pytest.CaptureFixture[str]
) -> None:
    write("embed:\n  normalise: true")
    assert main(["label"]) == 2
    assert "did you mean 'normalize'?" in capsys.readouterr().err


def test_a_variable_with_a_wrong_value_is_named(
    main: Main, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BERTCLI_EMBED_LIMIT", "x")
    assert main(["label"]) == 0
    assert main(["embed"]) == 2
    assert "BERTCLI_EMBED_LIMIT: limit: 'x' is not a whole number" in capsys.readouterr().err


def test_an_unknown_variable_is_a_warning(
    main: Main, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BERTCLI_MODLE", "x")
    monkeypatch.setenv("BERTCLI_CONFIG", "")
    monkeypatch.setenv("BERTCLI_LABEL_K", "2")
    assert main(["embed"]) == 0
    assert (
        capsys.readouterr().err
        == "bertcli: warning: unknown variable BERTCLI_MODLE: did you mean BERTCLI_MODEL?\n"
    )


def test_the_working_directory_comes_before_the_configuration_folder(
    main: Main, taken: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def limit() -> int | None:
        assert main(["label"]) == 0
        value: int | None = taken["limit"]
        return value

    write("limit: 1", str(tmp_path / "home/.config/bertcli/config.yaml"))
    write("limit: 2", str(tmp_path / "xdg/bertcli/config.yaml"))
    assert limit() is None
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert limit() == 1
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    assert limit() == 2
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")  # not allowed by the XDG specification: ignored
    assert limit() == 1
    write("limit: 3")
    assert limit() == 3
    write("limit: 4", "other.yaml")
    monkeypatch.setenv("BERTCLI_CONFIG", "other.yaml")
    assert limit() == 4


def test_a_settings_file_that_was_asked_for_must_exist(
    main: Main, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["--config", "nowhere.yaml", "label"]) == 1
    assert "nowhere.yaml: cannot be read: No such file or directory" in capsys.readouterr().err
    with pytest.raises(InputError, match="Is a directory"):
        settings.read(tmp_path)


def test_show_settings_says_where_each_value_comes_from(
    main: Main, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write("# ours\ndtype: bfloat16\nwhole-files: yes\nlabel:\n  labels: [a, b]\n")
    monkeypatch.setenv("BERTCLI_MODEL", "./all")
    monkeypatch.setenv("BERTCLI_LABEL_MODEL", "./one")
    assert main(["--show-settings"]) == 0
    head, label, embed, info = capsys.readouterr().out.split("\n\n")
    assert head == "settings file: bertcli.yaml"
    rows = [line.split() for line in label.splitlines()]
    assert rows[0] == ["label"]
    for row in (
        ["model", "./one", "BERTCLI_LABEL_MODEL"],
        ["dtype", "bfloat16", "bertcli.yaml:2"],
        ["whole-files", "true", "bertcli.yaml:3"],
        ["labels", "a,b", "bertcli.yaml:5"],
        ["encoding", "utf-8", "default"],
        ["limit", "-", "default"],
        ["strict", "false", "default"],
    ):
        assert row in rows
    rows = [line.split() for line in embed.splitlines()]
    assert ["model", "./all", "BERTCLI_MODEL"] in rows
    assert ["compute-dtype", "bfloat16", "bertcli.yaml:2"] in rows
    assert ["dtype", "float32", "default"] in rows
    assert ["normalize", "-", "default"] in rows
    assert info.splitlines()[0] == "models info"


def test_show_settings_can_be_asked_about_one_command(main: Main, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--show-settings", "embed"]) == 0
    assert [part.splitlines()[0] for part in capsys.readouterr().out.split("\n\n")] == [
        "settings file: none",
        "embed",
    ]


def test_the_help_page_shows_the_default_that_holds(main: Main, capsys: pytest.CaptureFixture[str]) -> None:
    write("encoding: latin-1")
    assert main(["label", "--help-all"]) == 0
    assert "[default: latin-1]" in capsys.readouterr().out


@pytest.mark.parametrize(
    "key", ["output", "overwrite", "allow-pickle", "allow_pickle", "unsafe-model", "resume"]
)
@pytest.mark.parametrize("section", ["", "label:\n  "])
def test_a_file_of_the_working_directory_cannot_set_outputs_or_trust(
    main: Main, taken: dict[str, Any], capsys: pytest.CaptureFixture[str], key: str, section: str
) -> None:
    value = "/tmp/x.jsonl" if key == "output" else "true"
    write(f"limit: 3\n{section}{key}: {value}\n")
    assert main(["label"]) == 2
    told = capsys.readouterr().err
    place = 3 if section else 2
    assert f"bertcli.yaml:{place}: '{key.replace('_', '-')}' cannot be set by a bertcli.yaml in the" in told
    assert not taken
    assert main(["--config", "bertcli.yaml", "label"]) == 0


def test_a_file_of_the_working_directory_is_named(main: Main) -> None:
    from bertcli.console import messages

    write("limit: 3\n")
    assert main(["label"]) == 0
    assert messages.current().held == ["settings from bertcli.yaml in the working directory"]
    assert main(["--config", "bertcli.yaml", "label"]) == 0
    assert messages.current().held == []


def test_what_is_no_file_or_too_large_does_not_hang(main: Main, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo("bertcli.yaml")
    assert main(["label"]) == 1
    assert "bertcli.yaml: is not a regular file" in capsys.readouterr().err
    os.unlink("bertcli.yaml")
    write("#" * (1 << 20) + "\n")
    assert main(["label"]) == 1
    assert "larger than 1 MiB" in capsys.readouterr().err
    lines = ["a: &a {" + ", ".join(f"k{number}: 1" for number in range(200)) + "}"]
    for name, below in (("b", "a"), ("c", "b"), ("d", "c")):
        lines.append(f"{name}: &{name} {{" + ", ".join(f"k{n}: *{below}" for n in range(200)) + "}")
    write("\n".join(lines))
    assert main(["label"]) == 2
    assert "more than 10000 settings" in capsys.readouterr().err


@pytest.mark.parametrize("where", ["flag", "variable", "file"])
def test_force_is_an_error_that_names_what_it_was(
    main: Main, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], where: str
) -> None:
    if where == "variable":
        monkeypatch.setenv("BERTCLI_FORCE", "1")
    if where == "file":
        write("force: true\n")
    assert main(["label", *(["--force"] if where == "flag" else [])]) == 2
    told = capsys.readouterr().err
    assert "overwrite replaces an existing output" in told
    assert "unsafe-model uses a model that the check refuses" in told


def test_control_characters_of_settings_are_shown_and_do_nothing(
    main: Main, capsys: pytest.CaptureFixture[str]
) -> None:
    write('prefix: "a\\e[2Jb"\n')
    assert main(["--show-settings", "label"]) == 0
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert "a\\x1b[2Jb" in said
