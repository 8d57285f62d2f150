"""Texts to token ids: prompts in front, specials counted, once and then from the cache."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from tokenizers import normalizers

from matryoshka.data.reading import read_rows
from matryoshka.data.tokens import token_ids, tokenized_pairs, tokenizer_fingerprint
from tests.tiny import tiny_tokenizer

PROMPTS = {"anchor": "query: ", "positive": "passage: "}
TEXTS = {"anchor": ["Wer zahlt?", "Wann", ""], "positive": ["der Notar", "morgen früh um sechs", "nie"]}


@pytest.fixture
def pairs(tmp_path: Path) -> Dataset:
    rows = zip(TEXTS["anchor"], TEXTS["positive"], strict=True)
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps({"anchor": a, "positive": p}) + "\n" for a, p in rows), encoding="utf-8")
    return read_rows(str(path))


class Counting:
    """The tiny tokenizer, with the texts that it was given."""

    def __init__(self) -> None:
        self.tokenizer = tiny_tokenizer()
        self.texts: list[str] = []

    def __call__(self, texts: Sequence[str], **options: Any) -> Any:
        self.texts += texts
        return self.tokenizer(texts, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tokenizer, name)


def ids_by_hand(text: str, length: int) -> list[int]:
    """One text at a time, specials put on and the end cut off by hand."""
    inside = tiny_tokenizer()(text, add_special_tokens=False)["input_ids"]
    return [0, *inside[: length - 2], 2]


@pytest.mark.parametrize("length", [3, 5, 9, 64])
def test_truncation_counts_the_special_tokens(length: int) -> None:
    texts = ["", "x", "sch", *TEXTS["anchor"], *TEXTS["positive"]]
    ids = token_ids(tiny_tokenizer(), texts, length)

    assert ids == [ids_by_hand(text, length) for text in texts]
    assert max(map(len, ids)) <= length


def test_no_texts_have_no_ids() -> None:
    assert token_ids(tiny_tokenizer(), [], 16) == []


def test_prompts_stand_in_front_of_their_column(pairs: Dataset) -> None:
    tokens = tokenized_pairs(pairs, tiny_tokenizer(), 16, PROMPTS)

    assert tokens.column_names == ["anchor", "positive"]
    for column, texts in TEXTS.items():
        assert list(tokens[column]) == [ids_by_hand(PROMPTS[column] + text, 16) for text in texts]


def test_a_column_without_a_prompt_stays_as_it_is(pairs: Dataset) -> None:
    tokens = tokenized_pairs(pairs, tiny_tokenizer(), 16, {"positive": "passage: "})

    assert list(tokens["anchor"]) == [ids_by_hand(text, 16) for text in TEXTS["anchor"]]


def test_a_second_call_takes_the_ids_from_the_cache(pairs: Dataset) -> None:
    first, second = Counting(), Counting()
    tokens = tokenized_pairs(pairs, first, 16, PROMPTS)
    again = tokenized_pairs(pairs, second, 16, PROMPTS)

    assert len(first.texts) == 6
    assert second.texts == []
    assert again[:] == tokens[:]
    assert again._fingerprint == tokens._fingerprint


def test_a_tokenizer_that_was_used_meanwhile_finds_the_cache_too(pairs: Dataset) -> None:
    tokenizer = Counting()
    tokenized_pairs(pairs, tokenizer, 16, PROMPTS)
    token_ids(tokenizer, ["something else"], 7)
    tokenizer.texts.clear()

    tokenized_pairs(pairs, tokenizer, 16, PROMPTS)
    assert tokenizer.texts == []


def test_length_prompts_tokenizer_and_rows_each_make_another_key(pairs: Dataset) -> None:
    other = tiny_tokenizer()
    other.backend_tokenizer.normalizer = normalizers.NFC()
    made = [
        tokenized_pairs(pairs, tiny_tokenizer(), 16, PROMPTS),
        tokenized_pairs(pairs, tiny_tokenizer(), 17, PROMPTS),
        tokenized_pairs(pairs, tiny_tokenizer(), 16, {**PROMPTS, "anchor": ""}),
        tokenized_pairs(pairs, tiny_tokenizer(), 16, {"anchor": "passage: ", "positive": "query: "}),
        tokenized_pairs(pairs, other, 16, PROMPTS),
        tokenized_pairs(pairs.select([0, 1]), tiny_tokenizer(), 16, PROMPTS),
        tokenized_pairs(pairs.select_columns(["anchor"]), tiny_tokenizer(), 16, PROMPTS),
    ]

    assert len({tokens._fingerprint for tokens in made}) == len(made)


def test_a_prompt_of_no_column_makes_no_other_key(pairs: Dataset) -> None:
    plain = tokenized_pairs(pairs, tiny_tokenizer(), 16, PROMPTS)

    assert (
        tokenized_pairs(pairs, tiny_tokenizer(), 16, {**PROMPTS, "negative_1": "x"})._fingerprint == plain._fingerprint
    )


def test_a_fingerprint_does_not_remember_how_the_tokenizer_was_used() -> None:
    tokenizer = tiny_tokenizer()
    before = tokenizer_fingerprint(tokenizer)
    tokenizer(["a", "longer text"], truncation=True, max_length=5, padding=True)

    assert tokenizer_fingerprint(tokenizer) == before == tokenizer_fingerprint(tiny_tokenizer())


def test_a_fingerprint_changes_with_what_decides_the_ids() -> None:
    changed = [tiny_tokenizer() for _ in range(4)]
    changed[1].add_tokens(["steuer"])
    changed[2].backend_tokenizer.normalizer = None
    changed[3].truncation_side = "left"

    assert len({tokenizer_fingerprint(tokenizer) for tokenizer in changed}) == 4


def test_a_tokenizer_without_a_backend_is_told_by_its_vocabulary() -> None:
    class Slow:
        def __init__(self, *words: str) -> None:
            self.words = words

        def get_vocab(self) -> dict[str, int]:
            return {word: i for i, word in enumerate(self.words)}

    assert tokenizer_fingerprint(Slow("a", "b")) == tokenizer_fingerprint(Slow("a", "b"))
    assert tokenizer_fingerprint(Slow("a", "b")) != tokenizer_fingerprint(Slow("b", "a"))
