"""translate, measured: BLEU and chrF of a whole file, as sacrebleu defines and computes them.

    bleu   n-grams of words up to 4 and a brevity penalty (Papineni et al. 2002; Post 2018), tokenised by 13a
    chrf   F-score of character n-grams up to 6, recall weighing twice (Popović 2015)

Both are figures of a corpus: counts are summed over texts, so that a text is what a resample draws.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from bertcli.errors import RecordError, UsageError
from bertcli.evaluation import Collector
from bertcli.evaluation.bootstrap import Measure, Numbers, estimates
from bertcli.evaluation.gold import watched
from bertcli.evaluation.report import Report

if TYPE_CHECKING:
    from bertcli.records import Record, Result
    from bertcli.tasks.translate import Translate


class Translations(Collector):
    """Figures of a Translate task beside the reference translations in the field `field`.

    Raises UsageError where sacrebleu is not installed.
    """

    def __init__(self, task: Translate, field: str, *, facts: dict[str, Any]) -> None:
        super().__init__()
        self.task = task
        self._field, self._facts = field, facts
        self._translations: list[str] = []
        self._references: list[str] = []
        sacrebleu_metrics()  # before anything is translated

    def watch(self, records: Iterable[Record]) -> Iterator[Record]:
        return watched(records, self._reference)

    def keep(self, result: Result) -> None:
        self._translations.append(result.values["translation"])
        self._references.append(self._reference(result.record))

    def report(self) -> Report:
        measure = corpus_measure(self._translations, self._references)
        return Report("translate", self._facts, estimates(measure, len(self._references)))

    def _reference(self, record: Record) -> str:
        found = record.fields.get(self._field)
        if not isinstance(found, str) or not found.strip():
            raise RecordError("no-gold", f"the field '{self._field}' has no translation")
        return found


def corpus_measure(translations: list[str], references: list[str]) -> Measure:
    """BLEU and chrF from how often each text counts."""
    metrics = sacrebleu_metrics()
    tables = {
        name: np.array(metric._extract_corpus_statistics(translations, [references]), dtype=np.float64)
        for name, metric in metrics.items()
    }  # (texts, counts)

    def measure(weights: Numbers) -> dict[str, float]:
        sums = {name: (weights @ table).round().astype(int).tolist() for name, table in tables.items()}
        return {
            name: float(metric._compute_score_from_stats(sums[name]).score)
            for name, metric in metrics.items()
        }

    return measure


def sacrebleu_metrics() -> dict[str, Any]:
    """sacrebleu's metrics by name, with its default settings. Raises UsageError where it is not installed."""
    try:
        from sacrebleu.metrics.bleu import BLEU
        from sacrebleu.metrics.chrf import CHRF
    except ImportError:
        raise UsageError(
            "BLEU and chrF are computed by sacrebleu, which is not installed",
            hint="pip install 'bertcli[translate]'",
        ) from None
    return {"bleu": BLEU(), "chrf": CHRF()}
