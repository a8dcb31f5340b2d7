"""Beam search whose hypotheses must contain given phrases: dynamic beam allocation (Post and Vilar 2018, "Fast
Lexically Constrained Decoding with Dynamic Beam Allocation for Neural Machine Translation", arXiv 1804.06609).

A hypothesis with a forced token is nearly always less likely than one without, so hypotheses compete only with those
that have as many tokens of phrases: these are a bank. The candidates of a step are the likeliest continuations of all
hypotheses, the likeliest of each, and those that begin or continue a phrase that is missing. The banks take turns, the
one with most tokens of phrases first, in giving their best candidate to the beam. A hypothesis may end when it has all
phrases; at the length limit it ends with what it has.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from bertcli.engines.seq2seq import Hypothesis, Phrase
from bertcli.engines.seq2seq.finished import Finished, SequenceState, forced_tokens
from bertcli.engines.seq2seq.search import normalizer_of, suppress

if TYPE_CHECKING:
    from bertcli.engines.seq2seq.model import Transformer
    from bertcli.engines.seq2seq.rules import Rules


@dataclass(frozen=True, slots=True)
class Met:
    """Which phrases a hypothesis has (`done`), and how many tokens of the phrase `current`. `ends_word`: its last token
    completed a phrase behind which no word may go on."""

    phrases: tuple[Phrase, ...]
    done: frozenset[int] = frozenset()
    current: int | None = None
    place: int = 0
    ends_word: bool = False

    @property
    def is_complete(self) -> bool:
        return len(self.done) == len(self.phrases)

    @property
    def tokens(self) -> int:
        return sum(len(self.phrases[number].ids) for number in self.done) + self.place

    def wanted(self) -> list[int]:
        """The tokens that continue the current phrase, or begin one that is missing."""
        return [self.phrases[number].ids[place] for number, place in self._openings()]

    def after(self, token: int) -> Met:
        """The same behind one more token. A phrase that it does not continue is missing again."""
        for number, place in self._openings(restart=True):
            phrase = self.phrases[number]
            if phrase.ids[place] != token:
                continue
            if place + 1 < len(phrase.ids):
                return Met(self.phrases, self.done, number, place + 1)
            return Met(self.phrases, self.done | {number}, ends_word=phrase.ends_word)
        return Met(self.phrases, self.done)

    def _openings(self, *, restart: bool = False) -> list[tuple[int, int]]:
        """Phrases that the next token may be of, and its place in each."""
        current = [] if self.current is None else [(self.current, self.place)]
        if current and not restart:
            return current
        return current + [(number, 0) for number in range(len(self.phrases)) if number not in self.done]


class Continuation(NamedTuple):
    """A continuation of the hypothesis in `row` by `token`."""

    score: float
    row: int
    token: int
    met: Met


def constrained_search(
    model: Transformer,
    source: Sequence[int],
    rules: Rules,
    phrases: Sequence[Phrase],
    word_insides: Sequence[int],
    beam: int,
    count: int,
) -> list[Hypothesis]:
    """At most `count` hypotheses of a source sequence, best first: those with all phrases, and where the length limit
    leaves none, the ones with the most tokens of phrases. `word_insides` are the tokens that continue a word.

    `beam` hypotheses are followed, or as many as it takes for each bank to have one.
    """
    beam = max(beam, count, 1 + sum(len(phrase.ids) for phrase in phrases))
    insides = torch.tensor(list(word_insides), dtype=torch.long, device=model.device)
    encoded, cache = model.encode([source]), model.new_cache(1)
    tokens = torch.tensor([rules.start], device=model.device)
    history = torch.empty((1, 0), dtype=torch.long, device=model.device)
    running = [Continuation(0.0, 0, rules.start, Met(tuple(phrases)))]
    finished, cut = SequenceState(beam), []
    for length in range(1, rules.longest + 1):
        states = model.step(tokens, cache, encoded)
        log_probs = _log_probs(model.logits(states), rules, history, running, insides, length)
        candidates = _continuations(log_probs, running, beam)
        live = []
        for each in candidates:
            is_last = length == rules.longest
            if each.token not in rules.ends and not is_last:
                live.append(each)
                continue
            is_cut = is_last and (each.token not in rules.ends or bool(rules.last))
            ids = (*history[each.row].tolist(), each.token)
            found = Finished(
                each.score / length**rules.length_penalty, Hypothesis(ids, each.score, not is_cut)
            )
            if each.met.is_complete:
                finished.add(found)
            else:
                cut.append((each.met.tokens, found))
        running = _allocate(live, beam)
        best = max((each.score for each in running if each.met.is_complete), default=-math.inf)
        finished.close(best, length, rules)
        if finished.is_done or not running:
            break
        rows = torch.tensor([each.row for each in running], device=model.device)
        tokens = torch.tensor([each.token for each in running], device=model.device)
        cache.select(rows)
        history = torch.cat([history[rows], tokens[:, None]], 1)
    cut.sort(key=lambda each: (each[0], each[1].rank), reverse=True)
    ordered = finished.finished or [found for _, found in cut]
    return [found.hypothesis for found in ordered[:count]]


def _log_probs(
    logits: Tensor,
    rules: Rules,
    history: Tensor,
    running: Sequence[Continuation],
    insides: Tensor,
    length: int,
) -> Tensor:
    """Log-probabilities (R, V) of the next tokens, -∞ for what rules and phrases forbid."""
    if forced := forced_tokens(rules, length):
        found = torch.full_like(logits, -torch.inf)
        found[:, list(forced)] = 0.0
        return found
    normalizer = normalizer_of(logits)
    suppress(logits, rules, history, length)
    for row, each in enumerate(running):
        if each.met.ends_word:
            logits[row, insides] = -torch.inf
        if not each.met.is_complete and length < rules.longest:
            logits[row, list(rules.ends)] = -torch.inf
    return logits - normalizer


def _continuations(log_probs: Tensor, running: Sequence[Continuation], beam: int) -> list[Continuation]:
    """The continuations to choose from, the likeliest first."""
    scores = torch.tensor([each.score for each in running], device=log_probs.device)
    total = log_probs + scores[:, None]
    size = total.shape[1]
    places = set(total.flatten().topk(min(2 * beam, total.numel())).indices.tolist())
    places |= {row * size + token for row, token in enumerate(total.argmax(1).tolist())}
    places |= {row * size + token for row, each in enumerate(running) for token in each.met.wanted()}
    order = sorted(places)
    found = []
    for place, score in zip(order, total.flatten()[order].tolist(), strict=True):
        row, token = divmod(place, size)
        if score > -math.inf:
            found.append(Continuation(score, row, token, running[row].met.after(token)))
    return sorted(found, key=lambda each: each.score, reverse=True)


def _allocate(candidates: Sequence[Continuation], beam: int) -> list[Continuation]:
    """At most `beam` candidates, one from each bank in turn."""
    banks: dict[int, list[Continuation]] = defaultdict(list)
    for each in candidates:
        banks[each.met.tokens].append(each)
    turns = [(turn, -tokens, each) for tokens, bank in banks.items() for turn, each in enumerate(bank)]
    return [each for _, _, each in sorted(turns, key=lambda turn: turn[:2])[:beam]]
