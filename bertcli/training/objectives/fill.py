"""fill: masked language modelling (Devlin et al. 2018) on blocks, texts or sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from bertcli.errors import InputError
from bertcli.evaluation.masked_words import Sums, piece_sums
from bertcli.requests import LongOptions
from bertcli.tasks.windowing import Windowing
from bertcli.training.batches import ShuffledBatches, TrainingBatch, by_length, pad
from bertcli.training.conversion import RecipeError
from bertcli.training.corpus import Blocks, blocks, tokenise
from bertcli.training.machine import VALIDATION_TOKENS
from bertcli.training.masking import Masking, inside
from bertcli.training.network import Network
from bertcli.training.objectives import Context
from bertcli.training.recipe_data import evenly_spaced, is_held_out, texts_of
from bertcli.training.validation import Validation, of_pieces

if TYPE_CHECKING:
    from bertcli.records import Window
    from bertcli.training.recipe import FillSettings

MIN_TOKENS = 3  # of a text: fewer are no context to predict a word from
VALIDATION_RATE = 0.15  # of the tokens, so that figures compare whatever rate is learnt with
VALIDATION_BLOCKS = 600  # where the recipe sets no limit
VALIDATION_SEED = 15  # one for all runs: the same tokens are masked


class FillObjective:
    """Cross-entropy at the masked tokens."""

    head = None

    def __init__(
        self,
        settings: FillSettings,
        train: Sequence[Window],
        dev: Sequence[Window],
        context: Context,
        seed: int,
    ) -> None:
        """Raises InputError where the texts are too short to predict words in."""
        if not len(train):
            raise InputError(
                "the texts are too short to predict words in", hint="give whole sentences, one a line"
            )
        self.settings, self._context, self._seed = settings, context, seed
        self.train, self.dev = train, dev
        self.train_size, self.dev_size = len(train), len(dev)
        self._masking = Masking.of(
            context.tokenizer, settings.mask_rate, settings.keep_rate, settings.random_rate
        )
        self._validation = Masking.of(context.tokenizer, VALIDATION_RATE)
        self._lengths = [len(one) for one in dev]
        lengths = train.lengths if isinstance(train, Blocks) else [len(one) for one in train]
        self._order = ShuffledBatches(lengths, settings.batch_tokens, seed, context.max_rows)

    @classmethod
    def of_recipe(cls, settings: FillSettings, context: Context, seed: int) -> FillObjective:
        """The objective on the data of a recipe."""
        if settings.unit == "block":
            return cls(settings, *_blocks(settings, context), context, seed)
        learnt: list[str] = []
        held: list[str] = []
        for source in settings.data:
            train, dev = texts_of(source, settings.unit, seed, settings.holdout_every)
            learnt += train
            held += dev
        return cls.of_texts(settings, learnt, evenly_spaced(held, context.validation_limit), context, seed)

    @classmethod
    def of_texts(
        cls, settings: FillSettings, train: Sequence[str], dev: Sequence[str], context: Context, seed: int
    ) -> FillObjective:
        """The objective on whole texts, in windows of at most `max_length` tokens."""
        long = LongOptions(long="window", max_length=settings.max_length, overlap=0)
        windowing = Windowing.of(context.checkpoint, context.tokenizer, long)

        def windows(texts: Sequence[str]) -> list[Window]:
            found = (w for text in texts for w in windowing.single(context.tokenizer.encode(text)).windows)
            return [
                window
                for window in found
                if len(window) >= MIN_TOKENS + windowing.length - windowing.capacity
            ]

        return cls(settings, windows(train), windows(dev), context, seed)

    @property
    def batches_per_epoch(self) -> int:
        return self._order.batches_per_epoch

    def batch(self, number: int) -> TrainingBatch:
        windows = [self.train[i] for i in self._order(number)]
        return self._masked(windows, self._masking, [self._seed, 1, number])[0]

    def loss(self, network: Network, batch: TrainingBatch) -> Tensor:
        assert batch.positions is not None
        return functional.cross_entropy(
            network.vocabulary_logits(batch.inputs, batch.positions), batch.targets
        )

    def validate(self, network: Network) -> Validation | None:
        """Every chosen token is masked, the same ones each time."""
        if not self.dev:
            return None
        sums: list[Sums] = []
        for indices in by_length(self._lengths, VALIDATION_TOKENS):
            windows = [self.dev[i] for i in indices]
            batch, counts = self._masked(windows, self._validation, [VALIDATION_SEED, indices[0]])
            batch = batch.to(self._context.machine.device)
            assert batch.positions is not None
            logits = network.vocabulary_logits(batch.inputs, batch.positions)
            found = ranks_and_log_p(logits, batch.targets)  # [masked, 2]
            sums += [piece_sums(part) for part in np.split(found, np.cumsum(counts)[:-1])]
        pieces, _, _, surprise = np.sum(sums, axis=0)
        return of_pieces(sums, float(surprise / pieces))

    def _masked(
        self, windows: Sequence[Window], masking: Masking, seed: Sequence[int]
    ) -> tuple[TrainingBatch, NDArray[np.int64]]:
        """A batch with masked tokens, and how many of them each row has [rows]."""
        inputs = pad(windows, self._context.machine.pad_id)
        ids = inputs["input_ids"].numpy()  # [rows, length]
        frame = self._context.tokenizer.frame(False)
        maskable = inside(np.array([len(one) for one in windows]), ids.shape[1], frame)
        counts = masking.counts(maskable)
        masked = masking.mask_tokens(ids, maskable, counts, np.random.default_rng(seed))
        targets, positions = torch.from_numpy(masked.targets), torch.from_numpy(masked.positions)
        return TrainingBatch(inputs | {"input_ids": torch.from_numpy(masked.ids)}, targets, positions), counts


def _blocks(settings: FillSettings, context: Context) -> tuple[Blocks, list[Window]]:
    """Blocks of `max_length` tokens to learn from, and to validate with."""
    files = [tokenise(source, context.tokenizer, context.cache) for source in settings.data]
    frame = context.tokenizer.frame(False)
    size = settings.max_length - len(frame)
    every = settings.holdout_every
    train = Blocks(files, blocks(files, size, lambda record: not is_held_out(record, every)), size, frame)
    dev = Blocks(files, blocks(files, size, lambda record: is_held_out(record, every)), size, frame)
    if not len(train):
        raise RecipeError(
            f"{settings.name}: no text of the data fills a block of {settings.max_length} tokens",
            hint="use `unit: text`, or a smaller max_length",
        )
    chosen = np.random.default_rng(VALIDATION_SEED).permutation(len(dev))
    return train, [dev[int(i)] for i in chosen[: context.validation_limit or VALIDATION_BLOCKS]]


def ranks_and_log_p(logits: Tensor, words: Tensor) -> NDArray[np.float32]:
    """The rank from 0 and the log-probability of each word [masked, 2]; logits are [masked, vocabulary]."""
    own = logits.gather(1, words[:, None])  # [masked, 1]
    ranks = (logits > own).sum(1, keepdim=True)
    found: NDArray[np.float32] = torch.cat([ranks, own - logits.logsumexp(1, keepdim=True)], 1).cpu().numpy()
    return found
