"""The library: `bertcli.load`, its methods, and `bertcli.run`."""

from __future__ import annotations

import doctest
import itertools
import json
import logging
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bertcli
from bertcli.cli import main
from bertcli.errors import InputError, ModelError, UsageError
from tests.conftest import Make

TEXTS = ["the quick fox", "", "a lazy dog jumps", "un" * 5]


@pytest.mark.parametrize("texts", ["a lazy dog", {"text": "a lazy dog"}, b"a lazy dog"])
def test_one_text_is_no_list_of_texts(texts: Any, checkpoints: Make) -> None:
    model = bertcli.load(str(checkpoints("bert", "fill")))
    for method in (model.score, model.embed, model.fill, partial(model.search, "dog")):
        with pytest.raises(UsageError, match="one text"):
            method(texts)


@pytest.mark.slow
def test_the_examples_of_the_page_are_true(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = Path(__file__).parent.parent / "docs" / "python.md"
    failed, tried = doctest.testfile(
        str(page), module_relative=False, optionflags=doctest.IGNORE_EXCEPTION_DETAIL
    )
    assert (failed, tried > 15) == (0, True)


@pytest.mark.parametrize(
    ("task", "kind", "options"),
    [
        ("label", "label", {"all": True}),
        ("fill", "fill", {"k": 2}),
        ("tag", "tag", {}),
        ("score", "fill", {"words": True}),
        ("answer", "answer", {"question": "who"}),
    ],
)
def test_a_method_gives_what_the_command_gives(
    task: str, kind: str, options: dict[str, Any], checkpoints: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(checkpoints("bert", kind))
    texts = [text.replace("fox", "[MASK]") for text in TEXTS]
    flags = [word for text in texts for word in ("-t", text)]
    for name, value in options.items():
        flag = f"-{name}" if len(name) == 1 else f"--{name}"
        flags += [flag] if value is True else [flag, str(value)]
    main([task, "-m", path, "-q", "-f", "jsonl", "--digits", "17", *flags])
    wanted = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    found = list(getattr(bertcli.load(path), task)(texts, **options))
    for row in wanted:
        del row["text"]
    assert json.loads(json.dumps(found, default=np.ndarray.tolist)) == wanted
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("checkpoint", "method", "option", "names"),
    [
        (["sentence"], "label", "labels", ["praise", "complaint, long"]),
        (["skills"], "label", "head", ["sentiment", "topics"]),
        (["bert", "fill"], "fill", "targets", ["dog", "fox"]),
    ],
)
def test_names_are_a_list_or_between_commas(
    checkpoints: Make, checkpoint: list[str], method: str, option: str, names: list[str]
) -> None:
    model = bertcli.load(str(checkpoints(*checkpoint)))
    listed, joined = (
        [*getattr(model, method)(["the quick brown [MASK]"], **{option: value})]
        for value in (names, ",".join(f'"{name}"' for name in names))
    )
    assert listed == joined
    assert "error" not in listed[0]


def test_embeddings_of_a_list_are_an_array(checkpoints: Make) -> None:
    model = bertcli.load(checkpoints("sentence", "base"))  # a path, too
    array = model.embed(["a fox", "a dog"])
    assert isinstance(array, np.ndarray)
    assert array.dtype == np.float32
    rows = list(model.embed(text for text in ["a fox", "a dog"]))
    assert np.array_equal(array, [row["embedding"] for row in rows])
    with pytest.raises(ValueError, match="text 1 has no embedding: it is blank"):
        model.embed(["a fox", " "])


def test_results_come_lazily(checkpoints: Make) -> None:
    taken = []

    def endless() -> Any:
        for number in itertools.count():
            taken.append(number)
            yield f"text {number}"

    found = bertcli.load(str(checkpoints("bert", "label"))).label(endless())
    assert len(taken) <= 1  # to see whether it is a text or a mapping
    assert len(list(itertools.islice(found, 5))) == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"long": "no"}, "long: 'no' is none of window, truncate, error"),
        ({"emit": ["label", "x"]}, "emit: 'x' is none of label, entropy"),
        ({"engine": "fast"}, "engine: 'fast' is none of auto, instant, packed"),
    ],
)
def test_a_word_that_is_no_choice_of_an_option_is_refused(options: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        bertcli.requests.Label(**options)


def test_a_layer_is_a_number_or_a_word() -> None:
    assert bertcli.requests.Attention(layer=3).layer == 3
    with pytest.raises(UsageError, match="layer: 'means' is none of mean, all"):
        bertcli.requests.Attention(layer="means")  # type: ignore[arg-type]


def test_what_is_wrong_is_raised_at_the_call(checkpoints: Make) -> None:
    model = bertcli.load(str(checkpoints("bert", "base")))
    with pytest.raises(ModelError):
        model.label(["a"])
    with pytest.raises(UsageError, match="reads one text a record"):
        model.embed([{"text": "a", "b": "c"}], pair_field="b")
    with pytest.raises(UsageError, match="several fields could be the text"):
        bertcli.load(str(checkpoints("bert", "label"))).label([{"a": "x", "b": "y"}])
    for ignored in ({"dtype": "float32"}, {"output": "a.jsonl"}, {"limit": 3}, {"quiet": True}):
        with pytest.raises(UsageError, match="a method does not read this option"):
            model.embed(["a"], **ignored)
    with pytest.raises(UsageError, match="names no output"):
        bertcli.run(bertcli.requests.Label(files=["a.txt"]))
    with pytest.raises(UsageError, match="must be smaller"):
        bertcli.requests.Label(max_length=8, overlap=8)


def test_a_model_serves_several_threads(checkpoints: Make) -> None:
    model = bertcli.load(str(checkpoints("bert", "label")))
    wanted = {number: list(model.label([f"a fox {number}"] * 3)) for number in range(4)}
    found: dict[int, Any] = {}
    threads = [
        threading.Thread(target=lambda n=n: found.update({n: list(model.label([f"a fox {n}"] * 3))}))  # type: ignore[misc]
        for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == wanted


def test_the_nearest_text_is_found(checkpoints: Make) -> None:
    model = bertcli.load(str(checkpoints("sentence", "base")))
    (hit,) = model.search("a lazy dog", ["the quick fox", {"text": "a lazy dog", "id": 7}], k=1)
    assert (hit["rank"], hit["index"], hit["id"]) == (1, 1, 7)
    assert hit["score"] == pytest.approx(1, abs=1e-5)


def test_a_run_writes_what_the_command_writes(
    checkpoints: Make, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    source, model = tmp_path / "in.txt", str(checkpoints("bert", "label"))
    source.write_text("\n".join(TEXTS) + "\n")
    main(["label", str(source), "-m", model, "-o", str(tmp_path / "command.jsonl"), "-q"])
    capfd.readouterr()
    with caplog.at_level(logging.INFO, "bertcli"):
        receipt = bertcli.run(
            bertcli.requests.Label(files=[str(source)], model=model, output=str(tmp_path / "run.jsonl"))
        )
    assert (receipt.read, receipt.blank, receipt.exit_code) == (4, 1, 0)
    assert (tmp_path / "run.jsonl").read_bytes() == (tmp_path / "command.jsonl").read_bytes()
    assert capfd.readouterr() == ("", "")
    assert receipt.line() in caplog.text
    with pytest.raises(InputError):
        bertcli.run(bertcli.requests.Label(files=["nowhere.txt"], output=str(tmp_path / "b.jsonl")))


@pytest.mark.slow
def test_the_library_needs_no_click_and_is_imported_at_once() -> None:
    code = (
        "import sys, time; began = time.perf_counter(); import bertcli; took = time.perf_counter() - began\n"
        "import bertcli.model, bertcli.runs.run\n"
        "assert 'click' not in sys.modules and 'torch' not in sys.modules; print(took)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 0.1
