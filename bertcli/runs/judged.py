"""Queries with judged texts to train a cross-encoder on; where a file only has relevant ones, with negatives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from bertcli import console, requests
from bertcli.feed import Feed
from bertcli.records import Record
from bertcli.runs.flow import choose_engine
from bertcli.runs.preflight import open_model

if TYPE_CHECKING:
    from bertcli.engines import Array
    from bertcli.models.prompts import Role
    from bertcli.runs.preflight import OpenModel
    from bertcli.search.negatives import Negatives
    from bertcli.training.dataset import Example, Split

DEV_NEGATIVES = 9
"""For each held-out query, all of them near: the order among these is measured."""


def judged_split(request: requests.TrainRerank) -> Split:
    """The examples of a request, some queries held out, with negatives where all texts are relevant.

    Raises UsageError when the records have no query, InputError when nothing can be learnt from them.
    """
    from bertcli.training.dataset import DEV_FRACTION, hold_out_queries, scale_relevance
    from bertcli.training.reading import read_judged

    field, dev = request.label_field, None
    if request.dev is not None:
        dev = read_judged(replace(request, files=(request.dev,), texts=()), field)
    fraction = request.dev_fraction or DEV_FRACTION
    split = scale_relevance(hold_out_queries(read_judged(request, field), dev, fraction, request.seed))
    if any(not example.target for example in split.train):
        return split
    console.say(f"choosing {request.negatives} negatives for each text")
    options = requests.ModelOptions(model=request.model, device=request.device, threads=request.threads)
    return add_negatives(split, open_model(options), options, count=request.negatives, seed=request.seed)


def add_negatives(
    split: Split, model: OpenModel, options: requests.ModelOptions, *, count: int, seed: int
) -> Split:
    """The split with `count` negatives for each example to learn from, half of them near by the embeddings of `model`,
    and `DEV_NEGATIVES` for each held-out query. Raises InputError where all queries have the same texts."""
    from bertcli.search.negatives import Negatives

    relevant: dict[str, dict[str, None]] = {}
    for example in (*split.train, *split.dev):
        relevant.setdefault(example.text, {})[str(example.pair)] = None
    texts = list(dict.fromkeys(text for wanted in relevant.values() for text in wanted))
    negatives = Negatives(
        relevant,
        _embeddings(list(relevant), "query", model, options),
        _embeddings(texts, "document", model, options),
        seed,
    )

    own = list(dict.fromkeys(str(example.pair) for example in split.train))
    train: list[Example] = []
    for example in split.train:
        train += [example, *_chosen(negatives, example, count, -(-count // 2), own)]
    dev = list(split.dev)
    for example in {example.text: example for example in split.dev}.values():
        dev += _chosen(negatives, example, DEV_NEGATIVES, DEV_NEGATIVES, texts)
    return replace(split, train=tuple(train), dev=tuple(dev))


def _chosen(
    negatives: Negatives, example: Example, count: int, near: int, among: Sequence[str]
) -> list[Example]:
    texts = negatives.choose(example.text, count, near=near, among=among)
    return [replace(example, pair=text, target=0.0) for text in texts]


def _embeddings(
    texts: Sequence[str], role: Role, model: OpenModel, options: requests.ModelOptions
) -> dict[str, Array]:
    """The embedding of each text."""
    from bertcli import pipeline
    from bertcli.planning import Plan
    from bertcli.tasks.embed import Embed

    task = Embed(model.checkpoint, model.tokenizer, requests.LongOptions(long="truncate"), role=role)
    feed = Feed(Record(index, {}, text) for index, text in enumerate(texts))
    engine = choose_engine(options, model.checkpoint, feed, task=task)
    plan = Plan(engine.batch_tokens, engine.workers)
    results = pipeline.results(feed, task=task, engine=engine, plan=plan)
    return {str(result.record.text): result.values["embedding"] for result in results}
