"""Added tokens in other files than tokenizer.json: in tokenizer_config.json as
`added_tokens_decoder`, or in added_tokens.json, which is older; and special tokens that are only named.

`tokenizers` numbers what is added by itself, one token behind the other from the end of the vocabulary, and
pays no heed to the ids in the files. A token that asks for another id is refused: it would be given the
embedding of some other token.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bertcli.errors import ModelError
from bertcli.models.jsonfile import ANOTHER_COPY, read_optional
from bertcli.models.vocabulary import additional_tokens, special_names, vocabulary_of

Token = dict[str, Any]
"""An added token as tokenizer.json lists it."""

_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")


def add_tokens(definition: dict[str, Any], directory: Path, config: Mapping[str, Any]) -> None:
    """Add what the other files declare to the definition of a tokenizer (a tokenizer.json object).

    `config` is tokenizer_config.json. As in transformers, its `added_tokens_decoder` wins over tokenizer.json
    where both have a token, and added_tokens.json is read only without it. Raises ModelError for files that
    make no sense, and for ids that are not free.
    """
    if "added_tokens_decoder" in config:
        where = directory / "tokenizer_config.json"
        declared = {token["content"]: token for token in _decoder(config["added_tokens_decoder"], where)}
        wins = declared
    else:
        where = directory / "added_tokens.json"
        declared = {token["content"]: token for token in _older(where, config, definition)}
        wins = {}
    present = {token["content"]: token for token in definition["added_tokens"]}
    for token in declared.values():
        if token["content"] in present:
            _require_id(token, present[token["content"]]["id"], where)
    definition["added_tokens"] = [wins.get(content, token) for content, token in present.items()]
    fresh = [token for content, token in declared.items() if content not in present]
    if fresh:
        definition["added_tokens"] += _numbered(fresh, definition, where)
    _add_named(additional_tokens(directory, config), definition)


def _add_named(named: Mapping[str, Mapping[str, Any]], definition: dict[str, Any]) -> None:
    """Special tokens that no file gives an id: their own in the vocabulary, else the next one behind it."""
    present = {token["content"] for token in definition["added_tokens"]}
    fresh = {content: flags for content, flags in named.items() if content not in present}
    if not fresh:
        return
    vocabulary, free = vocabulary_of(definition), _free(definition)
    for content, flags in fresh.items():
        number = vocabulary.get(content, free)
        free = max(free, number + 1)
        definition["added_tokens"].append(_token(content, number, {**flags, "special": True}))


def _free(definition: Mapping[str, Any]) -> int:
    """The id that `tokenizers` gives the next token that is not in the vocabulary."""
    taken: list[int] = [token["id"] + 1 for token in definition["added_tokens"]]
    return max([len(definition["model"]["vocab"]), *taken])


def _numbered(fresh: Iterable[Token], definition: Mapping[str, Any], where: Path) -> Iterator[Token]:
    """Tokens in the order of their ids, which have to be those that `tokenizers` will give them."""
    vocabulary, free = vocabulary_of(definition), _free(definition)
    for token in sorted(fresh, key=lambda token: int(token["id"])):
        number = vocabulary.get(token["content"], free)
        _require_id(token, number, where)
        free = max(free, number + 1)
        yield token


def _require_id(token: Token, number: int, where: Path) -> None:
    if token["id"] != number:
        raise ModelError(
            f"the token {token['content']!r} cannot have the id {token['id']}: its place is {number}",
            hint=f"correct the ids, or {ANOTHER_COPY}",
            where=str(where),
        )


def _decoder(found: Any, where: Path) -> Iterator[Token]:
    """The tokens of `{"164": {"content": "[E1]", "lstrip": false …}}`."""
    if not isinstance(found, dict) or not all(map(_is_numbered_token, found.items())):
        raise ModelError(
            "added_tokens_decoder is not an object of tokens by id", where=str(where), hint=ANOTHER_COPY
        )
    for number, token in found.items():
        yield _token(token["content"], int(number), {"normalized": not token.get("special"), **token})


def _is_numbered_token(item: tuple[str, Any]) -> bool:
    number, token = item
    content = token.get("content") if isinstance(token, dict) else None
    return number.isdecimal() and isinstance(content, str) and bool(content)


def _older(where: Path, config: Mapping[str, Any], definition: Mapping[str, Any]) -> Iterator[Token]:
    """The tokens of `{"[E1]": 164}`; special ones are those that have a part to play."""
    found = read_optional(where, dict)
    if not found:
        return
    specials = set(special_names(where.parent, config, definition).values())
    for content, number in found.items():
        if type(number) is not int or not content:
            raise ModelError("is not an object of ids by token", where=str(where), hint=ANOTHER_COPY)
        special = content in specials
        yield _token(content, number, {"special": special, "normalized": not special})


def _token(content: str, number: int, flags: Mapping[str, Any]) -> Token:
    return {"id": number, "content": content, **{flag: flags.get(flag) is True for flag in _FLAGS}}
