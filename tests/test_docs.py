from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import click
import pytest

import bertcli
from bertcli.cli import cli

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.glob("*.md"))]

_spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
assert _spec is not None
assert _spec.loader is not None
generate = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(generate)

_spec = importlib.util.spec_from_file_location("rerun", DOCS / "rerun.py")
assert _spec is not None
assert _spec.loader is not None
rerun = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(rerun)

CONTEXTS: list[click.Context] = list(generate.commands(cli, "bertcli"))
LEAVES = [ctx for ctx in CONTEXTS if not isinstance(ctx.command, click.Group)]


def _path(ctx: click.Context) -> str:
    return ctx.command_path.replace(" [OPTIONS]", "")


def test_the_command_line_reference_is_current() -> None:
    assert generate.PAGE.read_text(encoding="utf-8") == generate.page(), "run `python docs/generate.py`"


def test_the_table_of_model_types_is_current() -> None:
    written = generate.MODELS.read_text(encoding="utf-8")
    if f"transformers {generate.transformers_version()}." not in written.splitlines()[2]:
        pytest.skip("written for another version of transformers, which has other types")
    assert written == generate.models_page(), "run `python docs/generate.py`"


@pytest.mark.parametrize("ctx", CONTEXTS, ids=_path)
def test_every_command_and_option_has_help(ctx: click.Context) -> None:
    assert ctx.command.help
    for param in ctx.command.get_params(ctx):
        record = param.get_help_record(ctx)
        if isinstance(param, click.Option):
            assert record is not None, f"{param.opts} is hidden"
            assert record[1].strip(), f"{param.opts} has no help"


@pytest.mark.parametrize("ctx", LEAVES, ids=_path)
def test_every_command_has_an_example_that_names_it(ctx: click.Context) -> None:
    page = ctx.command.get_help(ctx)
    _, _, examples = page.partition("\nExamples:\n")
    assert ctx.command_path in examples


@pytest.mark.parametrize("ctx", CONTEXTS, ids=_path)
def test_a_help_page_fits_80_columns(ctx: click.Context) -> None:
    assert max(map(len, ctx.command.get_help(ctx).splitlines())) <= 80


@pytest.mark.parametrize("ctx", LEAVES, ids=_path)
def test_a_help_page_fits_two_screens(ctx: click.Context) -> None:
    short = click.Context(ctx.command, info_name=_path(ctx), terminal_width=80)  # without --help-all
    assert len(short.get_help().splitlines()) <= 48


@pytest.mark.parametrize("ctx", [ctx for ctx in LEAVES if ctx.command.name != "completion"], ids=_path)
def test_every_command_is_in_the_guide(ctx: click.Context) -> None:
    assert ctx.command_path in (DOCS / "guide.md").read_text(encoding="utf-8")


def test_the_changelog_begins_with_this_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    first = re.search(r"^## \[?v?([0-9][^\s\]]*)", changelog, re.MULTILINE)
    assert first is not None
    assert first[1] == bertcli.__version__


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        path = (page.parent / file) if file else page
        assert path.exists(), f"{page.name} links to {target}"
        if anchor:
            assert anchor in _anchors(path), f"{page.name} links to {target}"


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


PAGE = """a
```console
$ echo b > file
$ cat \\
  file | sed 's/b/x/
s/x/y/'
{output}```
```
$ echo not run
```
"""


def test_a_page_is_run_again(tmp_path: Path) -> None:
    old, new = PAGE.format(output="old\n    old\n"), PAGE.format(output="y\n")
    assert rerun.rerun(old, str(tmp_path)) == new
    with pytest.raises(SystemExit, match="no-such-file"):
        rerun.rerun("```console\n$ cat no-such-file\n```\n", str(tmp_path))


def test_settings_page_shows_a_file_that_is_valid(tmp_path: Path) -> None:
    from bertcli.options import settings

    text = (DOCS / "settings.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```yaml\n(.*?)```", text, flags=re.DOTALL)
    assert blocks
    for block in blocks:
        path = tmp_path / "bertcli.yaml"
        path.write_text(block, encoding="utf-8")
        settings.refuse_unknown_settings(settings.read(path), cli, CONTEXTS[0])
