"""`bertcli train RECIPE.yaml`: skills of every kind on one encoder, the best state kept, runs that resume."""

from __future__ import annotations

import gzip
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
import yaml
from safetensors.torch import load_file, save_file

import bertcli
from bertcli.cli import main
from bertcli.engines import TokenLogits
from bertcli.engines.instant import Instant
from bertcli.engines.packed import Packed
from bertcli.engines.reference import Reference
from bertcli.interrupts import ENDING
from bertcli.models.checkpoint import open_checkpoint
from bertcli.records import Window
from bertcli.training import state, trainer
from bertcli.training.mixture import Mixture
from tests.checkpoints import TEXTS
from tests.conftest import Make
from tests.training.interrupting import interrupt_in_measurement

pytestmark = pytest.mark.slow

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with data for skills of every kind, in several forms."""
    folder = tmp_path / "data"
    folder.mkdir()

    def jsonl(name: str, rows: list[dict[str, Any]]) -> None:
        text = "".join(json.dumps(row) + "\n" for row in rows).encode()
        (folder / name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)

    numbers = range(24)
    jsonl(
        "mood.jsonl", [{"text": f"a {'good' if n % 2 else 'bad'} film {n}", "label": n % 2} for n in numbers]
    )
    jsonl("several.jsonl.gz", [{"text": f"fox {n}", "labels": ["x", "y"][: n % 3]} for n in numbers])
    pairs = [{"text": f"dog {n}", "text_pair": f"cat {n * 2}", "score": n / 5} for n in numbers]
    jsonl("pairs.jsonl", pairs)
    (folder / "people.conll").write_text("".join(f"Ann{n}\tB-PER\nruns\tO\n\n" for n in numbers))
    (folder / "words.tsv").write_text(
        "id\ttext\n" + "".join(f"{n}\t{text}\n" for n, text in enumerate(TEXTS))
    )
    (folder / "corpus.txt").write_text("".join(text + "\n" for text in TEXTS * 3))
    return folder


def skill(kind: str, name: str, **settings: Any) -> dict[str, Any]:
    return {"kind": kind, "name": name, "max_length": 16, "batch_tokens": 64} | settings


def write(data: Path, base: Path, skills: list[dict[str, Any]], **schedule: Any) -> Path:
    quick = {"steps": 4, "warm_up": 1, "precision": "float32", "evaluate_limit": 0}
    path = data / "recipe.yaml"
    path.write_text(yaml.safe_dump({"model": str(base), "schedule": quick | schedule, "skills": skills}))
    return path


MOOD = skill("label", "mood", data="mood.jsonl")


def train(recipe: Path, out: Path, *arguments: str, code: int = 0) -> Path:
    assert main(["train", str(recipe), "-o", str(out), "-q", "--threads", "1", *arguments]) == code
    return out


def tensors(model: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_file(model / "model.safetensors")
    return found


def equal(one: Path, other: Path) -> bool:
    a, b = tensors(one), tensors(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def said(capsys: Capture, *arguments: str) -> dict[str, Any]:
    capsys.readouterr()
    assert main([*arguments, "-q"]) == 0
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


def test_skills_of_every_kind_live_on_one_encoder(
    checkpoints: Make, data: Path, tmp_path: Path, capsys: Capture
) -> None:
    skills = [
        skill("fill", "blocks", data="corpus.txt", holdout_every=3),
        skill("fill", "words", data=["words.tsv", "corpus.txt"], unit="text", holdout_every=4),
        skill("fill", "sentences", data="corpus.txt", unit="sentence", keep_rate=0.1, random_rate=0.1),
        skill("embed", "alike", pairs="pairs.jsonl", dev="pairs.jsonl", score_range=[0, 5]),
        skill("embed", "taught", data="mood.jsonl", teacher=str(checkpoints("sentence", "base"))),
        MOOD | {"weight": [1, 2]},
        skill("label", "several", data="several.jsonl.gz", pooling="mean", dense=False),
        skill("label", "number", data={"path": "pairs.jsonl", "limit": 20}, problem_type="regression"),
        skill("tag", "people", data="people.conll", join=3, transitions=0.3),
    ]
    out = train(write(data, checkpoints("bert", "fill"), skills, steps=6), tmp_path / "m")
    transformers.AutoModelForMaskedLM.from_pretrained(out)
    heads = open_checkpoint(out).heads
    assert {name: head.kind for name, head in heads.items()} == {
        "mood": "label", "several": "label", "number": "label", "people": "tag", "fill": "fill",
    }  # fmt: skip
    assert heads["several"].problem == "multi_label_classification"
    assert heads["people"].transitions
    assert load_file(out / "model.safetensors")["heads.people.transitions"].shape == (3, 2)  # O, B-PER
    model = ["-m", str(out)]
    assert said(capsys, "label", "--head", "mood", "-t", "a good film", *model)["label"] in ("0", "1")
    assert "spans" in said(capsys, "tag", "-t", "Ann runs", *model)
    assert len(said(capsys, "fill", "-t", "the [MASK]", *model)["fills"]) == 5
    assert len(said(capsys, "embed", "-t", "the fox", *model)["embedding"]) == 32
    card = (out / "README.md").read_text()
    for one in skills:
        assert f"\n## {one['name']}\n" in card
    assert "| macro f1 |" in card
    assert (out / "recipe.yaml").read_bytes() == (data / "recipe.yaml").read_bytes()


def test_words_behind_one_without_a_piece_are_learnt(checkpoints: Make, data: Path, tmp_path: Path) -> None:
    joiner = "\u200d\tO\n"
    sentences = "".join(f"{joiner}Ann{n}\tB-PER\nruns\tO\n\n" for n in range(24))
    (data / "people.conll").write_text(f"{joiner}\n{sentences}")
    people = skill("tag", "people", data="people.conll", dev="people.conll")
    recipe = write(data, checkpoints("bert", "fill"), [people], steps=60, peak_rate=3e-2)
    out = train(recipe, tmp_path / "m")
    assert "| micro f1 | 1.0000 |" in (out / "README.md").read_text()


def test_a_run_repeats_to_the_bit(checkpoints: Make, data: Path, tmp_path: Path) -> None:
    skills = [MOOD, skill("fill", "blocks", data="corpus.txt", holdout_every=3)]
    base = checkpoints("bert", "fill")
    one = train(write(data, base, skills, micro_batches=3), tmp_path / "one")
    two = train(write(data, base, skills, micro_batches=3), tmp_path / "two")
    assert equal(one, two)


@pytest.mark.parametrize("by", ENDING)
@pytest.mark.parametrize("step", [3, 4])
@pytest.mark.usefixtures("watched")
def test_an_interrupted_run_keeps_its_best_and_resumes_to_the_same_end(
    step: int,
    by: signal.Signals,
    checkpoints: Make,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = write(data, checkpoints("bert", "fill"), [MOOD], steps=6, evaluate_steps=2)
    whole = train(recipe, tmp_path / "whole")
    with monkeypatch.context() as patch:
        original = trainer.Trainer.step

        def step_and_signal(self: trainer.Trainer, mixture: Mixture) -> None:
            original(self, mixture)
            if self.progress.step == step:
                signal.raise_signal(by)

        patch.setattr(trainer.Trainer, "step", step_and_signal)
        out = train(recipe, tmp_path / "m", code=130)
    assert "interrupted" in (out / "README.md").read_text()
    train(recipe, out, code=1)
    train(recipe, out, "--resume")
    assert equal(out, whole)
    told, wanted = ((path / "README.md").read_text().partition("Intervals")[2] for path in (out, whole))
    assert told == wanted
    assert not (tmp_path / "m.part").exists()


@pytest.mark.parametrize("measurement", [1, 3])
@pytest.mark.usefixtures("watched")
def test_a_run_interrupted_in_a_measurement_resumes_to_the_same_end(
    measurement: int, checkpoints: Make, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = write(data, checkpoints("bert", "fill"), [MOOD], steps=6, evaluate_steps=2)
    whole = train(recipe, tmp_path / "whole")
    with monkeypatch.context() as patch:
        interrupt_in_measurement(measurement, patch)
        out = train(recipe, tmp_path / "m", code=130)
    train(recipe, out, "--resume")
    assert equal(out, whole)


def test_another_recipe_cannot_be_resumed(
    checkpoints: Make, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    base = checkpoints("bert", "fill")
    monkeypatch.setattr(trainer.interrupts, "deferred", _at_once)
    train(write(data, base, [MOOD]), tmp_path / "m", code=130)
    train(write(data, base, [MOOD | {"max_length": 12}]), tmp_path / "m", "--resume", code=2)
    assert "had other data" in capsys.readouterr().err


class _at_once:  # noqa: N801
    """Ctrl-C before the first step is done."""

    def __enter__(self) -> Any:
        return lambda: True

    def __exit__(self, *reason: object) -> None:
        pass


def test_the_state_that_measures_best_is_kept_and_patience_ends(
    checkpoints: Make, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = checkpoints("bert", "fill")
    seen: list[dict[str, torch.Tensor]] = []
    scores = iter([0.2, 0.7, 0.6, 0.7, 0.9])
    original = trainer.Trainer.validate

    def validate(self: trainer.Trainer) -> None:
        seen.append(self.network.weights())
        score = {"score": next(scores)}
        monkeypatch.setattr(state, "score_of", lambda found: score)
        original(self)

    monkeypatch.setattr(trainer.Trainer, "validate", validate)
    out = train(write(data, base, [MOOD], steps=9, evaluate_steps=1, patience=2), tmp_path / "m")
    assert len(seen) == 4  # the second was best, two were not better, and 0.9 was never reached
    weights = {name.removeprefix("model."): value for name, value in seen[1].items()}
    kept = tensors(out)
    assert all(torch.equal(value, weights[name].to(value.dtype)) for name, value in kept.items())
    assert "state after 1 steps" in (out / "README.md").read_text()


def test_a_base_with_skills_gives_its_encoder_and_not_its_heads(
    checkpoints: Make, data: Path, tmp_path: Path
) -> None:
    base = checkpoints("skills", "base")
    out = train(write(data, base, [MOOD]), tmp_path / "m")
    config = json.loads((out / "config.json").read_text())
    assert list(config["bertcli"]["heads"]) == ["mood"]
    assert {name.split(".")[1] for name in tensors(out) if name.startswith("heads.")} == {"mood"}
    assert "temperature" not in config["bertcli"]


def test_a_fill_head_that_never_learnt_is_left_out(checkpoints: Make, data: Path, tmp_path: Path) -> None:
    out = train(write(data, checkpoints("bert", "base"), [MOOD]), tmp_path / "m")
    assert list(open_checkpoint(out).heads) == ["mood"]
    assert main(["fill", "-q", "-m", str(out), "-t", "a [MASK]"]) == 1


@pytest.mark.parametrize(
    ("skills", "told"),
    [
        ([skill("fill", "f", data="words.tsv", max_length=60)], "fills a block of 60 tokens"),
        ([skill("label", "l", data="words.tsv")], "no field labels or label or score"),
        ([skill("tag", "t", data="words.tsv")], "no field tags or spans with the right answer"),
    ],
)
def test_data_that_does_not_fit_is_told(
    skills: list[dict[str, Any]], told: str, checkpoints: Make, data: Path, tmp_path: Path, capsys: Capture
) -> None:
    recipe = write(data, checkpoints("bert", "fill"), skills)
    assert main(["train", str(recipe), "-o", str(tmp_path / "m")]) in (1, 2)
    assert told in capsys.readouterr().err
    assert not (tmp_path / "m.part").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"wieght": 1}, "skills[0].wieght: unknown key, did you mean weight?"),
        ({"data": "none.jsonl"}, "none.jsonl does not exist"),
        ({"max_length": 100}, "skills[0].max_length: 100 tokens are more than the 64 the base takes"),
    ],
)
def test_a_recipe_with_an_error_is_refused_before_torch_is_loaded(
    change: dict[str, Any], message: str, checkpoints: Make, data: Path, tmp_path: Path
) -> None:
    recipe = write(data, checkpoints("bert", "fill"), [MOOD | change])
    command = [sys.executable, "-X", "importtime", "-m", "bertcli", "train", str(recipe)]
    done = subprocess.run([*command, "-o", str(tmp_path / "m")], capture_output=True, text=True)
    assert done.returncode == 2
    assert message in done.stderr
    assert "| torch" not in done.stderr
    assert not (tmp_path / "m.part").exists()


def test_only_a_bert_can_have_several_skills(
    checkpoints: Make, data: Path, tmp_path: Path, capsys: Capture
) -> None:
    train(write(data, checkpoints("roberta", "fill"), [MOOD]), tmp_path / "m", code=1)
    assert "a recipe needs a BERT" in capsys.readouterr().err


def test_float16_is_refused(checkpoints: Make, data: Path, tmp_path: Path, capsys: Capture) -> None:
    train(write(data, checkpoints("bert", "fill"), [MOOD]), tmp_path / "m", "--dtype", "float16", code=2)
    assert "float16 cannot be trained in" in capsys.readouterr().err


def questions(data: Path) -> None:
    rows = []
    for n in range(24):
        context = f"the dog {n} runs in the park and the cat {n} sleeps"
        found = {"text": ["park"], "answer_start": [context.index("park")]} if n % 3 else None
        question = "where is the dog" if found else "where is the bird"
        answers = found or {"text": [], "answer_start": []}
        rows.append({"context": context, "question": question, "answers": answers})
    (data / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def beside(data: Path, base: Path, tmp_path: Path, **schedule: Any) -> Path:
    """A model with heads beside those of the base, two of them with an adapter."""
    questions(data)
    source = {"path": "questions.jsonl", "text_field": "context", "pair_field": "question"}
    skills = [
        skill("answer", "finder", data=source, dev=source, adapter=4, max_length=32),
        skill("tag", "people", data="people.conll", adapter=2, shapes=True, dropout=0.0),
        MOOD,
    ]
    recipe = write(data, base, skills, **schedule)
    recipe.write_text("frozen: true\n" + recipe.read_text())
    return train(recipe, tmp_path / "beside")


def test_a_frozen_base_keeps_its_answers_beside_new_heads(
    checkpoints: Make, data: Path, tmp_path: Path, capsys: Capture
) -> None:
    base = checkpoints("skills", "skills")
    out = beside(data, base, tmp_path, steps=120, peak_rate=1e-2)
    before, after = tensors(base), tensors(out)
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    *heads, fill = open_checkpoint(base).heads
    assert list(open_checkpoint(out).heads) == [*heads, "finder", "people", "mood", fill]
    for arguments in (("label", "--head", "sentiment"), ("tag", "--head", "entities"), ("embed",)):
        model = [said(capsys, *arguments, "-t", "the dog in Rome", "-m", str(m)) for m in (base, out)]
        assert model[0] == model[1]
    asked = ("answer", "--question", "where is the dog", "-t", "the dog 4 runs in the park", "-m", str(out))
    assert "park" in said(capsys, *asked)["answer"]


def test_an_adapter_computes_in_every_engine_what_it_learnt(
    checkpoints: Make, data: Path, tmp_path: Path
) -> None:
    """The reference is transformers' own encoder, with the weights of the adapter added by hand, and with the table of
    token types of a head that reads shapes."""
    base = checkpoints("skills", "skills")
    out = beside(data, base, tmp_path, steps=8, peak_rate=2e-2)
    opened, stored = open_checkpoint(out), tensors(out)
    for name, types in (("finder", (0,) * 11 + (1,) * 11), ("people", (0, *range(2, 22), 0))):
        window = Window((2, *range(5, 14), 3, *range(20, 30), 3), types, (0, 22))
        inputs = {"input_ids": torch.tensor([window.ids]), "token_type_ids": torch.tensor([types])}
        head = opened.heads[name]
        encoder = transformers.AutoModel.from_pretrained(base, attn_implementation="eager").eval()
        if head.shapes:
            table = stored[f"heads.{name}.token_types"].float()
            assert len(table[2:].unique(dim=0)) > 1  # some rows have learnt
            encoder.embeddings.token_type_embeddings = torch.nn.Embedding.from_pretrained(table)
        for weight in head.adapter:
            up, down = (stored[f"heads.{name}.adapter.{weight}.{part}"].float() for part in ("up", "down"))
            assert up.abs().max() > 0
            encoder.get_parameter(weight.removeprefix("bert.")).data += up @ down
        layer = f"heads.{name}.classifier."
        with torch.no_grad():
            states = encoder(**inputs).last_hidden_state[0]
            expected = states @ stored[f"{layer}weight"].T + stored[f"{layer}bias"]
        adapted = opened.for_head(head)
        packed = Packed(adapted, device="cpu", dtype="float32")
        for engine in (Instant(adapted), packed, Reference(adapted)):
            assert engine.forward([window], TokenLogits(head))[0] == pytest.approx(expected.numpy(), abs=1e-4)


def test_an_adapter_begins_as_what_full_training_changed(
    checkpoints: Make, data: Path, tmp_path: Path
) -> None:
    """Of as high a rank as the matrices, it is all of the change."""
    base = checkpoints("skills", "skills")
    people = skill("tag", "people", data="people.conll", shapes=True)
    full = train(write(data, base, [people], steps=6, peak_rate=2e-3), tmp_path / "full")
    begins = people | {"adapter": 32, "adapter_from": str(full)}
    recipe = write(data, base, [begins], steps=1, peak_rate=0.0)
    recipe.write_text("frozen: true\n" + recipe.read_text())
    out = train(recipe, tmp_path / "beside")
    old, new, found = tensors(base), tensors(full), tensors(out)
    name = "bert.encoder.layer.1.output.dense.weight"
    up, down = (found[f"heads.people.adapter.{name}.{part}"].float() for part in ("up", "down"))
    change = new[name].float() - old[name].float()
    assert change.abs().max() > 1e-3
    assert torch.allclose(up @ down, change, atol=1e-4)
    for part in ("classifier.weight", "classifier.bias", "token_types"):
        assert torch.allclose(
            found[f"heads.people.{part}"].float(), new[f"heads.people.{part}"].float(), atol=1e-3
        )


def test_an_adapter_begins_from_a_model_with_its_head_alone(
    checkpoints: Make, data: Path, tmp_path: Path, capsys: Capture
) -> None:
    base = checkpoints("skills", "skills")
    people = skill("tag", "people", data="people.conll", adapter=2, adapter_from=str(base))
    train(write(data, base, [people], steps=1), tmp_path / "m", code=2)
    assert "has no head people that predicts the same" in capsys.readouterr().err
    del people["adapter"]
    train(write(data, base, [people], steps=1), tmp_path / "m", code=2)
    assert "`adapter_from` needs the rank of an `adapter`" in capsys.readouterr().err


def test_training_further_starts_from_a_head_with_its_adapter(
    checkpoints: Make, data: Path, tmp_path: Path
) -> None:
    base = beside(data, checkpoints("skills", "skills"), tmp_path, steps=8, peak_rate=2e-2)
    arguments = ["-m", str(base), "--head", "people", "--epochs", "1", "--learning-rate", "1e-12"]
    assert main(["train", "tag", str(data / "people.conll"), "-o", str(tmp_path / "m"), *arguments]) == 0
    opened = open_checkpoint(base)
    adapted = opened.for_head(opened.heads["people"]).weights
    name = "bert.encoder.layer.1.output.dense.weight"
    assert load_file(tmp_path / "m" / "model.safetensors")[name].numpy() == pytest.approx(adapted.read(name))
    assert adapted.read(name) != pytest.approx(opened.weights.read(name))


def test_a_head_without_its_adapter_is_refused(
    checkpoints: Make, data: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = beside(data, checkpoints("skills", "skills"), tmp_path, steps=1)
    lost = "heads.people.adapter.bert.encoder.layer.1.output.dense.weight.up"
    kept = {name: tensor for name, tensor in tensors(out).items() if name != lost}
    save_file(kept, out / "model.safetensors", {"format": "pt"})
    assert main(["tag", "--head", "people", "-t", "Ann runs", "-m", str(out)]) == 1
    assert "the people head" in capsys.readouterr().err


def test_a_table_of_token_types_that_does_not_fit_is_refused(
    checkpoints: Make, data: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = beside(data, checkpoints("skills", "skills"), tmp_path, steps=1)
    held = tensors(out)
    held["heads.people.token_types"] = held["heads.people.token_types"][:20]
    save_file(held, out / "model.safetensors", {"format": "pt"})
    assert main(["tag", "--head", "people", "-t", "Ann runs", "-m", str(out)]) == 1
    assert "heads.people.token_types is (20, " in capsys.readouterr().err


def test_the_library_keeps_the_encoders_of_its_heads_apart(
    checkpoints: Make, data: Path, tmp_path: Path
) -> None:
    out = beside(data, checkpoints("skills", "skills"), tmp_path, steps=8, peak_rate=2e-2)
    model = bertcli.load(str(out), engine="packed", dtype="float32")
    fresh = bertcli.load(str(out), engine="packed", dtype="float32")
    texts = ["the dog 4 runs in the park"]
    first = list(model.tag(texts, head="entities")), list(model.tag(texts, head="people"))
    assert first == (list(fresh.tag(texts, head="entities")), list(model.tag(texts, head="people")))
    assert list(fresh.answer(texts, question="where")) == list(model.answer(texts, question="where"))


def test_a_tag_head_with_shapes_tells_apart_what_the_encoder_does_not(
    checkpoints: Make, data: Path, tmp_path: Path, capsys: Capture
) -> None:
    """The encoder is uncased: only the shape of a word says whether it is a name here."""
    lines = [
        f"the\tO\n{'Fox' if n % 2 else 'fox'}\t{'B-PER' if n % 2 else 'O'}\nRuns\tO\n" for n in range(40)
    ]
    (data / "foxes.conll").write_text("\n".join(lines))
    skills = [skill("tag", "names", data="foxes.conll", dev="foxes.conll", shapes=True)]
    recipe = write(data, checkpoints("skills", "skills"), skills, steps=100, peak_rate=5e-3)
    out = train(recipe, tmp_path / "m")
    assert "| micro f1 | 1.0000 |" in (out / "README.md").read_text()
    for options in ((), ("--aggregation", "max"), ("--engine", "packed", "--dtype", "float32")):
        for text, names in (("the Fox Runs", ["Fox"]), ("the fox Runs", [])):
            found = said(capsys, "tag", "-t", text, "-m", str(out), *options)
            assert [span["text"] for span in found["spans"]] == names
    evaluated = said(capsys, "evaluate", "tag", str(data / "foxes.conll"), "-m", str(out), "--json")
    assert evaluated["metrics"]["micro_f1"]["value"] == 1


def test_a_head_of_the_base_with_the_same_labels_is_trained_further(
    checkpoints: Make, data: Path, tmp_path: Path
) -> None:
    first = train(write(data, checkpoints("bert", "fill"), [MOOD]), tmp_path / "first")
    still = {"steps": 1, "peak_rate": 0.0}
    same = train(write(data, first, [MOOD], **still), tmp_path / "same")
    other = train(write(data, first, [MOOD | {"name": "temper"}], **still), tmp_path / "other")
    before, after, new = (load_file(one / "model.safetensors") for one in (first, same, other))
    names = [name for name in before if name.startswith("heads.mood.")]
    assert names
    assert all(torch.equal(before[name], after[name]) for name in names)
    name = "heads.mood.classifier.weight"
    assert not torch.equal(before[name], new[name.replace("mood", "temper")])
