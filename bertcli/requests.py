"""Requests: what a run is asked to do, as frozen dataclasses without click and without torch.

A request is made of parts that several commands share (`InputOptions`, `OutputOptions`, …) and of its own
fields. It inherits from its parts, so it can be passed wherever the options of one of them are needed. Names of
fields are the long names of the options.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from types import MappingProxyType
from typing import Any, ClassVar, Literal, get_args, get_origin, get_type_hints

from bertcli.errors import UsageError

InputFormat = Literal["txt", "jsonl", "json", "csv", "tsv", "parquet", "conll", "conllu", "srt", "vtt"]
OutputFormat = Literal[
    "table", "jsonl", "json", "csv", "tsv", "parquet", "npy", "conll", "html", "plain", "srt", "vtt"
]
RECORD_FORMATS: tuple[OutputFormat, ...] = ("table", "jsonl", "json", "csv", "tsv", "parquet")
"""The formats of records with whatever fields."""

ReportFormat = Literal["table", "jsonl"]
When = Literal["auto", "always", "never"]
EngineName = Literal["auto", "instant", "packed"]
ComputeDtype = Literal["auto", "float32", "bfloat16", "float16", "int8"]
TrainDtype = Literal["auto", "float32", "bfloat16", "float16"]
Quoting = Literal["auto", "csv", "none"]
LongMode = Literal["window", "truncate", "error"]
Emitted = Literal["label", "entropy", "margin", "embedding"]
Role = Literal["query", "document"]
Pooling = Literal["mean", "cls", "max", "weightedmean", "lasttoken"]
WrittenDtype = Literal["float32", "float16", "int8", "binary"]
Aggregation = Literal["first", "average", "max", "simple"]
ScoreMethod = Literal["within-word", "plain"]
Split = Literal["sentences", "none"]
SampleBy = Literal["random", "uncertainty", "diversity"]
LayerOrHead = int | Literal["mean", "all"]
AttentionPart = Literal["encoder", "decoder", "cross"]
TEMPLATE = "This text is about {}."


@cache
def _choices(request: type) -> Mapping[str, tuple[str, ...]]:
    """The words that a field may be, for each field that may not be any."""
    words = {name: tuple(_words(hint)) for name, hint in get_type_hints(request).items()}
    return {name: found for name, found in words.items() if found and str not in found}


def _words(hint: Any) -> Iterator[Any]:
    """The words of the Literals in a type, and `str` where it may be any."""
    if get_origin(hint) is Literal:
        yield from get_args(hint)
    elif hint is str:
        yield str
    else:
        for part in get_args(hint):
            yield from _words(part)


class Options:
    """What all parts of requests have in common: lists become tuples, a word that is none of a field's choices raises
    UsageError, and `check` refuses contradictions. Comparison and representation are here, for generating them for each
    class takes a tenth of the time to start."""

    def __post_init__(self) -> None:
        for field in fields(self):  # type: ignore[arg-type]  # every subclass is a dataclass
            value = getattr(self, field.name)
            if isinstance(value, list):
                object.__setattr__(self, field.name, tuple(value))
        self._check_choices()
        self.check()

    def _check_choices(self) -> None:
        kind: type = type(self)
        for name, choices in _choices(kind).items():
            value = getattr(self, name)
            for word in value if isinstance(value, tuple) else (value,):
                if isinstance(word, str) and word not in choices:
                    raise UsageError(f"{name}: {word!r} is none of {', '.join(choices)}")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    def __hash__(self) -> int:
        return hash(tuple(vars(self).values()))

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"
        )

    def check(self) -> None:
        """Raise UsageError for options that contradict each other."""


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class InputOptions(Options):
    """`split_words`: words are separated by blanks, and a text may also be a list of them. `bare_texts`: whether
    the command knows --text. `shard` is the part (I, N) of the records that is read, counted from 1."""

    files: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    input_format: InputFormat | None = None
    text_field: str | None = None
    pair_field: str | None = None
    id_field: str | None = None
    encoding: str = "utf-8"
    delimiter: str | None = None
    quoting: Quoting = "auto"
    no_header: bool = False
    whole_files: bool = False
    null: bool = False
    skip: int = 0
    limit: int | None = None
    shard: tuple[int, int] | None = None
    max_record_bytes: int = 1 << 26
    split_words: bool = False
    bare_texts: bool = True


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class OutputOptions(Options):
    """`resume` continues an interrupted run."""

    output: str | None = None
    format: OutputFormat | None = None
    overwrite: bool = False
    resume: bool = False
    digits: int | None = None
    prefix: str = ""
    csv_safe: bool = False
    color: When = "auto"


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class ModelOptions(Options):
    """`adapter` is the directory of a LoRA adapter (PEFT) that is applied to the model, or without one to the model it
    was trained on. `calibration` is a file of texts to calibrate the dtype int8 on, in place of the first of the input.
    `unsafe_model` uses a model that the check refuses."""

    model: str | None = None
    adapter: str | None = None
    engine: EngineName = "auto"
    device: str = "auto"
    dtype: ComputeDtype = "auto"
    calibration: str | None = None
    threads: int | None = None
    batch_tokens: int | None = None
    allow_pickle: bool = False
    unsafe_model: bool = False


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class ClusterOptions(Options):
    """Where batches are computed: `on` is `ray` (this machine), `auto` (the cluster of this machine) or
    `ray://HOST:PORT`, None for this process. `workers` is how many workers to ask for, None for as many as there are
    cores or GPUs."""

    on: str | None = None
    workers: int | None = None

    def check(self) -> None:
        super().check()
        if self.workers is not None and self.on is None:
            raise UsageError("--workers is for a cluster", hint="add --on ray, or give --threads")


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class LongOptions(Options):
    """`max_length` is in tokens, special tokens included; None means the model's own limit. `overlap` is the
    number of tokens two neighbouring windows share; None means an eighth of the window."""

    long: LongMode = "window"
    max_length: int | None = None
    overlap: int | None = None

    def check(self) -> None:
        super().check()
        if self.max_length is not None and self.overlap is not None and self.overlap >= self.max_length:
            raise UsageError(
                f"--overlap {self.overlap} must be smaller than --max-length {self.max_length}",
                hint="give a smaller overlap",
            )


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class PromptOptions(Options):
    """What goes before each text: the model's prompt called `prompt_name`, else `prompt` itself,
    else the prompt of `role`, else the model's default."""

    prompt_name: str | None = None
    prompt: str | None = None
    role: Role | None = None


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class RunOptions(Options):
    """`max_errors` is the number of failed records after which a run stops (1 for --strict)."""

    max_errors: int | None = None
    quiet: bool = False
    verbose: bool = False


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class LabelOptions(Options):
    """Which labels: those of the model's own head, or `labels` (a sequence, or between commas), or those of
    `labels_file`, one a line. `template`, `multi_label`: for labels that the model does not have."""

    labels: str | Sequence[str] | None = None
    labels_file: str | None = None
    threshold: float = 0.5
    multi_label: bool = False
    template: str = TEMPLATE


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class StreamRequest(InputOptions, OutputOptions, ModelOptions, RunOptions, ClusterOptions):
    """A request whose results are written one by one, as records are read, in one of `formats`."""

    formats: ClassVar[tuple[OutputFormat, ...]] = RECORD_FORMATS


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Label(StreamRequest, LongOptions, LabelOptions):
    """Label each text, by one `head` or several (a sequence, or between commas). `k` also lists that many labels, `all`
    lists all of them. `guarantee` is a file that EvaluateLabel wrote. `adapt` moves labels of one's own towards the
    texts of the input, which is read twice."""

    formats: ClassVar[tuple[OutputFormat, ...]] = (*RECORD_FORMATS, "plain")
    head: str | Sequence[str] | None = None
    k: int | None = None
    all: bool = False
    emit: tuple[Emitted, ...] = ("label",)
    guarantee: str | None = None
    adapt: bool = False

    def check(self) -> None:
        super().check()
        if not self.adapt:
            return
        if self.labels is None and self.labels_file is None:
            raise UsageError("--adapt is for labels of your own", hint="name them by --labels")
        if self.multi_label:
            raise UsageError(
                "--adapt divides the texts among the labels, and --multi-label gives a text several",
                hint="leave one of them out",
            )
        if self.guarantee is not None:
            raise UsageError(
                "--guarantee is for labels as they were measured, and --adapt moves them",
                hint="leave one of them out",
            )


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Fill(StreamRequest, LongOptions):
    """Predict the words behind masks: `k` fillings, of several masks the best of `beam`. `targets` are words:
    a sequence, or between commas."""

    formats: ClassVar[tuple[OutputFormat, ...]] = (*RECORD_FORMATS, "plain")
    k: int = 5
    beam: int = 10
    targets: str | Sequence[str] | None = None
    words_only: bool = False
    mask: str | None = None


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Embed(StreamRequest, LongOptions, PromptOptions):
    """Export the embeddings of texts or, with `tokens`, of their tokens. None follows the model's own files.
    `output_dtype` is what is written. `sparse` gives the terms of each text with their weights, `multi` the vectors of
    a model that makes one for each token."""

    formats: ClassVar[tuple[OutputFormat, ...]] = (*RECORD_FORMATS, "npy")
    pooling: Pooling | None = None
    normalize: bool | None = None
    layer: int = -1
    tokens: bool = False
    sparse: bool = False
    multi: bool = False
    dim: int | None = None
    output_dtype: WrittenDtype = "float32"

    def check(self) -> None:
        super().check()
        names = ("pooling", "normalize", "layer", "tokens", "dim", "output_dtype")
        changed = [name for name in names if getattr(self, name) != getattr(type(self), name)]
        if (self.sparse or self.multi) and changed:
            what = (
                "--sparse gives the weights of terms" if self.sparse else "--multi those that the model makes"
            )
            raise UsageError(
                f"{flag_of(changed[0])} is for vectors, and {what}",
                hint="leave one of them out",
            )
        if self.sparse and self.multi:
            raise UsageError("--sparse and --multi cannot go together", hint="leave one of them out")


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Tag(StreamRequest, LongOptions):
    """Label the words of each text. `tokens` gives the tag of each token instead of spans."""

    formats: ClassVar[tuple[OutputFormat, ...]] = (*RECORD_FORMATS, "conll")
    head: str | None = None
    aggregation: Aggregation = "first"
    tokens: bool = False


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Score(StreamRequest, LongOptions):
    """Score each text by its pseudo-log-likelihood; `words` adds that of each word."""

    formats: ClassVar[tuple[OutputFormat, ...]] = (*RECORD_FORMATS, "plain")
    method: ScoreMethod = "within-word"
    words: bool = False


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Attention(StreamRequest):
    """The attention weights of each text. Layers and heads count from 1, -1 is the last; a `head` of None is the
    mean. A text beyond the model's limit fails, unless `truncate` cuts it.

    Of an encoder-decoder, `part` is where: among source tokens (encoder), among target tokens (decoder), or from target
    to source (cross, which None means). The target is `target`, the second text of a record, or else the model's
    translation; `source_lang`, `target_lang` and `prefix_text` are those of Translate."""

    formats: ClassVar[tuple[OutputFormat, ...]] = (*RECORD_FORMATS, "html")
    layer: LayerOrHead = -1
    head: LayerOrHead | None = None
    rollout: bool = False
    show: Literal["weights", "qkv"] = "weights"
    truncate: bool = False
    part: AttentionPart | None = None
    target: str | None = None
    source_lang: str | None = None
    target_lang: str | None = None
    prefix_text: str = ""

    def check(self) -> None:
        super().check()
        if self.target is not None and self.pair_field is not None:
            raise UsageError(
                "--target and --pair-field cannot go together", hint="both give the target; leave one out"
            )
        if self.target is not None and not self.target.strip():
            raise UsageError("--target is blank", hint="leave it out, and the model translates")
        if self.rollout and self.head is not None:
            raise UsageError(
                "--rollout and --head cannot go together", hint="a rollout is of all heads at once"
            )
        if self.rollout and self.layer == "mean":
            raise UsageError("--rollout has no mean over layers", hint="name the --layer that it goes up to")
        if self.rollout and self.show == "qkv":
            raise UsageError(
                "a rollout has no queries, keys and values", hint="leave out --rollout or --show"
            )


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Answer(StreamRequest, LongOptions):
    """Find the answer to `question`, or to the question in `pair_field`, in each text."""

    formats: ClassVar[tuple[OutputFormat, ...]] = (*RECORD_FORMATS, "plain")
    question: str | None = None
    max_answer_tokens: int = 30
    no_answer_threshold: float = 0.0

    def check(self) -> None:
        super().check()
        if self.question is None and self.pair_field is None:
            raise UsageError(
                "there is no question", hint="give --question, or name its field by --question-field"
            )
        if self.question is not None and self.pair_field is not None:
            raise UsageError(
                "--question and --question-field cannot go together", hint="leave one of them out"
            )
        if self.question is not None and not self.question.strip():
            raise UsageError("--question is blank", hint='ask something: --question "Who wrote it?"')


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Rerank(StreamRequest, LongOptions):
    """Order texts by their relevance to `query`, or to the query in `pair_field`: then each group of consecutive
    records with the same query is ordered. The best `k` of each are written, or `all`."""

    query: str | None = None
    k: int = 10
    all: bool = False

    def check(self) -> None:
        super().check()
        if self.query is None and self.pair_field is None:
            raise UsageError(
                "there is no query",
                hint='write one: bertcli rerank "a text" FILES, or name its field by --query-field',
            )
        if self.query is not None and not self.query.strip():
            raise UsageError("the query is blank", hint='write one: bertcli rerank "a text" FILES')
        if self.shard is not None and self.pair_field is None:
            raise UsageError(
                "--shard: the order for one query is of all texts",
                hint="name the field of queries by --query-field, or use --on for more machines",
            )
        if self.resume:
            raise UsageError("--resume: an order is written when all is read", hint="start again")


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Translate(StreamRequest):
    """Translate each text: the best of `beam` hypotheses, or the likeliest token each time (`greedy`). `k` gives
    that many translations. Languages are codes that the model knows; `prefix_text` goes before each sentence.
    `max_new_tokens` and `length_penalty` are the model's own where they are None. `long` and `max_length` are about
    sentences. `align` adds the source word of each word. `glossary` is a file of source terms and the target terms that
    must come out for them."""

    formats: ClassVar[tuple[OutputFormat, ...]] = (*RECORD_FORMATS, "plain", "srt", "vtt")
    beam: int = 4
    greedy: bool = False
    k: int | None = None
    source_lang: str | None = None
    target_lang: str | None = None
    prefix_text: str = ""
    split: Split = "sentences"
    max_new_tokens: int | None = None
    length_penalty: float | None = None
    long: LongMode = "window"
    max_length: int | None = None
    align: bool = False
    glossary: str | None = None

    def check(self) -> None:
        super().check()
        if self.greedy and self.k is not None and self.k > 1:
            raise UsageError(
                "--greedy finds one translation, and -k asks for more", hint="leave one of them out"
            )


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Search(InputOptions, OutputOptions, ModelOptions, LongOptions, RunOptions):
    """Find the texts nearest to `query`, to each line of the file `queries`, or to record `like` (counted from 1); or
    all pairs with a cosine of `near_duplicates` or more. `embeddings` is a file that `embed` wrote; `files` are then
    the texts it was made from. `index` is a directory that Index made. `prompt_name` goes before each text,
    `query_prompt` before each query. `hybrid` joins the nearest texts with those that have the words of the query.
    `rerank` is a cross-encoder that orders the `rerank_top` best texts."""

    formats: ClassVar[tuple[OutputFormat, ...]] = RECORD_FORMATS
    query: str | None = None
    queries: str | None = None
    like: int | None = None
    near_duplicates: float | None = None
    embeddings: str | None = None
    index: str | None = None
    k: int | None = None
    min_score: float | None = None
    pooling: Pooling | None = None
    dim: int | None = None
    prompt_name: str | None = None
    query_prompt: str | None = None
    hybrid: bool = False
    rerank: str | None = None
    rerank_top: int = 100

    def check(self) -> None:
        super().check()
        others = {"--queries": self.queries, "--like": self.like, "--near-duplicates": self.near_duplicates}
        given = [name for name, value in others.items() if value is not None]
        if len(given) > 1:
            raise UsageError(
                f"{' and '.join(given)} cannot go together", hint="leave all but one of them out"
            )
        if not given and (self.query is None or not self.query.strip()):
            raise UsageError(
                "there is no query", hint='write what to look for: bertcli search "a text" FILES'
            )
        if self.near_duplicates is not None and (self.k is not None or self.min_score is not None):
            raise UsageError("--near-duplicates gives all pairs", hint="leave out -k and --min-score")
        for name in ("rerank", "index", "hybrid"):
            if getattr(self, name) and (self.like is not None or self.near_duplicates is not None):
                raise UsageError(
                    f"{flag_of(name)} is for queries", hint="leave it out, or search for a query"
                )
        self._check_index()

    def _check_index(self) -> None:
        """Raise UsageError for what is given beside an index and would be ignored."""
        if self.index is None:
            return
        beside = ("files", "texts", "embeddings", "text_field", "pooling", "dim", "prompt_name")
        given = [name for name in beside if getattr(self, name)]
        if given:
            what = "FILES" if given[0] == "files" else flag_of(given[0])
            raise UsageError(
                f"{what}: an index has its own texts and vectors", hint="leave it out, or --index"
            )


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Index(InputOptions, ModelOptions, LongOptions, RunOptions):
    """Keep texts with their embeddings in the directory `output`: a new one, or with `add` one that there is. A record
    whose `id_field` is in it takes the place of the other. `remove` is a file of ids, one a line, whose records are
    removed. `prompt_name` goes before each text."""

    output: str = ""
    add: bool = False
    remove: str | None = None
    overwrite: bool = False
    resume: bool = False
    pooling: Pooling | None = None
    dim: int | None = None
    prompt_name: str | None = None

    def check(self) -> None:
        super().check()
        if not self.output:
            raise UsageError("the index has no directory", hint="name one by -o DIR")
        if self.remove is not None and (self.files or self.texts or self.add):
            raise UsageError("--remove adds no texts", hint="leave out --add and FILES, or --remove")
        if self.add and self.overwrite:
            raise UsageError("--add and --overwrite cannot go together", hint="leave one of them out")


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Evaluate(InputOptions, ModelOptions, RunOptions):
    """What all ways of measuring share. `json` gives the report as one object."""

    json: bool = False
    bare_texts: bool = False  # a bare text has no right answer


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class EvaluateLabel(Evaluate, LongOptions, LabelOptions):
    """Measure labels. `suspects` is how many of the likeliest wrong labels to name, or a file for all of them.
    `guarantee` is the share of the file that may be wrong, `output` the file for the guarantee. `overwrite` replaces
    the files that `suspects`, `plot` and `output` name."""

    label_field: str | None = None
    head: str | None = None
    calibrate: bool = False
    suspects: int | str | None = None
    plot: str | None = None
    guarantee: float | None = None
    confidence: float = 0.95
    output: str | None = None
    overwrite: bool = False

    def check(self) -> None:
        super().check()
        if self.output is not None and self.guarantee is None:
            raise UsageError(
                "--output is the file for a guarantee", hint="add --guarantee 0.05, or leave it out"
            )


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class EvaluateTag(Evaluate, LongOptions):
    """Measure tags of texts whose words are known."""

    split_words: bool = True
    head: str | None = None
    tag_field: str | None = None
    aggregation: Aggregation = "first"


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class EvaluateFill(Evaluate, LongOptions):
    """Measure masked words: a `share` of each text's tokens is masked, one at a time or `together`."""

    bare_texts: bool = True
    share: float = 0.15
    together: bool = False
    seed: int = 0


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class EvaluateEmbed(Evaluate, LongOptions):
    """Measure embeddings by pairs of texts with a score."""

    pair_field: str | None = "text_pair"
    score_field: str = "score"
    pooling: Pooling | None = None
    prompt_name: str | None = None


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class EvaluateRerank(Evaluate, LongOptions):
    """Measure the order of texts by their relevance to a query. `label_field` says how relevant each is."""

    pair_field: str | None = "query"
    label_field: str | None = None


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class EvaluateAnswer(Evaluate, LongOptions):
    """Measure answers to the questions in `pair_field`."""

    pair_field: str | None = "question"
    answers_field: str = "answers"
    no_answer_threshold: float = 0.0


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class EvaluateTranslate(Evaluate):
    """Measure translations."""

    target_field: str = "target"
    beam: int = 4
    source_lang: str | None = None
    target_lang: str | None = None
    prefix_text: str = ""


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class DrawSample(InputOptions, OutputOptions):
    """Draw `n` records to check, uniformly or preferring uncertain or diverse ones. `score_field` has the score of the
    label."""

    formats: ClassVar[tuple[OutputFormat, ...]] = RECORD_FORMATS
    n: int = 200
    by: SampleBy = "random"
    score_field: str = "score"
    seed: int = 0
    quiet: bool = False


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Compare(InputOptions, ModelOptions, LongOptions, RunOptions):
    """Compare two files of answers, or two `models` on the same texts. `max_flips` is a number, or a share as in
    `0.5%`; `worst` is how many of the worst records to show."""

    models: tuple[str, str] | None = None
    task: Literal["label", "tag", "fill", "embed"] = "label"
    head: str | None = None
    max_flips: str | None = None
    max_drift: float | None = None
    worst: int = 10
    json: bool = False


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Bench(InputOptions, ModelOptions, LongOptions, RunOptions):
    """Measure engines and their settings on texts, for about `seconds`. `save` writes the best settings. With `agree`
    int8 may be among them, where its answers agree that much with those in float32: the cosine of 99 in 100 embeddings,
    or the share of equal answers."""

    task: Literal["label", "fill", "embed"] | None = None
    head: str | None = None
    seconds: float = 60
    save: bool = False
    agree: float | None = None
    report_format: ReportFormat | None = None


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class TrainOptions(Options):
    """What all ways of training share; None where the defaults depend on the data."""

    output: str = ""
    model: str | None = None
    dev: str | None = None
    dev_fraction: float | None = None
    seed: int = 7
    epochs: int | None = None
    learning_rate: float | None = None
    batch_tokens: int | None = None
    max_length: int = 256
    device: str = "auto"
    dtype: TrainDtype = "auto"
    threads: int | None = None
    overwrite: bool = False
    resume: bool = False
    quiet: bool = False
    verbose: bool = False


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Train(InputOptions, TrainOptions):
    """Train one head from labelled records. `head` is the head of the base to start from."""

    bare_texts: bool = False
    head: str | None = None


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class TrainLabel(Train):
    """Train a model that labels texts."""

    label_field: str | None = None


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class TrainTag(Train):
    """Train a model that tags words."""


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class TrainFill(Train):
    """Train masked-word prediction on plain texts."""

    bare_texts: bool = True


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class TrainAnswer(Train):
    """Train a model that finds answers."""


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class TrainRerank(Train):
    """Train a cross-encoder from queries with texts. `label_field` says how relevant each text is; without irrelevant
    ones, there are so many `negatives` for each."""

    pair_field: str | None = "query"
    label_field: str | None = None
    negatives: int = 4


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class TrainTranslate(InputOptions, TrainOptions):
    """Train an encoder-decoder from pairs of texts: one of a `size` from nothing, or `base`, a checkpoint. Languages
    and prefix are those of Translate, for a base that has them."""

    bare_texts: bool = False
    target_field: str = "target"
    size: Literal["tiny", "small", "base"] = "tiny"
    vocab_size: int = 8000
    epochs: int = 100
    batch_tokens: int = 4096
    base: str | None = None
    source_lang: str | None = None
    target_lang: str | None = None
    prefix_text: str = ""

    def check(self) -> None:
        super().check()
        if self.base is not None and (self.size, self.vocab_size) != (
            TrainTranslate.size,
            TrainTranslate.vocab_size,
        ):
            raise UsageError(
                "--size and --vocab-size are for a model from nothing", hint="leave them out, or --base"
            )
        if self.base is None and (self.source_lang or self.target_lang or self.prefix_text):
            raise UsageError(
                "languages and a prefix are those of a model that is trained further",
                hint="name it by --base, or leave out --source-lang, --target-lang and --prefix-text",
            )


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class TrainRecipe(TrainOptions):
    """Train several heads as a recipe says."""

    recipe: str = ""


FLAGS = MappingProxyType(
    {
        "texts": "--text",
        "input_format": "--from",
        "output_dtype": "--dtype",
        "k": "-k",
        "report_format": "--format",
    }
)
"""The options whose long name is not that of the field they fill."""

WITHOUT_EFFECT_ON_RESULTS = frozenset(
    {
        *("files", "bare_texts", "output", "overwrite", "resume", "color", "max_errors", "quiet", "verbose"),
        # What they choose, a model with an adapter and an engine, is compared itself when a run is resumed.
        *(
            "model",
            "adapter",
            "engine",
            "device",
            "dtype",
            "calibration",
            "threads",
            "batch_tokens",
            "allow_pickle",
            "unsafe_model",
            "on",
            "workers",
        ),
    }
)

FILE_FIELDS = frozenset({"labels_file", "guarantee", "glossary"})
"""Fields that name a file whose content changes results."""


def flag_of(field: str) -> str:
    """The option that fills a field, as users know it."""
    return FLAGS.get(field, "--" + field.replace("_", "-"))


def options_that_change_results(request: Options) -> Mapping[str, Any]:
    """The fields of a request that can change what a run writes, by name."""
    names = [field.name for field in fields(request) if field.name not in WITHOUT_EFFECT_ON_RESULTS]  # type: ignore[arg-type]
    return {name: getattr(request, name) for name in names}


def fields_of(request: Options, *parts: type[Options]) -> dict[str, Any]:
    """The fields of `request` that belong to `parts` of it, as keyword arguments for another request."""
    return {field.name: getattr(request, field.name) for part in parts for field in fields(part)}  # type: ignore[arg-type]


def options_of(*parts: Options) -> dict[str, Any]:
    """The fields of `parts` by name, as keyword arguments for a request that is made of them."""
    return {field.name: getattr(part, field.name) for part in parts for field in fields(part)}  # type: ignore[arg-type]
