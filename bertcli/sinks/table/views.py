"""Which view of an answer a table takes. A view is one small file for one kind of answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from bertcli.records import Result
from bertcli.sinks.table.answers import AnswerView
from bertcli.sinks.table.cells import Line
from bertcli.sinks.table.fields import FieldsView
from bertcli.sinks.table.fills import FillsView
from bertcli.sinks.table.heat import HeatView
from bertcli.sinks.table.hits import HitsView, PairsView
from bertcli.sinks.table.labels import MEASURES, HeadsView, LabelsView, LabelView
from bertcli.sinks.table.page import Page
from bertcli.sinks.table.scores import ScoreView
from bertcli.sinks.table.spans import SpansView, token_tags
from bertcli.sinks.table.translations import TranslationsView
from bertcli.sinks.table.vectors import EmbeddingView, token_vectors


class View(Protocol):
    """`separate` puts an empty line between records. `header` is asked for after the first `lines`, which
    are asked for records that have an answer."""

    separate: bool

    def header(self) -> list[Line]: ...

    def lines(self, result: Result) -> list[Line]: ...


@runtime_checkable
class FittedView(View, Protocol):
    """A view that looks at results before their lines are asked for, so that its columns fit them."""

    def fit(self, results: Sequence[Result]) -> None: ...


def choose_view(page: Page) -> View:
    """The view that the page's layout names, else the one for its result fields."""
    results, view = page.layout.results, page.layout.view
    if view == "scores":
        return ScoreView(page)
    if view == "hits":
        return PairsView(page) if "first" in results else HitsView(page)
    if "fills" in results:
        return FillsView(page)
    if "labels" in results and {*results} <= {*LabelsView.fields, *MEASURES}:
        return LabelsView(page)
    if "label" in results and {*results} <= {*LabelView.fields, *MEASURES}:
        return LabelView(page)
    if heads := _heads(results):
        return HeadsView(page, heads)
    if results == ("embedding",):
        return EmbeddingView(page)
    if "spans" in results:
        return SpansView(page)
    if "answer" in results:
        return AnswerView(page)
    if "attention" in results:
        return HeatView(page)
    if "translation" in results:
        return TranslationsView(page)
    if "tokens" in results and view == "tags":
        return token_tags(page)
    if "tokens" in results and view == "vectors":
        return token_vectors(page)
    return FieldsView(page)


def _heads(results: Sequence[str]) -> list[str]:
    """The names of the heads where the results are the label and score of each, and nothing else."""
    heads = [name.removesuffix("_label") for name in results if name.endswith("_label")]
    return heads if len(results) == 2 * len(heads) and all(f"{h}_score" in results for h in heads) else []
