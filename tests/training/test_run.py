"""`bertcli train`: the result answers the same in plain transformers; runs repeat and resume."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file

from bertcli.cli import main
from bertcli.interrupts import ENDING
from bertcli.models import library
from bertcli.models.check import full_check
from bertcli.models.checkpoint import open_checkpoint
from bertcli.models.temperature import store_temperature
from bertcli.training import trainer
from bertcli.training.mixture import Mixture
from tests.conftest import Make
from tests.training.interrupting import interrupt_in_measurement

pytestmark = pytest.mark.slow

GOOD, BAD = ("good film", "a nice day", "lovely dog"), ("bad film", "a sad day", "ugly cat")


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.fixture
def labelled(tmp_path: Path) -> str:
    rows = [{"text": f"{text} {n}", "label": "good"} for text in GOOD for n in range(6)]
    rows += [{"text": f"{text} {n}", "label": "bad"} for text in BAD for n in range(6)]
    return write(tmp_path / "labelled.jsonl", rows)


def train(*arguments: str, base: Path, out: Path, code: int = 0) -> Path:
    fast = ["--dtype", "float32", "--device", "cpu", "--threads", "1", "-q"]
    assert main(["train", *arguments, "-m", str(base), "-o", str(out), *fast]) == code
    return out


def answers(model: Path, text: str) -> tuple[str, float]:
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    network = transformers.AutoModelForSequenceClassification.from_pretrained(model).eval()
    with torch.no_grad():
        p = network(**tokenizer(text, return_tensors="pt")).logits.softmax(-1)[0]
    return network.config.id2label[int(p.argmax())], float(p.max())


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert"])
def test_a_label_model_answers_the_same_in_plain_transformers(
    family: str, checkpoints: Make, labelled: str, tmp_path: Path
) -> None:
    out = train("label", labelled, "--epochs", "1", base=checkpoints(family, "fill"), out=tmp_path / "m")
    written = tmp_path / "said.jsonl"
    assert (
        main(["label", "-q", "-m", str(out), "-t", "a nice dog", "-o", str(written), "--dtype", "float32"])
        == 0
    )
    said = json.loads(written.read_text())
    label, score = answers(out, "a nice dog")
    assert said["label"] == label
    assert said["score"] == pytest.approx(score, abs=1e-4)
    assert not [found.message for found in full_check(open_checkpoint(out)) if found.refuses]
    assert len({file.stat().st_mode for file in out.iterdir()}) == 1


@pytest.mark.parametrize("kind", ["label", "tag", "fill"])
def test_a_base_with_several_heads_becomes_a_model_with_one(
    kind: str, checkpoints: Make, labelled: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = checkpoints("skills", "base")
    (tmp_path / "d.conll").write_text("".join(f"dog{n}\tB-PER\nruns\tO\n\n" for n in range(20)))
    data = {"label": labelled, "tag": str(tmp_path / "d.conll"), "fill": labelled}[kind]
    out = train(kind, data, "--epochs", "1", base=base, out=tmp_path / "m")
    config = json.loads((out / "config.json").read_text())
    assert "bertcli" not in config
    assert not [name for name in load_file(out / "model.safetensors") if name.startswith("heads.")]
    assert list(open_checkpoint(out).heads) == [kind]
    family = {"label": "SequenceClassification", "tag": "TokenClassification", "fill": "MaskedLM"}[kind]
    network = getattr(transformers, f"AutoModelFor{family}").from_pretrained(out).eval()
    text = "the [MASK] dog" if kind == "fill" else "a nice dog"
    tokenizer = transformers.AutoTokenizer.from_pretrained(out)
    inputs = tokenizer(text, return_tensors="pt")
    with torch.no_grad():
        logits = network(**inputs).logits[0]
    assert main([kind, "-q", "-m", str(out), "-t", text]) == 0
    said = json.loads(capsys.readouterr().out)
    if kind == "label":
        assert said["score"] == pytest.approx(float(logits.softmax(-1).max()), abs=1e-4)
    elif kind == "fill":
        place = inputs["input_ids"][0].tolist().index(tokenizer.mask_token_id)
        p = logits[place].softmax(-1)
        assert said["fills"][0]["score"] == pytest.approx(float(p.max()), abs=1e-4)
    else:
        tags = [network.config.id2label[int(tag)] for tag in logits.argmax(-1)[1:-1]]
        assert bool(said["spans"]) == any(tag != "O" for tag in tags)


def test_a_temperature_of_the_base_is_not_the_new_models(
    checkpoint_copy: Make, labelled: str, tmp_path: Path
) -> None:
    base = checkpoint_copy("bert", "label")
    store_temperature(open_checkpoint(base), "label", 3.0)
    assert open_checkpoint(base).heads["label"].temperature == 3.0
    out = train("label", labelled, "--epochs", "1", base=base, out=tmp_path / "m")
    assert open_checkpoint(out).heads["label"].temperature == 1.0
    again = train("label", labelled, "--epochs", "1", "--overwrite", base=out, out=out)
    assert "bertcli" not in json.loads((again / "config.json").read_text())


def test_few_labels_are_all_learnt_from(
    checkpoints: Make, labelled: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = checkpoints("bert", "fill")
    out = tmp_path / "m"
    assert main(["train", "label", labelled, "-m", str(base), "-o", str(out), "--epochs", "2"]) == 0
    told = capsys.readouterr().err
    assert "36 examples to learn from, none held out\n" in told
    assert "comparing a linear probe with a fine-tuned encoder" in told
    assert f"{out}: cross-validated on halves: macro f1" in told
    assert "Each half of the examples was answered" in (out / "README.md").read_text()
    train("label", labelled, "--dev-fraction", "0.25", "--epochs", "1", "--overwrite", base=base, out=out)
    assert "On the 9 held-out examples" in (out / "README.md").read_text()


@pytest.mark.parametrize("family", ["roberta", "distilbert"])
def test_heads_that_do_not_start_from_a_probe_hold_out_a_tenth(
    family: str, checkpoints: Make, labelled: str, tmp_path: Path
) -> None:
    base = checkpoints(family, "fill")
    out = train("label", labelled, "--epochs", "1", base=base, out=tmp_path / "m")
    assert "On the 4 held-out examples" in (out / "README.md").read_text()


def test_the_bundled_model_is_the_default_base(
    checkpoints: Make, labelled: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "BUNDLED", checkpoints("skills", "base"))
    out = tmp_path / "m"
    assert main(["train", "label", labelled, "-o", str(out), "--epochs", "1", "-q"]) == 0
    assert json.loads((out / "config.json").read_text())["hidden_size"] == 32


def test_the_card_tells_what_evaluate_measures(
    checkpoints: Make, labelled: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = checkpoints("bert", "fill")
    out = train("label", labelled, "--dev", labelled, "--epochs", "2", base=base, out=tmp_path / "m")
    arguments = ["-m", str(out), "--json", "-q", "--dtype", "float32"]
    assert main(["evaluate", "label", labelled, *arguments]) == 0
    metrics = json.loads(capsys.readouterr().out)["metrics"]
    card = (out / "README.md").read_text()
    for name in ("macro_f1", "balanced_accuracy", "accuracy"):
        figure = metrics[name]
        shown = f"{figure['value']:.4f} | {figure['low']:.4f} to {figure['high']:.4f}"
        assert f"| {name.replace('_', ' ')} | {shown} |" in card


def test_the_added_layer_gives_the_mean_of_the_encoders_states(checkpoints: Make) -> None:
    from bertcli.training.mean_layer import SLOPE, append_mean_layer

    path = checkpoints("bert", "label")
    plain = transformers.AutoModel.from_pretrained(path).eval()
    model = transformers.AutoModelForSequenceClassification.from_pretrained(path).eval()
    append_mean_layer(model)
    ids = torch.tensor([[2, 9, 11, 14, 3], [2, 8, 3, 0, 0]])
    mask = (ids != 0).long()
    with torch.no_grad():
        states = plain(input_ids=ids, attention_mask=mask).last_hidden_state
        mean = (states * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
        expected = torch.tanh(SLOPE * torch.nn.functional.layer_norm(mean, mean.shape[-1:]))
        found = model.bert(input_ids=ids, attention_mask=mask).pooler_output
    assert torch.cosine_similarity(found, expected).min() > 0.999


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        (lambda n: ["good", "bad"][: 1 + n % 2], "multi_label_classification"),
        (lambda n: n / 7, "regression"),
        (lambda n: n % 2, "single_label_classification"),
    ],
)
def test_the_labels_say_what_kind_of_problem_it_is(
    target: Any, problem: str, checkpoints: Make, tmp_path: Path
) -> None:
    rows = [{"text": f"the dog {n}", "b": "a cat", "label": target(n)} for n in range(30)]
    data = write(tmp_path / "data.jsonl", rows)
    out = train(
        "label", data, "--text-field", "text", "--pair-field", "b", "--epochs", "1",
        base=checkpoints("bert", "fill"), out=tmp_path / "m",
    )  # fmt: skip
    assert json.loads((out / "config.json").read_text())["problem_type"] == problem


def test_a_run_repeats_to_the_bit(checkpoints: Make, labelled: str, tmp_path: Path) -> None:
    base = checkpoints("bert", "fill")
    one, two = (train("label", labelled, "--epochs", "2", base=base, out=tmp_path / name) for name in "ab")
    assert (one / "model.safetensors").read_bytes() == (two / "model.safetensors").read_bytes()


def interrupt_in_step(number: int, patch: pytest.MonkeyPatch, by: signal.Signals) -> None:
    original = trainer.Trainer.step

    def step(self: trainer.Trainer, mixture: Mixture) -> None:
        if self.progress.step == number:
            signal.raise_signal(by)
        original(self, mixture)

    patch.setattr(trainer.Trainer, "step", step)


@pytest.mark.parametrize("by", ENDING)
@pytest.mark.usefixtures("watched")
def test_an_interrupted_run_keeps_its_best_and_resumes_to_the_same_end(
    by: signal.Signals, checkpoints: Make, labelled: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = checkpoints("bert", "fill")
    few = ("--epochs", "3", "--dev-fraction", "0.2")
    whole = train("label", labelled, *few, base=base, out=tmp_path / "whole")
    with monkeypatch.context() as patch:
        interrupt_in_step(4, patch, by)
        out = train("label", labelled, *few, base=base, out=tmp_path / "m", code=130)
    assert answers(out, "a nice dog")
    train("label", labelled, *few, "--resume", base=base, out=out)
    resumed, wanted = load_file(out / "model.safetensors"), load_file(whole / "model.safetensors")
    assert all(torch.equal(resumed[name], wanted[name]) for name in wanted)
    assert not (tmp_path / "m.part").exists()
    written = out.stat().st_mtime_ns
    train("label", labelled, *few, "--resume", base=base, out=out)  # complete: nothing is left to do
    assert out.stat().st_mtime_ns == written
    os.utime(labelled)
    train("label", labelled, *few, "--resume", base=base, out=out, code=1)  # other data


@pytest.mark.parametrize("measurement", [3, 4])
@pytest.mark.usefixtures("watched")
def test_a_run_interrupted_in_a_measurement_resumes_to_the_same_end(
    measurement: int, checkpoints: Make, labelled: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = checkpoints("bert", "fill")
    few = ("--epochs", "3", "--dev-fraction", "0.2")
    whole = train("label", labelled, *few, base=base, out=tmp_path / "whole")
    with monkeypatch.context() as patch:
        interrupt_in_measurement(measurement, patch)
        out = train("label", labelled, *few, base=base, out=tmp_path / "m", code=130)
    train("label", labelled, *few, "--resume", base=base, out=out)
    resumed, wanted = load_file(out / "model.safetensors"), load_file(whole / "model.safetensors")
    assert all(torch.equal(resumed[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize("by", ENDING)
@pytest.mark.usefixtures("watched")
def test_a_run_interrupted_while_it_tries_leaves_nothing(
    by: signal.Signals, checkpoints: Make, labelled: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_in_step(1, monkeypatch, by)
    train("label", labelled, base=checkpoints("bert", "fill"), out=tmp_path / "m", code=130)
    assert [path.name for path in tmp_path.iterdir()] == ["labelled.jsonl"]


def test_a_directory_that_is_there_is_not_replaced(checkpoints: Make, labelled: str, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "precious").write_text("work")
    base = checkpoints("bert", "fill")
    train("label", labelled, base=base, out=tmp_path / "m", code=1)
    train("label", labelled, "--overwrite", base=base, out=tmp_path / "m", code=1)
    assert (tmp_path / "m" / "precious").read_text() == "work"


@pytest.mark.parametrize("name", [".", "..", "/"])
def test_a_directory_that_has_no_name_is_there_too(
    name: str,
    labelled: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path / "inner")
    assert main(["train", "label", labelled, "-o", name]) == 1
    assert ": exists\n" in capsys.readouterr().err
    assert list((tmp_path / "inner").iterdir()) == []


@pytest.mark.parametrize("kind", ["label", "tag"])
def test_bare_texts_bring_no_answer_to_learn(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", kind, "-t", "a good film", "-o", "m"]) == 2
    assert "no such option: -t" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["tag", "fill"])
def test_a_second_text_that_would_not_be_learnt_is_refused(
    kind: str, labelled: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", kind, labelled, "--pair-field", "label", "-o", str(tmp_path / "m")]) == 2
    assert "no such option: --pair-field" in capsys.readouterr().err


def test_a_text_is_not_its_own_label(
    checkpoints: Make, labelled: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(
        "label", labelled, "--label-field", "text",
        base=checkpoints("bert", "fill"), out=tmp_path / "m", code=2,
    )  # fmt: skip
    assert "'text' cannot be both the text and its label" in capsys.readouterr().err
    assert not (tmp_path / "m").exists()


def test_one_class_is_nothing_to_learn_and_leaves_nothing(checkpoints: Make, tmp_path: Path) -> None:
    data = write(tmp_path / "d.jsonl", [{"text": f"a {n}", "label": "x"} for n in range(20)])
    train("label", data, base=checkpoints("bert", "fill"), out=tmp_path / "m", code=1)
    assert [path.name for path in tmp_path.iterdir()] == ["d.jsonl"]


def test_tags_are_learnt_from_conll(checkpoints: Make, tmp_path: Path) -> None:
    data = tmp_path / "d.conll"
    data.write_text("".join(f"dog{n}\tB-PER\nruns\tO\n\n" for n in range(20)))
    out = train("tag", str(data), "--epochs", "1", base=checkpoints("bert", "fill"), out=tmp_path / "m")
    network = transformers.AutoModelForTokenClassification.from_pretrained(out)
    assert set(network.config.id2label.values()) == {"O", "B-PER"}
    assert main(["tag", "-q", "-m", str(out), "-t", "dog runs", "-o", str(tmp_path / "o.jsonl")]) == 0


def test_words_behind_one_without_a_piece_are_learnt(checkpoints: Make, tmp_path: Path) -> None:
    joiner = "\u200d\tO\n"
    data = tmp_path / "d.conll"
    data.write_text(f"{joiner}\n" + "".join(f"{joiner}dog{n}\tB-PER\nruns\tO\n\n" for n in range(20)))
    few = ("--dev", str(data), "--epochs", "40", "--learning-rate", "3e-2")
    out = train("tag", str(data), *few, base=checkpoints("bert", "fill"), out=tmp_path / "m")
    assert "| micro f1 | 1.0000 |" in (out / "README.md").read_text()


def test_words_are_learnt_from_plain_text(checkpoints: Make, tmp_path: Path) -> None:
    data = tmp_path / "d.txt"
    data.write_text("".join(f"the dog {n} runs in the park\n" for n in range(30)))
    out = train("fill", str(data), "--epochs", "1", base=checkpoints("bert", "fill"), out=tmp_path / "m")
    transformers.AutoModelForMaskedLM.from_pretrained(out)
    assert main(["fill", "-q", "-m", str(out), "-t", "the [MASK]", "-o", str(tmp_path / "o.jsonl")]) == 0


def test_a_run_is_refused_before_torch_is_loaded(labelled: str, tmp_path: Path) -> None:
    (tmp_path / "m.part").mkdir()
    (tmp_path / "m.part" / "notes.txt").write_text("mine")
    (tmp_path / "file").write_text("")
    for place, message in (
        ("m", "holds notes.txt"),
        ("file/m", "cannot be made"),
        ("file", "is not a model"),
    ):
        command = [sys.executable, "-X", "importtime", "-m", "bertcli", "train", "label", labelled]
        done = subprocess.run(
            [*command, "-o", str(tmp_path / place), "--overwrite"], capture_output=True, text=True
        )
        assert done.returncode == 1
        assert message in done.stderr
        assert "| torch" not in done.stderr
    assert (tmp_path / "m.part" / "notes.txt").read_text() == "mine"


def test_of_two_runs_into_one_directory_the_second_is_refused(labelled: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bertcli", "train", "label", labelled, "-o", str(tmp_path / "m")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as first:
        assert first.stderr is not None
        assert first.stderr.readline().startswith("reading")
        second = subprocess.run(command, capture_output=True, text=True)
        assert second.returncode == 1
        assert "is being written by another run" in second.stderr
        first.send_signal(signal.SIGINT)
        assert "interrupted before there was anything to keep" in first.stderr.read()
        assert first.wait() == 130
    assert not (tmp_path / "m.part").exists()


def test_questions_are_learnt_and_answered_as_in_plain_transformers(
    checkpoints: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = []
    for n in range(24):
        context = f"the dog {n} runs in the park and the cat {n} sleeps"
        answers = {"text": ["park"], "answer_start": [context.index("park")]} if n % 3 else None
        empty: dict[str, list[Any]] = {"text": [], "answer_start": []}
        question = "where is the dog" if answers else "where is the bird"
        rows.append({"context": context, "question": question, "answers": answers or empty})
    data = write(tmp_path / "d.jsonl", rows)
    fields = ("--context-field", "context")
    few = ("--dev", data, "--epochs", "30", "--learning-rate", "1e-2")
    out = train("answer", data, *fields, *few, base=checkpoints("bert", "fill"), out=tmp_path / "m")
    assert "| exact match | 1.0000 |" in (out / "README.md").read_text()
    network = transformers.AutoModelForQuestionAnswering.from_pretrained(out).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(out)
    inputs = tokenizer(rows[1]["question"], rows[1]["context"], return_tensors="pt")
    with torch.no_grad():
        output = network(**inputs)
    first, last = int(output.start_logits.argmax()), int(output.end_logits.argmax())
    assert tokenizer.decode(inputs["input_ids"][0, first : last + 1]) == "park"
    assert main(["answer", data, *fields, "--question-field", "question", "-m", str(out), "-q"]) == 0
    said = [json.loads(line)["answer"] for line in capsys.readouterr().out.splitlines()]
    assert said == [None if n % 3 == 0 else "park" for n in range(24)]


def test_answers_that_are_not_in_the_context_are_refused(
    checkpoints: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = {"text": ["park"], "answer_start": [3]}
    data = write(tmp_path / "d.jsonl", [{"context": "the dog", "question": "where", "answers": answers}])
    base = checkpoints("bert", "fill")
    train("answer", data, "--context-field", "context", base=base, out=tmp_path / "m", code=1)
    assert "answers that are not in the context" in capsys.readouterr().err


@pytest.mark.parametrize("head", ["sentiment", "entities"])
def test_training_starts_from_a_head_of_the_base(
    head: str, checkpoints: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a learning rate of almost 0, the result answers as the head did."""
    base = checkpoints("skills", "base")
    start = open_checkpoint(base).heads[head]
    if start.kind == "label":
        rows = [{"text": f"a dog {n}", "label": start.labels[n % 2]} for n in range(20)]
        data = write(tmp_path / "d.jsonl", rows)
        unknown = write(tmp_path / "u.jsonl", [*rows, {"text": "a cat", "label": "other"}])
    else:
        tags = "".join(f"dog{n}\t{start.labels[n % 2]}\nruns\t{start.labels[0]}\n\n" for n in range(20))
        data, unknown = str(tmp_path / "d.conll"), str(tmp_path / "u.conll")
        Path(data).write_text(tags)
        Path(unknown).write_text(f"{tags}cat\tother\n")
    tiny = ("--head", head, "--epochs", "1", "--learning-rate", "1e-12")
    out = train(start.kind, data, *tiny, base=base, out=tmp_path / "m")
    assert open_checkpoint(out).heads[start.kind].labels == start.labels
    text = ["-t", "the quick dog runs", "-q", "--dtype", "float32", "--engine", "packed"]
    assert main([start.kind, "-m", str(base), "--head", head, *text]) == 0
    assert main([start.kind, "-m", str(out), *text]) == 0
    before, after = map(json.loads, capsys.readouterr().out.splitlines())
    assert before.keys() == after.keys()
    if start.kind == "label":
        assert after["label"] == before["label"]
        assert after["score"] == pytest.approx(before["score"], abs=1e-3)
    else:
        for spans in (before["spans"], after["spans"]):
            assert spans
            for span in spans:
                span.pop("score")
        assert after == before
    train(start.kind, unknown, *tiny, base=base, out=tmp_path / "u", code=2)
    assert "the data has a label 'other' that the head does not have" in capsys.readouterr().err
