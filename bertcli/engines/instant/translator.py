"""The instant engine for encoder-decoders: beam search over one sentence after the other, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from bertcli.engines import available_cores
from bertcli.engines.finite import not_finite
from bertcli.engines.instant.arithmetic import ACTIVATIONS
from bertcli.engines.instant.encoder_decoder import EncoderDecoder, TargetCache
from bertcli.engines.seq2seq import Generation, Hypothesis
from bertcli.engines.seq2seq.architecture import describe_seq2seq
from bertcli.engines.seq2seq.finished import (
    Finished,
    SequenceState,
    forbidden_tokens,
    forced_tokens,
    repeating_tokens,
)
from bertcli.engines.seq2seq.rules import make_rules, unknown_settings
from bertcli.errors import EngineError

if TYPE_CHECKING:
    from bertcli.engines import Array
    from bertcli.engines.seq2seq.rules import Rules
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.records import Window

BATCH_TOKENS = 64  # of the source: a batch is what one thread translates


class InstantTranslator:
    """Raises EngineError for a checkpoint that `supports` speaks against.

    `threads` is the number of CPU cores to use, None for all that this process may run on; `batch_tokens` the number of
    source tokens of a batch.
    """

    name = "instant"
    device = "cpu"
    dtype = "float32"
    batch_invariant = True  # a sentence is translated by itself

    def __init__(
        self, checkpoint: Checkpoint, *, threads: int | None = None, batch_tokens: int | None = None
    ) -> None:
        reason, architecture = self.supports(checkpoint), describe_seq2seq(checkpoint.config)
        if reason is not None or architecture is None:
            raise EngineError(
                f"the instant engine cannot run {checkpoint.name}: {reason}", hint="leave --engine out"
            )
        self.workers = threads or available_cores()
        self.batch_tokens = batch_tokens or BATCH_TOKENS
        self._name, self._settings = checkpoint.name, checkpoint.generation
        self._limit = architecture.position_limit
        self._model = EncoderDecoder(checkpoint.name, checkpoint.weights, architecture)

    @staticmethod
    def supports(checkpoint: Checkpoint) -> str | None:
        """Why this engine cannot run the checkpoint, or None."""
        architecture = describe_seq2seq(checkpoint.config)
        if architecture is None:
            return f"a {checkpoint.model_type} model has no description here"
        if architecture.activation not in ACTIVATIONS:
            return f"its activation is {architecture.activation}"
        unknown = unknown_settings(checkpoint.generation)
        return f"generation_config.json has {unknown[0]}" if unknown else None

    def generate(self, windows: Sequence[Window], how: Generation) -> list[list[Hypothesis]]:
        """The `how.count` best hypotheses of each window, best first. May be called from several threads at once."""
        rules = make_rules(self._settings, how, name=self._name, position_limit=self._limit)
        beam = max(how.beam, how.count)
        return [_beam_search(self._model, window.ids, rules, beam, how.count) for window in windows]


@dataclass(frozen=True, slots=True)
class Running:
    """An unfinished hypothesis: its tokens, their log-probability, and the row of the hypothesis it extends."""

    ids: tuple[int, ...]
    log_prob: float
    row: int


def _beam_search(
    model: EncoderDecoder, source: Sequence[int], rules: Rules, beam: int, count: int
) -> list[Hypothesis]:
    """The `count` best hypotheses of a source sequence, best first, as `seq2seq.search` finds them."""
    if beam == 1:
        rules = replace(rules, early_stopping=True)
    encoded, target = model.encode(source), TargetCache(model.architecture)
    found = SequenceState(beam)
    running = [Running((), 0.0, 0)]
    for length in range(1, rules.longest + 1):
        tokens = [each.ids[-1] if each.ids else rules.start for each in running]
        logits = model.step(tokens, target, encoded)
        continued = _continuations(logits, running, rules, beam, length)
        is_last = length == rules.longest
        live = []
        for place, each in enumerate(continued):
            token = each.ids[-1]
            if token not in rules.ends and not is_last:
                live.append(each)
            elif place < beam:  # a hypothesis that ends has to be among the best, as if it went on
                is_cut = is_last and (token not in rules.ends or bool(rules.last))
                rank = each.log_prob / length**rules.length_penalty
                found.add(Finished(rank, Hypothesis(each.ids, each.log_prob, not is_cut)))
        running = live[:beam]
        if not running:
            break
        found.close(running[0].log_prob, length, rules)
        if found.is_done:
            break
        target.select([each.row for each in running])
    return [each.hypothesis for each in found.finished[:count]]


def _continuations(
    logits: Array, running: Sequence[Running], rules: Rules, beam: int, length: int
) -> list[Running]:
    """The likeliest continuations of the hypotheses by one token, best first: enough that `beam` of them do not end.
    Raises NotFiniteError for logits that are not numbers."""
    forced = forced_tokens(rules, length)
    if forced:
        log_probs = np.full_like(logits, -np.inf)
        log_probs[:, list(forced)] = 0.0
    else:
        highest = logits.max(1, keepdims=True)
        if not np.isfinite(highest).all():
            raise not_finite()
        log_probs = logits - (highest + np.log(np.exp(logits - highest).sum(1, keepdims=True)))
        log_probs[:, forbidden_tokens(rules, length)] = -np.inf
        for row, each in enumerate(running):
            log_probs[row, repeating_tokens(rules, each.ids)] = -np.inf
    log_probs += np.array([each.log_prob for each in running], np.float32)[:, None]
    scores = log_probs.reshape(-1)
    wanted = min((1 + len(rules.ends)) * beam, scores.size)
    places = np.argpartition(scores, -wanted)[-wanted:]
    places = places[np.argsort(-scores[places], kind="stable")]
    rows, tokens = (each.tolist() for each in np.divmod(places, logits.shape[1]))
    return [
        Running((*running[row].ids, token), score, row)
        for row, token, score in zip(rows, tokens, scores[places].tolist(), strict=True)
        if score > -np.inf
    ]
