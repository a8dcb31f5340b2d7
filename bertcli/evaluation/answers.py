"""Answers to questions, measured as the evaluations of SQuAD do it (Rajpurkar et al. 2016 and 2018)."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bertcli.evaluation import Collector
from bertcli.evaluation.bootstrap import Measure, Numbers, estimates
from bertcli.evaluation.gold import squad_answers, watched
from bertcli.evaluation.report import Report

if TYPE_CHECKING:
    from bertcli.records import Record, Result
    from bertcli.tasks import Task

ARTICLES = re.compile(r"\b(a|an|the)\b")


class SquadAnswers(Collector):
    """Compares the answer to each question with those in `field`. The figures by name:

    exact_match          the share of answers that equal a gold one, without case, punctuation and articles
    f1                   of the words that an answer has in common with the nearest gold one, the mean
    answerable_f1        the same, of questions that have an answer
    no_answer_accuracy   of the others, the share that got none
    """

    def __init__(self, task: Task, field: str, facts: dict[str, Any]) -> None:
        super().__init__()
        self.task = task
        self._field = field
        self._facts = facts
        self._found: list[tuple[float, float, bool]] = []  # equal, F1, whether there is an answer

    def watch(self, records: Iterable[Record]) -> Iterator[Record]:
        return watched(records, self._gold)

    def keep(self, result: Result) -> None:
        gold = [text for text in self._gold(result.record) if normalised(text)]
        answer = result.values["answer"]
        self._found.append((*score_answer(answer, gold), bool(gold)))

    def report(self) -> Report:
        equal, overlaps, answerable = (
            np.array(column, dtype=np.float64) for column in zip(*self._found, strict=True)
        )
        return Report(
            "answer", self._facts, estimates(answer_measure(equal, overlaps, answerable), len(equal))
        )

    def _gold(self, record: Record) -> list[str]:
        return [text for text, _ in squad_answers(record, self._field)]


def score_answer(answer: str | None, gold: Sequence[str]) -> tuple[float, float]:
    """Whether an answer equals a gold one, and its F1 with the nearest. No answer is right where there is no gold
    one."""
    wanted = [text for text in gold if normalised(text)] or [""]
    equal = max(float(normalised(answer or "") == normalised(text)) for text in wanted)
    return equal, max(token_f1(answer or "", text) for text in wanted)


def answer_measure(equal: Numbers, overlaps: Numbers, answerable: Numbers) -> Measure:
    """The figures of questions (questions,) each, from how often each question counts."""

    def mean(values: Numbers, weights: Numbers) -> float:
        total = weights.sum()
        return float(weights @ values / total) if total else float("nan")

    def measure(weights: Numbers) -> dict[str, float]:
        figures = {"f1": mean(overlaps, weights), "exact_match": mean(equal, weights)}
        if not answerable.all():
            figures["answerable_f1"] = mean(overlaps, weights * answerable)
            figures["no_answer_accuracy"] = mean(equal, weights * (1 - answerable))
        return figures

    return measure


def normalised(answer: str) -> str:
    """An answer without case, punctuation, articles and repeated blanks."""
    lower = "".join(character for character in answer.lower() if character not in string.punctuation)
    return " ".join(ARTICLES.sub(" ", lower).split())


def token_f1(answer: str, gold: str) -> float:
    """The F1 of the words that two answers have in common; 1 for two empty ones."""
    said, wanted = normalised(answer).split(), normalised(gold).split()
    if not said or not wanted:
        return float(said == wanted)
    return 2 * sum((Counter(said) & Counter(wanted)).values()) / (len(said) + len(wanted))
