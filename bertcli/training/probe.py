"""Linear probes: regularised linear heads on fixed features, a good model from a handful of examples a class.

Multinomial logistic regression, its binary form where several classes may hold, and ridge regression for
numbers, all as the minimum of mean loss + l2/2 · |W|², found by L-BFGS. How much to regularise is chosen by
cross-validation on the training part, so that the held-out part plays no part in it.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bertcli.training.dataset import MULTI, REGRESSION

if TYPE_CHECKING:
    from bertcli.models.heads import ProblemType

STRENGTHS = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003)
FOLDS = 4
MOST_EXAMPLES = 20_000  # for the choice of the strength
ITERATIONS = 60


def loss_of(logits: Tensor, targets: Tensor, problem: ProblemType) -> Tensor:
    """The mean loss of logits [n, classes]: cross-entropy, binary cross-entropy or squared error."""
    if problem == MULTI:
        return torch.nn.functional.binary_cross_entropy_with_logits(logits, targets)
    if problem == REGRESSION:
        return torch.nn.functional.mse_loss(logits[:, 0], targets)
    return torch.nn.functional.cross_entropy(logits, targets)


def fit_probe(features: Tensor, targets: Tensor, classes: int, problem: ProblemType) -> tuple[Tensor, Tensor]:
    """(weights [classes, hidden], bias [classes]) from features [n, hidden]."""
    strength = choose_strength(features[:MOST_EXAMPLES], targets[:MOST_EXAMPLES], classes, problem)
    return fit(features, targets, classes, problem, strength)


def choose_strength(features: Tensor, targets: Tensor, classes: int, problem: ProblemType) -> float:
    """The regularisation with the least loss on the folds it did not see; the strongest of equals."""
    folds = torch.arange(len(features)) % FOLDS
    order = torch.randperm(len(features), generator=torch.Generator().manual_seed(0))
    losses = dict.fromkeys(STRENGTHS, 0.0)
    for fold in range(min(FOLDS, len(features) // 2)):
        inside, outside = order[folds != fold], order[folds == fold]
        for strength in STRENGTHS:
            weights, bias = fit(features[inside], targets[inside], classes, problem, strength)
            logits = features[outside] @ weights.T + bias
            losses[strength] += float(loss_of(logits, targets[outside], problem))
    return min(STRENGTHS, key=lambda strength: losses[strength])


def fit(
    features: Tensor, targets: Tensor, classes: int, problem: ProblemType, l2: float
) -> tuple[Tensor, Tensor]:
    """The head that minimises the regularised loss."""
    centre = features.mean(0)  # [hidden]; the bias takes it, so that it is not regularised
    centred = features - centre
    weights = torch.zeros(classes, features.shape[1], requires_grad=True)
    bias = torch.zeros(classes, requires_grad=True)
    search = torch.optim.LBFGS(
        [weights, bias], max_iter=ITERATIONS, tolerance_change=1e-6, line_search_fn="strong_wolfe"
    )

    def objective() -> Tensor:
        search.zero_grad()
        loss = loss_of(centred @ weights.T + bias, targets, problem) + l2 / 2 * weights.square().sum()
        loss.backward()
        return loss

    search.step(objective)
    return weights.detach(), (bias - weights @ centre).detach()


def folds_of(texts: Sequence[Hashable], classes: Sequence[str]) -> list[int]:
    """A fold for each text: equal texts share one, and every class is spread over all of them."""
    numbers: dict[Hashable, int] = {}
    for _, text in sorted(zip(classes, texts, strict=True), key=lambda pair: pair[0]):
        numbers.setdefault(text, len(numbers))
    return [numbers[text] % FOLDS for text in texts]
