"""The score above which labels may be taken unseen, so that few labels of a file are wrong.

A file of N records has answers with scores s_i, of which some are wrong. Labels with a score above a threshold t are
accepted as they are; a person corrects the others. The share of the file that is wrong then is

    R(t) = 1/N Σ [s_i > t and answer i is wrong]

which falls as t rises. From a checked sample of n records, drawn at random from the file, `find` takes the least t
for which a test rejects "R(t) ≥ error" at level 1 - confidence. Because R is monotone, testing one threshold after
the other from the highest score down needs no correction for their number (fixed-sequence testing; Bates et al. 2021,
"Distribution-free, risk-controlling prediction sets", theorem 1; Candès, Ilyas and Zrnic 2025, "Probably approximately
correct labels", arXiv 2506.10908). So R(t) ≤ error with at least the given confidence, for every file and every model;
a better model accepts more.

Two tests, each valid for any number of records:

* A sample drawn uniformly: the number of wrong accepted answers is binomial, and the test is Clopper and Pearson's
  (1934). Drawn without replacement it is hypergeometric, for which this test is conservative.
* A sample drawn with probabilities p_i, with replacement: each draw is worth Z = w_i · [s_i > t and wrong] with
  w_i = 1 / (N p_i), whose mean is R(t) and which is at most `MOST_WEIGHT`. Were R(t) ≥ error, the capital
  Π (1 + λ (error - Z)) would have a mean of at most 1 for any λ in [0, 1 / (MOST_WEIGHT - error)] that is chosen before
  the draws; by Markov's inequality it reaches 1 / (1 - confidence) with a probability of at most 1 - confidence
  (betting; Waudby-Smith and Ramdas 2024, "Estimating means of bounded random variables by betting").
"""

from __future__ import annotations

import math
import sys
from bisect import bisect_left
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bertcli.errors import InputError
from bertcli.evaluation.bootstrap import Numbers
from bertcli.evaluation.sampling import MOST_WEIGHT

GRID = np.arange(1, 101) / 101
"""The bets λ to choose from, as shares of the largest one."""


@dataclass(frozen=True, slots=True)
class Guarantee:
    """Labels with a score over `above` may be taken unseen: at most `error` of the file is wrong then, with
    `confidence`. `checked` is the number of draws it was found from, `wrong` how many accepted ones of them are wrong,
    `accepted` the estimated share of the file that is accepted."""

    error: float
    confidence: float
    above: float
    checked: int
    wrong: int
    accepted: float

    @property
    def statement(self) -> str:
        """The bound in words."""
        return f"at most {percent(self.error)} of the file wrong, {percent(self.confidence)} confidence"


def percent(share: float) -> str:
    """0.05 as `5 %`."""
    return f"{100 * share:.3g} %"


def find(
    scores: Numbers,
    wrong: NDArray[np.bool_],
    *,
    error: float,
    confidence: float,
    weights: Numbers | None = None,
    draws: NDArray[np.intp] | None = None,
) -> Guarantee:
    """The guarantee from checked records: scores (n,), whether each answer is wrong (n,); of a sample that is not
    uniform the weight of each record (n,) and how often it was drawn (n,).

    Raises InputError when there are too few records for any guarantee.
    """
    draws = np.ones(len(scores), dtype=np.intp) if draws is None else draws
    uniform = weights is None or bool(np.all(weights == 1) and np.all(draws == 1))
    weights = np.ones(len(scores)) if weights is None else weights
    scores, wrong, weights = np.repeat(scores, draws), np.repeat(wrong, draws), np.repeat(weights, draws)
    count, level = len(scores), 1 - confidence
    highest_first = np.argsort(-scores[wrong], kind="stable")
    mistakes, values = scores[wrong][highest_first], weights[wrong][highest_first]

    def rejected(accepted_mistakes: int) -> bool:
        """Whether the highest scored mistakes, when accepted, still exclude an error rate of `error` or more."""
        if uniform:
            return _binomial(accepted_mistakes, count, error) <= level
        return _capital(values[:accepted_mistakes], count, error, level) * level >= 1

    if not rejected(0):
        least = _least(error, level, uniform=uniform)
        raise InputError(
            f"{count} checked records are too few for at most {percent(error)} wrong with"
            f" {percent(confidence)} confidence",
            hint=f"check at least {least}, or allow a larger error",
        )
    most = 0
    while most < len(mistakes) and rejected(most + 1):
        most += 1
    above = float(mistakes[most]) if most < len(mistakes) else 0.0
    accepted = scores > above
    share = float(np.average(accepted, weights=weights))
    return Guarantee(error, confidence, above, count, int((accepted & wrong).sum()), share)


def _binomial(most: int, count: int, share: float) -> float:
    """The probability of at most `most` successes in `count` trials with probability `share`."""
    logs = [
        math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1)
        + k * math.log(share) + (count - k) * math.log1p(-share)
        for k in range(most + 1)
    ]  # fmt: skip
    return math.fsum(map(math.exp, logs))


def _capital(values: Numbers, count: int, error: float, level: float) -> float:
    """The capital after `count` draws, of which these are worth `values` and the others 0. The bet is the one that
    allows the most draws worth 1."""
    bets = GRID / (MOST_WEIGHT - error)
    gains, losses = np.log1p(bets * error), np.log1p(bets * (error - 1))
    bet = bets[((count * gains + math.log(level)) / (gains - losses)).argmax()]
    log = (count - len(values)) * math.log1p(bet * error) + np.log1p(bet * (error - values)).sum()
    return math.exp(min(float(log), 700.0))


def _least(error: float, level: float, *, uniform: bool) -> int:
    """The number of records from which there is a guarantee if none of them is wrong."""
    if uniform:
        return math.ceil(math.log(level) / math.log1p(-error))
    counts = range(1, sys.maxsize)
    return counts[
        bisect_left(counts, 1 / level, key=lambda count: _capital(np.empty(0), count, error, level))
    ]
