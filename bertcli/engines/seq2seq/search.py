"""Beam search over an encoder-decoder, all sequences of a batch at once.

Each sequence follows `beam` hypotheses. Every step extends them all, and of the best continuations those that end
become finished hypotheses, the others continue. A sequence is done when no hypothesis it follows can still beat its
finished ones; it leaves the batch then. Scores are the sums of log-probabilities divided by length**length_penalty, and
when a sequence is done is decided as transformers' `generate` decides it. Greedy search is a beam of one that stops at
the first end.

The keys and values of a hypothesis stay where they were written: the cache knows which of them are in the past of
which hypothesis. The first token is chosen by one row a sequence, as all hypotheses are equal before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bertcli.engines.finite import not_finite
from bertcli.engines.seq2seq import Hypothesis
from bertcli.engines.seq2seq.finished import (
    Finished,
    SequenceState,
    forbidden_tokens,
    forced_tokens,
    repeating_tokens,
)

if TYPE_CHECKING:
    from bertcli.engines.seq2seq.model import Transformer
    from bertcli.engines.seq2seq.rules import Rules

IMPOSSIBLE = -1e9  # the score of a hypothesis that is not there
LEAVE_AT = 0.125  # the part of a batch that must be done before it is made smaller
GROUP = 64  # columns of the vocabulary
NORMALIZED_TOGETHER = 8  # rows whose numbers stay in the cache of a core between the passes over them


def beam_search(
    model: Transformer, sources: Sequence[Sequence[int]], rules: Rules, beam: int, count: int
) -> list[list[Hypothesis]]:
    """The `count` best hypotheses of each source sequence, best first; `beam` is at least `count`."""
    if beam == 1:
        rules = replace(rules, early_stopping=True)
    search = _Search(model, sources, rules, beam)
    while search.sequences:
        search.advance()
    return [[found.hypothesis for found in each.finished[:count]] for each in search.all]


class _Search:
    """A batch of sequences that is being decoded. Each live sequence has as many rows as hypotheses, one at first, and
    `beam` once there are as many continuations."""

    def __init__(self, model: Transformer, sources: Sequence[Sequence[int]], rules: Rules, beam: int) -> None:
        self._model, self._rules, self._beam = model, rules, beam
        self._device = model.device
        self.all = [SequenceState(beam) for _ in sources]
        self.sequences = list(self.all)  # those that are in the batch
        self._source = model.encode(sources)
        self._cache = model.new_cache(len(sources))
        self._tokens = torch.full((len(sources),), rules.start, device=self._device)
        self._history = torch.empty((len(sources), 0), dtype=torch.long, device=self._device)
        self._scores = torch.zeros((len(sources), 1), device=self._device)
        self._ends = torch.tensor(rules.ends, device=self._device)

    def advance(self) -> None:
        """One more token for every live hypothesis."""
        length = self._history.shape[1] + 1
        log_probs, tokens = self._continuations(length)
        count, beam = len(self.sequences), self._beam
        width = tokens.shape[1]
        total = (log_probs.view(count, -1, width) + self._scores[:, :, None]).view(count, -1)
        best, places = total.topk(min((1 + len(self._rules.ends)) * beam, total.shape[1]))
        parents = places // width  # (S, K): which beam each continuation extends
        chosen = tokens.view(count, -1).gather(1, places)
        ended = torch.isin(chosen, self._ends)
        if length == self._rules.longest:
            ended = torch.ones_like(ended)
        self._finish(best[:, :beam], parents[:, :beam], chosen[:, :beam], ended[:, :beam], length)
        running, order = (best + ended * IMPOSSIBLE).topk(min(beam, best.shape[1]))
        self._go_on(running, parents.gather(1, order), chosen.gather(1, order))
        self._close(running, length)

    def _continuations(self, length: int) -> tuple[Tensor, Tensor]:
        """The likeliest next tokens of each row, enough of them: log-probabilities and tokens, (R, K)."""
        rules = self._rules
        states = self._model.step(self._tokens, self._cache, self._source)
        if forced := forced_tokens(rules, length):
            tokens = torch.tensor(forced, device=self._device).expand(len(states), -1)
            return torch.zeros(tokens.shape, device=self._device), tokens
        logits = self._model.logits(states)
        normalizer = normalizer_of(logits)
        suppress(logits, rules, self._history, length)
        best, tokens = best_columns(logits, min((1 + len(rules.ends)) * self._beam, logits.shape[1]))
        return best - normalizer, tokens

    def _finish(self, best: Tensor, parents: Tensor, chosen: Tensor, ended: Tensor, length: int) -> None:
        """Keep the continuations that have ended."""
        rank = best / length**self._rules.length_penalty
        for sequence, beam in ended.nonzero().tolist():
            found = self.sequences[sequence]
            if found.is_done or float(best[sequence, beam]) <= IMPOSSIBLE / 2:
                continue
            row = sequence * self._scores.shape[1] + int(parents[sequence, beam])
            token = int(chosen[sequence, beam])
            ids = (*self._history[row].tolist(), token)
            is_cut = length == self._rules.longest and (
                token not in self._rules.ends or bool(self._rules.last)
            )
            hypothesis = Hypothesis(ids, float(best[sequence, beam]), not is_cut)
            found.add(Finished(float(rank[sequence, beam]), hypothesis))

    def _go_on(self, scores: Tensor, parents: Tensor, chosen: Tensor) -> None:
        """Follow these continuations, (S, B)."""
        count, beam = self._scores.shape
        rows = torch.arange(count, device=self._device)[:, None] * beam + parents
        self._cache.reorder(parents)
        self._scores = scores
        self._tokens = chosen.flatten()
        self._history = torch.cat([self._history[rows.flatten()], self._tokens[:, None]], 1)

    def _close(self, running: Tensor, length: int) -> None:
        """Find the sequences that are done; let them leave the batch once there are enough."""
        best = running.max(1).values.tolist()
        for sequence, highest in zip(self.sequences, best, strict=True):
            if not sequence.is_done:
                sequence.is_done = length == self._rules.longest
                sequence.close(highest, length, self._rules)
        live = [place for place, sequence in enumerate(self.sequences) if not sequence.is_done]
        if not live:
            self.sequences = []
        elif len(self.sequences) - len(live) >= LEAVE_AT * len(self.sequences):
            self.sequences = [self.sequences[place] for place in live]
            kept = torch.tensor(live, device=self._device)
            beam = self._scores.shape[1]
            rows = (kept[:, None] * beam + torch.arange(beam, device=self._device)).flatten()
            self._source = self._source.select(kept)
            self._cache.select(kept)
            self._scores, self._tokens, self._history = (
                self._scores[kept],
                self._tokens[rows],
                self._history[rows],
            )


def normalizer_of(logits: Tensor) -> Tensor:
    """log Σ exp of logits (R, V): (R, 1). Raises NotFiniteError where it is no number."""
    parts = logits.split(NORMALIZED_TOGETHER if logits.device.type == "cpu" else len(logits))
    found = torch.cat([part.logsumexp(-1, keepdim=True) for part in parts])
    if not found.isfinite().all():
        raise not_finite()
    return found


def best_columns(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` largest numbers of each row (R, V) and their columns. On a CPU they are sought in the `count` groups
    of columns with the largest maxima, as `topk` of many columns is slow there."""
    rows, columns = scores.shape
    groups = columns // GROUP
    if scores.device.type != "cpu" or groups <= count:
        return scores.topk(count)
    whole = scores[:, : groups * GROUP].view(rows, groups, GROUP)
    chosen = whole.amax(-1).topk(count).indices
    candidates = (chosen[:, :, None] * GROUP + torch.arange(GROUP)).flatten(1)
    rest = torch.arange(groups * GROUP, columns).expand(rows, -1)
    candidates = torch.cat([candidates, rest], 1)
    best, places = scores.gather(1, candidates).topk(count)
    return best, candidates.gather(1, places)


def suppress(logits: Tensor, rules: Rules, history: Tensor, length: int) -> None:
    """Make impossible, in logits (R, V), what must not be the `length`-th token behind a history (R, T)."""
    if forbidden := forbidden_tokens(rules, length):
        logits[:, forbidden] = -torch.inf
    if rules.no_repeat:
        for row, ids in enumerate(history.tolist()):
            if repeats := repeating_tokens(rules, ids):
                logits[row, repeats] = -torch.inf
