"""transformers' own `generate`, for architectures and generation settings that are not described here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from bertcli.engines.device import choose_device, choose_dtype
from bertcli.engines.loading import load_generator
from bertcli.engines.seq2seq import Generation, Hypothesis
from bertcli.engines.seq2seq.rules import make_rules
from bertcli.engines.seq2seq.translator import BATCH_TOKENS, even_batches

if TYPE_CHECKING:
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.records import Window


class TransformersTranslator:
    """Generates with transformers. Raises EngineError for a checkpoint that transformers cannot load as a model of
    this kind. `attention` is the attention function's name, None for transformers' own choice."""

    name = "transformers"
    batch_invariant = False
    workers = 1  # `generate` keeps state in the model

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        device: str = "auto",
        dtype: str = "auto",
        threads: int | None = None,
        batch_tokens: int | None = None,
        attention: str | None = None,
    ) -> None:
        where = choose_device(device)
        number_format = choose_dtype(dtype, where)
        if threads is not None:
            torch.set_num_threads(threads)
        self.device, self.dtype = str(where), str(number_format).removeprefix("torch.")
        self.batch_tokens = batch_tokens or BATCH_TOKENS[where.type]
        self._name = checkpoint.name
        self._settings = checkpoint.generation
        limit = checkpoint.config.get("max_position_embeddings")
        self._limit = limit if isinstance(limit, int) else None
        self._where = where
        self._model = load_generator(checkpoint, number_format, attention).to(where)

    def generate(self, windows: Sequence[Window], how: Generation) -> list[list[Hypothesis]]:
        """The `how.count` best hypotheses of each window, best first."""
        found: list[list[Hypothesis]] = [[] for _ in windows]
        for places in even_batches([len(window) for window in windows], 1):
            for place, best in zip(
                places, self._batch([windows[place] for place in places], how), strict=True
            ):
                found[place] = best
        return found

    def _batch(self, windows: Sequence[Window], how: Generation) -> list[list[Hypothesis]]:
        rules = make_rules(self._settings, how, name=self._name, position_limit=self._limit)
        longest, beam = max(map(len, windows)), max(how.beam, how.count)
        ids = torch.full((len(windows), longest), rules.pad)
        mask = torch.zeros_like(ids)
        for row, window in enumerate(windows):
            ids[row, : len(window)] = torch.tensor(window.ids)
            mask[row, : len(window)] = 1
        settings = {} if how.start_token is None else {"decoder_start_token_id": how.start_token}
        if how.first_token is not None:
            settings["forced_bos_token_id"] = how.first_token
        with torch.inference_mode():
            out = self._model.generate(
                input_ids=ids.to(self._where),
                attention_mask=mask.to(self._where),
                num_beams=beam,
                num_return_sequences=how.count,
                do_sample=False,
                max_new_tokens=rules.longest,
                length_penalty=rules.length_penalty,
                output_scores=True,
                return_dict_in_generate=True,
                **settings,
            )
            steps = self._model.compute_transition_scores(
                out.sequences, out.scores, getattr(out, "beam_indices", None), normalize_logits=beam == 1
            )
        found: list[list[Hypothesis]] = [[] for _ in windows]
        for row, (sequence, scores) in enumerate(zip(out.sequences.tolist(), steps.tolist(), strict=True)):
            generated = sequence[1:]
            end = next((place for place, token in enumerate(generated) if token in rules.ends), None)
            kept = generated if end is None else generated[: end + 1]
            hypothesis = Hypothesis(tuple(kept), sum(scores[: len(kept)]), end is not None)
            found[row // how.count].append(hypothesis)
        return found
