"""`bertcli bench` as its users meet it: figures for their own file, and settings they can keep."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bertcli import cli
from bertcli.benchmark import search, whole_run
from bertcli.benchmark.trial import EngineSettings, Trial
from bertcli.benchmark.whole_run import WholeRun
from bertcli.runs import bench as bench_run
from tests.checkpoints import TEXTS
from tests.conftest import Make

pytestmark = pytest.mark.slow

Capture = pytest.CaptureFixture[str]
Bench = Callable[..., str]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("texts.txt").write_text("\n".join([*TEXTS, "", TEXTS[0]]))
    return tmp_path


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> Bench:
    """Run `bench` on texts.txt; trials are not timed but have the rate that is given, and processes end."""

    def run(
        *arguments: object, rate: Callable[[EngineSettings], float] = lambda choice: 9.0, code: int = 0
    ) -> str:
        def timed(sample: Any, task: Any, engine: Any, choice: EngineSettings, seconds: float) -> Trial:
            return Trial(choice, len(sample), rate(choice), rate(choice))

        monkeypatch.setattr(search, "timed", timed)
        monkeypatch.setattr(whole_run, "run_watched", lambda *arguments: WholeRun(100.0, 5_000_000))
        command = ["bench", "texts.txt", *arguments]
        assert cli.main([*map(str, command)]) == code, capsys.readouterr().err
        seen = capsys.readouterr()
        return seen.err if code else seen.out

    return run


def rows(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def test_a_real_run_measures_and_ends_in_a_whole_process(
    checkpoints: Make, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_watched = whole_run.run_watched  # on a busy machine there may be no time for it
    monkeypatch.setattr(
        whole_run, "run_watched", lambda command, environment, most: run_watched(command, environment, 120)
    )
    monkeypatch.setattr(bench_run.Benchmark, "_texts_in_time", lambda self, search: 3)
    path = checkpoints("sentence", "base")
    assert cli.main(["bench", "texts.txt", "-m", str(path), "--seconds", "9"]) == 0
    texts, *trials, best = rows(capsys.readouterr().out)
    assert (texts["what"], texts["task"], texts["read"]) == ("texts", "embed", len(TEXTS) + 2)
    assert (texts["duplicates"], texts["blank"]) == (1, 1)
    assert {trial["what"] for trial in trials} == {"trial"}
    assert {"packed", "instant"} == {trial["engine"] for trial in trials}
    for trial in trials:
        assert trial["tokens_per_second"] > trial["texts_per_second"] > 0
        assert trial["agreement"]["cosine"] > 0.99
    assert best["what"] == "best"
    assert best["start_seconds"] > 0.05  # Python's own, whichever engine was best
    assert best["whole_seconds"] >= best["start_seconds"]


@pytest.mark.parametrize(
    ("family", "kind", "task", "compared"),
    [
        ("bert", "label", "label", "flips"),
        ("bert", "fill", "fill", "flips"),
        ("bert", "base", "embed", "cosine"),
        ("sentence", "base", "embed", "cosine"),
        ("skills", "base", "label", "flips"),
    ],
)
def test_the_task_is_what_the_model_is_made_for(
    family: str, kind: str, task: str, compared: str, checkpoints: Make, bench: Bench
) -> None:
    texts, first, *_ = rows(bench("-m", checkpoints(family, kind)))
    assert texts["task"] == task
    agreement = first["agreement"]
    assert agreement["flips"] == 0 if compared == "flips" else agreement["cosine"] > 0.99
    assert agreement["difference"] < 1e-4


def test_saved_settings_hold_for_the_next_run(checkpoints: Make, bench: Bench, capsys: Capture) -> None:
    Path("bertcli.yaml").write_text("# mine\nembed:\n  dim: 4\n")
    path = checkpoints("sentence", "base")
    bench("-m", path, "--save", rate=lambda choice: 9.0 if choice.batch_tokens == 2048 else 1.0)
    assert Path("bertcli.yaml").read_text() == "# mine\nembed:\n  batch-tokens: 2048\n  dim: 4\n"
    assert cli.main(["--show-settings", "embed"]) == 0
    assert re.search(r"batch-tokens +2048 +bertcli.yaml:3", capsys.readouterr().out)


def test_the_dtype_of_embed_has_its_own_name(checkpoints: Make, bench: Bench) -> None:
    output = bench(
        "-m", checkpoints("sentence", "base"), "--save",
        rate=lambda choice: 9.0 * (choice.dtype == "float32") * (choice.engine == "packed") + 1,
    )  # fmt: skip
    best = rows(output)[-1]
    if best["settings"]:  # where `auto` is float32 already, there is nothing to save
        assert Path("bertcli.yaml").read_text() == "embed:\n  compute-dtype: float32\n"
    assert best["dtype"] == "float32"


def test_defaults_are_not_saved(checkpoints: Make, bench: Bench) -> None:
    bench("-m", checkpoints("sentence", "base"), "--save")
    assert not Path("bertcli.yaml").exists()


def test_a_page_for_a_person_fits_80_columns(checkpoints: Make, bench: Bench) -> None:
    page = bench("-m", checkpoints("bert", "label"), "-f", "table")
    assert max(map(len, page.splitlines())) <= 80
    assert f"{len(TEXTS) + 2} records · " in page
    assert "best: packed cpu" in page
    assert "5 MB of memory" in page


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--task", "label"], "has no label head"),
        (["--seconds", "0"], "--seconds"),
        (["--task", "embed", "--pair-field", "other"], "one text a record"),
        (["--task", "embed", "--skip", "99"], "there is no text to measure with"),
        (["--head", "none", "--task", "label"], "no label head"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    arguments: list[str], said: str, checkpoints: Make, bench: Bench, capsys: Capture
) -> None:
    model = checkpoints("bert", "fill")
    assert cli.main(["bench", "texts.txt", "-m", str(model), *arguments]) in (1, 2)
    assert said in capsys.readouterr().err
