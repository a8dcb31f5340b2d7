"""Sentences of web text with names: a model has found them, and parts of speech (UD English EWT) correct it.

A name without a proper noun is no name, and punctuation, verbs and the like at its ends are not part of it. A sentence
is left out
* if a proper noun is in no name, unless the labelled sets show that the word is hardly ever in one (such as weekdays),
* if no name is left,
* if it repeats an earlier one, or a sentence of UNER's development set or of the sentences without names.

With the data in data/:

    bertcli tag data/tag/pos.train.conll -m MODEL --head entities -o found.conll
    python web_names.py data/tag found.conll > data/web_names.conll
"""

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

NOT_COUNTED = ("entities.dev", "entities-uner_ewt.dev", "entities-ewt_train_nonames")
AT_NO_END = {"ADP", "ADV", "AUX", "CCONJ", "INTJ", "PART", "PRON", "PUNCT", "SCONJ", "SYM", "VERB"}
OFTEN = 5  # occurrences of a word that show whether it is part of names
RARELY = 0.1  # of them in names, at most, of a word that is hardly ever in one

Sentence = tuple[tuple[str, ...], list[str]]  # words, and a tag for each


def sentences(file: Path) -> Iterator[Sentence]:
    """The sentences of a CoNLL file: the first and the last column."""
    for block in file.read_text(encoding="utf-8").split("\n\n"):
        rows = [line.split("\t") for line in block.splitlines() if "\t" in line]
        if rows:
            yield tuple(row[0] for row in rows), [row[-1] for row in rows]


def spans(tags: list[str]) -> Iterator[tuple[int, int, str]]:
    """Where names start and end in BIO tags, and their labels."""
    start = 0
    for end in range(1, len(tags) + 1):
        if end == len(tags) or tags[end] != f"I-{tags[start][2:]}":
            if tags[start] != "O":
                yield start, end, tags[start][2:]
            start = end


def corrected(tags: list[str], parts: list[str]) -> list[str]:
    """Tags whose names have a proper noun and end in none of `AT_NO_END`; `parts` are the parts of speech."""
    result = ["O"] * len(tags)
    for start, end, label in spans(tags):
        while start < end and parts[start] in AT_NO_END:
            start += 1
        while end > start and parts[end - 1] in AT_NO_END:
            end -= 1
        if "PROPN" in parts[start:end]:
            result[start:end] = [f"B-{label}"] + [f"I-{label}"] * (end - start - 1)
    return result


def words_outside_names(folder: Path) -> set[str]:
    """Words of the labelled sets that are hardly ever in a name."""
    seen: Counter[str] = Counter()
    named: Counter[str] = Counter()
    for file in folder.glob("entities*.conll"):
        for words, tags in sentences(file) if file.stem not in NOT_COUNTED else ():
            seen.update(words)
            named.update(word for word, tag in zip(words, tags, strict=True) if tag != "O")
    return {word for word, count in seen.items() if count >= OFTEN and named[word] <= RARELY * count}


def main(folder: Path, found: Path) -> None:
    outside = words_outside_names(folder)
    known = {
        words
        for name in ("entities-ewt_train_nonames", "entities-uner_ewt.dev")
        for words, _ in sentences(folder / f"{name}.conll")
    }
    for (words, parts), (_, tags) in zip(
        sentences(folder / "pos.train.conll"), sentences(found), strict=True
    ):
        names = corrected(tags, parts)
        unnamed = {
            word
            for word, part, tag in zip(words, parts, names, strict=True)
            if part == "PROPN" and tag == "O"
        }
        if words not in known and unnamed <= outside and set(names) != {"O"}:
            known.add(words)
            sys.stdout.write(
                "".join(f"{word}\t{tag}\n" for word, tag in zip(words, names, strict=True)) + "\n"
            )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
