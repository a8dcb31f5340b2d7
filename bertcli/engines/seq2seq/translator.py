"""The engine for encoder-decoders on torch: batches of source windows in, hypotheses out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bertcli.engines import available_cores
from bertcli.engines.device import choose_device, choose_dtype, keep_freed_memory
from bertcli.engines.seq2seq import Generation, Hypothesis, Phrase, Seq2SeqEngine
from bertcli.engines.seq2seq.architecture import describe_seq2seq
from bertcli.engines.seq2seq.constrained import constrained_search
from bertcli.engines.seq2seq.model import Transformer
from bertcli.engines.seq2seq.rules import is_described, make_rules
from bertcli.engines.seq2seq.search import beam_search
from bertcli.errors import EngineError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bertcli.engines.seq2seq.rules import Rules
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.records import Window

BATCH_TOKENS = {"cpu": 2048, "cuda": 16_384, "mps": 4096}  # of the source, by kind of device
UNEVEN = 2.0  # windows share a batch up to this ratio of their lengths, and
SLACK = 8  # up to this many tokens of difference: matrix products like many rows, and padding costs in attention alone
# A batch of fewer rows is not divided: a step of the decoder reads all weights, however few rows it has.
FEW_ROWS = 256


class Translator:
    """Generates with our own encoder-decoder. Raises EngineError for a device, dtype or checkpoint it cannot use.

    `threads` is the number of CPU cores to use, None for all that this process may run on; `batch_tokens` the number of
    source tokens of a batch, None for what suits the device.
    """

    name = "packed"
    batch_invariant = False  # the batch decides how sums are rounded

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        device: str = "auto",
        dtype: str = "auto",
        threads: int | None = None,
        batch_tokens: int | None = None,
    ) -> None:
        architecture = describe_seq2seq(checkpoint.config)
        if architecture is None:
            raise EngineError(f"{checkpoint.name}: a {checkpoint.model_type} model has no description here")
        where = choose_device(device)
        number_format = choose_dtype(dtype, where)
        self._name = checkpoint.name
        self._settings = checkpoint.generation
        self._limit = architecture.position_limit
        self.device = str(where)
        self.dtype = str(number_format).removeprefix("torch.")
        self._on_cpu = where.type == "cpu"
        self.workers = (threads or available_cores()) if self._on_cpu else 1
        self.batch_tokens = batch_tokens or BATCH_TOKENS[where.type]
        keep_freed_memory()
        self._model = Transformer(checkpoint.name, checkpoint.weights, architecture, number_format, where)

    def generate(self, windows: Sequence[Window], how: Generation) -> list[list[Hypothesis]]:
        """The `how.count` best hypotheses of each window, best first. May be called from several threads at once."""
        rules = self._rules(how)
        self._use_one_thread()
        found: list[list[Hypothesis]] = [[] for _ in windows]
        with torch.inference_mode():
            beam = max(how.beam, how.count)
            for places in even_batches([len(window) for window in windows], -(-FEW_ROWS // beam)):
                sources = [list(windows[place].ids) for place in places]
                for place, best in zip(
                    places, beam_search(self._model, sources, rules, beam, how.count), strict=True
                ):
                    found[place] = best
        return found

    def constrain(self, window: Window, phrases: Sequence[Phrase], how: Generation) -> list[Hypothesis]:
        """At most `how.count` hypotheses of a window that contain all phrases, best first; where the length limit
        leaves none, those with the most of them."""
        self._use_one_thread()
        with torch.inference_mode():
            return constrained_search(
                self._model, window.ids, self._rules(how), phrases, how.word_insides, how.beam, how.count
            )

    def align(
        self, windows: Sequence[Window], targets: Sequence[Sequence[int]], how: Generation
    ) -> list[NDArray[np.float32]]:
        """Cross-attention of each window's target, the mean over heads: (layers, target tokens, source tokens)."""
        start = self._rules(how).start
        self._use_one_thread()
        with torch.inference_mode():
            inputs = [[start, *target[:-1]] for target in targets]
            found = self._model.cross_attention([list(window.ids) for window in windows], inputs)
            return [each.numpy(force=True) for each in found]

    def _rules(self, how: Generation) -> Rules:
        return make_rules(self._settings, how, name=self._name, position_limit=self._limit)

    def _use_one_thread(self) -> None:
        if self._on_cpu and torch.get_num_threads() != 1:
            torch.set_num_threads(1)  # workers with a core each are faster than all cores on one batch


def even_batches(lengths: Sequence[int], few: int) -> Iterator[list[int]]:
    """The places of windows that are decoded together, longest first: of about the same length, and at least `few` of
    them where there are as many."""
    order = sorted(range(len(lengths)), key=lambda place: lengths[place], reverse=True)
    batch: list[int] = []
    for place in order:
        if len(batch) >= few and lengths[batch[0]] > UNEVEN * lengths[place] + SLACK:
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


def open_translator(checkpoint: Checkpoint, **options: Any) -> Seq2SeqEngine:
    """The engine for a checkpoint: ours where its architecture and all of its generation settings are known here, else
    transformers' own `generate`."""
    if is_described(checkpoint):
        return Translator(checkpoint, **options)
    from bertcli.engines.seq2seq.transformers_backend import TransformersTranslator  # brings transformers

    return TransformersTranslator(checkpoint, **options)
