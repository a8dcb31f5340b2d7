"""`train translate`: an encoder-decoder from pairs of texts, new or trained further.

Adam with warm-up and inverse square root decay, label smoothing, and the average of the last checkpoints are those of
"Attention Is All You Need" (Vaswani et al. 2017), of which `marian` makes a new model.
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
    from bertcli.training.trainer import Report, Validated

AVERAGED = 10  # checkpoints, one an epoch
PATIENCE = 10  # epochs without a lower loss on the held-out pairs


def train_translation(
    request: requests.TrainTranslate,
    train: Sequence[Pair],
    dev: Sequence[Pair],
    target: Target,
    command: Sequence[str],
    report: Report,
    validated: Validated,
) -> TrainingOutcome:
    """Train on pairs of texts and write the model as a directory that transformers opens. `command` is what the user
    typed; `validated` gets the epoch with the figures.

    Raises ModelError for a base that is no encoder-decoder, and UsageError when the run to resume had other data or
    options.
    """

    def of_epoch(figures: Mapping[str, float]) -> None:
        validated({"epoch": figures["step"] // objective.batches_per_epoch, **figures})

    origin, objective, trainer = make_trainer(request, train, dev, target.part, report, of_epoch)
    if objective.left_out:
        console.warn(f"{objective.left_out} pairs are left out: they are longer than the model")
    if request.resume:
        trainer.resume()
    trainer.train()
    found = trainer.validations().get(objective.settings.name)
    figures = {} if found is None else found.figures()
    with target.writing(keep_state=trainer.interrupted) as folder:
        origin.model.save_pretrained(folder)
        origin.write_tokenizer(folder)
        card = _card(request, origin, objective, trainer.progress.step, command, figures.get("loss"))
        (folder / "README.md").write_text(card, encoding="utf-8")
    return TrainingOutcome(figures, trainer.history, trainer.progress.step, trainer.interrupted)


def make_trainer(
    request: requests.TrainTranslate,
    train: Sequence[Pair],
    dev: Sequence[Pair],
    run: Path,
    report: Report,
    validated: Validated,
) -> tuple[StartingPoint, TranslateObjective, Trainer]:
    """What a run in the directory `run` starts from, what it learns, and its trainer."""
    if request.threads is not None:
        torch.set_num_threads(request.threads)
    torch.manual_seed(request.seed)  # new weights are drawn at random
    origin: StartingPoint = NewModel(request, train) if request.base is None else BaseModel(request)
    machine = Machine.choose(request.device, request.dtype, origin.pad)
    objective = TranslateObjective(origin, train, dev, machine, request.batch_tokens, request.seed)
    if machine.device.type == "cpu":
        # torch's fused attention has a slow backward pass on CPUs, in bfloat16 a very slow one (torch 2.13).
        origin.model.set_attn_implementation("eager")
    schedule = Schedule(
        steps=objective.batches_per_epoch * request.epochs,
        peak_rate=request.learning_rate or origin.learning_rate,
        warm_up=origin.warm_up,
        decay="inverse_sqrt",
        micro_batches=1,
        weight_decay=0.0,
        checkpoint_minutes=2,
        evaluate_steps=objective.batches_per_epoch,
        patience=PATIENCE if dev else 0,
        average=AVERAGED,
    )
    languages = request.source_lang, request.target_lang, request.prefix_text
    identity = (request.base, request.size, request.vocab_size, languages, schedule, machine, train, dev)
    key = hashlib.sha256(repr((request.seed, request.batch_tokens, identity)).encode()).hexdigest()
    network = Network(origin.model).to(machine.device)
    trainer = Trainer(network, [objective], schedule, machine, run, key, request.seed, report, validated)
    return origin, objective, trainer


def _card(
    request: requests.TrainTranslate,
    origin: StartingPoint,
    objective: TranslateObjective,
    steps: int,
    command: Sequence[str],
    loss: float | None,
) -> str:
    """The model card: Markdown with the front matter that Hugging Face reads."""
    files = ", ".join(f"`{Path(name).name}`" for name in request.files)
    lines = [
        "---",
        "library_name: transformers",
        "pipeline_tag: translation",
        "---",
        "",
        "# A translation model trained by bertcli",
        "",
        f"{origin.kind} by bertcli {__version__} on {objective.train_size} pairs of texts ({files}) in {steps}"
        f" steps; {objective.dev_size or 'none'} were held out. Its weights are the average of the last"
        f" {AVERAGED} epochs, or those of one epoch where these are better.",
        "" if loss is None else f"\nLoss on the held-out pairs: {loss:.4f} nats per token.\n",
        "```console",
        f"$ bertcli {shlex.join(command)}",
        '$ bertcli translate -m . -t "…"',
        "```",
        "",
        "It knows best the words and the kind of sentences of its training pairs.",
        "",
    ]
    return "\n".join(lines)
