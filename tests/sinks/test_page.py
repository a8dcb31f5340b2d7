"""The page about attention: what is in it, and what a browser shows of it."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import numpy as np
import pytest

from bertcli.console import Terminal
from bertcli.errors import UsageError
from bertcli.records import Record, Result
from bertcli.sinks import Layout
from bertcli.tasks.attention import rollout
from tests.browser import BROWSER, dump, use
from tests.sinks.writing import LABEL, REMARKS, failed, result, to_bytes, to_file

pytestmark = pytest.mark.slow

FIELDS = ("model", "rollout", "tokens", "attention")
PAGE = Layout("attention", ("text",), FIELDS, REMARKS, "text")
LAYERS, HEADS, WIDTH = 2, 3, 4
TOKENS = ("[CLS]", "it", "was", "##n't", "<b>", "[SEP]")
in_a_browser = pytest.mark.skipif(BROWSER is None, reason="there is no browser")


def attention(seed: int = 0, count: int = len(TOKENS)) -> np.ndarray:
    scores = np.random.default_rng(seed).normal(0, 2, (LAYERS, HEADS, count, count)).astype(np.float32)
    powers = np.exp(scores)
    return powers / powers.sum(-1, keepdims=True)


def shown(
    text: str = "it wasn't <b>", seed: int = 0, tokens: tuple[str, ...] = TOKENS, parts: bool = False
) -> Result:
    weights = attention(seed, len(tokens))
    values: dict[str, Any] = {
        "model": "tiny",
        "rollout": rollout(weights),
        "tokens": [{"token": token, "part": 1, "start": 0, "end": 1} for token in tokens],
        "attention": weights,
    }
    if parts:
        values |= zip(("query", "key", "value"), triple(seed), strict=True)
    return Result(Record(0, {"text": text}, text), values)


def triple(seed: int) -> np.ndarray:
    shape = (3, LAYERS, HEADS, len(TOKENS), WIDTH)
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def page(*results: Result) -> str:
    return to_bytes(results, PAGE, format="html").decode()


def data(text: str) -> Any:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def unpacked(encoded: str, kind: str, *shape: int) -> np.ndarray:
    return np.frombuffer(base64.b64decode(encoded), kind).reshape(shape)


def test_all_weights_are_in_the_page() -> None:
    ((one,),) = [text["maps"] for text in data(page(shown(parts=True)))]
    count = len(TOKENS)
    found = unpacked(one["weights"], "<u2", LAYERS, HEADS, count, count) / 65535
    assert np.abs(found - attention()).max() <= 0.5 / 65535 + 1e-7
    flow = unpacked(one["rollout"], "<u2", LAYERS, count, count) / 65535
    assert np.abs(flow - rollout(attention())).max() <= 0.5 / 65535 + 1e-7
    vectors = [unpacked(each, "<f4", LAYERS, HEADS, count, WIDTH) for each in one["vectors"]]
    assert (np.stack(vectors) == triple(0)).all()
    assert (one["layers"], one["heads"], one["width"]) == (LAYERS, HEADS, WIDTH)
    assert one["rows"] == one["columns"] == list(TOKENS)


def test_it_needs_nothing_from_elsewhere() -> None:
    text = page(shown())
    assert "default-src 'none'" in text
    assert not re.findall(r"https?://|@import|url\(|<link|<img|\bsrc=|fetch\(|XMLHttpRequest", text)


def test_no_text_ends_the_script() -> None:
    text = "</script><script>alert(1)</script><!--"
    whole = page(shown(text))
    assert whole.count("<script") == whole.count("</script>") == 2
    assert data(whole)[0]["text"] == text


def test_every_record_is_in_it() -> None:
    found = data(page(shown("a"), failed(1), result(text="", index=2), shown("b")))
    assert [one.get("error") for one in found] == [None, "invalid byte", "The text is blank.", None]
    assert [one["text"] for one in found] == ["a", "bad", "", "b"]


def test_without_a_text_it_is_still_a_page() -> None:
    assert data(page()) == []


def test_an_interrupted_page_is_not_there(tmp_path) -> None:
    to_file(tmp_path / "a.html", [shown()], PAGE, complete=False)
    assert [path.name for path in tmp_path.iterdir()] == ["a.html.part"]


def test_other_answers_make_no_page() -> None:
    with pytest.raises(UsageError, match="`label` does not write html"):
        to_bytes([], LABEL, format="html")


def test_a_page_is_not_for_a_terminal() -> None:
    with pytest.raises(UsageError, match="not for a terminal"):
        to_bytes([], PAGE, format="html", terminal=Terminal(True, 80))


# In a browser

POINT = """
const at = (row, column) => {
  const marks = $("marks"), box = marks.getBoundingClientRect();
  const { cell, left, top } = page.eval("geometry");
  const place = { clientX: box.left + left + cell * (column + .5),
                  clientY: box.top + top + cell * (row + .5) };
  marks.dispatchEvent(new page.PointerEvent("pointermove", { bubbles: true, ...place }));
  return $("said").textContent;
};
const set = (id, value) => { $(id).value = value; $(id).onchange(); };
"""


@in_a_browser
def test_every_map_shows_its_numbers() -> None:
    act = """
    const found = {};
    for (const layer of [0, 1, 2]) for (const head of [-1, 0, 1, 2, 3]) {
      set("layer", layer); set("head", head);
      found[layer + " " + head] = [0, 1, 2, 3, 4, 5].map(row =>
        Number(at(row, (row + layer) % 6).match(/[\\d.]+$/)[0]));
    }
    return { found, requests: page.performance.getEntriesByType("resource").length };
    """
    told = use(page(shown()), POINT + act)
    weights = attention()
    for key, numbers in told["found"].items():
        layer, head = map(int, key.split())
        if head == -1:
            expected = rollout(weights)[layer - 1]
        else:
            some = weights if layer == 0 else weights[layer - 1 : layer]
            expected = (some if head == 0 else some[:, head - 1 : head]).mean(axis=(0, 1))
        pointed = expected[range(6), (np.arange(6) + layer) % 6]
        assert np.abs(np.array(numbers) - pointed).max() < 1e-4, key
    assert told["requests"] == 0


@in_a_browser
def test_a_person_finds_what_looks_at_what() -> None:
    act = """
    const thumbs = [...page.document.querySelectorAll(".thumb")];
    thumbs[4].click();
    const said = [$("said").textContent, thumbs.map(one => one.getAttribute("aria-pressed")).indexOf("true")];
    $("tokens").children[1].click();
    const shares = [...$("tokens").children].map(one => Number(one.lastChild.textContent));
    said.push($("said").textContent);
    $("back").click();
    const backwards = [...$("tokens").children].map(one => Number(one.lastChild.textContent));
    said.push($("said").textContent);
    $("back").click();
    $("marks").dispatchEvent(new page.KeyboardEvent("keydown", { key: "ArrowDown", bubbles: true }));
    $("marks").dispatchEvent(new page.KeyboardEvent("keydown", { key: "ArrowLeft", bubbles: true }));
    said.push($("said").textContent, $("tip").textContent);
    const scores = [...$("row").rows].slice(1).map(row => Number(row.cells[1].textContent));
    page.document.querySelector("[data-step='head 1']").click();
    said.push($("said").textContent);
    const names = [...$("tokens").children].map(one => one.firstChild.data);
    return { said, shares, backwards, scores, names };
    """
    told = use(page(shown(parts=True)), POINT + act)
    weights = attention()[1, 1]
    assert told["names"] == list(TOKENS)
    assert np.abs(np.array(told["shares"]) - weights[1]).max() < 0.006
    assert np.abs(np.array(told["backwards"]) - weights[:, 1]).max() < 0.006
    query, key, _ = triple(0)[:, 1, 1]
    assert np.abs(np.array(told["scores"]) - query[2] @ key.T / 2).max() < 0.006
    most, least = weights[1].argmax(), weights[:, 1].argmax()
    expected = [
        ("layer 2, head 2: “it” looks most at “{}”, ", TOKENS[most], weights[1, most]),
        ("layer 2, head 2: “it” is looked at by “{}” most, ", TOKENS[least], weights[least, 1]),
        ("layer 2, head 2: “was” → “{}” ", "[SEP]", weights[2, 5]),
        ("was → {}  ", "[SEP]", weights[2, 5]),
        ("layer 2, head 3: “was” → “{}” ", "[SEP]", attention()[1, 2, 2, 5]),
    ]
    assert told["said"][:2] == ["layer 2, head 2", 4]
    for said, (words, other, weight) in zip(told["said"][2:], expected, strict=True):
        assert said[:-6] == words.format(other)
        assert float(said[-6:]) == pytest.approx(weight, abs=1e-4)


SOURCE, TARGET = ("it", "was", "</s>"), ("<s>", "il", "était", "là")


def translated() -> Result:
    """What an encoder-decoder gives: three maps, one of them oblong, the encoder with fewer layers."""
    draw = np.random.default_rng(1)
    sides = {"encoder": (2, SOURCE, SOURCE), "decoder": (3, TARGET, TARGET), "cross": (3, TARGET, SOURCE)}
    weights = {
        part: draw.dirichlet(np.ones(len(columns)), (layers, HEADS, len(rows))).astype(np.float32)
        for part, (layers, rows, columns) in sides.items()
    }
    values: dict[str, Any] = {
        "translation": "il était là",
        "model": "tiny",
        "rollout": rollout(weights["encoder"]),
        "tokens": [{"token": token, "part": 1, "start": 0, "end": 1} for token in SOURCE],
        "target_tokens": [
            {"token": token, "part": 2, "start": 0, "end": 1, "next": following}
            for token, following in zip(TARGET, (*TARGET[1:], "</s>"), strict=True)
        ],
        "attention": weights,
    }
    for number, name in enumerate(("query", "key", "value")):
        counts = {part: len(side[1 if number == 0 else 2]) for part, side in sides.items()}
        values[name] = {
            part: draw.normal(size=(sides[part][0], HEADS, counts[part], WIDTH)).astype(np.float32)
            for part in sides
        }
    return Result(Record(0, {"text": "it was"}, "it was"), values)


@in_a_browser
def test_an_encoder_decoder_has_three_maps() -> None:
    act = """
    const said = [], options = [...$("part").options].map(one => one.textContent);
    const heads = () => [...$("head").options].map(one => one.textContent).includes("rollout");
    set("layer", 3); set("head", 2);
    said.push(at(1, 2));
    const scores = [...$("row").rows].slice(1).map(row => Number(row.cells[1].textContent));
    $("tokens").children[2].click();
    const shares = [...$("others").children].map(one => Number(one.lastChild.textContent));
    said.push($("said").textContent);
    $("back").click();
    $("tokens").children[2].click();
    const backwards = [...$("others").children].map(one => Number(one.lastChild.textContent));
    said.push($("said").textContent);
    $("back").click();
    const rollouts = [heads()];
    set("part", 1); rollouts.push(heads()); said.push(at(0, 2));
    set("part", 2); rollouts.push(heads()); set("layer", 3); said.push(at(3, 1));
    return { said, options, scores, shares, backwards, rollouts, text: $("which").textContent };
    """
    result = translated()
    found = use(page(result), POINT + act)
    weights = result.values["attention"]
    cross = weights["cross"][2, 1]
    assert found["options"] == ["decoder to encoder", "the encoder", "the decoder"]
    assert found["rollouts"] == [False, True, False]
    assert np.abs(np.array(found["shares"]) - cross[2]).max() < 0.006
    assert np.abs(np.array(found["backwards"]) - cross[:, 2]).max() < 0.006
    query, key = result.values["query"]["cross"][2, 1, 1], result.values["key"]["cross"][2, 1]
    assert np.abs(np.array(found["scores"]) - key @ query / 2).max() < 0.006
    most = int(cross[:, 2].argmax())
    expected = [
        ("decoder to encoder, layer 3, head 2: “→ était” → “</s>” ", cross[1, 2]),
        (f"decoder to encoder, layer 3, head 2: “→ là” looks most at “{SOURCE[cross[2].argmax()]}”, ", cross[2].max()),
        (f"decoder to encoder, layer 3, head 2: “</s>” is looked at by “→ {(*TARGET[1:], '</s>')[most]}” most, ",
         cross[most, 2]),
        ("the encoder, layer 2, head 2: “it” → “</s>” ", weights["encoder"][1, 1, 0, 2]),
        ("the decoder, layer 3, head 2: “là” → “il” ", weights["decoder"][2, 1, 3, 1]),
    ]  # fmt: skip
    for said, (words, weight) in zip(found["said"], expected, strict=True):
        assert said[:-6] == words
        assert float(said[-6:]) == pytest.approx(weight, abs=1e-4)
    assert data(page(result))[0]["text"] == "it was / il était là"


@in_a_browser
def test_a_phone_is_wide_enough_and_a_finger_not_too_thick() -> None:
    act = """
    const root = page.document.documentElement;
    const small = [...page.document.querySelectorAll("button:not(.thumb), select")].filter(one =>
      one.offsetParent && (one.offsetHeight < 36 || one.offsetWidth < 30)).map(one => one.outerHTML);
    return { room: root.clientWidth, needed: root.scrollWidth, small, cell: page.eval("geometry").cell };
    """
    for tokens in (TOKENS, TOKENS * 12):
        told = use(page(shown(tokens=tokens), shown("b" * 300)), act, width=360)
        assert told["room"] == told["needed"] == 360
        assert told["small"] == []
        assert told["cell"] >= 9


CONTRAST = """
const style = one => page.getComputedStyle(one), light = color => {
  const [red, green, blue] = color.match(/[\\d.]+/g).map(Number).map(value => value / 255)
    .map(value => (value <= .03928 ? value / 12.92 : ((value + .055) / 1.055) ** 2.4));
  return .2126 * red + .7152 * green + .0722 * blue;
};
const ratio = (one, ground) => {
  const [high, low] = [light(style(one).color), light(style(ground).backgroundColor)].sort((a, b) => b - a);
  return (high + .05) / (low + .05);
};
const look = () => ({
  ground: light(style(page.document.body).backgroundColor),
  text: ratio($("said"), page.document.body), quiet: ratio($("model"), page.document.body),
  tokens: Math.min(...[...$("tokens").children].map(one => ratio(one, one))),
});
const before = look();
$("theme").click();
return [before, look()];
"""


@in_a_browser
@pytest.mark.parametrize("dark", [False, True])
def test_it_is_readable_in_light_and_dark(dark: bool) -> None:
    looks = use(page(shown()), CONTRAST, dark=dark)
    grounds = [look["ground"] for look in looks]
    assert max(grounds) > 0.9
    assert min(grounds) < 0.1
    assert (grounds[0] < 0.1) == dark
    for look in looks:
        assert min(look["text"], look["quiet"], look["tokens"]) >= 4.5


@in_a_browser
def test_an_address_leads_to_a_text_a_head_and_a_token(tmp_path) -> None:
    path = tmp_path / "a.html"
    to_file(path, [shown("a"), failed(1), shown("b", seed=5)], PAGE)
    for address, expected in {
        "#text=3&layer=1&head=3&from=2&to=3": "layer 1, head 3: “it” → “was” ",
        "#text=9&layer=9&head=rollout&from=99": "rollout through layers 1 to 2",
    }.items():
        shown_document = dump(path.as_uri() + address)
        said = re.search(r'id="(?:said|trouble)"[^>]*>([^<]+)<', shown_document)
        assert said is not None
        assert said[1].removesuffix(f"{attention(5)[0, 2, 1, 2]:.4f}") == expected
