"""Options that commands share, as decorators that hand each command a frozen dataclass.

    @input_options                       → inputs: InputOptions
    @question_input_options                (the text is a context, its pair a question)
    @labelled_input_options                (without what is for bare texts)
    @split_words_option, @shard_option     (one more of its fields)
    @output_options                      → outputs: OutputOptions
    @late_output_options                   (without what is for results that come one by one)
    @model_options                       → model: ModelOptions
    @engine_options                        (without -m: the command names its models itself)
    @long_options                        → long: LongOptions
    @run_options                         → run: RunOptions
    @machine_options, @manner_options    → the same two, of the options that `bench` does not try itself
    @train_options, @recipe_options      → training: TrainOptions
    @prompt_options                      → prompting: PromptOptions
    @labels_options, @judging_options    → labelling: LabelOptions
    @pooling_option, @prompt_name_option → pooling, prompt_name: as they are

`command.Command` collapses the click parameters into the dataclasses, which also hold the defaults.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, overload

import click

from bertcli.parameters import (
    Bundle,
    SharedArgument,
    SharedOption,
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
    InputOptions,
    LabelOptions,
    LongMode,
    LongOptions,
    ModelOptions,
    OutputFormat,
    OutputOptions,
    PromptOptions,
    Quoting,
    Role,
    RunOptions,
    TrainDtype,
    TrainOptions,
    When,
)

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

F = TypeVar("F", bound=Callable[..., Any])


def _stack(callback: F, *decorators: Callable[[F], F]) -> F:
    for decorate in reversed(decorators):
        callback = decorate(callback)
    return callback


def input_options(callback: F) -> F:
    """Where records come from: hands the command `inputs`, an InputOptions."""
    return _stack(callback, _files_argument, _texts_option, _field_options, _naming_options, _reading_options,
                  _cutting_options)  # fmt: skip


def question_input_options(callback: F) -> F:
    """The same where the text is a context and its pair a question: both have a second name."""
    return _stack(callback, _files_argument, _texts_option, _question_field_options, _naming_options,
                  _reading_options, _cutting_options)  # fmt: skip


def labelled_question_input_options(callback: F) -> F:
    """The same for records that bring their answers, which bare texts cannot."""
    return _stack(callback, _files_argument, _question_field_options, _naming_options, _reading_options)


def labelled_input_options(callback: F) -> F:
    """The same for records that bring an answer beside the text, which bare texts cannot."""
    return _stack(callback, _files_argument, _field_options, _naming_options, _reading_options)


def _files_argument(callback: F) -> F:
    return click.argument(
        "inputs_files", cls=SharedArgument, fills=(("inputs", "files"),), heading="Input",
        metavar="[FILES]...", nargs=-1, type=click.Path(allow_dash=True, readable=False),
        about="Files to read; - is stdin, which is also read when none is named.",
    )(callback)  # fmt: skip


def _texts_option(callback: F) -> F:
    bundle = Bundle("inputs", "Input", InputOptions)
    return bundle.option(
        "texts", "-t", "--text", metavar="TEXT", multiple=True, settable=False,
        help="A text to answer for, instead of a file. Repeatable.",
    )(callback)  # fmt: skip


def _field_options(callback: F) -> F:
    bundle = Bundle("inputs", "Input", InputOptions)
    return _stack(
        callback,
        _form_option,
        bundle.option("text_field", "--text-field", metavar="NAME", help="Field that holds the text.",
                      unset="text, else the only text field"),
        bundle.option("pair_field", "--pair-field", metavar="NAME", help="Field that holds a second text."),
    )  # fmt: skip


def _question_field_options(callback: F) -> F:
    bundle = Bundle("inputs", "Input", InputOptions)
    return _stack(
        callback,
        _form_option,
        bundle.option("text_field", "--text-field", "--context-field", metavar="NAME",
                      help="Field that holds the context.", unset="text, else the only text field"),
        bundle.option("pair_field", "--pair-field", "--question-field", metavar="NAME",
                      help="Field that holds the question."),
    )  # fmt: skip


def _form_option(callback: F) -> F:
    bundle = Bundle("inputs", "Input", InputOptions)
    return bundle.choice(
        "input_format", InputFormat, "--from", metavar="FORM", about="Form of the input", unset="by suffix"
    )(callback)


def _naming_options(callback: F) -> F:
    bundle = Bundle("inputs", "Input", InputOptions)
    return bundle.option(
        "id_field", "--id-field", metavar="NAME", help="Field that names a record."
    )(callback)  # fmt: skip


def _cutting_options(callback: F) -> F:
    bundle = Bundle("inputs", "Input", InputOptions)
    return _stack(
        callback,
        bundle.flag("whole_files", "--whole-files", help="A file is one record."),
        bundle.flag("null", "-0", "--null", help="Records end in NUL bytes instead of line ends."),
    )


def _reading_options(callback: F) -> F:
    bundle = Bundle("inputs", "Input", InputOptions)
    return _stack(
        callback,
        bundle.option("delimiter", "--delimiter", metavar="CHAR", type=delimiter,
                      help="CSV, TSV: what stands between cells.", unset="by form and header"),
        bundle.choice("quoting", Quoting, "--quoting", metavar="HOW", about="CSV, TSV: what quotes are",
                      show_default=True),
        bundle.flag("no_header", "--no-header", help="CSV, TSV: the first line is a record, too."),
        bundle.option("encoding", "--encoding", metavar="NAME", type=encoding,
                      help="Encoding of text files."),
        bundle.option("limit", "--limit", metavar="N", type=whole_number(0), help="Stop after N records."),
        bundle.option("skip", "--skip", metavar="N", type=whole_number(0), show_default=False,
                      help="Leave out the first N records."),
        bundle.option("max_record_bytes", "--max-record-bytes", metavar="N", type=whole_number(1),
                      show_default=False, help="A larger record fails. Default: 64 MiB."),
    )  # fmt: skip


def shard_option(callback: F) -> F:
    """For commands whose output `merge` can join: which part of the records; goes into `inputs`."""
    bundle = Bundle("inputs", "Input", InputOptions)
    return bundle.option(
        "shard", "--shard", metavar="I/N", type=shard, settable=False,
        help="Read only part I of N; `bertcli merge` joins the outputs.",
    )(callback)  # fmt: skip


def split_words_option(callback: F) -> F:
    """For commands that answer for words: whether the input has them split already; goes into `inputs`."""
    bundle = Bundle("inputs", "Input", InputOptions)
    return bundle.flag(
        "split_words", "--split-words",
        help="Texts are split into words: by blanks, or as a list of strings.",
    )(callback)  # fmt: skip


def pooling_option(callback: F) -> F:
    """For commands that make vectors of texts: how, or None."""
    return click.option(
        "--pooling", metavar="HOW", type=click.Choice(["mean", "cls", "max", "weightedmean", "lasttoken"]),
        show_default="the model's own, else mean",
        help="How token vectors become one: mean, cls, max, weightedmean or lasttoken.",
    )(callback)  # fmt: skip


def prompt_name_option(callback: F) -> F:
    """For the same: which prompt stands before each text, or None."""
    return click.option(
        "--prompt-name", metavar="NAME", show_default="the model's default",
        help="Which of the model's prompts to put before each text.",
    )(callback)  # fmt: skip


def prompt_options(callback: F) -> F:
    """What is embedded and what goes before it: hands the command `prompting`, a PromptOptions."""
    bundle = Bundle("prompting", "Embed", PromptOptions)
    return _stack(
        callback,
        bundle.choice("role", Role, "--role", metavar="ROLE",
                      about="What the texts are to be, for models with a prompt for each"),
        bundle.option("prompt_name", "--prompt-name", metavar="NAME",
                      unset="that of the role, else the model's default",
                      help="Which of the model's prompts to put before each text."),
        bundle.option("prompt", "--prompt", metavar="TEXT", rival="prompting_prompt_name",
                      help="What to put before each text instead."),
    )  # fmt: skip


def output_options(callback: F) -> F:
    """Where results go: hands the command `outputs`, an OutputOptions."""
    bundle = Bundle("outputs", "Output", OutputOptions)
    resume = bundle.flag("resume", "--resume", help="Resume an interrupted -o FILE.")
    return late_output_options(resume(callback))


def late_output_options(callback: F) -> F:
    """The same for results that come when all is read: there is never a part to resume."""
    bundle = Bundle("outputs", "Output", OutputOptions)
    return _stack(
        callback,
        bundle.option("output", "-o", "--output", metavar="FILE", type=click.Path(readable=False),
                      unset="stdout", help="File to write, whole or not at all."),
        bundle.choice("format", OutputFormat, "-f", "--format", metavar="FORM", about="Form of the output",
                      unset="by suffix, else a table on a terminal and jsonl in a pipe"),
        bundle.flag("overwrite", "--overwrite", help="Replace an existing output file."),
        bundle.option("digits", "--digits", metavar="N", type=whole_number(1, 17), help="Digits of numbers.",
                      unset="4 decimals in tables, 6 significant digits elsewhere"),
        bundle.option("prefix", "--prefix", metavar="STR", show_default=False,
                      help="Put STR before the name of each result field."),
        bundle.flag("csv_safe", "--csv-safe", help="CSV, TSV: put ' before texts that look like formulas."),
        bundle.choice("color", When, "--color", metavar="WHEN", about="Colours"),
    )  # fmt: skip


@overload
def model_options(callback: F) -> F: ...
@overload
def model_options(*, dtype: str) -> Callable[[F], F]: ...
def model_options(callback: F | None = None, *, dtype: str = "--dtype") -> F | Callable[[F], F]:
    """What answers, and on what: hands the command `model`, a ModelOptions.

    `dtype` names the
    option for the dtype of the computation where the command's own `--dtype` says what is written; settings
    for all commands keep calling it `dtype`.
    """
    if callback is None:
        return lambda callback: _model_options(callback, dtype)
    return _model_options(callback, dtype)


def _directories(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="dir")]


def _model_options(callback: F, dtype: str) -> F:
    bundle = Bundle("model", "Model", ModelOptions)
    return _stack(_engine_options(callback, dtype), _model_option(bundle), _adapter_option(bundle))


def engine_options(callback: F) -> F:
    """The same for a command that names its models itself: `model` has no name."""
    return _engine_options(callback, "--dtype")


def _engine_options(callback: F, dtype: str) -> F:
    bundle = Bundle("model", "Model", ModelOptions)
    return _stack(
        callback,
        bundle.choice("engine", EngineName, "--engine", metavar="NAME", about="Engine"),
        bundle.option("device", "--device", metavar="NAME", type=devices,
                      help="Device: auto, cpu, cuda, cuda:N or mps; several GPUs as cuda:0,cuda:1."),
        bundle.choice("dtype", ComputeDtype, dtype, metavar="DTYPE", general="dtype",
                      about="What the model computes in"),
        bundle.option("threads", "--threads", metavar="N", type=whole_number(1, 1024), help="CPU threads.",
                      unset="all cores"),
        bundle.option("batch_tokens", "--batch-tokens", metavar="N", type=whole_number(1),
                      help="Tokens that run together.", unset="by engine and device"),
        *_trust_options(bundle),
    )  # fmt: skip


def machine_options(callback: F) -> F:
    """Which model, and on which device: hands the command `model`, a ModelOptions that says no more."""
    bundle = Bundle("model", "Model", ModelOptions)
    options = (_model_option(bundle), _adapter_option(bundle), _device_option(bundle))
    return _stack(callback, *options, *_trust_options(bundle))


def _model_option(bundle: Bundle) -> Callable[[F], F]:
    return bundle.option("model", "-m", "--model", metavar="MODEL", shell_complete=_directories,
                         type=click.Path(readable=False),
                         help="A model directory, or a name in the local Hugging Face cache.")  # fmt: skip


def _adapter_option(bundle: Bundle) -> Callable[[F], F]:
    return bundle.option("adapter", "--adapter", metavar="DIR", shell_complete=_directories,
                         type=click.Path(readable=False), help="A LoRA adapter (PEFT) to apply to the model.",
                         unset="none; without -m, to the model it was trained on")  # fmt: skip


def _device_option(bundle: Bundle) -> Callable[[F], F]:
    return bundle.option("device", "--device", metavar="NAME", type=device,
                         help="Device: auto, cpu, cuda, cuda:N or mps.")  # fmt: skip


def _trust_options(bundle: Bundle) -> tuple[Callable[[F], F], ...]:
    return (
        bundle.flag("allow_pickle", "--allow-pickle", help="Load pickle checkpoints (weights only)."),
        bundle.flag("unsafe_model", "--unsafe-model", help="Use a model that the check refuses."),
    )  # fmt: skip


def long_options(callback: F) -> F:
    """What becomes of texts over the model's length: hands the command `long`, a LongOptions."""
    bundle = Bundle("long", "Long texts", LongOptions)
    return _stack(
        callback,
        bundle.choice("long", LongMode, "--long", metavar="MODE",
                      about="How to handle a text over the length limit"),
        bundle.option("max_length", "--max-length", metavar="N", type=whole_number(3),
                      help="Tokens of a window.", unset="the model's own limit"),
        bundle.option("overlap", "--overlap", metavar="N", type=whole_number(0),
                      help="Tokens that neighbouring windows share.", unset="an eighth of the window"),
    )  # fmt: skip


def run_options(callback: F) -> F:
    """How a run behaves: hands the command `run`, a RunOptions."""
    bundle = Bundle("run", "Run", RunOptions)
    return _stack(
        callback,
        bundle.flag("strict", "--strict", rival="run_max_errors", help="Stop at the first failed record."),
        bundle.option("max_errors", "--max-errors", metavar="N", type=whole_number(1),
                      help="Stop after N failed records."),
        bundle.flag("quiet", "-q", "--quiet", rival="run_verbose",
                    help="No progress, no receipt, no warnings."),
        bundle.flag("verbose", "-v", "--verbose", help="Explain what is done and why."),
        debug_option("Run"),
    )  # fmt: skip


def train_options(callback: F) -> F:
    """Hands the command `training`, a TrainOptions."""
    bundle = Bundle("training", "Training", TrainOptions)
    output = Bundle("training", "Output", TrainOptions)
    decorators = (
        *_output_options(output),
        bundle.option("model", "-m", "--model", metavar="MODEL", unset="the bundled model",
                      type=click.Path(readable=False),
                      help="The base: a model directory, or a name in the local Hugging Face cache."),
        bundle.option("dev", "--dev", metavar="FILE", type=click.Path(),
                      help="Examples to measure with, in a file of their own."),
        bundle.option("dev_fraction", "--dev-fraction", metavar="P", type=click.FloatRange(0.001, 0.9),
                      unset="0.1; none of fewer than 300 labels",
                      help="The share of the examples held out to measure with, without --dev."),
        bundle.option("epochs", "--epochs", metavar="N", type=whole_number(1), unset="3 to 12, by examples",
                      help="The most times each example is seen."),
        bundle.option("learning_rate", "--learning-rate", metavar="X", 
                      type=click.FloatRange(0, min_open=True),
                      unset="1e-4 for label (5e-5 of few) and answer, 3e-4 for tag, 2e-4 for fill",
                      help="The highest learning rate."),
        bundle.option("max_length", "--max-length", metavar="N", type=whole_number(8),
                      help="Tokens of a text to learn from; longer ones are cut."),
        bundle.option("batch_tokens", "--batch-tokens", metavar="N", type=whole_number(8),
                      help="Tokens of a training step, padding included.", unset="2048"),
        bundle.option("seed", "--seed", metavar="N", type=whole_number(0), help="Seed of everything drawn."),
        *_machine_options(Bundle("training", "Model", TrainOptions)),
        *_manner_options(Bundle("training", "Run", TrainOptions)),
    )  # fmt: skip
    return _stack(callback, *decorators)


def recipe_options(callback: F) -> F:
    """Those of the options that a recipe does not decide itself."""
    decorators = (
        *_output_options(Bundle("training", "Output", TrainOptions)),
        *_machine_options(Bundle("training", "Model", TrainOptions)),
        *_manner_options(Bundle("training", "Run", TrainOptions)),
    )
    return _stack(callback, *decorators)


def _output_options(bundle: Bundle) -> tuple[Callable[[F], F], ...]:
    return (
        bundle.option("output", "-o", "--output", metavar="DIR", type=click.Path(), required=True,
                      show_default=False, help="The directory to make, whole or not at all."),
        bundle.flag("overwrite", "--overwrite", help="Replace an existing model directory."),
        bundle.flag("resume", "--resume", help="Continue the interrupted run of this directory."),
    )  # fmt: skip


def _machine_options(bundle: Bundle) -> tuple[Callable[[F], F], ...]:
    return (
        _device_option(bundle),
        bundle.choice("dtype", TrainDtype, "--dtype", metavar="DTYPE",
                      about="What matrices are multiplied in"),
        bundle.option("threads", "--threads", metavar="N", type=whole_number(1, 1024), help="CPU threads.",
                      unset="all cores"),
    )  # fmt: skip


def manner_options(callback: F) -> F:
    """How much a run says: hands the command `run`, a RunOptions."""
    return _stack(callback, *_manner_options(Bundle("run", "Run", RunOptions)))


def _manner_options(bundle: Bundle) -> tuple[Callable[[F], F], ...]:
    return (
        bundle.flag("quiet", "-q", "--quiet", rival=f"{bundle.keyword}_verbose",
                    help="No progress, no warnings."),
        bundle.flag("verbose", "-v", "--verbose", help="Tell every measurement."),
        debug_option("Run"),
    )  # fmt: skip


def report_format_option(callback: F) -> F:
    """-f/--format for the two formats of a report: hands the command `form`, None where the terminal decides."""
    return click.option(
        "-f", "--format", "form", type=click.Choice(["table", "jsonl"]), metavar="FORM",
        help="table or jsonl.  [default: a table on a terminal, else jsonl]",
    )(callback)  # fmt: skip


LABEL = Bundle("labelling", "Label", LabelOptions)


def labels_options(callback: F) -> F:
    """Which labels: goes into LabelOptions."""
    return _stack(
        callback,
        LABEL.option("labels", "--labels", metavar="A,B,…",
                     help="Labels of your own (zero-shot), between commas."),
        LABEL.option("labels_file", "--labels-file", metavar="FILE", type=click.Path(readable=False),
                     help="Names for the model's classes, or labels of your own: one a line."),
    )  # fmt: skip


def judging_options(callback: F) -> F:
    """When a label holds: goes into LabelOptions."""
    return _stack(
        callback,
        LABEL.option("threshold", "--threshold", metavar="P", type=click.FloatRange(0, 1),
                     help="Where several labels may hold: the least score of one that does."),
        LABEL.flag("multi_label", "--multi-label", help="Labels of your own: several may hold."),
        LABEL.option("template", "--template", metavar="TEXT",
                     help="Labels of your own: the sentence that {} makes of a label."),
    )  # fmt: skip


DEBUG = "bertcli.debug"
"""Where the context's `meta` remembers that --debug was given."""


def debug_option(heading: str) -> Callable[[F], F]:
    """--debug, understood before a command and after it; the error boundary looks for it in the context."""

    def remember(ctx: click.Context, param: click.Parameter, value: bool) -> None:
        ctx.meta[DEBUG] = ctx.meta.get(DEBUG, False) or value

    return click.option(
        "--debug", cls=SharedOption, fills=(), heading=heading, is_flag=True, expose_value=False,
        callback=remember, help="Show tracebacks.",
    )  # fmt: skip


def _run(quiet: bool, verbose: bool, strict: bool = False, max_errors: int | None = None) -> RunOptions:
    return RunOptions(max_errors=1 if strict else max_errors, quiet=quiet, verbose=verbose)


BUNDLES: dict[str, Callable[..., Any]] = {
    "inputs": InputOptions,
    "outputs": OutputOptions,
    "model": ModelOptions,
    "labelling": LabelOptions,
    "long": LongOptions,
    "run": _run,
    "training": TrainOptions,
}
