"""The directory of a training run: whole or not at all, and what it replaces is not lost before."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

import pytest

from bertcli import console
from bertcli.errors import OutputError
from bertcli.training.saving import STATE, Target, is_complete


def model(path: Path, name: str) -> Path:
    """A directory that looks like a model of this name."""
    path.mkdir()
    (path / "config.json").write_text(name)
    return path


def save(path: Path, *, keep_state: bool = False) -> None:
    """What a run does with its directory, in short."""
    target = Target(path, overwrite=True, resume=False)
    try:
        if keep_state:
            (target.part / STATE).touch()
        with target.writing(keep_state=keep_state) as folder:
            (folder / "config.json").write_text("new")
    finally:
        target.abandon()


def names(path: Path) -> list[str]:
    return sorted(str(each.relative_to(path)) for each in path.rglob("*"))


@pytest.mark.parametrize("there", [True, False])
def test_a_directory_gets_its_name_and_nothing_else_stays(there: bool, tmp_path: Path) -> None:
    if there:
        (model(tmp_path / "m", "old") / "weights").touch()
    save(tmp_path / "m")
    assert names(tmp_path) == ["m", "m/config.json"]
    assert (tmp_path / "m" / "config.json").read_text() == "new"


def test_the_state_stays_when_it_is_asked_for(tmp_path: Path) -> None:
    model(tmp_path / "m", "old")
    save(tmp_path / "m", keep_state=True)
    assert names(tmp_path) == ["m", "m.part", f"m.part/{STATE}", "m/config.json"]


def test_a_model_is_complete_where_no_run_can_be_continued(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("m")
    for keep_state in (True, False):
        save(tmp_path / "m", keep_state=keep_state)
        assert is_complete(tmp_path / "m") == is_complete(tmp_path / "link") != keep_state
    assert not is_complete(tmp_path / "none")


@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_one(there: bool, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("real")
    if there:
        model(tmp_path / "real", "old")
    save(tmp_path / "link")
    assert (tmp_path / "link").readlink() == Path("real")
    assert names(tmp_path) == ["link", "real", "real/config.json"]
    assert (tmp_path / "link" / "config.json").read_text() == "new"


def test_what_cannot_have_its_name_is_kept_beside_what_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(console, "say", said.append)
    out, part = model(tmp_path / "m", "old"), tmp_path / "m.part"
    honest = Path.rename

    def rename(self: Path, target: Path) -> Path:
        if target == out and self.name != "old":
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(target))
        return honest(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", rename)
        with pytest.raises(OSError, match="busy"):
            save(out)
    assert said == [f"{part}/whole holds the finished model"]
    assert (out / "config.json").read_text() == "old"
    assert (part / "whole" / "config.json").read_text() == "new"
    out.rename(tmp_path / "away")
    with pytest.raises(OutputError, match="is a finished model that did not get its name"):
        Target(out, overwrite=False, resume=False)
    save(out)
    assert names(tmp_path) == ["away", "away/config.json", "m", "m/config.json"]


def test_ctrl_c_does_not_fall_between_two_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Path.rename

    def rename(self: Path, target: Path) -> Path:
        done = honest(self, target)
        if target.name == "old":
            signal.raise_signal(signal.SIGINT)
        return done

    model(tmp_path / "m", "old")
    monkeypatch.setattr(Path, "rename", rename)
    save(tmp_path / "m")
    assert (tmp_path / "m" / "config.json").read_text() == "new"
