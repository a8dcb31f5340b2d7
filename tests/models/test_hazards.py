"""Hostile tokenizers are refused before they are loaded, real ones are not."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tokenizers

from bertcli import cli
from bertcli.models import trial
from bertcli.models.check import full_check
from bertcli.models.checkpoint import open_checkpoint
from bertcli.models.hazards import charsmap_hazard, pattern_hazard
from bertcli.models.tokenizer import Tokenizer
from tests.checkpoints import edit_json
from tests.conftest import Make

Part = dict[str, Any]


def _units(*numbers: int) -> bytes:
    return struct.pack(f"<{len(numbers)}I", *numbers)


def _table(units: list[int], texts: bytes) -> bytes:
    """A charsmap: the size of its array of units in bytes, the array, the texts."""
    return _units(4 * len(units)) + _units(*units) + texts


def _precompiled(table: bytes) -> Part:
    return {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(table).decode()}


def _double_array(text: int, texts: bytes) -> bytes:
    """A charsmap for the character `a` alone, whose text begins at `text`."""
    units = [0] * 512
    units[0] = 1 << 10  # the children of the root lie at 1 XOR their label
    units[1 ^ ord("a")] = ord("a") | 1 << 8 | 256 << 10  # has a leaf, and children 256 further
    units[1 ^ ord("a") ^ 256] = 1 << 31 | text
    return _table(units, texts)


def _normalizer(part: Part) -> Part:
    return {"normalizer": part}


def _sequence(parts: list[Part]) -> Part:
    return _normalizer({"type": "Sequence", "normalizers": parts})


def _replace(pattern: Part, content: str) -> Part:
    return _normalizer({"type": "Replace", "pattern": pattern, "content": content})


def _split(pattern: str) -> Part:
    part = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return {"pre_tokenizer": part}


PREPEND = {"type": "Prepend", "prepend": "x" * 600}
HOSTILE: dict[str, tuple[Part, str]] = {
    "a prefix of megabytes": (_normalizer(PREPEND | {"prepend": "x" * 5_000_000}), "5000000 characters"),
    "a prefix in parts": (_sequence([PREPEND] * 2), "1200 characters"),
    "too many parts": (_sequence([{"type": "NFC"}] * 101), "102 parts"),
    "a text for each letter": (_replace({"String": "a"}, "x" * 9_000), "9e+03 times longer"),
    "a text between all letters": (_replace({"String": ""}, "x" * 70), "71 times longer"),
    "a text for each match": (_replace({"Regex": "[a-z]"}, "x" * 70), "71 times longer"),
    "a search without end": (_replace({"Regex": "(a+)+$"}, "y"), "repeats what repeats"),
    "a split without end": (_split("(.*)(.*)X"), "several wildcards"),
    "a huge repetition": (_split("(x{0,99999}){0,99999}"), "repeats more than"),
    "an empty charsmap": (_normalizer(_precompiled(b"")), "precompiled_charsmap"),
    "a charsmap that claims more": (_normalizer(_precompiled(_units(0xFFFF_FFF0))), "precompiled_charsmap"),
    "a charsmap whose root leads out": (
        _normalizer(_precompiled(_table([0xFFFF_FFFF] * 256, b"a\0"))),
        "leads out",
    ),
    "a charsmap that leads out": (
        _normalizer(_precompiled(_table([*[0] * 255, 0x7FFF << 10], b"a\0"))),
        "leads out",
    ),
    "a charsmap without its text": (_normalizer(_precompiled(_double_array(50, b"b\0"))), "names texts"),
    "a charsmap inside a letter": (
        _normalizer(_precompiled(_double_array(1, "é\0".encode()))),
        "names texts",
    ),
    "words of any length": ({"model": {"max_input_chars_per_word": 10**9}}, "max_input_chars_per_word"),
    "tokens drawn at random": ({"model": {"dropout": 0.5}}, "dropout"),
}  # fmt: skip


@pytest.mark.parametrize("hazard", HOSTILE)
def test_hostile_tokenizers_are_refused_by_runs_and_by_check(
    hazard: str, checkpoint_copy: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    path = checkpoint_copy("bert", "fill")
    changes, told = HOSTILE[hazard]
    definition = json.loads((path / "tokenizer.json").read_text(encoding="utf-8"))
    model = definition["model"] | changes.get("model", {})
    edit_json(path / "tokenizer.json", **(changes | {"model": model}))
    assert cli.main(["fill", "-m", str(path), "-t", "a [MASK]"]) == 1
    seen = capsys.readouterr()
    assert told in seen.err
    assert not seen.out
    assert any(told in found.message for found in full_check(open_checkpoint(path)) if found.refuses)


def test_a_charsmap_that_is_whole_is_loaded(checkpoint_copy: Make) -> None:
    path = checkpoint_copy("xlm-roberta", "base")
    edit_json(path / "tokenizer.json", normalizer=_precompiled(_double_array(0, b"b\0")))
    tokenizer = Tokenizer.of(open_checkpoint(path))
    assert tokenizer.encode("Karat bank").ids == tokenizer.encode("Kbrbt bbnk").ids


@pytest.mark.parametrize(
    "pattern",
    [
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|\s+(?!\S)",
        r" ?[^\s\p{L}\p{N}]+[\r\n]*",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{M}]*[\p{Ll}\p{M}]+(?i:'s|'t)?|\s*[\r\n]+|\s+",
        r"\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))",
        r" ?[^(\s|[.,!?…。])]+",
        r" {2,}|\{a\}|x{2}?|[]a]+|\(+",
    ],
)
def test_the_patterns_of_real_tokenizers_are_harmless(pattern: str) -> None:
    assert pattern_hazard(pattern) is None


@pytest.mark.parametrize(
    "pattern", ["(a*)*b", "(?:(?:x+)y?)*z", "([a-z]+){2,10}", "a**", ".*.*X", "(?s:.+)(?s:.+)Z", "a{100000}"]
)
def test_patterns_that_search_without_end_are_found(pattern: str) -> None:
    assert pattern_hazard(pattern) is not None


def test_what_is_no_charsmap_is_found() -> None:
    assert charsmap_hazard(None) == charsmap_hazard("no base64!") == "is not base64"


class _Panicking:
    """A native tokenizer that panics at an exclamation mark."""

    def __init__(self, native: tokenizers.Tokenizer) -> None:
        self._native = native

    def __getattr__(self, name: str) -> Any:
        return getattr(self._native, name)

    def encode(self, text: str, *others: Any, **options: Any) -> Any:
        if "!" in text:
            raise type("PanicException", (BaseException,), {})("index out of bounds")
        return self._native.encode(text, *others, **options)


def test_a_panic_of_the_tokenizer_is_the_error_of_its_record(
    checkpoints: Make, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    build = Tokenizer._build
    monkeypatch.setattr(Tokenizer, "_build", lambda self, mask: _Panicking(build(self, mask)))
    path = checkpoints("bert", "label")
    assert cli.main(["label", "-m", str(path), "-t", "a bank", "-t", "a bank!"]) == 3
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert "error" not in rows[0]
    assert "index out of bounds" in rows[1]["error"]["message"]


@pytest.mark.parametrize(
    ("program", "told"),
    [
        ("import os; os.abort()", "ends the process that loads it (signal 6)"),
        ("import time; time.sleep(60)", "needs more than 0.5 seconds"),
        ("raise SystemExit(3)", "ends the process (3)"),
    ],
)
def test_check_survives_a_tokenizer_that_ends_its_process(
    program: str,
    told: str,
    checkpoints: Make,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(trial, "_PROGRAM", program)
    monkeypatch.setattr(trial, "SECONDS", 0.5 if "sleep" in program else 20.0)
    assert cli.main(["models", "check", str(checkpoints("bert"))]) == 1
    (row,) = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert row["severity"] == "refuse"
    assert told in row["message"]


def test_a_sound_tokenizer_gets_through_its_trial(checkpoints: Make) -> None:
    assert trial.try_tokenizer(checkpoints("bert")) is None


@pytest.mark.parametrize("length", [True, float("nan"), "512", 2, 12.5, -1])
def test_a_length_that_is_none_is_refused_by_name(
    length: Any, checkpoint_copy: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    path = checkpoint_copy("bert", "fill")
    edit_json(path / "tokenizer_config.json", model_max_length=length)
    assert cli.main(["fill", "-m", str(path), "-t", "a [MASK]"]) == 1
    assert "model_max_length" in capsys.readouterr().err


def _huge_prompt(path: Path) -> None:
    edit_json(path / "config_sentence_transformers.json", prompts={"query": "x" * 3_000_000})


def _many_specials(path: Path) -> None:
    template = [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}] * 100
    text = {"Sequence": {"id": "A", "type_id": 0}}
    edit_json(
        path / "tokenizer.json",
        post_processor={
            "type": "TemplateProcessing",
            "single": [*template, text],
            "pair": [*template, text, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]}},
        },
    )


@pytest.mark.parametrize(
    ("harm", "told"),
    [(_huge_prompt, "3000000 characters"), (_many_specials, "100 tokens around a text")],
)
def test_what_leaves_no_room_for_a_text_is_refused(
    harm: Callable[[Path], None], told: str, checkpoint_copy: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    path = checkpoint_copy("sentence")
    harm(path)
    assert cli.main(["search", "a", "-m", str(path), "-t", "a bank", "--query-prompt", "query"]) in (1, 2)
    assert told in capsys.readouterr().err
    assert any(told in found.message for found in full_check(open_checkpoint(path)) if found.refuses)
