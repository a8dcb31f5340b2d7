from __future__ import annotations

import codecs
import os
import subprocess
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import click
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bertcli import cli
from bertcli.console import visible
from bertcli.options.command import shell_quoted
from bertcli.options.parameters import MOST, cluster, device, encoding, whole_number
from bertcli.requests import Embed, Label, LabelOptions
from tests import fake_commands
from tests.fake_commands import fake_cli

Run = Callable[..., Any]


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Run:
    """Run a fake command line and return the request its command was given."""
    monkeypatch.chdir(tmp_path)
    taken: list[Any] = []
    main = fake_cli(monkeypatch, lambda name, request: taken.append(request))

    def run(*arguments: str) -> Any:
        assert main(list(arguments)) == 0
        return taken.pop()

    return run


def test_without_options_a_command_gets_the_defaults_of_the_request(parsed: Run) -> None:
    assert parsed("label") == Label()
    assert parsed("embed") == Embed()


def test_every_field_has_an_option() -> None:
    filled = {param.name for param in fake_commands.label.params}
    own = {field.name for field in fields(LabelOptions)} | {"head", "k", "all", "emit", "guarantee", "adapt"}
    wanted = {field.name for field in fields(Label)} - own
    assert wanted - {"bare_texts"} <= filled  # which belongs to the command itself


@pytest.mark.parametrize(
    ("arguments", "changes"),
    [
        (["a", "-", "b"], {"files": ("a", "-", "b")}),
        (["-t", "x y", "--text", ""], {"texts": ("x y", "")}),
        (["--from", "csv"], {"input_format": "csv"}),
        (["--text-field", "body"], {"text_field": "body"}),
        (["--pair-field", "other"], {"pair_field": "other"}),
        (["--id-field", "no"], {"id_field": "no"}),
        (["--encoding", "latin-1"], {"encoding": "latin-1"}),
        (["--limit", "0", "--skip", "7"], {"limit": 0, "skip": 7}),
        (["--whole-files"], {"whole_files": True}),
        (["-0"], {"null": True}),
        (["-o", "x.csv"], {"output": "x.csv"}),
        (["-f", "csv"], {"format": "csv"}),
        (["--overwrite"], {"overwrite": True}),
        (["--on", "ray://h:1", "--workers", "3"], {"on": "ray://h:1", "workers": 3}),
        (["--unsafe-model"], {"unsafe_model": True}),
        (["--digits", "3", "--prefix", "p_"], {"digits": 3, "prefix": "p_"}),
        (["--color", "never"], {"color": "never"}),
        (["-m", "./m", "--engine", "packed"], {"model": "./m", "engine": "packed"}),
        (["--device", "cuda:1", "--dtype", "float16"], {"device": "cuda:1", "dtype": "float16"}),
        (["--threads", "2", "--batch-tokens", "9"], {"threads": 2, "batch_tokens": 9}),
        (["--allow-pickle"], {"allow_pickle": True}),
        (["--long", "error"], {"long": "error"}),
        (["--max-length", "9", "--overlap", "8"], {"max_length": 9, "overlap": 8}),
        (["--strict"], {"max_errors": 1}),
        (["--max-errors", "5"], {"max_errors": 5}),
        (["-q"], {"quiet": True}),
        (["-v"], {"verbose": True}),
    ],
)
def test_an_option_fills_its_field_and_no_other(
    parsed: Run, arguments: list[str], changes: dict[str, Any]
) -> None:
    assert parsed("label", *arguments) == Label(**changes)


def test_a_command_may_write_one_dtype_and_compute_in_another(parsed: Run) -> None:
    taken = parsed("embed", "--dtype", "int8", "--compute-dtype", "bfloat16")
    assert (taken.output_dtype, taken.dtype) == ("int8", "bfloat16")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--limit", "-1"], "--limit: must be 0 or more, not -1"),
        (["--limit", "many"], "--limit: 'many' is not a whole number"),
        (["--digits", "0"], "--digits: must be 1 or more, not 0"),
        (["--device", "gpu"], "--device: 'gpu' is not one of auto, cpu, cuda, cuda:N, mps"),
        (["--device", "cuda:0,cpu"], "--device: 'cuda:0,cpu' is not a list of different GPUs"),
        (["--device", "cuda:1,cuda:1"], "--device: 'cuda:1,cuda:1' is not a list of different GPUs"),
        (["--device", "cuda:0,cuda:x"], "--device: 'cuda:x' is not one of"),
        (["--workers", "2"], "--workers is for a cluster"),
        (["--encoding", "utf9"], "--encoding: 'utf9' is not an encoding Python knows"),
        (["--from", "xml"], "--from: 'xml' is not one of"),
        (["--text-field", "caf\udce9"], "--text-field: this is not UTF-8 text"),
        (["--prefix", "\ud800"], "--prefix: this is not UTF-8 text"),
        (["-q", "-v"], "--quiet and --verbose cannot go together"),
        (["--strict", "--max-errors", "2"], "--strict and --max-errors cannot go together"),
        (["--max-length", "8", "--overlap", "8"], "--overlap 8 must be smaller than --max-length 8"),
    ],
)
def test_a_value_that_makes_no_sense_is_a_usage_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    main = fake_cli(monkeypatch, lambda name, request: pytest.fail("the command ran"))
    assert main(["label", *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--multi-label"], ["--template", "On {}."]])
def test_what_would_change_nothing_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    asked = ["label", "-t", "a"]
    assert cli.main([*asked, *arguments]) == 2
    assert f"{arguments[0]} is for labels of your own" in capsys.readouterr().err
    monkeypatch.setenv("BERTCLI_LABEL_TEMPLATE", "On {}.")  # a setting is for the runs it serves
    assert cli.main(asked) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["embed", "--dtype", "bfloat16"],
            "'bfloat16' is not one of float32, float16, int8, binary; what the",
        ),
        (["embed", "--dtype", "bits"], "'bits' is not one of float32, float16, int8, binary\n"),
        (["label", "-t", "a", "--threshold", "nan"], "--threshold: nan is not a number"),
        (["completion", "tcsh"], "SHELL: 'tcsh' is not one of"),
    ],
)
def test_a_value_of_a_single_command_is_told_as_kindly(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert cli.main(arguments) == 2
    assert message in capsys.readouterr().err


def test_a_text_is_utf8_in_every_locale_and_a_path_is_bytes(parsed: Run) -> None:
    in_c = "naïve".encode().decode("ascii", "surrogateescape")  # as Python hears it in a C locale
    assert parsed("label", "--prefix", in_c).prefix == "naïve"
    taken = parsed("label", "-m", "caf\udce9", "-o", "\udcff.csv", "-t", "\udce9", "caf\udce9")
    assert (taken.model, taken.output) == ("caf\udce9", "\udcff.csv")
    assert (taken.files, taken.texts) == (("caf\udce9",), ("\udce9",))


def test_the_weaker_of_two_rivals_gives_way(parsed: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BERTCLI_QUIET", "1")
    monkeypatch.setenv("BERTCLI_MAX_ERRORS", "4")
    assert parsed("label", "-v", "--strict") == Label(max_errors=1, quiet=False, verbose=True)


@given(st.integers(), st.integers())
def test_whole_numbers_are_read_back_from_their_least_on(number: int, least: int) -> None:
    if least <= number <= MOST:
        assert whole_number(least)(str(number)) == number
    else:
        with pytest.raises(click.BadParameter):
            whole_number(least)(str(number))


@pytest.mark.parametrize("name", ["cuda:", "cuda:-1", "cpu:0", "cuda:x", ""])
def test_a_device_that_cannot_be_is_refused(name: str) -> None:
    with pytest.raises(click.BadParameter):
        device(name)


def test_an_encoding_is_one_that_python_can_look_up() -> None:
    assert codecs.lookup(encoding("UTF8")).name == "utf-8"


WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=6)
WORDS |= st.sampled_from(["a b", "it's", "$HOME", "a\nb", "\x1b[1m", "\\", "na\udcefve"])


@settings(max_examples=30, deadline=None)
@given(st.lists(WORDS, min_size=1))
def test_a_shell_reads_back_the_words_that_were_quoted(words: list[str]) -> None:
    line = " ".join(map(shell_quoted, words))
    assert visible(line) == line
    script = b'printf "%s\\0" ' + line.encode()
    done = subprocess.run(["bash", "-c", script], capture_output=True, env={"LC_ALL": "C.UTF-8"}, check=True)
    assert done.stdout.split(b"\0")[:-1] == [os.fsencode(word) for word in words]


@pytest.mark.parametrize("value", ["", "slurm", "ray://", "ray://head", "ray://head:port", "http://head:1"])
def test_a_cluster_is_ray_auto_or_an_address(value: str) -> None:
    with pytest.raises(click.BadParameter):
        cluster(value)
    assert [cluster(name) for name in ("ray", "auto", "ray://head:10001")] == [
        "ray",
        "auto",
        "ray://head:10001",
    ]
