from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from bertcli.engines import available_cores
from bertcli.engines.choosing import BREAK_EVEN_TOKENS, break_even, choose, open_seq2seq, translator_name
from bertcli.errors import EngineError
from bertcli.models.checkpoint import Checkpoint, open_checkpoint
from bertcli.requests import ModelOptions
from tests.conftest import Make


@pytest.fixture(scope="module")
def small(checkpoints: Make) -> Checkpoint:
    return open_checkpoint(checkpoints("bert"))


def engine_for(checkpoint: Checkpoint, tokens: int | None = 10, **options: Any) -> str:
    return choose(checkpoint, ModelOptions(**options), tokens_ahead=tokens).name


def test_little_goes_to_numpy_and_much_to_torch(small: Checkpoint) -> None:
    tokens = break_even(small, available_cores())
    assert engine_for(small, tokens) == "instant"
    assert engine_for(small, tokens + 1) == "packed"
    assert engine_for(small, None) == "packed"


def test_what_numpy_does_not_have_goes_to_torch(small: Checkpoint, checkpoints: Make) -> None:
    assert engine_for(small, dtype="bfloat16") == "packed"
    assert engine_for(open_checkpoint(checkpoints("big_bird"))) == "packed"
    assert engine_for(open_checkpoint(checkpoints("distilbert"))) == "instant"


def test_a_user_has_the_last_word(small: Checkpoint) -> None:
    assert engine_for(small, None, engine="instant") == "instant"
    assert engine_for(small, 1, engine="packed") == "packed"
    assert engine_for(small, 1, engine="instant", device="cpu", dtype="float32") == "instant"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "instant", "device": "cuda"}, "instant engine .*cuda"),
        ({"engine": "instant", "dtype": "bfloat16"}, "instant engine .*bfloat16"),
        ({"device": "cuda:99"}, "no device cuda:99"),
        ({"device": "tpu"}, "no device called tpu"),
        ({"device": "cuda:one"}, "no device called cuda:one"),
        ({"device": "cpu", "dtype": "float16"}, "float16"),
    ],
)
def test_what_cannot_be_had_is_refused_with_a_way_out(
    small: Checkpoint, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(EngineError, match=message) as refused:
        engine_for(small, **options)
    assert refused.value.hint is not None
    assert "--" in refused.value.hint or "auto" in refused.value.hint


def test_options_reach_the_engine(small: Checkpoint) -> None:
    options = ModelOptions(engine="packed", device="cpu", dtype="float32", threads=3, batch_tokens=77)
    engine = choose(small, options, tokens_ahead=None)
    assert (engine.device, engine.dtype, engine.workers, engine.batch_tokens) == ("cpu", "float32", 3, 77)


def test_a_larger_model_goes_to_torch_earlier(small: Checkpoint) -> None:
    larger = replace(small, layers=24, hidden_size=1024, config={**small.config, "intermediate_size": 4096})
    assert break_even(larger, 1) < break_even(larger, 2) < break_even(small, 1) == BREAK_EVEN_TOKENS


def test_the_products_of_a_gate_count(small: Checkpoint, checkpoints: Make) -> None:
    gated = open_checkpoint(checkpoints("modernbert"))
    plain, gated = (replace(each, layers=48, hidden_size=1024) for each in (small, gated))
    assert break_even(gated, 1) < break_even(plain, 1)


def test_little_is_translated_in_numpy_and_much_on_torch(seq2seq: Make) -> None:
    checkpoint = open_checkpoint(seq2seq("marian"))

    def engine_for(tokens: int | None, beam: int = 4, **options: Any) -> str:
        return translator_name(checkpoint, ModelOptions(**options), tokens_ahead=tokens, beam=beam)

    assert engine_for(10) == "instant"
    assert engine_for(10**9) == engine_for(None) == "packed"
    assert engine_for(10, dtype="bfloat16") == engine_for(10, device="cuda") == "packed"
    assert engine_for(10, engine="packed") == engine_for(10, beam=10**9) == "packed"
    assert engine_for(None, engine="instant") == "instant"
    without = open_checkpoint(seq2seq("prophetnet"))
    assert translator_name(without, ModelOptions(), tokens_ahead=10, beam=4) == "packed"
    with pytest.raises(EngineError, match=r"prophetnet.* has no description"):
        open_seq2seq(without, ModelOptions(engine="instant"))
    with pytest.raises(EngineError, match=r"no dtype bfloat16"):
        open_seq2seq(checkpoint, ModelOptions(engine="instant", dtype="bfloat16"))


@pytest.mark.parametrize(
    ("family", "opens"),
    [
        ("bert", "choosing.choose(checkpoint, ModelOptions(), tokens_ahead=10)"),
        (
            "marian",
            "choosing.open_seq2seq(checkpoint, ModelOptions(engine='instant')).generate([window], how)",
        ),
    ],
)
def test_the_instant_engine_imports_no_torch(
    checkpoints: Make, seq2seq: Make, family: str, opens: str
) -> None:
    program = (
        "import sys; from pathlib import Path; from bertcli.engines import choosing;"
        "from bertcli.engines.seq2seq import Generation; from bertcli.records import Window;"
        "from bertcli.models.checkpoint import open_checkpoint; from bertcli.requests import ModelOptions;"
        "checkpoint, window, how = open_checkpoint(Path(sys.argv[1])), Window([5, 0]), Generation(max_new_tokens=3);"
        f"{opens}; print({{'torch', 'transformers'}} & set(sys.modules))"
    )
    path = (seq2seq if family == "marian" else checkpoints)(family)
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("set()\n", "")
