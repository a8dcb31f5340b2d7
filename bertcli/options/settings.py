"""Defaults from `bertcli.yaml` and from BERTCLI_… variables, handed to click as its own defaults.

A settings file has the names of options (with dashes or underscores) and their values: at the top for all commands,
below the name of a command for that command. Flags take precedence over variables, variables over the file, and a
setting for one command over a setting for all.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bertcli.errors import InputError, UsageError, one_line
from bertcli.options.parameters import SharedParameter

if TYPE_CHECKING:
    import yaml

FILE_NAME = "bertcli.yaml"
META = "bertcli.options.settings"
ROOT_VARIABLES = ("BERTCLI_CONFIG", "BERTCLI_DEBUG")
INSTEAD_OF_FORCE = (
    "--overwrite replaces an existing output, --unsafe-model uses a model that the check refuses"
)
NOT_FROM_WORKING_DIRECTORY = frozenset(
    ["output", "overwrite", "resume", "plot", "suspects", "save", "calibrate", "allow-pickle", "unsafe-model"]
)
"""Where output goes, what is overwritten, and what is trusted: a file that somebody else may have put into the working
directory cannot say it."""
MOST_BYTES = 1 << 20
MOST_SETTINGS = 10_000
DEEPEST = 4  # nested sections; an alias of YAML may be a section that contains itself


@dataclass(frozen=True, slots=True)
class Setting:
    """One value as on the command line, and the `file:line` it comes from."""

    value: str
    where: str


@dataclass(frozen=True, slots=True)
class Section:
    """The settings for all commands, for one command or for one group of commands."""

    where: str = ""
    values: Mapping[str, Setting] = field(default_factory=dict)
    sections: Mapping[str, Section] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Settings:
    """The content of a settings file; `path` is None without one. `local`: it was found in the working directory, not
    named."""

    path: Path | None = None
    top: Section = field(default_factory=Section)
    local: bool = False


def find_file() -> Path | None:
    """The settings file of the working directory, else that of the user's configuration."""
    candidates = [Path(FILE_NAME)]
    home, xdg = os.environ.get("HOME"), os.environ.get("XDG_CONFIG_HOME")
    if xdg and os.path.isabs(xdg):
        candidates.append(Path(xdg, "bertcli", "config.yaml"))
    elif home:
        candidates.append(Path(home, ".config", "bertcli", "config.yaml"))
    return next((path for path in candidates if path.exists()), None)


def read(path: Path | None) -> Settings:
    """Read the settings file that is named, else the one that is found. Raises InputError when it cannot be read,
    UsageError when it makes no sense."""
    named = path
    path = named or find_file()
    if path is None:
        return Settings()
    local = named is None and path == Path(FILE_NAME)
    try:
        if local and not path.is_file():
            raise InputError(
                "is not a regular file", where=str(path), hint="remove it, or name a file by --config FILE"
            )
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise InputError(
            f"cannot be read: {error.strerror}",
            where=str(path),
            hint="--config FILE names another file",
        ) from error
    if len(data) > MOST_BYTES:
        raise InputError(f"is larger than {MOST_BYTES >> 20} MiB: it is not a settings file", where=str(path))
    node = _parse(data, path)
    return Settings(path, Section() if node is None else _Reader(path).section(node), local)


def _parse(data: bytes, path: Path) -> yaml.Node | None:
    import yaml

    try:
        return yaml.compose(data, yaml.SafeLoader)
    except RecursionError:
        raise InputError(
            "is nested too deeply for settings",
            where=str(path),
            hint="write options at the top, or below the name of a command",
        ) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        raise InputError(
            f"not valid YAML: {error.problem or error.context}",
            where=place,
            hint="write `option: value` lines; text with `: ` or `#` in it goes between quotes",
        ) from None
    except yaml.YAMLError as error:
        raise InputError(
            f"not valid YAML: {one_line(error)}",
            where=str(path),
            hint="write `option: value` lines; text with `: ` or `#` in it goes between quotes",
        ) from None


class _Reader:
    """Reads the nodes of one file; aliases may repeat them, but not without end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._count = 0

    def section(self, node: yaml.Node, depth: int = 0) -> Section:
        import yaml

        path, where = self._path, _place(node, self._path)
        if depth > DEEPEST:
            raise UsageError(
                "settings are nested too deeply",
                where=where,
                hint="write options at the top, or below the name of a command",
            )
        if not isinstance(node, yaml.MappingNode):
            raise UsageError(
                "settings are lines of the form `option: value`",
                where=where,
                hint="as in `batch-tokens: 2048`, at the top or below the name of a command",
            )
        values: dict[str, Setting] = {}
        sections: dict[str, Section] = {}
        for key_node, value_node in node.value:
            self._count += 1
            if self._count > MOST_SETTINGS:
                raise UsageError(f"there are more than {MOST_SETTINGS} settings", where=where)
            place, key = _place(key_node, path), str(key_node.value).replace("_", "-")
            if key in values or key in sections:
                raise UsageError(f"'{key}' is given twice", where=place, hint="remove one of the two")
            if isinstance(value_node, yaml.MappingNode):
                sections[key] = self.section(value_node, depth + 1)
            elif value_node.tag != "tag:yaml.org,2002:null":
                values[key] = Setting(_text(value_node, path), place)
        return Section(where, values, sections)


def _text(node: yaml.Node, path: Path) -> str:
    """A value as one would type it: a scalar letter by letter (`no` stays a word), a list as `a,b,"c, d"`."""
    import yaml

    if isinstance(node, yaml.ScalarNode):
        return str(node.value)
    if not all(isinstance(item, yaml.ScalarNode) for item in node.value):
        raise UsageError(
            "a list has plain values only",
            where=_place(node, path),
            hint="write it as in `labels: [good, bad]`",
        )
    return ",".join(_quoted(item.value) for item in node.value)


def _quoted(item: str) -> str:
    return '"' + item.replace('"', '""') + '"' if any(mark in item for mark in ',"\n') else item


def _place(node: yaml.Node, path: Path) -> str:
    return f"{path}:{node.start_mark.line + 1}"


def keys(command: click.Command, *, common: bool) -> dict[str, click.Parameter]:
    """The options of a command that settings can reach, by name; and arguments that say so (`has_setting`).

    `common` asks for the names that settings for all commands use; they differ where a command's own option
    has the name of a shared one.
    """
    named: dict[str, click.Parameter] = {}
    general: dict[str, click.Parameter] = {}
    for param in command.params:
        reached = isinstance(param, click.Option) and getattr(param, "settable", True)
        if not reached and not getattr(param, "has_setting", False):
            continue
        long = [name for name in param.opts if name.startswith("--")]
        named.update((name.lstrip("-"), param) for name in long or param.opts)
        if common and isinstance(param, SharedParameter) and param.general:
            general[param.general] = param
    return named | general


def leaves(
    command: click.Command, ctx: click.Context, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command below `command` that does something, with the words that lead to it."""
    if not isinstance(command, click.Group):
        yield path, command
        return
    for name in command.list_commands(ctx):
        below = command.get_command(ctx, name)
        if below is not None:
            yield from leaves(below, ctx, (*path, name))


def refuse_untrusted_settings(settings: Settings) -> None:
    """Raise UsageError where a file of the working directory sets what it must not."""
    if settings.local:
        _refuse_in(settings.top)


def _refuse_in(section: Section) -> None:
    for key in NOT_FROM_WORKING_DIRECTORY.intersection(section.values):
        raise UsageError(
            f"'{key}' cannot be set by a {FILE_NAME} in the working directory, which may be somebody else's",
            where=section.values[key].where,
            hint=f"give --{key} on the command line, or set it in a file that you name by --config",
        )
    for below in section.sections.values():
        _refuse_in(below)


def refuse_unknown_settings(settings: Settings, root: click.Group, ctx: click.Context) -> None:
    """Refuse a settings file with an unknown name.

    Every command is imported to know its names, so only where there is a file to check.
    """
    if settings.path is not None:
        _check(settings.top, root, ctx, ())


def _check(section: Section, command: click.Command, ctx: click.Context, path: tuple[str, ...]) -> None:
    group = command if isinstance(command, click.Group) else None
    commands = group.list_commands(ctx) if group else []
    known = {key for _, leaf in leaves(command, ctx) for key in keys(leaf, common=group is not None)}
    for key, setting in section.values.items():
        if key in commands:
            raise UsageError(
                f"'{key}' is a command", where=setting.where, hint="put its options below it, indented"
            )
        if key not in known:
            raise _unknown(f"setting '{key}'" + _of(path), key, known | set(commands), setting.where)
    for name, below in section.sections.items():
        found = group.get_command(ctx, name) if group else None
        if found is None and name in known:
            raise UsageError(
                f"'{name}' takes a value, not a section",
                where=below.where,
                hint="write its value after the colon",
            )
        if found is None:
            raise _unknown(f"section '{name}'" + _of(path), name, known | set(commands), below.where)
        _check(below, found, ctx, (*path, name))


def _of(path: tuple[str, ...]) -> str:
    return f" for `{' '.join(path)}`" if path else ""


def _unknown(what: str, name: str, known: set[str], where: str) -> UsageError:
    if name == "force":
        return UsageError(f"unknown {what}", where=where, hint=INSTEAD_OF_FORCE.replace("--", ""))
    near = nearest_name(name, known)
    hint = (
        f"did you mean '{near}'?" if near else "settings have the names of options: `bertcli COMMAND --help`"
    )
    return UsageError(f"unknown {what}", where=where, hint=hint)


def nearest_name(name: str, known: set[str]) -> str | None:
    """The known name that `name` was probably meant to be."""
    from difflib import get_close_matches

    return next(iter(get_close_matches(name, sorted(known), n=1)), None)


def variables(path: tuple[str, ...], command: click.Command) -> dict[click.Parameter, list[str]]:
    """The environment variables that each option reads, the most specific first."""
    found: dict[click.Parameter, list[str]] = {}
    for depth in range(len(path), -1, -1):
        prefix = "_".join(("BERTCLI", *path[:depth]))
        for key, option in keys(command, common=depth < len(path)).items():
            found.setdefault(option, []).append(f"{prefix}_{key}".upper().replace("-", "_"))
    return found


def unknown_variables(root: click.Group, ctx: click.Context) -> list[tuple[str, str | None]]:
    """BERTCLI_… variables that no option reads, each with the one that was probably meant.

    A command must be imported to be asked, so none is once all variables are accounted for.
    """
    known = set(ROOT_VARIABLES)
    unknown = {name for name in os.environ if name.startswith("BERTCLI_")} - known
    commands = leaves(root, ctx)
    while unknown and (found := next(commands, None)):
        known.update(*variables(*found).values())
        unknown -= known
    return [(name, nearest_name(name, known)) for name in sorted(unknown)]


def bind(ctx: click.Context) -> None:
    """Give the context's command the defaults from settings and variables."""
    path = _path(ctx)
    for option, names in variables(path, ctx.command).items():
        option.envvar = names
        _check_value(ctx, option, option.value_from_envvar(ctx), variable(option))
    held = _held(ctx, path)
    for option, setting in held.items():
        _check_value(ctx, option, setting.value, setting.where)
    ctx.default_map = {option.name: setting.value for option, setting in held.items()}


def variable(option: click.Parameter) -> str:
    """The environment variable that gives the option its value, empty when none does."""
    return next((name for name in option.envvar or () if os.environ.get(name)), "")


def _held(ctx: click.Context, path: tuple[str, ...]) -> dict[click.Parameter, Setting]:
    """What the settings file says for a command, the most specific place for each option."""
    settings: Settings = ctx.meta.get(META, Settings())
    section = settings.top
    held: dict[click.Parameter, Setting] = {}
    for depth in range(len(path) + 1):
        named = keys(ctx.command, common=depth < len(path))
        held |= {named[key]: setting for key, setting in section.values.items() if key in named}
        section = section.sections.get(path[depth], Section()) if depth < len(path) else section
    return held


def _check_value(ctx: click.Context, option: click.Parameter, value: object, where: str) -> None:
    """Convert the value, for an error that says where it comes from."""
    try:
        option.type_cast_value(ctx, value)
    except click.BadParameter as error:
        name = max(option.opts, key=len).lstrip("-")
        reason = (
            f"'{value}' is neither true nor false"
            if getattr(option, "is_flag", False)
            else error.message.rstrip(".")
        )
        raise UsageError(
            f"{name}: {reason}", where=where, hint="correct it there, or give the option on the command line"
        ) from None


def _path(ctx: click.Context) -> tuple[str, ...]:
    """The words that lead to the context's command, without the program's name."""
    return (*_path(ctx.parent), ctx.info_name or "") if ctx.parent else ()


def shown_settings(root: click.Group, ctx: click.Context, only: str | None = None) -> Iterator[str]:
    """The lines of --show-settings: every option's value for every command and where it comes from."""
    settings: Settings = ctx.meta.get(META, Settings())
    yield f"settings file: {settings.path or 'none'}"
    for path, command in leaves(root, ctx):
        if only is not None and path[0] != only:
            continue
        context = ctx
        for name in path:
            context = click.Context(command, info_name=name, parent=context)
        rows = list(_effective(context))
        if not rows:
            continue
        yield ""
        yield " ".join(path)
        widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
        for key, value, source in rows:
            yield f"  {key:<{widths[0]}}  {value:<{widths[1]}}  {source}"


def _effective(ctx: click.Context) -> Iterator[tuple[str, str, str]]:
    bind(ctx)
    held = {option.name: setting.where for option, setting in _held(ctx, _path(ctx)).items()}
    for key, option in keys(ctx.command, common=False).items():
        value, _ = option.consume_value(ctx, {})
        yield key, _shown(option, value), variable(option) or held.get(option.name, "default")


def _shown(option: click.Parameter, value: object) -> str:
    if isinstance(option, click.Option) and option.is_flag and option.is_bool_flag and value is not None:
        return str(click.BOOL(value or False)).lower()
    return str(value) if isinstance(value, (str, int, float)) and value != "" else "-"
