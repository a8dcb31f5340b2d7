"""`train translate` and `translate`: from pairs to translations, and transformers on the same directory."""

from __future__ import annotations

import json
import random
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file

import bertcli
from bertcli.cli import main
from bertcli.errors import UsageError
from bertcli.requests import TrainTranslate
from bertcli.training.marian import SIZES, build_model
from bertcli.training.recipe import Schedule
from bertcli.training.trainer import Trainer, learning_rate
from bertcli.training.translate import make_trainer

WORDS = {
    "ein": "a",
    "hund": "dog",
    "rennt": "runs",
    "zwei": "two",
    "katzen": "cats",
    "schlafen": "sleep",
    "rot": "red",
}


def pairs(count: int) -> list[tuple[str, str]]:
    """Sentences of a language whose translation is a word for a word."""
    draw = random.Random(3)
    sources = [draw.choices(list(WORDS), k=draw.randint(2, 6)) for _ in range(count)]
    return [(" ".join(source) + ".", " ".join(WORDS[word] for word in source) + ".") for source in sources]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("translate")
    rows = [json.dumps({"text": source, "target": target}) for source, target in pairs(60)]
    (folder / "pairs.jsonl").write_text("\n".join(rows))
    options = ["--vocab-size", "300", "--epochs", "2", "--batch-tokens", "128", "--threads", "1", "-q"]
    assert (
        main(["train", "translate", str(folder / "pairs.jsonl"), "-o", str(folder / "model"), *options]) == 0
    )
    return folder / "model"


def translated(*arguments: str, out: Path) -> list[dict[str, Any]]:
    assert main(["translate", *arguments, "-q", "--dtype", "float32", "-o", str(out), "--overwrite"]) == 0
    return [json.loads(line) for line in out.read_text().splitlines()]


def test_transformers_opens_the_directory_and_answers_the_same(model: Path, tmp_path: Path) -> None:
    text = "zwei katzen schlafen."
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    network = transformers.AutoModelForSeq2SeqLM.from_pretrained(model).eval()
    with torch.inference_mode():
        ids = network.generate(**tokenizer(text, return_tensors="pt"), num_beams=4, max_length=13)
    [found] = translated("-m", str(model), "-t", text, "--max-new-tokens", "12", out=tmp_path / "o.jsonl")
    assert found["translation"] == tokenizer.decode(ids[0], skip_special_tokens=True).strip()


def test_the_library_translates_as_the_command_does(model: Path, tmp_path: Path) -> None:
    texts = ["zwei katzen schlafen.", "", "ein hund. rot!"]
    (tmp_path / "texts.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts))
    options = ["-m", str(model), "--max-new-tokens", "6", "-k", "2", "--align"]
    by_command = translated(*options, str(tmp_path / "texts.jsonl"), out=tmp_path / "o.jsonl")
    loaded = bertcli.load(str(model), dtype="float32")
    found = list(loaded.translate(texts, max_new_tokens=6, k=2, align=True))
    for mine, theirs in zip(found, by_command, strict=True):
        assert mine["translation"] == theirs["translation"]
        assert mine["score"] == pytest.approx(theirs["score"], abs=1e-5)
        for key, part in (("translations", "text"), ("alignment", "source")):
            assert [each[part] for each in mine[key] or ()] == [each[part] for each in theirs[key] or ()]
    assert found[1]["translation"] is None
    assert found[2]["alignment"]
    assert len(found[0]["translations"]) == 2
    with pytest.raises(UsageError, match="--greedy"):
        list(loaded.translate(texts, greedy=True, k=2))


def test_everything_around_sentences_stays(model: Path, tmp_path: Path) -> None:
    text = "# ein hund.\n\n\t- zwei katzen. Ein hund!  42\n"
    (tmp_path / "notes.md").write_text(text)
    options = ["-m", str(model), "--whole-files", "--max-new-tokens", "5"]
    [found] = translated(*options, str(tmp_path / "notes.md"), out=tmp_path / "o.jsonl")
    assert found["windows"] == 3
    lines = found["translation"].split("\n")
    assert len(lines) == 4
    assert lines[0].startswith("# ")
    assert lines[1] == lines[3] == ""
    assert lines[2].startswith("\t- ")
    assert lines[2].endswith("  42")


def test_long_sentences(model: Path, tmp_path: Path) -> None:
    long = " ".join(["hund"] * 40)
    options = ["-m", str(model), "-t", long, "--max-length", "20", "--max-new-tokens", "4"]
    [windowed] = translated(*options, out=tmp_path / "o.jsonl")
    assert windowed["windows"] > 1
    [cut] = translated(*options, "--long", "truncate", out=tmp_path / "o.jsonl")
    assert "windows" not in cut
    assert cut["truncated"] is True
    assert main(["translate", *options, "--long", "error", "-o", str(tmp_path / "e.jsonl"), "-q"]) == 3
    assert json.loads((tmp_path / "e.jsonl").read_text())["error"]["type"] == "too-long"


def test_several_translations_begin_with_the_best(model: Path, tmp_path: Path) -> None:
    options = ["-m", str(model), "-t", "ein hund. zwei katzen.", "--max-new-tokens", "6"]
    [found] = translated(*options, "-k", "3", out=tmp_path / "o.jsonl")
    assert len(found["translations"]) == 3
    assert found["translations"][0] == {"text": found["translation"], "score": found["score"]}
    scores = [each["score"] for each in found["translations"]]
    assert scores == sorted(scores, reverse=True)


def test_batches_do_not_change_translations(model: Path, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("".join(f"{source}\n\n" for source, _ in pairs(30)))
    options = [str(tmp_path / "in.txt"), "-m", str(model), "--max-new-tokens", "8"]
    many = translated(*options, out=tmp_path / "a.jsonl")
    few = translated(*options, "--batch-tokens", "1", out=tmp_path / "b.jsonl")
    assert [row["text"] for row in many] == (tmp_path / "in.txt").read_text().splitlines()
    assert [row["translation"] for row in many] == [row["translation"] for row in few]


def test_an_encoder_is_refused(checkpoints: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["translate", "-t", "x", "-m", str(checkpoints("bert", "fill"))]) == 1
    assert "is no encoder-decoder" in capsys.readouterr().err


def test_other_tasks_say_what_an_encoder_decoder_is_for(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["label", "-t", "x", "-m", str(model)]) == 1
    assert "an encoder-decoder, which `bertcli translate` runs" in capsys.readouterr().err


def test_an_empty_file_is_called_empty(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pairs.jsonl").touch()
    assert main(["train", "translate", str(tmp_path / "pairs.jsonl"), "-o", str(tmp_path / "model")]) != 0
    assert "the input is empty" in capsys.readouterr().err


def test_a_resumed_run_ends_in_the_same_weights(tmp_path: Path) -> None:
    request = TrainTranslate(vocab_size=300, epochs=3, batch_tokens=128, threads=1, device="cpu")
    train, dev = pairs(40), pairs(50)[40:]

    def trainer(folder: Path, stop_at: int | None = None) -> Trainer:
        def report(step: int, steps: int, loss: float) -> None:
            if step == stop_at:
                made.save()
                raise KeyboardInterrupt

        folder.mkdir(exist_ok=True)
        _, _, made = make_trainer(request, train, dev, folder, report, lambda _: None)
        return made

    whole = trainer(tmp_path / "whole")
    whole.train()
    epoch = whole.schedule.evaluate_steps
    assert [line["step"] for line in whole.history] == [0, epoch, 2 * epoch, 3 * epoch]
    cut = trainer(tmp_path / "cut", epoch + 2)
    with pytest.raises(KeyboardInterrupt):
        cut.train()
    again = trainer(tmp_path / "cut")
    again.resume()
    again.train()
    assert again.history == whole.history
    for name, weight in whole.network.state_dict().items():
        torch.testing.assert_close(again.network.state_dict()[name], weight, atol=0, rtol=0)


@pytest.mark.parametrize(("rate", "is_mean"), [(0.05, True), (0.001, False)])
def test_the_result_is_the_mean_of_the_last_epochs_unless_one_was_better(
    tmp_path: Path, rate: float, is_mean: bool
) -> None:
    request = TrainTranslate(
        vocab_size=300, epochs=12, batch_tokens=128, threads=1, learning_rate=rate, dtype="float32"
    )
    held_out = pairs(50)[40:]
    _, _, trainer = make_trainer(request, pairs(40), held_out, tmp_path, lambda *_: None, lambda _: None)
    trainer.train()
    [found] = trainer.validations().values()
    assert trainer.averaged == (10 if is_mean else 0)
    assert trainer.best.figures["translate"]["loss"][0] == pytest.approx(found.figures()["loss"])
    files = sorted((tmp_path / "checkpoints").glob("*"), key=lambda file: int(file.stem))
    steps = trainer.schedule.evaluate_steps
    assert [int(file.stem) for file in files] == [steps * epoch for epoch in range(3, 13)]
    mean = torch.stack([load_file(file)["model.model.encoder.layers.0.fc1.weight"] for file in files]).mean(0)
    found_weight = trainer.network.state_dict()["model.model.encoder.layers.0.fc1.weight"]
    assert torch.allclose(found_weight, mean) == is_mean
    assert found.figures()["loss"] <= min(line["loss"] for line in trainer.history) + 1e-6


def test_an_interrupt_in_the_first_epoch_keeps_what_was_learnt(tmp_path: Path) -> None:
    request = TrainTranslate(vocab_size=300, epochs=3, batch_tokens=128, threads=1, learning_rate=0.05)

    def report(step: int, steps: int, loss: float) -> None:
        if step == 5:
            signal.raise_signal(signal.SIGINT)

    _, _, trainer = make_trainer(request, pairs(40), pairs(50)[40:], tmp_path, report, lambda _: None)
    trainer.train()
    assert trainer.interrupted
    assert (trainer.best.step, trainer.averaged) == (5, 0)
    assert trainer.best.figures["translate"]["loss"][0] < trainer.history[0]["loss"]


def test_a_killed_run_averages_no_checkpoint_from_after_its_state(tmp_path: Path) -> None:
    request = TrainTranslate(vocab_size=300, epochs=3, batch_tokens=128, threads=1)

    def trainer(stop_at: int | None) -> Trainer:
        def report(step: int, steps: int, loss: float) -> None:
            if step == 12:
                made.save()
            if step == stop_at:
                raise KeyboardInterrupt

        _, _, made = make_trainer(request, pairs(40), pairs(50)[40:], tmp_path, report, lambda _: None)
        return made

    killed = trainer(stop_at=25)
    with pytest.raises(KeyboardInterrupt):
        killed.train()
    assert killed.schedule.evaluate_steps == 10
    again = trainer(stop_at=None)
    again.resume()
    assert [file.name for file in (tmp_path / "checkpoints").iterdir()] == ["10.safetensors"]


def test_bfloat16_gives_the_loss_and_the_gradients_of_float32(tmp_path: Path) -> None:
    found = {}
    for dtype in ("float32", "bfloat16"):
        request = TrainTranslate(vocab_size=300, threads=1, device="cpu", dtype=dtype)
        origin, objective, trainer = make_trainer(
            request, pairs(40), [], tmp_path, lambda *_: None, lambda _: None
        )
        with trainer.machine.forward_pass():
            loss = objective.loss(trainer.network, objective.batch_of(objective.train))
        loss.backward()
        found[dtype] = float(loss.detach()), origin.model.model.shared.weight.grad.flatten()
    (loss, gradient), (near, near_gradient) = found["float32"], found["bfloat16"]
    assert near == pytest.approx(loss, rel=2e-3)
    assert near != loss
    assert torch.cosine_similarity(gradient, near_gradient, dim=0) > 0.99


def test_padding_has_no_embedding_and_the_last_id(model: Path) -> None:
    network = transformers.AutoModelForSeq2SeqLM.from_pretrained(model)
    assert network.config.pad_token_id == network.config.vocab_size - 1
    assert not network.model.shared.weight[-1].any()


@pytest.mark.parametrize("size", SIZES)
def test_a_new_encoder_tells_positions_apart(size: str) -> None:
    torch.manual_seed(5)
    network = build_model(SIZES[size], 500).eval()
    with torch.inference_mode():
        states = network.model.encoder(input_ids=torch.randint(2, 499, (1, 14))).last_hidden_state[0]
    assert states.var(0).mean() / states.var() > 0.5


def test_the_rate_rises_and_falls_with_the_root() -> None:
    schedule = Schedule(steps=1000, warm_up=100, peak_rate=1.0, decay="inverse_sqrt")
    assert learning_rate(schedule, 49) == 0.5
    assert learning_rate(schedule, 99) == 1
    assert learning_rate(schedule, 399) == 0.5


def test_bleu_and_chrf_are_those_of_sacrebleu(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import sacrebleu

    rows = [{"text": source, "target": target} for source, target in pairs(12)]
    (tmp_path / "test.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = [
        row["translation"]
        for row in translated("-m", str(model), str(tmp_path / "test.jsonl"), out=tmp_path / "o.jsonl")
    ]
    capsys.readouterr()
    options = ["-m", str(model), "--json", "-q", "--dtype", "float32"]
    assert main(["evaluate", "translate", str(tmp_path / "test.jsonl"), *options]) == 0
    metrics = json.loads(capsys.readouterr().out)["metrics"]
    references = [[row["target"] for row in rows]]
    assert metrics["bleu"]["value"] == pytest.approx(sacrebleu.corpus_bleu(found, references).score, abs=1e-4)
    assert metrics["chrf"]["value"] == pytest.approx(sacrebleu.corpus_chrf(found, references).score, abs=1e-4)
    assert metrics["chrf"]["low"] <= metrics["chrf"]["value"] <= metrics["chrf"]["high"]


def test_subtitles_keep_their_times(model: Path, tmp_path: Path) -> None:
    source = "1\n00:00:01,000 --> 00:00:02,000\nein hund\nrennt.\n\n7\n00:00:03,000 --> 00:00:04,000\n42\n\n"
    (tmp_path / "in.srt").write_text(source)
    options = [str(tmp_path / "in.srt"), "-m", str(model), "--max-new-tokens", "4", "-q"]
    assert main(["translate", *options, "-o", str(tmp_path / "out.srt")]) == 0
    lines = (tmp_path / "out.srt").read_text().split("\n")
    assert lines[:2] == ["1", "00:00:01,000 --> 00:00:02,000"]
    assert lines[-6:] == ["", "7", "00:00:03,000 --> 00:00:04,000", "42", "", ""]
    assert main(["translate", *options, "-o", str(tmp_path / "out.vtt")]) == 0
    assert (tmp_path / "out.vtt").read_text().startswith("WEBVTT\n\n1\n00:00:01.000 --> 00:00:02.000\n")
    (tmp_path / "in.txt").write_text("ein hund\n")
    assert (
        main(["translate", str(tmp_path / "in.txt"), "-m", str(model), "-o", str(tmp_path / "x.srt"), "-q"])
        == 2
    )


def test_alignment_names_words_by_their_places(model: Path, tmp_path: Path) -> None:
    text = "ein hund.  \n  zwei katzen schlafen."
    options = ["-m", str(model), "-t", text, "--align", "--max-new-tokens", "6"]
    [found] = translated(*options, out=tmp_path / "o.jsonl")
    entries = found["alignment"]
    assert entries
    for entry in entries:
        assert text[entry["source_start"] : entry["source_end"]] == entry["source"]
        assert found["translation"][entry["target_start"] : entry["target_end"]] == entry["target"]
        assert 0 < entry["weight"] <= 1
    assert " ".join(entry["target"] for entry in entries) == " ".join(found["translation"].split())
