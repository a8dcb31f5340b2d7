"""embed: embeddings like those of a teacher, or cosines like scores."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from transformers import AutoModel

from bertcli.errors import ModelError
from bertcli.models.checkpoint import open_checkpoint
from bertcli.models.library import resolve
from bertcli.models.tokenizer import Tokenizer
from bertcli.training.batches import ShuffledBatches, TrainingBatch, encode, pad, truncation
from bertcli.training.conversion import ModelName, RecipeError
from bertcli.training.network import Network, load_base, mean_pool
from bertcli.training.objectives import Context
from bertcli.training.recipe_data import evenly_spaced, scored_pairs, texts_of
from bertcli.training.validation import Validation, of_pairs

if TYPE_CHECKING:
    from bertcli.records import Window
    from bertcli.training.recipe import EmbedSettings


class EmbedObjective:
    """Distillation of a teacher over texts, or regression of the cosines of scored pairs."""

    head = None

    def __init__(self, settings: EmbedSettings, context: Context, seed: int) -> None:
        """Raises RecipeError where the data is empty, ModelError for a model that cannot be a teacher."""
        self.settings, self._context = settings, context
        dev = evenly_spaced(scored_pairs(settings.dev, context.seed), context.validation_limit)
        self._dev = self._windows([e.text for e in dev]), self._windows([str(e.pair) for e in dev])
        self._dev_scores = np.array([float(e.target) for e in dev])
        self._partners: list[Window] | None = None
        self._targets: Tensor | NDArray[np.float16]
        if settings.pairs:
            examples = scored_pairs(settings.pairs, context.seed)
            self._train = self._windows([e.text for e in examples])
            self._partners = self._windows([str(e.pair) for e in examples])
            low, high = settings.score_range
            self._targets = (torch.tensor([float(e.target) for e in examples]) - low) / (high - low)
            lengths = [2 * max(len(a), len(b)) for a, b in zip(self._train, self._partners, strict=True)]
        else:
            assert settings.teacher is not None  # the recipe has been checked
            texts = [
                text
                for source in settings.data
                for text in texts_of(source, settings.unit, seed, settings.holdout_every)[0]
            ]
            if not texts:
                raise RecipeError(f"{settings.name}: there is no text in its data")
            self._train = self._windows(texts)
            self._targets = teacher_embeddings(settings.teacher, texts, settings.max_length, context)
            lengths = [len(one) for one in self._train]
        self.train_size, self.dev_size = len(self._train), len(dev)
        self._order = ShuffledBatches(lengths, settings.batch_tokens, seed, context.max_rows)

    def _windows(self, texts: Sequence[str]) -> list[Window]:
        return self._context.windows(texts, None, self.settings.max_length)

    @property
    def batches_per_epoch(self) -> int:
        return self._order.batches_per_epoch

    def batch(self, number: int) -> TrainingBatch:
        chosen = self._order(number)
        windows = [self._train[i] for i in chosen]
        if self._partners is not None:
            windows += [self._partners[i] for i in chosen]
        targets = self._targets[chosen]
        if isinstance(targets, np.ndarray):
            targets = torch.from_numpy(targets.astype(np.float32))
        return TrainingBatch(pad(windows, self._context.machine.pad_id), targets)

    def loss(self, network: Network, batch: TrainingBatch) -> Tensor:
        """Of scored pairs the squared difference of the cosine and the score on a scale of 0 to 1. With a teacher
        1 - cosine with its embeddings, plus the mean squared difference of the two matrices of similarities within
        the batch [rows, rows]."""
        own = embeddings(network, batch.inputs)  # [rows, hidden]
        if self._partners is not None:
            first, second = own.chunk(2)
            return ((first * second).sum(1) - batch.targets).square().mean()
        with torch.autocast(own.device.type, enabled=False):
            difference = own @ own.T - batch.targets @ batch.targets.T  # [rows, rows]
        return (1.0 - (own * batch.targets).sum(1)).mean() + difference.square().mean()

    def validate(self, network: Network) -> Validation | None:
        if not self.dev_size:
            return None
        sides = []
        for windows in self._dev:
            found = np.zeros((len(windows), network.model.config.hidden_size), np.float32)
            for indices, inputs in self._context.machine.sweep(windows):
                found[indices] = embeddings(network, inputs).cpu().numpy()
            sides.append(found)
        return of_pairs((sides[0] * sides[1]).sum(1), self._dev_scores)


def embeddings(network: Network, inputs: dict[str, Tensor]) -> Tensor:
    """The mean of the hidden states at unit length: float32 [rows, hidden]."""
    return functional.normalize(mean_pool(network.states(inputs), inputs["attention_mask"]), dim=1)


def teacher_embeddings(
    teacher: ModelName, texts: Sequence[str], length: int, context: Context
) -> NDArray[np.float16]:
    """Embeddings of unit length by another model, pooled as its files say: [texts, hidden].

    Cached for a run that is resumed. Raises ModelError for a teacher that does not pool by mean or [CLS].
    """
    checkpoint = open_checkpoint(resolve(teacher))
    mode = checkpoint.pooling.mode
    if mode not in ("mean", "cls"):
        raise ModelError(f"{checkpoint.name} pools by {mode}, and a teacher must pool by mean or cls")
    if checkpoint.pooling.modules:
        kind = type(checkpoint.pooling.modules[0]).__name__
        raise ModelError(f"{checkpoint.name} has a {kind} module, which a teacher must not have")
    content = hashlib.sha256("\n".join([checkpoint.fingerprint(), str(length), *texts]).encode())
    file = context.cache / f"{content.hexdigest()[:16]}.embeddings.npy"
    if not file.exists():
        tokenizer = Tokenizer.of(checkpoint)
        machine = replace(context.machine, pad_id=tokenizer.pad_id or 0)
        model = load_base(AutoModel, checkpoint).to(machine.device).eval()
        windowing = truncation(checkpoint, tokenizer, min(length, checkpoint.position_limit))
        windows = [encode(tokenizer, windowing, text, None) for text in texts]
        found = np.zeros((len(texts), checkpoint.hidden_size), np.float16)
        with torch.inference_mode(), machine.forward_pass():
            for indices, inputs in machine.sweep(windows):
                states = model(**inputs).last_hidden_state
                pooled = (
                    mean_pool(states, inputs["attention_mask"]) if mode == "mean" else states[:, 0].float()
                )
                found[indices] = functional.normalize(pooled, dim=1).cpu().numpy()
        context.cache.mkdir(parents=True, exist_ok=True)
        np.save(file, found)
    saved: NDArray[np.float16] = np.load(file, mmap_mode="r")
    return saved
