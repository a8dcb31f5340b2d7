"""Heads: what a checkpoint can answer beyond hidden states, and under which names its weights lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["label", "tag", "fill", "answer"]
ProblemType = Literal["single_label_classification", "multi_label_classification", "regression"]


@dataclass(frozen=True, slots=True)
class Head:
    """A head of a checkpoint.

    `name` is the skill's name: the kind itself for an ordinary Hugging Face checkpoint with one head, a name
    such as `sentiment` where a checkpoint holds several. `labels` are the class names in output order (empty
    for fill). `problem` is set for label heads. `named` is False when the labels are only LABEL_0, LABEL_1 …
    `skill` is True for a head of a several-skill checkpoint, stored under `heads.<name>.` in the file, with
    `pooling` saying which vector a label head reads.
    """

    name: str
    kind: Kind
    labels: tuple[str, ...] = ()
    problem: ProblemType | None = None
    named: bool = True
    skill: bool = False
    pooling: Literal["cls", "mean"] = "cls"
