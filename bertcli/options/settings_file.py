"""Writing settings into a settings file, which keeps all else that is in it: comments, order, layout."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import yaml

from bertcli.errors import OutputError

Edit = tuple[int, int, str]
"""The characters from the first place to the second are to be replaced by a text."""


def write(path: Path, command: str, values: Mapping[str, str]) -> None:
    """Set options of a command, below its name. Raises OutputError for a file that cannot be written, or
    whose layout leaves no place for them."""
    try:
        text = path.read_bytes().decode() if path.exists() else ""
        written = edited(text, command, values)
        if written is None:
            lines = ", ".join(f"{name}: {value}" for name, value in values.items())
            raise OutputError(
                f"has a layout that cannot be added to; write below `{command}:` yourself: {lines}",
                where=str(path),
            )
        target = path.resolve()
        mode = target.stat().st_mode if target.exists() else 0o666 & ~_umask()
        with tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", delete=False) as part:
            part.write(written.encode())
            os.fchmod(part.fileno(), mode)
        os.replace(part.name, target)
    except (OSError, UnicodeDecodeError) as error:
        raise OutputError(
            f"cannot be changed: {error}", where=str(path), hint="check who may write to the file"
        ) from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def edited(text: str, command: str, values: Mapping[str, str]) -> str | None:
    """The text of a settings file with some options of a command set. None where that cannot be done without
    touching anything else."""
    try:
        before = _plain(text)
        written = text
        for start, stop, new in sorted(_edits(text, command, values), reverse=True):
            written = written[:start] + new + written[stop:]
        expected = before | {command: _dashed(before.get(command) or {}) | dict(values)}
        return written if _plain(written) == expected else None
    except (yaml.YAMLError, ValueError):
        return None


def _edits(text: str, command: str, values: Mapping[str, str]) -> list[Edit]:
    root = yaml.compose(text, yaml.SafeLoader)
    section = _value(root, command) if root is not None else None
    if section is None:
        gap = "" if not text or text.endswith("\n") else "\n"
        lines = "".join(f"  {name}: {value}\n" for name, value in values.items())
        return [(len(text), len(text), f"{gap}{command}:\n{lines}")]
    if not isinstance(section, yaml.MappingNode):  # `label:` with nothing behind it
        lines = "".join(f"\n  {name}: {value}" for name, value in values.items())
        return [(section.start_mark.index, section.end_mark.index, lines)]
    return [_edit(section, name, value) for name, value in values.items()]


def _edit(section: yaml.MappingNode, name: str, value: str) -> Edit:
    old = _value(section, name)
    if old is not None:
        start, stop = old.start_mark.index, old.end_mark.index
        return start, stop, value if stop > start else f" {value}"
    first = section.value[0][0].start_mark if section.value else section.end_mark
    if section.flow_style:
        start = first.index if section.value else section.start_mark.index + 1
        return start, start, f"{name}: {value}, "
    return first.index, first.index, f"{name}: {value}\n{' ' * first.column}"


def _value(node: yaml.Node, name: str) -> yaml.Node | None:
    """The value of a name, in either of its spellings."""
    if not isinstance(node, yaml.MappingNode):
        raise ValueError
    found = (value for key, value in node.value if str(key.value).replace("_", "-") == name)
    return next(found, None)


def _plain(text: str) -> dict[str, object]:
    """The settings of a file by name, letter by letter."""
    found = yaml.load(text, yaml.BaseLoader)
    if not isinstance(found, dict | str | None):
        raise ValueError
    return _dashed(found or {})


def _dashed(found: object) -> dict[str, object]:
    if not isinstance(found, dict):
        raise ValueError
    return {
        str(key).replace("_", "-"): _dashed(value) if isinstance(value, dict) else value
        for key, value in found.items()
    }
