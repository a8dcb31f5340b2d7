"""`train translate`: an encoder-decoder from pairs of texts, new or trained further.

Adam with warm-up and inverse square root decay, label smoothing, and the average of the last checkpoints are those of
"Attention Is All You Need" (Vaswani et al. 2017). `marian` makes a new model as in the paper, `fine_tuning` opens one.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from bertcli import __version__, console
from bertcli.training.fine_tuning import BaseModel
from bertcli.training.machine import Machine
from bertcli.training.marian import NewModel
from bertcli.training.network import Network
from bertcli.training.objectives.translate import StartingPoint, TranslateObjective
from bertcli.training.recipe import Schedule
from bertcli.training.run import TrainingOutcome
from bertcli.training.trainer import Trainer

if TYPE_CHECKING:
    from bertcli import requests
    from bertcli.training.objectives.translate import Pair
    from bertcli.training.saving import Target
    from bertcli.training.trainer import OnValidation, Report

AVERAGED = 10  # checkpoints, one an epoch
PATIENCE = 10  # epochs without a lower loss on the held-out pairs


def train_translation(
    request: requests.TrainTranslate,
    train: Sequence[Pair],
    dev: Sequence[Pair],
    target: Target,
    command: Sequence[str],
    report: Report,
    on_validation: OnValidation,
) -> TrainingOutcome:
    """Train on pairs of texts and write the model as a directory that transformers opens. `command` is what the user
    typed; `on_validation` gets the epoch with the figures.

    Raises ModelError for a base that is no encoder-decoder, and UsageError when the run to resume had other data or
    options.
    """

    def of_epoch(figures: Mapping[str, float]) -> None:
        on_validation({"epoch": figures["step"] // objective.batches_per_epoch, **figures})

    starting_point, objective, trainer = make_trainer(request, train, dev, target.part, report, of_epoch)
    if objective.left_out:
        console.warn(f"{objective.left_out} pairs are left out: they are longer than the model")
    if request.resume:
        trainer.resume()
    trainer.train()
    best = trainer.best
    figures = {name: value for name, (value, _, _) in best.figures.get(objective.settings.name, {}).items()}
    with target.writing(keep_state=trainer.interrupted) as folder:
        starting_point.model.save_pretrained(folder)
        starting_point.write_tokenizer(folder)
        card = _card(request, starting_point, objective, trainer, command)
        (folder / "README.md").write_text(card, encoding="utf-8")
    return TrainingOutcome(figures, trainer.history, trainer.progress.step, trainer.interrupted)


def make_trainer(
    request: requests.TrainTranslate,
    train: Sequence[Pair],
    dev: Sequence[Pair],
    run: Path,
    report: Report,
    on_validation: OnValidation,
) -> tuple[StartingPoint, TranslateObjective, Trainer]:
    """What a run in the directory `run` starts from, what it learns, and its trainer."""
    if request.threads is not None:
        torch.set_num_threads(request.threads)
    torch.manual_seed(request.seed)  # new weights are drawn at random
    starting_point: StartingPoint = NewModel(request, train) if request.base is None else BaseModel(request)
    machine = Machine.choose(request.device, request.dtype, starting_point.pad)
    objective = TranslateObjective(starting_point, train, dev, machine, request.batch_tokens, request.seed)
    if machine.device.type == "cpu":
        # torch's fused attention has a slow backward pass on CPUs, in bfloat16 a very slow one (torch 2.13).
        starting_point.model.set_attn_implementation("eager")
    schedule = Schedule(
        steps=objective.batches_per_epoch * request.epochs,
        peak_rate=request.learning_rate or starting_point.learning_rate,
        warm_up=starting_point.warm_up,
        decay="inverse_sqrt",
        micro_batches=1,
        weight_decay=0.0,
        epsilon=1e-9,
        checkpoint_minutes=2,
        evaluate_steps=objective.batches_per_epoch,
        patience=PATIENCE if dev else 0,
        average=AVERAGED,
    )
    languages = request.source_lang, request.target_lang, request.prefix_text
    identity = (request.base, request.size, request.vocab_size, languages, schedule, machine, train, dev)
    key = hashlib.sha256(repr((request.seed, request.batch_tokens, identity)).encode()).hexdigest()
    network = Network(starting_point.model).to(machine.device)
    trainer = Trainer(network, [objective], schedule, machine, run, key, request.seed, report, on_validation)
    return starting_point, objective, trainer


def _card(
    request: requests.TrainTranslate,
    starting_point: StartingPoint,
    objective: TranslateObjective,
    trainer: Trainer,
    command: Sequence[str],
) -> str:
    """The model card: Markdown with the front matter that Hugging Face reads."""
    steps, best = trainer.progress.step, trainer.best
    chosen = best.step if best.weights else steps
    weights = (
        f"the average of the last {trainer.averaged} epochs"
        if trainer.averaged > 1
        else f"those after step {chosen}"
    )
    loss = best.figures.get(objective.settings.name, {}).get("loss")
    files = ", ".join(f"`{Path(name).name}`" for name in request.files)
    lines = [
        "---",
        "library_name: transformers",
        "pipeline_tag: translation",
        "---",
        "",
        "# A translation model trained by bertcli",
        "",
        f"{starting_point.kind} by bertcli {__version__} on {objective.train_size} pairs of texts ({files}) in {steps}"
        f" steps; {objective.dev_size or 'none'} were held out. Its weights are {weights}.",
        "" if loss is None else f"\nLoss on the held-out pairs: {loss[0]:.4f} nats per token.\n",
        "```console",
        f"$ bertcli {shlex.join(command)}",
        '$ bertcli translate -m . -t "…"',
        "```",
        "",
        "It knows best the words and the kind of sentences of its training pairs.",
        "",
    ]
    return "\n".join(lines)
