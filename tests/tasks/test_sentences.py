"""Sentences: where they end, and that nothing between them is lost."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertcli.tasks.sentences import split_sentences, whole_text


def sentences(text: str) -> list[str]:
    return [text[each.start : each.stop] for each in split_sentences(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A dog runs. It is fast!", ["A dog runs.", "It is fast!"]),
        ("Mr. Smith met Dr. Jones at 3 p.m. today.", ["Mr. Smith met Dr. Jones at 3 p.m. today."]),
        ("J. R. Tolkien wrote it. Really?", ["J. R. Tolkien wrote it.", "Really?"]),
        ("Es gibt z.B. Äpfel. Und Birnen.", ["Es gibt z.B. Äpfel.", "Und Birnen."]),
        ('He said "Go." Then he left.', ['He said "Go."', "Then he left."]),
        ("It costs 3.50 euros … maybe. ok", ["It costs 3.50 euros … maybe. ok"]),
        ("one line\nanother line\n", ["one line", "another line"]),
        ("a cell\tanother", ["a cell", "another"]),
        ("# Title\n\n- a point\n1. first\n> quoted", ["Title", "a point", "first", "quoted"]),
        ("42\n---\n3.14", []),
        ("| a cell | b \\| c |\n|---|:-:|\n> | d |", ["a cell", "b \\| c", "d"]),
        ("a | b", ["a | b"]),
        ("One.\r\n```python\r\nx = 'code'\r\n```\r\nTwo.", ["One.", "Two."]),
        ("> ~~~\n> code\n> ~~~\ntext", ["text"]),
        ("```\nno end", ["no end"]),
        ("{\\an8}<i>It is so. Is it?</i>", ["It is so.", "Is it?"]),
        ("<b><i>all</i></b>", ["all"]),
        ("<i>some</i> of it", ["<i>some</i> of it"]),
        ("Run `a. B` or ``a ` b``, please. Now!", ["Run", "or", "please.", "Now!"]),
        (
            "a [blue shirt](http://x.y/a_(b)?c=d). Then ![a cat](cat.png) ran",
            ["a", "blue shirt", "Then", "ran"],
        ),
        ("see [the docs][1], [![b](b.svg)](ci) too", ["see", "the docs", "too"]),
        ("see <https://x.y/z>, https://x.y/z. Or mail a.b@c.de!", ["see", "Or mail"]),
        ("[Read this!](http://x.com/a) now", ["Read this!", "now"]),
        ("请联系support@example.com获取。访问https://example.com了解", ["请联系", "获取。", "访问", "了解"]),
        ("``Hello,'' he said. ``Bye''", ["``Hello,'' he said.", "``Bye''"]),
        ("ewww.nice thing", ["ewww.nice thing"]),
        ("-A dog.\n\u2013 A cat.\n\u266a A song\n-5 degrees", ["A dog.", "A cat.", "A song", "-5 degrees"]),
        ("<v Bob>A dog <00:05.500>runs.\n<v Ann>A cat.</v>\n<b></b>", ["A dog", "runs.", "A cat."]),
        ("---\ntitle: x\n---\nA dog.\n<!-- a note -->\n[a b]: http://x.y z\nend", ["A dog.", "end"]),
        ("A dog[^1] runs.<br>Fast.\n[^1]: a note", ["A dog", "runs.", "Fast.", "a note"]),
        ("[1] and a `tick [of](it", ["[1] and a `tick [of](it"]),
        ("今日は。元気です。はい", ["今日は。", "元気です。", "はい"]),
    ],
)
def test_where_sentences_end(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


@given(st.text(alphabet="aB1 .!?\t\n#-\u3002\u2019\"'\x0b"))
def test_no_letter_is_outside_and_none_is_twice(text: str) -> None:
    found = split_sentences(text)
    places = [place for each in found for place in range(each.start, each.stop)]
    assert places == sorted(set(places))
    outside = [letter for place, letter in enumerate(text) if place not in set(places)]
    assert not any(map(str.isalpha, outside))
    assert all(sentence == sentence.strip() for sentence in sentences(text))


def test_the_whole_text_is_one() -> None:
    [found] = whole_text("  a b. C d.\n")
    assert (found.start, found.stop) == (2, 11)


@pytest.mark.parametrize(
    "part",
    [
        "a",
        "a.b",
        "`",
        "` a",
        "[a",
        "](",
        "](()",
        "![",
        "a@b.",
        "http://",
        "www.",
        "<http://",
        "```a\n",
        "~~~ x\n",
        "!",
        "Mr. ",
        "A. ",
        "a\t",
    ],
)
def test_the_time_grows_with_the_length(part: str) -> None:
    began = time.process_time()
    split_sentences(part * (60_000 // len(part)))
    assert time.process_time() - began < 2
