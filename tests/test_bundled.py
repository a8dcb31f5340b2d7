"""The model that comes with the package: that it is whole, says what other libraries say of it, makes sense.

Meaning is tested by probes: sentences any reader completes without thinking. They are no measurement (the
figures are in its MODEL_CARD.md), but a model that was saved wrongly, or whose skills have spoiled each
other, fails them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from sentence_transformers import SentenceTransformer
from transformers import AutoModelForMaskedLM, AutoTokenizer

from bertcli.models.library import BUNDLED

pytestmark = pytest.mark.slow

PROBES = {
    "The capital of France is [MASK].": "paris",
    "She poured herself a cup of [MASK].": "coffee tea",
    "The dog [MASK] at the stranger.": "barked growled looked",
    "He drove his [MASK] to work.": "car truck",
    "The sun rises in the [MASK].": "east morning sky",
    "She is a doctor at the [MASK].": "hospital university clinic",
    "The cat sat on the [MASK].": "floor bed table mat chair ground couch",
    "I would like a glass of [MASK], please.": "water wine milk",
    "Shakespeare wrote many famous [MASK].": "plays poems works books",
    "The earth orbits around the [MASK].": "sun",
    "My favourite colour is [MASK].": "blue red green black white yellow",
    "The king and the [MASK] lived in the castle.": "queen prince",
    "The baby began to [MASK].": "cry sleep laugh scream",
    "She bought a new pair of [MASK].": "shoes pants glasses boots jeans",
    "Water freezes into [MASK].": "ice",
    "Berlin is the capital of [MASK].": "germany",
    "The film was directed [MASK] Steven Spielberg.": "by",
    "Winter is colder than [MASK].": "summer",
    "Fish live in the [MASK].": "water sea ocean",
    "Birds can [MASK].": "fly sing",
    "The chef cooked a delicious [MASK].": "meal dinner dish",
    "He opened the [MASK] and walked into the room.": "door",
    "We drove across the [MASK] over the river.": "bridge",
    "In the morning I brush my [MASK].": "teeth hair",
    "The plane landed at the [MASK].": "airport base",
    "She was born in London, [MASK].": "england",
    "The president lives in the White [MASK].": "house",
    "He was tired, so he went to [MASK].": "bed sleep",
    "The farmer milked the [MASK].": "cow cows goats",
    "Tokyo is a city in [MASK].": "japan",
    "The soccer player kicked the [MASK].": "ball",
    "I put the milk in the [MASK].": "fridge refrigerator kitchen glass cup bowl",
    "Please close the [MASK] when you leave.": "door window",
    "Snow is [MASK].": "white cold falling common",
    "A week has seven [MASK].": "days",
    "Ice is very [MASK].": "cold",
    "The fire was very [MASK].": "hot bright big",
    "He ate an apple and a [MASK].": "banana pear cake orange sandwich potato pie",
    "They got married in a small [MASK].": "church town village chapel",
    "The doctor gave her some [MASK].": "medicine drugs medication pills advice",
    "Madrid is the capital of [MASK].": "spain",
    "The opposite of hot is [MASK].": "cold",
    "A year has twelve [MASK].": "months",
    "Two plus two is [MASK].": "four",
    "The bird built a [MASK] in the tree.": "nest house",
    "She reads a [MASK] every night before bed.": "book story newspaper magazine",
    "He paid for dinner with his credit [MASK].": "card cards",
    "The children played football in the [MASK].": "park garden yard street field",
    "My brother is older [MASK] me.": "than",
    "If it rains, take an [MASK].": "umbrella",
    "The train arrived at the [MASK].": "station",
    "She wore a red [MASK] to the party.": "dress coat hat",
    "Cows eat [MASK].": "grass hay",
    "Bees make [MASK].": "honey",
    "We see with our [MASK].": "eyes",
    "He cut the bread with a [MASK].": "knife",
    "The month after March is [MASK].": "april",
    "The students passed the [MASK].": "exam test exams examination tests",
    "You can borrow books from the [MASK].": "library",
    "Napoleon was the emperor of [MASK].": "france",
    "The mouse was chased by the [MASK].": "cat dog",
    "She plays the piano and the [MASK].": "violin guitar organ cello",
    "He washed his hands with soap and [MASK].": "water",
    "The moon shines at [MASK].": "night",
    "A car has four [MASK].": "wheels tires tyres doors seats",
    "English is spoken in the United [MASK].": "states kingdom",
    "It was so dark that he could not [MASK] anything.": "see",
    "The patient was taken to the [MASK] by ambulance.": "hospital",
    "The dog wagged its [MASK].": "tail",
    "She opened the letter and [MASK] it.": "read",
    "Children learn to read at [MASK].": "school home",
}

NAMES = {
    "Maria Gonzalez works for Siemens in Munich.": {
        "PER": "Maria Gonzalez",
        "ORG": "Siemens",
        "LOC": "Munich",
    },
    "Toyota will build a new factory in Mexico.": {"ORG": "Toyota", "LOC": "Mexico"},
    "The United Nations sent observers to Syria.": {"ORG": "United Nations", "LOC": "Syria"},
    "Serena Williams beat Maria Sharapova in London.": {
        "PER": "Serena Williams, Maria Sharapova",
        "LOC": "London",
    },
    "We stayed at a hotel near Lake Geneva.": {"LOC": "Lake Geneva"},
    "John, can you call Sarah about the Boston trip?": {"PER": "John, Sarah", "LOC": "Boston"},
    "Mr. Smith flew from New York to Los Angeles.": {"PER": "Smith", "LOC": "New York, Los Angeles"},
    "The European Union fined Google.": {"ORG": "European Union, Google"},
    "my flight to chicago was cancelled": {"LOC": "chicago"},
    "EUROPEAN STOCKS FALL AS GERMANY SLOWS": {"LOC": "GERMANY"},
    "The meeting is on Monday at nine.": {},
    "I love Italian food and good wine.": {},
    "He bought apples and bread.": {},
    "Jane Austen was born in Hampshire.": {"PER": "Jane Austen", "LOC": "Hampshire"},
    "The BBC reported that the minister had resigned.": {"ORG": "BBC"},
    "Mount Everest lies between Nepal and China.": {"LOC": "Mount Everest, Nepal, China"},
    "Bill Gates and Paul Allen founded Microsoft.": {"PER": "Bill Gates, Paul Allen", "ORG": "Microsoft"},
    "The World Bank lent money to Kenya.": {"ORG": "World Bank", "LOC": "Kenya"},
    "Thanks, Anna! See you in Rome.": {"PER": "Anna", "LOC": "Rome"},
    "Dr. Patel from the University of Oxford spoke first.": {"PER": "Patel", "ORG": "University of Oxford"},
    "It rained in Scotland all week.": {"LOC": "Scotland"},
    "Please read the manual before you start.": {},
    "Sony and Samsung sell televisions.": {"ORG": "Sony, Samsung"},
    "please ask tom if he has been to japan": {"PER": "tom", "LOC": "japan"},
    "SOCCER - BRAZIL BEAT CHINA IN TOKYO.": {"LOC": "BRAZIL, CHINA, TOKYO"},
    "Nelson Mandela became president of South Africa.": {"PER": "Nelson Mandela", "LOC": "South Africa"},
    "The river Danube passes through Vienna and Budapest.": {"LOC": "Danube, Vienna, Budapest"},
}

SENTENCES = (
    "The capital of France is [MASK].",
    "A man is playing a guitar.",
    "Someone plays an instrument.",
    "The stock market fell sharply on Monday.",
)


def bertcli(*arguments: str, lines: Sequence[str]) -> list[dict[str, Any]]:
    """The records that a command without `-m` answers to lines on stdin."""
    done = subprocess.run(
        [sys.executable, "-m", "bertcli", *arguments, "-q", "-f", "jsonl"],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


@cache
def filled() -> dict[str, list[str]]:
    """The first five words behind the mask of each probe."""
    return {
        record["text"]: [fill["words"][0] for fill in record["fills"]]
        for record in bertcli("fill", lines=list(PROBES))
    }


@pytest.mark.parametrize("text", PROBES)
def test_a_mask_gets_a_word_that_a_person_would_say(text: str) -> None:
    assert set(filled()[text]) & set(PROBES[text].split())


@pytest.mark.parametrize(
    ("head", "labels"),
    [
        (
            "sentiment",
            {
                "A wonderful film, I loved every minute of it.": "positive",
                "A dull and pointless mess, I want my money back.": "negative",
                "The food was awful and the waiter was rude.": "negative",
                "What a great phone, I am so happy with it!": "positive",
            },
        ),
        (
            "emotion",
            {
                "i feel so happy and grateful today": "joy",
                "i am scared of what will happen tomorrow": "fear",
                "i feel so angry that he lied to me": "anger",
                "i feel lonely and hopeless": "sadness",
            },
        ),
        (
            "topic",
            {
                "The striker scored twice as the home team won the cup final.": "sports",
                "Shares fell after the company reported a loss for the quarter.": "business",
                "Soldiers and rebels clashed near the border, officials said.": "world",
                "The new chip makes computers faster and uses less power.": "science and technology",
            },
        ),
        (
            "spam",
            {
                "URGENT! You have won a FREE prize. Call 09061701461 now to claim!": "spam",
                "ok, see you at the station at six": "ham",
            },
        ),
        (
            "question",
            {
                "Who wrote Hamlet?": "HUM",
                "Where is the highest mountain?": "LOC",
                "How many people live in Tokyo?": "NUM",
            },
        ),
    ],
)
def test_labels_make_sense(head: str, labels: dict[str, str]) -> None:
    records = bertcli("label", "--head", head, lines=list(labels))
    assert {record["text"]: record["label"] for record in records} == labels


def test_labels_of_ones_own_make_sense() -> None:
    labels = {
        "My parcel has still not arrived.": "delivery",
        "The new phone has a better camera.": "technology",
        "The goalkeeper saved a penalty.": "football",
        "I forgot my password.": "login problem",
    }
    records = bertcli("label", "--labels", ",".join(labels.values()), lines=list(labels))
    assert {record["text"]: record["label"] for record in records} == labels


def test_names_are_found_in_a_text_of_several_sentences() -> None:
    text = (
        "Angela Merkel met Barack Obama in Berlin last spring. They spoke about trade. "
        "Later the two flew to Paris, where Microsoft has an office."
    )
    (record,) = bertcli("tag", lines=[text])
    spans = {(span["text"], span["label"]) for span in record["spans"]}
    assert spans >= {("Angela Merkel", "PER"), ("Barack Obama", "PER"), ("Berlin", "LOC"), ("Paris", "LOC")}


@cache
def named() -> dict[str, set[tuple[str, str]]]:
    """The names in each probe."""
    return {
        record["text"]: {(span["text"], span["label"]) for span in record["spans"]}
        for record in bertcli("tag", lines=list(NAMES))
    }


@pytest.mark.parametrize("text", NAMES)
def test_the_names_that_a_person_would_mark_are_found(text: str) -> None:
    assert named()[text] == {
        (name, label) for label, names in NAMES[text].items() for name in names.split(", ")
    }


def test_found_names_are_corrected_by_parts_of_speech(tmp_path: Path) -> None:
    """The script that prepares data of the recipe: of four sentences the first keeps its names without what is no part
    of them, the others have a proper noun without a name, no name, and words that the data has already."""
    sets = {
        "pos.train": "in ADP, Rome PROPN, met VERB, Ann PROPN\nBob PROPN\nme PRON\nold ADJ, Ann PROPN",
        "entities.train": "\n".join(["Monday O"] * 5),
        "entities-ewt_train_nonames": "old O, Ann O",
        "entities-uner_ewt.dev": "",
        "found": "in B-LOC, Rome I-LOC, met I-LOC, Ann B-PER\nBob O\nme B-PER\nold O, Ann B-PER",
    }
    for name, text in sets.items():
        (tmp_path / f"{name}.conll").write_text(
            "".join(f"{line}\n\n" for line in text.splitlines()).replace(", ", "\n").replace(" ", "\t")
        )
    script = [sys.executable, BUNDLED / "web_names.py", tmp_path, tmp_path / "found.conll"]
    found = subprocess.run(script, capture_output=True, text=True, check=True).stdout
    assert found == "in\tO\nRome\tB-LOC\nmet\tO\nAnn\tB-PER\n\n"


def test_words_have_their_parts_of_speech() -> None:
    (record,) = bertcli("tag", "--head", "pos", lines=["The old dog slowly ate two apples."])
    tags = [span["label"] for span in record["spans"]]
    assert tags == ["DET", "ADJ", "NOUN", "ADV", "VERB", "NUM", "NOUN", "PUNCT"]


def test_questions_are_answered_from_a_context() -> None:
    context = "The Eiffel Tower was built in 1889 by the company of Gustave Eiffel. It stands in Paris."
    questions = {
        "Who built the Eiffel Tower?": "Gustave Eiffel",
        "Where does it stand?": "Paris",
        "When was it built?": "1889",
    }
    for question, words in questions.items():
        (record,) = bertcli("answer", "--question", question, lines=[context])
        assert words in record["answer"]


def test_texts_that_mean_the_same_are_near() -> None:
    vectors = np.array([record["embedding"] for record in bertcli("embed", lines=SENTENCES[1:])])
    near, *far = (vectors @ vectors.T)[np.triu_indices(3, 1)]
    assert near > max(far) + 0.2


def test_its_words_are_those_of_transformers() -> None:
    model = AutoModelForMaskedLM.from_pretrained(BUNDLED, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(BUNDLED)
    inputs = tokenizer(SENTENCES[0], return_tensors="pt")
    with torch.inference_mode():
        logits = model(**inputs).logits[0, inputs["input_ids"][0] == tokenizer.mask_token_id][0]
    best = logits.softmax(-1).topk(5)
    (record,) = bertcli("fill", lines=SENTENCES[:1])
    assert [fill["words"] for fill in record["fills"]] == [
        [token] for token in tokenizer.convert_ids_to_tokens(best.indices.tolist())
    ]
    assert [fill["score"] for fill in record["fills"]] == pytest.approx(best.values.tolist(), abs=1e-4)


def test_its_vectors_are_those_of_sentence_transformers() -> None:
    expected = SentenceTransformer(str(BUNDLED), device="cpu", model_kwargs={"dtype": "float32"}).encode(
        list(SENTENCES[1:])
    )
    vectors = [record["embedding"] for record in bertcli("embed", lines=SENTENCES[1:])]
    np.testing.assert_allclose(vectors, expected, atol=1e-4)


def test_it_is_complete_and_small() -> None:
    assert (BUNDLED / "MODEL_CARD.md").is_file()
    for number, name in enumerate(("", "-entities", "-entities-adapter", "-pos")):
        recipe = yaml.safe_load((BUNDLED / f"recipe{name}.yaml").read_text(encoding="utf-8"))
        assert recipe["model"] == ("base", "trained", "trained", "names")[number]
    assert sum(path.stat().st_size for path in BUNDLED.rglob("*") if path.is_file()) < 50e6


def test_it_passes_its_own_check() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bertcli", "models", "check", str(BUNDLED)], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
