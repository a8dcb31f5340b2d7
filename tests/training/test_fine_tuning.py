"""`train translate --base`: checkpoints of others, trained further."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import bertcli
from bertcli.cli import main
from bertcli.requests import TrainTranslate
from bertcli.training.objectives.translate import TranslateObjective
from bertcli.training.trainer import Trainer
from bertcli.training.translate import make_trainer
from tests.checkpoints import TEXTS
from tests.conftest import Make

PAIRS = [(text, " ".join(reversed(text.split()[:5]))) for text in TEXTS]


def write(folder: Path) -> str:
    rows = [json.dumps({"text": source, "target": target}) for source, target in PAIRS * 3]
    (folder / "pairs.jsonl").write_text("\n".join(rows))
    return str(folder / "pairs.jsonl")


def trainer(path: Path, folder: Path, **settings: Any) -> tuple[TranslateObjective, Trainer]:
    request = TrainTranslate(base=str(path), threads=1, device="cpu", dtype="float32", **settings)
    _, objective, made = make_trainer(request, PAIRS, PAIRS, folder, lambda *_: None, lambda _: None)
    return objective, made


def measured(path: Path, folder: Path, **settings: Any) -> float:
    """The loss per token on the pairs."""
    objective, made = trainer(path, folder, **settings)
    return made.validations()[objective.settings.name].figures()["loss"]


@pytest.mark.parametrize("family", ["marian", "bart", "pegasus", "t5", "mt5"])
def test_the_loss_is_that_of_transformers(seq2seq: Make, tmp_path: Path, family: str) -> None:
    path = seq2seq(family)
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(path).eval()
    total, count = 0.0, 0
    for source, target in PAIRS:
        labels = tokenizer(target, return_tensors="pt").input_ids
        if (first := model.generation_config.forced_bos_token_id) is not None:
            labels = torch.cat([torch.tensor([[first]]), labels], 1)
        with torch.inference_mode():
            out = model(**tokenizer(source, return_tensors="pt"), labels=labels)
        total, count = total + float(out.loss) * labels.numel(), count + labels.numel()
    assert measured(path, tmp_path) == pytest.approx(total / count, rel=1e-4)


@pytest.mark.parametrize("family", ["marian", "bart", "t5", "m2m_100", "mbart"])
def test_the_result_opens_in_transformers_with_the_same_answers(
    seq2seq: Make, tmp_path: Path, family: str
) -> None:
    languages = family in ("m2m_100", "mbart")
    path = seq2seq(family, languages=languages)
    options = ["--base", str(path), "--epochs", "2", "--batch-tokens", "128", "--learning-rate", "5e-3"]
    options += ["--threads", "1", "-q", "--dtype", "float32"]
    options += ["--source-lang", "en", "--target-lang", "de"] if languages else []
    assert main(["train", "translate", write(tmp_path), *options, "-o", str(tmp_path / "model")]) == 0
    loaded = bertcli.load(str(tmp_path / "model"), dtype="float32")
    codes = {"source_lang": "en", "target_lang": "de"} if languages else {}
    found = list(loaded.translate(TEXTS[:4], greedy=True, split="none", max_new_tokens=12, **codes))
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "model").eval()
    ids = tokenizer.convert_tokens_to_ids(["en_XX", "de_DE"])
    forced = {"forced_bos_token_id": ids[1]} if languages else {}
    for text, mine in zip(TEXTS, found, strict=False):
        inputs = tokenizer(text, return_tensors="pt").input_ids
        if languages:
            inputs = torch.cat([torch.tensor([[ids[0]]]), inputs], 1)
        with torch.inference_mode():
            out = model.generate(inputs, num_beams=1, do_sample=False, max_new_tokens=12, **forced)
        assert mine["translation"] == tokenizer.decode(out[0], skip_special_tokens=True).strip()
    assert measured(tmp_path / "model", tmp_path, **codes) < measured(path, tmp_path, **codes)
    assert str(path.name) in (tmp_path / "model" / "README.md").read_text()


def test_a_prefix_comes_before_each_source(seq2seq: Make, tmp_path: Path) -> None:
    plain, prefixed = (trainer(seq2seq("t5"), tmp_path, prefix_text=text) for text in ("", "The story"))
    for (source, target), (longer, same) in zip(plain[0].train, prefixed[0].train, strict=True):
        assert longer[-len(source) :] == source
        assert len(longer) > len(source)
        assert same == target


def test_a_resumed_run_ends_in_the_same_weights(seq2seq: Make, tmp_path: Path) -> None:
    def made(name: str) -> Trainer:
        (tmp_path / name).mkdir(exist_ok=True)
        return trainer(seq2seq("t5"), tmp_path / name, epochs=2, batch_tokens=128)[1]

    whole = made("whole")
    whole.train()
    cut = made("cut")  # seeds torch

    def stop(step: int, *_: Any) -> None:
        if step == cut.schedule.evaluate_steps + 1:
            cut.save()
            raise KeyboardInterrupt

    cut.report = stop
    with pytest.raises(KeyboardInterrupt):
        cut.train()
    again = made("cut")
    again.resume()
    again.train()
    for name, weight in whole.network.state_dict().items():
        torch.testing.assert_close(again.network.state_dict()[name], weight, atol=0, rtol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--size", "small", "--base", "{marian}"], "--size and --vocab-size"),
        (["--target-lang", "de"], "trained further"),
        (["--target-lang", "de", "--base", "{marian}"], "has no language codes"),
        (["--base", "{bert}"], "is no encoder-decoder"),
        (["--base", "/nowhere"], "nowhere"),
    ],
)
def test_what_makes_no_sense(
    seq2seq: Make, checkpoints: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    options: list[str], message: str,
) -> None:  # fmt: skip
    given = [each.format(marian=seq2seq("marian"), bert=checkpoints("bert", "fill")) for each in options]
    assert main(["train", "translate", write(tmp_path), *given, "-o", str(tmp_path / "model")]) in (1, 2)
    assert message in capsys.readouterr().err
    assert not (tmp_path / "model").exists()
