"""Whether to move the encoder at all, where labels are few: tried on halves of them.

From a linear head on the fixed encoder, tuning the encoder gains much with some labels (kinds of questions)
and loses with others (sentiment, of which a few dozen texts tell little). So each half of the examples is
answered by a model learnt from the other half, as a linear head and after tuning; all are learnt from in the
way that did better. The answers are also the only ones there are to measure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bertcli.training.examination import Examination, better
from bertcli.training.examples import Held
from bertcli.training.fit import Fit
from bertcli.training.label import LabelLesson
from bertcli.training.linear import folds_of


@dataclass(frozen=True, slots=True)
class Trial:
    """Whether `tuned` did better than the linear head, and how well the better one did."""

    tuned: bool
    examination: Examination


def try_halves(
    lesson: LabelLesson,
    held: Held,
    learner_of: Callable[[Held], LabelLesson],
    fit_of: Callable[[LabelLesson], Fit],
) -> Trial:
    """Learn from each half; `learner_of` makes lessons that know the classes of all.

    Raises KeyboardInterrupt at Ctrl-C.
    """
    folds = folds_of([(e.text, e.pair) for e in held.train], [str(e.target) for e in held.train])
    linear = torch.zeros(len(held.train), len(lesson.classes))
    tuned = linear.clone()
    for half in (0, 1):
        inside = [place for place, fold in enumerate(folds) if fold % 2 == half]
        outside = [place for place, fold in enumerate(folds) if fold % 2 != half]
        if not inside or not outside:
            continue
        learner = learner_of(
            Held(tuple(held.train[i] for i in inside), tuple(held.train[i] for i in outside))
        )
        fit = fit_of(learner)
        learner.begin()
        linear[outside] = _answers(learner)
        fit.run_through()
        tuned[outside] = _answers(learner)
    before, after = lesson.judged(linear), lesson.judged(tuned)
    is_better = better(after.figures(), before.figures())
    return Trial(is_better, after if is_better else before)


def _answers(learner: LabelLesson) -> Tensor:
    learner.model.eval()
    with torch.no_grad(), learner.machine.products():
        return learner.answers()
