"""How many texts get the right label without training: `python -m tests.benchmarks.zero_shot DIR [-m MODEL]`.

DIR has the public sets as JSON lines with `text` and `label`. Labels are named by their own names, those of trec by the
words below; no right label is read before the texts are labelled.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import bertcli

SETS = ("ag_news.train", "sst2.dev", "emotion.dev", "banking77.train", "trec.train")
WORDS = {
    "ABBR": "abbreviation",
    "DESC": "description",
    "ENTY": "entity",
    "HUM": "person",
    "LOC": "location",
    "NUM": "number",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("-m", "--model")
    options = parser.parse_args()
    model = bertcli.load(options.model)
    print(f"{'':18}{'texts':>8}{'labels':>8}{'plain':>8}{'adapted':>9}")
    for name in SETS:
        rows = [json.loads(line) for line in (options.directory / f"{name}.jsonl").read_text().splitlines()]
        texts, right = [row["text"] for row in rows], [WORDS.get(row["label"], row["label"]) for row in rows]
        right = [label.replace("_", " ") for label in right]
        labels = ",".join(sorted(set(right)))
        shares = []
        for adapt in (False, True):
            found = [one["label"] for one in model.label(texts, labels=labels, adapt=adapt)]
            shares.append(sum(map(str.__eq__, found, right)) / len(right))
        print(f"{name:18}{len(rows):8}{len(set(right)):8}{shares[0]:8.3f}{shares[1]:9.3f}", flush=True)


if __name__ == "__main__":
    main()
