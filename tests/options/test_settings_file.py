"""Settings that are written are found again, and nothing else in the file changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from bertcli.errors import OutputError
from bertcli.options import settings
from bertcli.options.settings import Section
from bertcli.options.settings_file import edited, write

VALUES = {"threads": "2", "batch-tokens": "8192"}

LAYOUTS = {
    "empty": "",
    "comment": "# mine\n",
    "other command": "model: ./ours   # the best\n\nlabel:\n  k: 3\n",
    "no final newline": "model: ./ours",
    "there already": "embed:\n  dim: 8\n",
    "one is there": "embed:\n  # as measured\n  threads: 1  # one\n  dim: 8\nlabel:\n  threads: 1\n",
    "all are there": "embed: \n    batch_tokens: '1'\n    threads: 1\n",
    "without values": "embed:\nlabel:\n  k: 3\n",
    "null": "embed:\n  threads:\n  dim: 8\n",
    "flow": "embed: {dim: 8, threads: 1}\nmodel: ./ours\n",
    "empty flow": "embed: {}\n",
    "at the top too": "threads: 7\nembed:\n  dim: 8\n",
    "windows": "model: ./ours\r\nembed:\r\n  dim: 8\r\n",
}


def flat(section: Section, prefix: str = "") -> dict[str, str]:
    own = {prefix + key: value.value for key, value in section.values.items()}
    for name, below in section.sections.items():
        own |= flat(below, f"{prefix}{name}.")
    return own


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_what_is_written_is_found_and_all_else_kept(layout: str, tmp_path: Path) -> None:
    path = tmp_path / "bertcli.yaml"
    path.write_bytes(layout.encode())
    before = flat(settings.read(path).top)
    write(path, "embed", VALUES)
    after = flat(settings.read(path).top)
    assert after == before | {f"embed.{name}": value for name, value in VALUES.items()}
    comments = [line[line.index("#") :] for line in layout.splitlines() if "#" in line]
    assert all(comment in path.read_text() for comment in comments)
    write(path, "embed", VALUES)
    assert flat(settings.read(path).top) == after


def test_a_new_file_is_made(tmp_path: Path) -> None:
    write(tmp_path / "bertcli.yaml", "embed", VALUES)
    assert (tmp_path / "bertcli.yaml").read_text() == "embed:\n  threads: 2\n  batch-tokens: 8192\n"
    assert [path.name for path in tmp_path.iterdir()] == ["bertcli.yaml"]


def test_a_line_is_changed_where_it_stands() -> None:
    text = "embed:\n  # as measured\n  threads: 1  # one\n  dim: 8\n"
    assert edited(text, "embed", {"threads": "2"}) == text.replace("1  #", "2  #")


@pytest.mark.parametrize("text", ["{model: ./ours}", "- a list", "plain words", "embed: 7: 8", "embed: [1]"])
def test_what_cannot_be_edited_is_left_alone(text: str, tmp_path: Path) -> None:
    path = tmp_path / "bertcli.yaml"
    path.write_text(text)
    with pytest.raises(OutputError, match="batch-tokens: 8192"):
        write(path, "embed", VALUES)
    assert path.read_text() == text


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "dotfiles.yaml").write_text("model: ./ours\n")
    link = tmp_path / "bertcli.yaml"
    link.symlink_to("dotfiles.yaml")
    write(link, "embed", VALUES)
    assert link.is_symlink()
    assert "threads: 2" in (tmp_path / "dotfiles.yaml").read_text()


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be changed"):
        write(tmp_path / "none" / "bertcli.yaml", "embed", VALUES)
