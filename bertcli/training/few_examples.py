"""Few labelled examples: whether to fine-tune the encoder at all, decided by two-fold cross-validation.

Fine-tuning from a linear probe gains much with some labels (kinds of questions) and loses with others (sentiment, of
which a few dozen texts say little). So each half of the examples is answered by a model trained on the other half, as
a probe and after fine-tuning; the better way trains on all of them. The answers are also the only ones there are to
validate with.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from bertcli.training.dataset import Split
from bertcli.training.network import Network
from bertcli.training.objectives.label import LabelObjective
from bertcli.training.probe import folds_of
from bertcli.training.validation import Validation, better


@dataclass(frozen=True, slots=True)
class HalvesComparison:
    """Whether `tuned` did better than the probe, and the figures of the better one."""

    tuned: bool
    validation: Validation


def compare_on_halves(
    objective: LabelObjective,
    probe_of: Callable[[Split], tuple[Network, LabelObjective]],
    fine_tune: Callable[[Network, LabelObjective], None],
) -> HalvesComparison:
    """`probe_of` makes a probe of some examples, `fine_tune` trains its encoder too."""
    train = objective.split.train
    folds = folds_of([(e.text, e.pair) for e in train], [str(e.target) for e in train])
    probed = torch.zeros(len(train), len(objective.head.labels))
    tuned = probed.clone()
    for half in (0, 1):
        inside = [place for place, fold in enumerate(folds) if fold % 2 == half]
        outside = [place for place, fold in enumerate(folds) if fold % 2 != half]
        if not inside or not outside:
            continue
        network, part = probe_of(Split(tuple(train[i] for i in inside), ()))
        windows = [objective.train[i] for i in outside]
        probed[outside] = part.answers(network, windows)
        fine_tune(network, part)
        tuned[outside] = part.answers(network, windows)
    before, after = (objective.validation_of(logits, objective.targets) for logits in (probed, tuned))
    is_better = better(after.figures(), before.figures())
    return HalvesComparison(is_better, after if is_better else before)
