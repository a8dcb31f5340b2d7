"""Options that commands share, as decorators. Each option fills the field of its name in the command's request, which
also has its default.

    @input_options                       requests.InputOptions
    @question_input_options                the same where the text is a context and its pair a question
    @query_input_options                   the same where the text is a candidate and its pair a query
    @labelled_input_options                the same without what is for bare texts
    @labelled_question_input_options, @labelled_query_input_options   both
    @split_words_option, @shard_option     one more of its fields
    @output_options                      requests.OutputOptions
    @late_output_options                   the same for results that come when everything is read
    @model_options                       requests.ModelOptions
    @embedding_model_options               the same where the command's own `--dtype` is that of the output
    @engine_options, @machine_options      the same without -m; without what `bench` tries itself
    @cluster_options                     requests.ClusterOptions
    @long_options                        requests.LongOptions
    @run_options                         requests.RunOptions
    @verbosity_options                     the same without what is for records that fail
    @store_options                       requests.Index: the directory
    @train_options, @recipe_options      requests.TrainOptions; those that a recipe does not have
    @prompt_options                      requests.PromptOptions
    @labels_options, @threshold_options  requests.LabelOptions
    @language_options                    the languages and the prefix of requests.Translate
    @pair_field_option, @pooling_option, @prompt_name_option, @no_answer_option, @json_option, @report_format_option
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import click

from bertcli.options.parameters import (
    OptionSection,
    RareOption,
    SharedArgument,
    SharedOption,
    cluster,
    delimiter,
    device,
    devices,
    encoding,
    shard,
    whole_number,
)
from bertcli.requests import (
    ComputeDtype,
    EngineName,
    InputFormat,
    LongMode,
    Quoting,
    Role,
    TrainDtype,
    When,
)

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

F = TypeVar("F", bound=Callable[..., Any])


class Decorator(Protocol):
    """What adds options to a command."""

    def __call__(self, callback: F, /) -> F: ...


INPUT, OUTPUT, TRAINING = OptionSection("Input"), OptionSection("Output"), OptionSection("Training")
MODEL, LONG, RUN = OptionSection("Model"), OptionSection("Long texts"), OptionSection("Run")
LABELS, PROMPT = OptionSection("Label"), OptionSection("Embed")


def _together(*decorators: Decorator) -> Decorator:
    """Several decorators as one; the help page lists their options in this order."""

    def decorate(callback: F) -> F:
        for decorator in reversed(decorators):
            callback = decorator(callback)
        return callback

    return decorate


DEBUG = "bertcli.debug"
"""Where the context's `meta` remembers that --debug was given."""


def debug_option(heading: str) -> Decorator:
    """--debug, understood before a command and after it; the error boundary looks for it in the context."""

    def remember(ctx: click.Context, param: click.Parameter, value: bool) -> None:
        ctx.meta[DEBUG] = ctx.meta.get(DEBUG, False) or value

    return click.option(
        "--debug", cls=SharedOption, heading=heading, is_flag=True, expose_value=False,
        callback=remember, help="Show tracebacks.",
    )  # fmt: skip


def _directories(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="dir")]


# fmt: off

# Where records come from

_files_argument = click.argument(
    "files", cls=SharedArgument, heading="Input",
    metavar="[FILES]...", nargs=-1, type=click.Path(allow_dash=True, readable=False),
    about="Files to read. Without one, or for -: stdin.",
)
_texts_option = INPUT.option(
    "texts", "-t", "--text", metavar="TEXT", multiple=True, settable=False,
    help="A text instead of a file. Repeatable.",
)
_format_option = INPUT.choice(
    "input_format", InputFormat, "--from", metavar="FORMAT", about="Format of the input", unset="by suffix",
)
_text_field_option = INPUT.option(
    "text_field", "--text-field", metavar="NAME", help="Field with the text, if it is not `text`.",
)
pair_field_option = INPUT.option("pair_field", "--pair-field", metavar="NAME", help="Field with a second text.")
_context_field_option = INPUT.option(
    "text_field", "--text-field", "--context-field", metavar="NAME",
    help="Field with the context, if it is not `text`.",
)
_question_field_option = INPUT.option(
    "pair_field", "--pair-field", "--question-field", metavar="NAME", help="Field with the question.",
)
_query_field_option = INPUT.option(
    "pair_field", "--pair-field", "--query-field", metavar="NAME", help="Field with the query.",
)
_reading_options = _together(
    INPUT.option("id_field", "--id-field", metavar="NAME", help="Field that names a record."),
    INPUT.option("delimiter", "--delimiter", metavar="CHAR", type=delimiter,
                 help="CSV, TSV: what is between cells.", unset="by format and header"),
    INPUT.choice("quoting", Quoting, "--quoting", metavar="HOW", about="CSV, TSV: what quotes are",
                 show_default=True),
    INPUT.flag("no_header", "--no-header", help="CSV, TSV: the first line is a record, too."),
    INPUT.option("encoding", "--encoding", metavar="NAME", type=encoding, help="Encoding of text files."),
    INPUT.option("limit", "--limit", metavar="N", type=whole_number(0), help="Stop after N records."),
    INPUT.option("skip", "--skip", metavar="N", type=whole_number(0), show_default=False,
                 help="Leave out the first N records."),
    INPUT.option("max_record_bytes", "--max-record-bytes", metavar="N", type=whole_number(1),
                 show_default=False, help="A larger record fails. Default: 64 MiB."),
)
_bare_text_options = _together(
    INPUT.flag("whole_files", "--whole-files", help="A file is one record."),
    INPUT.flag("null", "-0", "--null", help="Records end in NUL bytes instead of line ends."),
)
_text_options = _together(_format_option, _text_field_option, _reading_options)
_question_options = _together(_format_option, _context_field_option, _question_field_option, _reading_options)
_query_options = _together(_format_option, _text_field_option, _query_field_option, _reading_options)

input_options = _together(_files_argument, _texts_option, _text_options, _bare_text_options)
question_input_options = _together(_files_argument, _texts_option, _question_options, _bare_text_options)
query_input_options = _together(_files_argument, _texts_option, _query_options, _bare_text_options)
# Records with their answers, which bare texts do not have:
labelled_input_options = _together(_files_argument, _text_options)
labelled_question_input_options = _together(_files_argument, _question_options)
labelled_query_input_options = _together(_files_argument, _query_options)

shard_option = INPUT.option(
    "shard", "--shard", metavar="I/N", type=shard, settable=False,
    help="Read only part I of N; `bertcli merge` joins the outputs.",
)
split_words_option = INPUT.flag(
    "split_words", "--split-words", help="Texts are split into words: by blanks, or as a list of strings.",
)

# What is embedded

pooling_option = click.option(
    "--pooling", metavar="HOW", type=click.Choice(["mean", "cls", "max", "weightedmean", "lasttoken"]),
    show_default="the model's",
    help="mean, cls, max, weightedmean or lasttoken.",
)
prompt_name_option = click.option(
    "--prompt-name", metavar="NAME", show_default="the model's default",
    help="Prompt of the model to put before each text.",
)
prompt_options = _together(
    PROMPT.choice("role", Role, "--role", metavar="ROLE",
                  about="What the texts are, for models with a prompt for each"),
    PROMPT.option("prompt_name", "--prompt-name", metavar="NAME",
                  unset="that of the role, else the model's default",
                  help="Prompt of the model to put before each text."),
    PROMPT.option("prompt", "--prompt", metavar="TEXT", rival="prompt_name",
                  help="Text to put before each text."),
)

# Where results go

# Results that come when everything is read have no part to resume:
late_output_options = _together(
    OUTPUT.option("output", "-o", "--output", metavar="FILE", type=click.Path(readable=False),
                  unset="stdout", help="File to write."),
    OUTPUT.option("format", "-f", "--format", metavar="FORMAT", show_default=False,
                  help="[default: by suffix]"),
    OUTPUT.flag("overwrite", "--overwrite", help="Replace an existing output file."),
    OUTPUT.option("digits", "--digits", metavar="N", type=whole_number(1, 17), help="Digits of numbers.",
                  unset="4 decimals in tables, 6 significant digits elsewhere"),
    OUTPUT.option("prefix", "--prefix", metavar="STR", show_default=False,
                  help="Put STR before the name of each result field."),
    OUTPUT.flag("csv_safe", "--csv-safe", help="CSV, TSV: put ' before texts that look like formulas."),
    OUTPUT.choice("color", When, "--color", metavar="WHEN", about="Colours"),
)
output_options = _together(
    late_output_options, OUTPUT.flag("resume", "--resume", help="Resume an interrupted -o FILE."),
)

# The model, its engine and its device

_model_option = MODEL.option(
    "model", "-m", "--model", metavar="MODEL", shell_complete=_directories, type=click.Path(readable=False),
    help="Model directory, or name in the local cache.",
)
_adapter_option = MODEL.option(
    "adapter", "--adapter", metavar="DIR", shell_complete=_directories, type=click.Path(readable=False),
    help="A LoRA adapter (PEFT) to apply to the model.", unset="none; without -m, to the model it was trained on",
)
_device_option = MODEL.option(
    "device", "--device", metavar="NAME", type=device, help="Device: auto, cpu, cuda, cuda:N or mps.",
)
_threads_option = MODEL.option(
    "threads", "--threads", metavar="N", type=whole_number(1, 1024), help="CPU threads.", unset="all cores",
)
_trust_options = _together(
    MODEL.flag("allow_pickle", "--allow-pickle", help="Load pickle checkpoints (weights only)."),
    MODEL.flag("unsafe_model", "--unsafe-model", help="Use a model that the check refuses."),
)


def _engine_options(dtype: str) -> Decorator:
    """`dtype` names the option for the dtype of the computation; settings for all commands call it `dtype` in any
    case."""
    return _together(
        MODEL.choice("engine", EngineName, "--engine", metavar="NAME", about="Engine"),
        MODEL.option("device", "--device", metavar="NAME", type=devices,
                     help="Device: auto, cpu, cuda, cuda:N or mps; several GPUs as cuda:0,cuda:1."),
        MODEL.choice("dtype", ComputeDtype, dtype, metavar="DTYPE", general="dtype",
                     about="What the model computes in"),
        MODEL.option("calibration", "--calibration", metavar="FILE",
                     type=click.Path(readable=False), help="Texts to calibrate int8 on.",
                     unset="the first of the input"),
        _threads_option,
        MODEL.option("batch_tokens", "--batch-tokens", metavar="N", type=whole_number(1),
                     help="Tokens that run together.", unset="by engine and device"),
        _trust_options,
    )


engine_options = _engine_options("--dtype")
model_options = _together(_model_option, _adapter_option, engine_options)
embedding_model_options = _together(
    _model_option, _adapter_option, _engine_options("--compute-dtype"),
)
machine_options = _together(_model_option, _adapter_option, _device_option, _trust_options)
cluster_options = _together(
    MODEL.option("on", "--on", metavar="WHERE", type=cluster, settable=False, unset="in this process",
                 help="Compute on Ray: ray (this machine), auto (its cluster) or ray://HOST:PORT."),
    MODEL.option("workers", "--workers", metavar="N", type=whole_number(1, 100_000), settable=False,
                 unset="as many as there are cores or GPUs",
                 help="With --on: how many workers, each with --threads cores (1) or a GPU."),
)

# How texts over the length limit are handled, and how a run behaves

long_options = _together(
    LONG.choice("long", LongMode, "--long", metavar="MODE", about="Long texts"),
    LONG.option("max_length", "--max-length", metavar="N", type=whole_number(3),
                  help="Tokens of a window.", unset="the model's own limit"),
    LONG.option("overlap", "--overlap", metavar="N", type=whole_number(0),
                  help="Tokens that neighbouring windows share.", unset="an eighth of the window"),
)
run_options = _together(
    RUN.flag("strict", "--strict", rival="max_errors", help="Stop at the first failed record."),
    RUN.option("max_errors", "--max-errors", metavar="N", type=whole_number(1),
                  help="Stop after N failed records."),
    RUN.flag("quiet", "-q", "--quiet", rival="verbose", help="No progress, no receipt, no warnings."),
    RUN.flag("verbose", "-v", "--verbose", help="Explain what is done and why."),
    debug_option("Run"),
)
verbosity_options = _together(
    RUN.flag("quiet", "-q", "--quiet", rival="verbose", help="No progress, no warnings."),
    RUN.flag("verbose", "-v", "--verbose", help="Print every measurement."),
    debug_option("Run"),
)

# Training

_directory_options = _together(
    OUTPUT.option("output", "-o", "--output", metavar="DIR", type=click.Path(), required=True,
                  show_default=False, help="Directory to make."),
    OUTPUT.flag("overwrite", "--overwrite", help="Replace an existing model directory."),
    OUTPUT.flag("resume", "--resume", help="Resume the interrupted run of this directory."),
)
_training_machine_options = _together(
    _device_option,
    MODEL.choice("dtype", TrainDtype, "--dtype", metavar="DTYPE",
                 about="What matrices are multiplied in"),
    _threads_option,
)
train_options = _together(
    _directory_options,
    TRAINING.option("model", "-m", "--model", metavar="MODEL", unset="the bundled model",
                    type=click.Path(readable=False), help="Model to start from."),
    TRAINING.option("dev", "--dev", metavar="FILE", type=click.Path(), help="Examples to measure with."),
    TRAINING.option("dev_fraction", "--dev-fraction", metavar="P", type=click.FloatRange(0.001, 0.9),
                    unset="0.1", help="Share held out to measure with."),
    TRAINING.option("epochs", "--epochs", metavar="N", type=whole_number(1), unset="3 to 12",
                    help="The most times each example is seen."),
    TRAINING.option("learning_rate", "--learning-rate", metavar="X",
                    type=click.FloatRange(0, min_open=True), unset="by what is trained",
                    help="The highest learning rate."),
    TRAINING.option("max_length", "--max-length", metavar="N", type=whole_number(8),
                    help="Tokens of a text; longer ones are cut."),
    TRAINING.option("batch_tokens", "--batch-tokens", metavar="N", type=whole_number(8),
                    help="Tokens of a step, with padding.", unset="2048"),
    TRAINING.option("seed", "--seed", metavar="N", type=whole_number(0), help="Seed of everything random."),
    _training_machine_options,
    verbosity_options,
)
# Those that a recipe does not have:
recipe_options = _together(_directory_options, _training_machine_options, verbosity_options)

# The rest

store_options = _together(
    OUTPUT.option("output", "-o", "--output", metavar="DIR", type=click.Path(), required=True,
                  show_default=False, help="Directory of the index."),
    OUTPUT.flag("add", "--add", settable=False, help="Add to an existing index, or replace its records."),
    OUTPUT.option("remove", "--remove", metavar="FILE", settable=False,
                  type=click.Path(allow_dash=True, readable=False),
                  help="Remove the records with these ids, one a line."),
    OUTPUT.flag("overwrite", "--overwrite", help="Replace an existing index."),
    OUTPUT.flag("resume", "--resume", help="Resume the interrupted run of this directory."),
)
report_format_option = click.option(
    "-f", "--format", "report_format", type=click.Choice(["table", "jsonl"]), metavar="FORMAT",
    help="table or jsonl.  [default: a table on a terminal, else jsonl]",
)
json_option = click.option("--json", is_flag=True, help="The report as one JSON object.")
no_answer_option = click.option(
    "--no-answer-threshold", metavar="X", type=float,
    help="How far the logit of no answer must be ahead; inf always answers.",
)
labels_options = _together(
    LABELS.option("labels", "--labels", metavar="A,B,…",
                 help="Labels of your own (zero-shot), between commas."),
    LABELS.option("labels_file", "--labels-file", metavar="FILE", type=click.Path(readable=False),
                 help="Names for the model's classes, or labels of your own: one a line."),
)
threshold_options = _together(
    LABELS.option("threshold", "--threshold", metavar="P", type=click.FloatRange(0, 1),
                 help="Least score of a label, where there may be several."),
    LABELS.flag("multi_label", "--multi-label", help="Labels of your own: a text may have several."),
    LABELS.option("template", "--template", metavar="TEXT",
                 help="Labels of your own: sentence with {} for the label."),
)


def language_options(kind: type[click.Option] = click.Option) -> Decorator:
    """--source-lang, --target-lang and --prefix-text, for encoder-decoders; `kind` is that of the first two."""
    return _together(
        click.option("--source-lang", cls=kind, metavar="CODE",
                     help="Language of the texts, of a model with many."),
        click.option("--target-lang", cls=kind, metavar="CODE",
                     help="Language of the translations, of such a model."),
        click.option("--prefix-text", cls=RareOption, metavar="TEXT", show_default=False,
                     help="Text to put before the source (T5)."),
    )


# fmt: on
