"""Tables: lines fit the terminal, nothing in a text steers it, and a person sees the answer first."""

from __future__ import annotations

import io
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertcli.console import Terminal
from bertcli.records import Problem, Record, Result
from bertcli.requests import OutputOptions
from bertcli.sinks import Layout, open_sink
from bertcli.sinks.table.cells import folded, last_cells, measured, padded, truncated_to
from bertcli.sinks.table.fills import filled_parts
from bertcli.sinks.table.heat import HeatView
from bertcli.sinks.table.page import Page
from bertcli.sinks.table.views import choose_view
from tests.sinks.writing import EMBED, LABEL, REMARKS, failed, result, to_bytes

FILL = Layout("fill", ("text",), ("fills",), REMARKS, "text")
LABELS = Layout("label", ("text",), ("label", "score", "labels"), REMARKS, "text")
SPANS = Layout("tag", ("text",), ("spans",), REMARKS, "text")
TOKEN_TAGS = Layout("tag", ("text",), ("tokens",), REMARKS, "text", view="tags")
TOKENS = Layout("embed", ("text",), ("tokens",), REMARKS, "text", view="vectors")
TRANSLATIONS = Layout(
    "translate", ("text",), ("translation", "score", "translations", "alignment"), REMARKS, "text"
)
ANSI = re.compile("\x1b\\[[0-9;]*m")
ANYTHING = st.text(st.characters(exclude_categories=()), max_size=80)


def table(*results: Result, layout: Layout = LABEL, width: int | None = 80, **options: Any) -> str:
    color = options.pop("color", False)
    shown_on = Terminal(width is not None, width, color)
    return to_bytes(results, layout, terminal=shown_on, format="table", **options).decode()


def fill(text: str, *words: str, score: float = 0.5, **about: Any) -> Result:
    filled = text
    for word in words:
        filled = filled.replace("[MASK]", word, 1)
    return result({"fills": [{"words": list(words), "score": score, "text": filled}]}, text=text, **about)


def praise(text: str, score: float = 0.75, **about: Any) -> Result:
    return result({"label": "praise", "score": score}, text=text, **about)


def test_labels_line_by_line() -> None:
    long = "The waiter forgot us twice and then brought the wrong bill, so we left"
    results = [
        praise("I loved it", 0.99871),
        result({"label": "complaint", "score": 0.5}, text=long),
        result({"label": None, "score": None}, text="so so"),
        result(text="", index=3),
        failed(4),
        praise("a\nb", 1.0, windows=3, truncated=True),
    ]
    assert table(*results, width=60) == (
        "score          label       text\n"
        "0.9987 ━━━━━━  praise      I loved it\n"
        "0.5000 ━━━     complaint   The waiter forgot us twice and t…\n"
        "               -           so so\n"
        "blank  in.txt:4\n"
        "error  in.txt:5: invalid byte\n"
        "1.0000 ━━━━━━  praise      (3 windows, truncated)  a\\nb\n"
    )


def test_several_labels_stand_under_their_text() -> None:
    labels = [{"label": "joy", "score": 0.9}, {"label": "love", "score": 0.05}]
    results = [
        result({"label": "joy", "score": 0.9, "labels": labels}, text="yes"),
        result({"label": None, "score": None, "labels": []}, text="hm"),
    ]
    assert table(*results, layout=LABELS) == (
        "yes\n  0.9000 ━━━━━━━━━   joy\n  0.0500 ╸           love\n\nhm\n  no label over the threshold\n"
    )


def test_how_sure_a_head_is_stands_beside_its_label() -> None:
    values = {"label": "joy", "score": 0.9, "entropy": 0.3251, "margin": 0.8}
    layout = Layout("label", ("text",), tuple(values), REMARKS, "text")
    assert table(result(values, text="yes"), layout=layout) == (
        "score              entropy  margin   label       text\n"
        "0.9000 ━━━━━━━━━   0.3251   0.8000   joy         yes\n"
    )
    more = values | {"labels": [{"label": "joy", "score": 0.9}]}
    layout = Layout("label", ("text",), tuple(more), REMARKS, "text")
    assert table(result(more, text="yes"), layout=layout) == (
        "yes\n  0.9000 ━━━━━━━━━   joy\n  entropy 0.3251\n  margin 0.8000\n"
    )
    both = {"label": "joy", "score": 0.9, "embedding": [1.5]}
    layout = Layout("label", ("text",), tuple(both), REMARKS, "text")
    assert table(result(both, text="yes"), layout=layout).split() == [
        "label", "joy", "score", "0.9000", "embedding", "[1.5]", "yes",
    ]  # fmt: skip


def test_what_to_do_about_a_failed_record_is_never_cut_off() -> None:
    problem = Problem("encoding", "byte 0xe9 is not utf-8; name the right one with --encoding")
    one = Result(Record(0, {}, None, where="in.txt:1", problem=problem), problem=problem)
    assert table(one, width=40).splitlines()[-1] == "  name the right one with --encoding"
    assert all(measured(line) <= 40 for line in table(one, width=40).splitlines())


def test_several_heads_stand_under_their_text() -> None:
    names = ("mood_label", "mood_score", "topic_label", "topic_score")
    results = [
        result(dict(zip(names, ("glad", 0.9, None, 0.25), strict=True)), text="yes"),
        result(dict(zip(names, ("sad", 0.5, "sport", 1.0), strict=True)), text="no"),
    ]
    assert table(*results, layout=Layout("label", ("text",), names, REMARKS, "text")) == (
        "yes\n  0.9000 ━━━━━━━━━   mood   glad\n  0.2500 ━━╸         topic  -\n\n"
        "no\n  0.5000 ━━━━━       mood   sad\n  1.0000 ━━━━━━━━━━  topic  sport\n"
    )


def test_a_hit_of_a_negative_cosine_stands_in_its_columns() -> None:
    found = [
        result({"rank": rank, "score": score, "where": f"a:{rank}"}, text="text")
        for rank, score in enumerate((0.25, -0.25), 1)
    ]
    lines = table(
        *found, layout=Layout("search", ("text",), tuple(found[0].values), REMARKS, "text", view="hits")
    )
    assert lines == "a:1   0.2500 ━━╸         text\na:2  -0.2500             text\n"


def test_a_fill_shows_the_filled_sentence() -> None:
    results = [fill("Paris is in [MASK].", "france"), fill("[MASK] and [MASK]", "you", "me")]
    assert table(*results, layout=FILL, width=80) == (
        "0.5000 ━━━━━       Paris is in france.\n\n0.5000 ━━━━━       you and me\n"
    )
    assert "\x1b[1;36mfrance\x1b[0m." in table(results[0], layout=FILL, color=True)


@given(st.integers(40, 140), st.text("ab cd", max_size=400), st.text("ab cd", min_size=1, max_size=400))
def test_both_filled_words_are_in_sight(width: int, before: str, between: str) -> None:
    lines = table(fill(f"{before}[MASK]{between}[MASK] behind", "ONE", "TWO"), layout=FILL, width=width)
    assert "ONE" in lines
    assert "TWO" in lines


@given(st.integers(30, 140), st.text("ab cd", max_size=400), st.text("ab cd", max_size=400))
def test_the_filled_word_is_in_sight(width: int, before: str, after: str) -> None:
    shown = table(fill(f"{before}[MASK]{after}", "WORD"), layout=FILL, width=width)
    assert "WORD" in shown


def test_embeddings_are_previewed() -> None:
    vector = np.array([0.25, -1.5, 3, 4, 5], np.float32)
    assert table(result({"embedding": vector}), layout=EMBED) == (
        "embedding                                text\n[ 0.2500 -1.5000  3.0000 … ]  5 numbers  a text\n"
    )
    whole = table(result({"embedding": vector.astype(np.int8)}), layout=EMBED, width=140)
    assert "[   0   -1    3    4    5 ]  5 numbers" in whole


def test_token_vectors_say_how_many_more_there_are() -> None:
    token = {"token": "wörd", "start": 3, "end": 7, "embedding": np.zeros(3, np.float32)}
    lines = table(result({"tokens": [token] * 20}), layout=TOKENS).splitlines()
    assert lines[0] == "a text"
    assert lines[1] == "  wörd                3-7  [ 0.0000  0.0000  0.0000 ]"
    assert lines[-1] == "  … 4 more tokens"
    assert len(table(result({"tokens": [token] * 20}), layout=TOKENS, width=None).splitlines()) == 21


def tagged(text: str, *spans: tuple[str, str], **about: Any) -> Result:
    """Spans (words, label), each looked for behind the one before."""
    entries, done = [], 0
    for words, label in spans:
        start = text.index(words, done)
        done = start + len(words)
        entries.append({"label": label, "start": start, "end": done, "text": words, "score": 0.5})
    return result({"spans": entries}, text=text, **about)


def test_spans_are_marked_in_the_text() -> None:
    results = [
        tagged("Ada saw\tParis.", ("Ada", "PER"), ("Paris", "LOC")),
        tagged("nothing here", windows=2),
        tagged("Paris\x1b[2J", ("Paris\x1b", "L\x07C")),
    ]
    assert table(*results, layout=SPANS) == (
        "[Ada PER] saw\\t[Paris LOC].\n(2 windows)  nothing here\n[Paris\\x1b L\\x07C][2J\n"
    )


def test_labels_keep_their_colours() -> None:
    shown = table(
        tagged("a b", ("a", "X"), ("b", "Y")), tagged("c d", ("c", "Y"), ("d", "X")), layout=SPANS, color=True
    )
    assert shown.count("\x1b[1;36m") == shown.count("\x1b[1;33m") == 2
    assert "\x1b[1;33mc\x1b[0m" in shown


@given(st.integers(30, 100), st.lists(st.tuples(st.text("ab é東", min_size=1), st.booleans()), max_size=30))
def test_no_span_is_lost_at_the_end_of_a_line(width: int, parts: list[tuple[str, bool]]) -> None:
    text = "".join(words for words, _ in parts)
    one = tagged(text, *((words, "X") for words, is_span in parts if is_span))
    lines = table(one, layout=SPANS, width=width).splitlines()
    whole = table(one, layout=SPANS, width=None)
    if text.strip():
        assert "".join("".join(lines).split()) == "".join(whole.split())
    assert all(measured(line) <= width for line in lines)


def test_lines_are_folded_behind_blanks() -> None:
    line = [("one two", ""), ("three four", "1")]
    assert folded(line, 8, 10) == [
        [("one ", "")],
        [("two", ""), ("three ", "1")],
        [("four", "1")],
    ]
    assert folded([("abcdef", "")], 2, 4) == [[("a", ""), ("b", "")], [(letter, "") for letter in "cdef"]]


def test_tags_of_tokens_say_how_many_more_there_are() -> None:
    token = {"token": "##vre", "start": 3, "end": 6, "label": "B-PER", "score": 0.25}
    lines = table(result({"tokens": [token] * 70}), layout=TOKEN_TAGS).splitlines()
    assert lines[:2] == ["a text", "  ##vre               3-6  0.2500 ━━╸         B-PER"]
    assert lines[-1] == "  … 6 more tokens"
    assert len(table(result({"tokens": [token] * 70}), layout=TOKEN_TAGS, width=None).splitlines()) == 71


def test_other_answers_are_shown_field_by_field() -> None:
    layout = Layout("other", ("text",), ("score", "tokens"), REMARKS, "text")
    done = result({"score": -12.34567, "tokens": 8, "words": [{"word": "a"}], "none": None})
    assert table(done, layout=layout) == ('score -12.3457  tokens 8  words [{"word":"a"}]  none -  a text\n')


def test_a_long_text_between_fields_says_that_it_goes_on() -> None:
    layout = Layout("other", ("text",), ("words",), REMARKS, "text")
    shown = table(result({"words": 9}, text="so long a story " * 99), layout=layout, width=60)
    assert shown.endswith("…\n")
    assert len(shown) < 700


def test_one_text_is_not_repeated() -> None:
    layout = Layout("label", ("text",), ("label", "score"), REMARKS, "text", echo=False)
    assert table(praise("I loved it"), layout=layout) == "0.7500 ━━━━━━━╸    praise\n"


def test_the_id_field_and_the_pair_are_shown() -> None:
    layout = Layout("label", ("id", "text", "other"), ("label", "score"), REMARKS, "text", id_field="id")
    record = Record(0, {"id": "doc-0000000017", "text": "a", "other": "b"}, "a", pair="b")
    assert table(Result(record, {"label": "same", "score": 0.5}), layout=layout) == (
        "id            score              label       text\n"
        "doc-0000000…  0.5000 ━━━━━       same        a / b\n"
    )


def test_digits_are_decimals_of_scores() -> None:
    assert table(praise("a", 2 / 3), digits=2).splitlines()[1].startswith("0.67 ━")


def test_in_a_pipe_lines_are_whole_and_plain() -> None:
    text = "word " * 500
    shown = table(praise(text), width=None)
    assert text.strip() in shown
    assert shown.isprintable() is False
    assert "\x1b" not in shown
    assert "…" not in shown


@pytest.mark.slow
@pytest.mark.parametrize(
    "layout", [LABEL, LABELS, FILL, EMBED, TOKENS, TRANSLATIONS], ids=lambda layout: layout.results[-1]
)
@pytest.mark.parametrize("echo", [True, False])
@given(text=ANYTHING, word=ANYTHING, width=st.integers(20, 150), data=st.data())
def test_no_line_is_wider_than_the_terminal_and_no_text_steers_it(
    layout: Layout, echo: bool, text: str, word: str, width: int, data: st.DataObject
) -> None:
    layout = Layout(
        layout.task, ("text",), layout.results, REMARKS, text or "text", echo=echo, id_field="text"
    )
    vector = np.array([-0.25] * 9, np.float32)
    values: dict[str, Any] = {
        "label": word,
        "score": data.draw(st.floats(0, 1)),
        "labels": [{"label": word, "score": 0.5}],
        "fills": [{"words": [word], "score": 0.5, "text": text + word}],
        "embedding": vector,
        "tokens": [{"token": word, "start": 0, "end": 1, "embedding": vector}],
        "translation": word,
        "translations": [{"text": word, "score": -0.5}, {"text": text, "score": -1.5}],
        "alignment": [{"source": text, "target": word}],
    }
    done = result({name: values[name] for name in layout.results}, text=text, windows=2)
    plain = table(done, layout=layout, width=width)
    assert plain.endswith("\n")
    for line in plain.split("\n"):
        assert measured(line) <= width
        assert line == line.rstrip(" ")
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", plain)
    assert ANSI.sub("", table(done, layout=layout, width=width, color=True)) == plain


def test_evil_texts_are_written_out() -> None:
    shown = table(praise("\x1b[31mred\x1b[0m \x9b2J \u202egnp.exe [bold]x[/bold] \ud800\r\0"), width=None)
    assert r"\x1b[31mred\x1b[0m \x9b2J \u202egnp.exe [bold]x[/bold] \ud800\r\x00" in shown


@given(ANYTHING, st.integers(1, 40))
def test_cells_are_counted(text: str, cells: int) -> None:
    assert measured(padded(text, cells)) == cells
    assert measured(truncated_to(text, cells)) <= cells
    assert measured(last_cells(text, cells)) <= cells
    if measured(text) <= cells:
        assert truncated_to(text, cells) == text


@pytest.mark.parametrize(
    ("text", "cells"), [("abc", 3), ("日本", 4), ("e\u0301", 1), ("👍", 2), ("👍🏽", 4), ("❤️", 2), ("", 0)]
)
def test_width_of_characters(text: str, cells: int) -> None:
    assert measured(text) == cells


@pytest.mark.parametrize(
    ("asked", "filled", "words"),
    [
        ("a [MASK] b <mask>.", "a x b y.", ["x", "y"]),
        ("[MASK]", "x", ["x"]),
        ("the ___ of the ___", "the heart of the matter", ["heart", "matter"]),
        ("a [MASK] b", "A quite different b", ["quite"]),
        ("a [MASK] b", "a b", ["gone"]),
        ("[MASK] [MASK]", "the the", ["the", "the"]),
    ],
)
def test_pieces_make_the_text(asked: str, filled: str, words: list[str]) -> None:
    parts = filled_parts(asked, filled, words)
    assert "".join(text for text, _ in parts) == filled
    assert [text for text, is_word in parts if is_word] == [word for word in words if word in filled]


def test_rows_appear_as_results_come() -> None:
    class Screen(io.BytesIO):
        flushed = b""

        def flush(self) -> None:
            self.flushed = self.getvalue()

    screen = Screen()
    sink = open_sink(OutputOptions(), LABEL, stdout=screen, terminal=Terminal(is_tty=True, width=80))
    sink.write(praise("first"))
    assert b"first" in screen.flushed
    sink.write(praise("second"))
    assert b"second" in screen.flushed


# Attention

ATTENTION = Layout("attention", ("text",), ("layer", "head", "tokens", "attention"), REMARKS, "text")
QKV = Layout(
    "attention", ("text",), ("layer", "head", "tokens", "attention", "query"), REMARKS, "text", echo=False
)


def looking(tokens: list[str], weights: Any, layer: Any = 2, head: Any = 3, **more: Any) -> Result:
    values = {"layer": layer, "head": head, "tokens": [{"token": token} for token in tokens]}
    return result({**values, "attention": np.array(weights, np.float32), **more}, text="a text")


def test_the_legend_of_a_heat_map_goes_on_in_the_next_line() -> None:
    lines = table(looking(["a"], [[1]]), layout=ATTENTION, width=40).splitlines()
    assert all(measured(line) <= 40 for line in lines)
    assert "≥   .00 . .01 : .04 - .09 = .16 + .25 * .36 # .49 % .64 @ .81" in " ".join(map(str.strip, lines))


def test_a_heat_map_names_what_looks_and_what_is_looked_at() -> None:
    shown = table(
        looking(["a", "bird", "[SEP]"], [[1, 0, 0], [0.3, 0.5, 0.2], [0.02, 0.1, 0.88]]), layout=ATTENTION
    )
    assert shown == (
        "a text\n"
        "layer 2, head 3\n"
        "              a b [\n"
        "                i S\n"
        "                r E\n"
        "                d P\n"
        "                  ]\n"
        "a             @@      1.0000 a\n"
        "bird          ++##==  0.5000 bird\n"
        "[SEP]         ..--@@  0.8800 [SEP]\n"
        "≥   .00 . .01 : .04 - .09 = .16 + .25 * .36 # .49 % .64 @ .81\n"
    )


def test_all_layers_and_heads_are_maps_one_below_the_other() -> None:
    weights = np.tile(np.eye(2), (2, 3, 1, 1))
    shown = table(looking(["a", "b"], weights, "all", "all"), layout=ATTENTION)
    assert re.findall(r"layer \d, head \d", shown) == [
        f"layer {i}, head {j}" for i in (1, 2) for j in (1, 2, 3)
    ]
    for layer, head, weights, caption in (
        ("all", "mean", np.tile(np.eye(2), (2, 1, 1)), "layer 2, mean of the heads"),
        ("mean", 3, np.eye(2), "mean of the layers, head 3"),
        (4, "all", np.tile(np.eye(2), (2, 1, 1)), "layer 4, head 2"),
        (4, "rollout", np.eye(2), "rollout through layers 1 to 4"),
    ):
        assert caption in table(looking(["a", "b"], weights, layer, head), layout=ATTENTION)


def test_the_vectors_behind_a_map_stand_below_it() -> None:
    query = np.arange(12, dtype=np.float32).reshape(2, 6)
    shown = table(looking(["a", "b"], np.eye(2), query=query), layout=QKV, width=None)
    assert shown.splitlines()[-4:-1] == [
        "query",
        "a             [ 0.0000  1.0000  2.0000  3.0000 … ]",
        "b             [ 6.0000  7.0000  8.0000  9.0000 … ]",
    ]


NAMES = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=12)


@given(names=st.lists(NAMES, min_size=1, max_size=90), width=st.integers(40, 120))
def test_a_heat_map_fits_the_terminal(names: list[str], width: int) -> None:
    weights = np.full((len(names), len(names)), 1 / len(names), np.float32)
    lines = table(looking(names, weights), layout=ATTENTION, width=width, color=True).splitlines()
    assert all(measured(ANSI.sub("", line)) <= width for line in lines)


def test_what_does_not_fit_the_terminal_is_told() -> None:
    one = looking(["word"] * 200, np.full((200, 200), 0.005))
    assert "… 176 more tokens; -o NAME.html shows them all" in table(one, layout=ATTENTION, width=60)
    assert "more tokens" not in table(one, layout=ATTENTION, width=None)


# Answers

ANSWERS = Layout("answer", ("text",), ("answer", "score", "start", "end"), REMARKS, "text")
NEVER = {"answer": None, "score": 0.75, "start": None, "end": None}


def answered(text: str, said: str, question: str | None = None) -> Result:
    start = text.index(said)
    values = {"answer": said, "score": 0.5, "start": start, "end": start + len(said)}
    return Result(Record(0, {"text": text}, text, question), values)


def test_an_answer_stands_before_its_text() -> None:
    results = [answered("He met Ada in Paris.", "Ada"), result(NEVER, text="Nobody came.")]
    assert table(*results, layout=ANSWERS) == (
        "0.5000 ━━━━━       Ada  He met Ada in Paris.\n0.7500 ━━━━━━━╸    no answer  Nobody came.\n"
    )
    alone = Layout(ANSWERS.task, ANSWERS.inputs, ANSWERS.results, REMARKS, "text", echo=False)
    assert table(results[0], layout=alone) == "0.5000 ━━━━━       Ada\n"
    asked = table(answered("He met Ada in Paris.", "Ada", "Whom?"), layout=ANSWERS)
    assert asked.splitlines()[0] == "Whom?"


def test_of_a_long_text_the_part_around_the_answer_is_shown() -> None:
    text = "before " * 40 + "the answer" + " behind" * 40
    line = table(answered(text, "the answer"), layout=ANSWERS, width=70).rstrip("\n")
    assert measured(line) <= 70
    assert line.count("the answer") == 2
    assert line.endswith("…")


def test_attention_with_a_translation_is_a_heat_map() -> None:
    layout = Layout("attention", ("text",), ("translation", "source_tokens", "attention"), REMARKS, "text")
    assert isinstance(choose_view(Page(layout, 80, 4)), HeatView)


def test_a_translation_is_shown_whole_below_its_text() -> None:
    several = [{"text": "Ein Hund rennt am Strand.", "score": -0.25}, {"text": "Ein Hund.", "score": -0.5}]
    values = {
        "translation": several[0]["text"],
        "score": -0.25,
        "translations": several,
        "alignment": [{"source": "A", "target": "Ein"}, {"source": "New York", "target": "New York"}],
        "missing_terms": ["Welpe"],
    }
    assert table(result(values, text="A dog runs on the beach."), layout=TRANSLATIONS, width=24) == (
        "A dog runs on the beach.\n-0.2500  Ein Hund rennt\n  am Strand.\n-0.5000  Ein Hund.\n"
        "  A → Ein\n  New York → New York\n  missing: Welpe\n"
    )
    alone = Layout("translate", ("text",), ("translation", "score"), REMARKS, "text", echo=False)
    one = result({"translation": "Ein Hund.", "score": -0.5}, text="A dog.")
    assert table(one, layout=alone) == "-0.5000  Ein Hund.\n"


@given(text=ANYTHING, width=st.integers(30, 90))
def test_an_answer_fits_the_terminal(text: str, width: int) -> None:
    one = answered(f"{text} x {text}", "x")
    for line in table(one, layout=ANSWERS, width=width, color=True).splitlines():
        assert measured(ANSI.sub("", line)) <= width


@pytest.mark.parametrize("scores", [(0.9123, -0.2, 0.5), (312.5, -12.25, 0.5)])
@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_columns_of_what_was_found_align(width: int, scores: tuple[float, ...]) -> None:
    places = ("a.txt:2", "a directory with 日本 in its name/and a long name.jsonl:123456", "b.txt:1234")
    found = [
        result({"rank": rank, "score": score, "where": place}, text=f"text {rank}")
        for rank, (place, score) in enumerate(zip(places, scores, strict=True), 1)
    ]
    layout = Layout("search", ("text",), tuple(found[0].values), REMARKS, "text", view="hits")
    lines = table(*found, layout=layout, width=width).splitlines()
    assert len({measured(line[: line.index("text ")]) for line in lines}) == 1
    assert len({measured(line[: line.index(".", line.rindex(":"))]) for line in lines}) == 1
    assert all(place.rpartition(":")[2] in line for place, line in zip(places, lines, strict=True))
    pairs = [
        result(
            {
                "score": score,
                "first": {"where": a, "text": "text 1"},
                "second": {"where": b, "text": "text 2"},
            }
        )
        for a, b, score in zip(places, reversed(places), scores, strict=True)
    ]
    layout = Layout("search", (), tuple(pairs[0].values), REMARKS, "text", view="hits")
    lines = table(*pairs, layout=layout, width=width).splitlines()
    assert len({measured(line[: line.index("text ")]) for line in lines if line}) == 1
