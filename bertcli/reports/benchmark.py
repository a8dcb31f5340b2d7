"""What `bench` finds, as JSON lines and as a page for a person."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from bertcli.console.drawing import BOLD, CYAN, DIM, duration, grouped, meter
from bertcli.reports.lines import Line

if TYPE_CHECKING:
    from bertcli.benchmark.agreement import Agreement
    from bertcli.benchmark.sample import Sample
    from bertcli.benchmark.trial import Trial
    from bertcli.benchmark.verdict import Verdict

    Finding = Sample | Trial | Verdict

METER_CELLS = 40
WIDTH_OF = {False: 7, True: 22}  # the columns of what answers are like: of flips, of cosines
HEADER = "engine   dtype     threads   batch   texts/s   tokens/s   "


def rows(findings: Iterable[Finding], facts: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """An object for the texts, for each trial, and for the best, distinguished by `what`."""
    from bertcli.benchmark.sample import Sample
    from bertcli.benchmark.trial import Trial

    for finding in findings:
        match finding:
            case Sample():
                yield {"what": "texts", **facts, **_texts_row(finding)}
            case Trial():
                yield {"what": "trial", **_trial_row(finding)}
            case _:
                yield {"what": "best", **_trial_row(finding.best), **_verdict_row(finding)}


def benchmark_page(findings: Iterable[Finding], facts: Mapping[str, Any]) -> Iterator[Line]:
    """The same as lines."""
    from bertcli.benchmark.sample import Sample
    from bertcli.benchmark.trial import Trial

    for finding in findings:
        match finding:
            case Sample():
                yield [(", ".join(facts["files"]), f"{BOLD};{CYAN}")]
                yield from _texts(finding)
                yield []
                yield [(f"{facts['task']} with {facts['model']}", f"{BOLD};{CYAN}")]
                is_embed = facts["task"] == "embed"
                likeness = "cosine least, 1%, half" if is_embed else "flips"
                yield [(f"{HEADER}{likeness:>{WIDTH_OF[is_embed]}}  {'off by':>6}", DIM)]
            case Trial():
                yield _trial(finding)
            case _:
                yield []
                yield from _verdict(finding)


def _texts_row(sample: Sample) -> dict[str, Any]:
    return {
        "read": sample.read,
        "blank": sample.blank,
        "failed": sample.failed,
        "duplicates": sample.duplicates,
        "records": sample.records,
        "tokens": {"median": sample.quantile(0.5), "p90": sample.quantile(0.9), "most": max(sample.lengths)},
        "limit": sample.limit,
        "long": sample.long,
        "histogram": [{"tokens": most, "texts": count} for most, count in sample.histogram()],
    }


def _trial_row(trial: Trial) -> dict[str, Any]:
    row = asdict(trial.choice) | {
        "texts": trial.texts,
        "texts_per_second": _significant(trial.texts_per_second),
        "tokens_per_second": _significant(trial.tokens_per_second),
    }
    if trial.agreement is not None:
        figures = asdict(trial.agreement)
        row["agreement"] = {name: figure for name, figure in figures.items() if figure is not None}
    return row


def _verdict_row(verdict: Verdict) -> dict[str, Any]:
    return {
        "gain": _significant(verdict.gain),
        "settings": verdict.settings,
        "start_seconds": verdict.start and _significant(verdict.start),
        "whole_seconds": verdict.seconds and _significant(verdict.seconds),
        "memory_bytes": verdict.memory,
    }


def _significant(number: float) -> float:
    return float(f"{number:.4g}")


def _texts(sample: Sample) -> Iterator[Line]:
    records = f" of about {grouped(sample.records)}" if sample.records not in (None, sample.read) else ""
    counts = [f"{grouped(sample.read)} records{records}"]
    remarks = {"duplicates": sample.duplicates, "blank": sample.blank, "broken": sample.failed}
    counts += [f"{count / sample.read:.1%} {name}" for name, count in remarks.items() if count]
    yield [(" · ".join(counts), "")]
    half, most = sample.quantile(0.5), max(sample.lengths)
    lengths = f"half up to {grouped(half)}, nine in ten up to {grouped(sample.quantile(0.9))}, "
    yield [(f"tokens: {lengths}the longest {grouped(most)}", "")]
    over = f"{sample.long / len(sample.lengths):.1%} are longer than"
    yield [(f"{over if sample.long else 'none is longer than'} the model's {grouped(sample.limit)}", "")]
    yield [(f"{'up to':>9}  texts", DIM)]
    tallest = max(count for _, count in sample.histogram())
    for tokens, count in sample.histogram():
        bar = meter(count / tallest, METER_CELLS)
        yield [(f"{grouped(tokens):>9}  ", DIM), (f"{bar:{METER_CELLS}}", CYAN), (f" {grouped(count)}", "")]


def _trial(trial: Trial) -> Line:
    choice = trial.choice
    settings = f"{choice.engine:7}  {choice.dtype:8}  {choice.threads:7}  {grouped(choice.batch_tokens):>6}"
    tokens = grouped(round(trial.tokens_per_second))
    return [
        (settings, ""),
        (f"  {_rate(trial.texts_per_second):>8}", BOLD),
        (f"  {tokens:>9}", ""),
        ("   " + ("" if trial.agreement is None else _agreement(trial.agreement)), DIM),
    ]


def _agreement(agreement: Agreement) -> str:
    if agreement.cosine is not None:
        cosines = (agreement.cosine, agreement.cosine_percentile, agreement.cosine_median)
        likeness = " ".join(f"{cosine:.4f}" for cosine in cosines)
    elif agreement.flips is not None:
        likeness = f"{agreement.flips}/{agreement.texts}"
    else:
        likeness = ""
    return f"{likeness:>{WIDTH_OF[agreement.cosine is not None]}}  {agreement.difference:>6.1g}"


def _verdict(verdict: Verdict) -> Iterator[Line]:
    choice = verdict.best.choice
    gain = f", {verdict.gain:.2f} times as fast as without settings" if verdict.settings else ""
    yield [("best: ", DIM), (f"{choice.engine} {choice.device} {choice.dtype}", BOLD), (gain, "")]
    settings = [f"{name} {value}" for name, value in verdict.settings.items()]
    yield [("settings: ", DIM), (", ".join(settings) or "none are needed", "")]
    if verdict.start is None:
        return
    parts = [] if verdict.seconds is None else [duration(verdict.seconds)]
    parts.append(f"{duration(verdict.start)} to start")
    if verdict.memory is not None:
        parts.append(f"{grouped(round(verdict.memory / 1e6))} MB of memory")
    yield [("the whole input: " if verdict.seconds is not None else "a run: ", DIM), (" · ".join(parts), "")]


def _rate(number: float) -> str:
    return f"{number:.1f}" if number < 99.95 else grouped(round(number))
