"""Texts to token ids: prompts in front, specials counted, once and then from the cache."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from tokenizers import normalizers

from matryoshka.data import tokens
from matryoshka.data.reading.rows import read_rows
from matryoshka.data.tokenizer_fingerprint import tokenizer_fingerprint
from matryoshka.data.tokens import (
    TokenIds,
    distinct_tokens,
    kept_token_ids,
    token_counts,
    token_ids,
    tokenized_pairs,
)
from matryoshka.storage.cache import remove_oldest
from tests.tiny import tiny_tokenizer

PROMPTS = {"anchor": "query: ", "positive": "passage: "}
TEXTS = {"anchor": ["Wer zahlt?", "Wann", ""], "positive": ["der Notar", "morgen früh um sechs", "nie"]}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MATRYOSHKA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "tokens"


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
    found = tokenized_pairs(pairs, tiny_tokenizer(), 16, PROMPTS)

    assert found.column_names == ["anchor", "positive"]
    for column, texts in TEXTS.items():
        assert list(found[column]) == [ids_by_hand(PROMPTS[column] + text, 16) for text in texts]


def test_a_column_without_a_prompt_stays_as_it_is(pairs: Dataset) -> None:
    found = tokenized_pairs(pairs, tiny_tokenizer(), 16, {"positive": "passage: "})

    assert list(found["anchor"]) == [ids_by_hand(text, 16) for text in TEXTS["anchor"]]


def test_a_second_call_takes_the_ids_from_the_cache(pairs: Dataset) -> None:
    first, second = Counting(), Counting()
    made = tokenized_pairs(pairs, first, 16, PROMPTS)
    again = tokenized_pairs(pairs, second, 16, PROMPTS)

    assert len(first.texts) == 6
    assert second.texts == []
    assert again[:] == made[:]


def test_equal_texts_are_found_wherever_they_come_from(pairs: Dataset) -> None:
    tokenizer = Counting()
    tokenized_pairs(pairs, tokenizer, 16, PROMPTS)
    tokenizer.texts.clear()

    tokenized_pairs(Dataset.from_dict(TEXTS), tokenizer, 16, PROMPTS)
    assert tokenizer.texts == []
    found = kept_token_ids(tokenizer, TEXTS["positive"], 16, PROMPTS["positive"])
    assert tokenizer.texts == [PROMPTS["positive"]]  # alone, to count its tokens
    assert list(found) == [ids_by_hand(PROMPTS["positive"] + text, 16) for text in TEXTS["positive"]]


def test_a_tokenizer_that_was_used_meanwhile_finds_the_cache_too(pairs: Dataset) -> None:
    tokenizer = Counting()
    tokenized_pairs(pairs, tokenizer, 16, PROMPTS)
    token_ids(tokenizer, ["something else"], 7)
    tokenizer.texts.clear()

    tokenized_pairs(pairs, tokenizer, 16, PROMPTS)
    assert tokenizer.texts == []


def test_length_prompt_tokenizer_and_texts_each_make_another_file(cache: Path) -> None:
    other, texts = tiny_tokenizer(), TEXTS["positive"]
    other.backend_tokenizer.normalizer = normalizers.NFC()
    kept_token_ids(tiny_tokenizer(), texts, 16)
    kept_token_ids(tiny_tokenizer(), texts, 17)
    kept_token_ids(tiny_tokenizer(), texts, 16, "query: ")
    kept_token_ids(other, texts, 16)
    kept_token_ids(tiny_tokenizer(), texts[:2], 16)
    kept_token_ids(tiny_tokenizer(), [texts[1], texts[0], texts[2]], 16)
    kept_token_ids(tiny_tokenizer(), ["".join(texts[:2]), "", texts[2]], 16)

    assert len(list(cache.iterdir())) == 7


def test_a_prompt_of_no_column_makes_no_other_file(pairs: Dataset, cache: Path) -> None:
    tokenized_pairs(pairs, tiny_tokenizer(), 16, PROMPTS)
    tokenized_pairs(pairs, tiny_tokenizer(), 16, {**PROMPTS, "negative_1": "x"})

    assert len(list(cache.iterdir())) == 2


@pytest.mark.parametrize("count", [0, 1, 2, 5, 6])
def test_many_texts_are_tokenized_in_parts_and_mapped_into_memory(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(tokens, "TEXTS_AT_ONCE", 2)
    texts = (TEXTS["anchor"] + TEXTS["positive"])[:count]
    expected = token_ids(tiny_tokenizer(), texts, 16)

    for _ in range(2):
        ids = kept_token_ids(tiny_tokenizer(), texts, 16)
        assert list(ids) == expected
        assert ids.lengths.tolist() == list(map(len, expected))
        assert ids.distinct() == {i for text in expected for i in text}
        assert not ids.flat.flags.owndata


def test_counts_and_distinct_tokens_of_pairs_equal_a_loop(pairs: Dataset) -> None:
    found = tokenized_pairs(pairs, tiny_tokenizer(), 16, PROMPTS)

    assert distinct_tokens(found) == {i for column in found.column_names for ids in found[column] for i in ids}
    for column, counts in token_counts(found).items():
        assert counts.tolist() == [len(ids) for ids in found[column]]


def test_several_writers_of_one_file_leave_one(cache: Path) -> None:
    texts = [f"der {i}" for i in range(500)]
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: list(kept_token_ids(tiny_tokenizer(), texts, 16)), range(4)))

    assert made == [token_ids(tiny_tokenizer(), texts, 16)] * 4
    assert [path.suffix for path in cache.iterdir()] == [".arrow"]


@pytest.mark.slow
def test_a_tokenizer_uses_all_cores_for_a_batch() -> None:
    """What `token_stream` relies on, asked of the library itself: threads beside the main one have worked."""
    code = (
        "import os; from tests.tiny import tiny_tokenizer; from matryoshka.data.tokens import token_ids\n"
        "before = len(os.listdir('/proc/self/task'))\n"
        "token_ids(tiny_tokenizer(), ['der notar'] * 1000, 16)\n"
        "print(len(os.listdir('/proc/self/task')) - before)"
    )
    started = {}
    for parallel in ("true", "false"):
        surrounding = {**os.environ, "TOKENIZERS_PARALLELISM": parallel, "RAYON_NUM_THREADS": "2"}
        run = subprocess.run([sys.executable, "-c", code], env=surrounding, capture_output=True, text=True, check=True)
        started[parallel] = int(run.stdout)
    assert started["false"] == 0 < started["true"]


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


def test_ids_of_a_tokenizer_in_python_are_not_kept(pairs: Dataset, cache: Path) -> None:
    """What it does may follow from settings, files and code that no vocabulary shows."""

    class Words:
        def __init__(self, lowercase: bool) -> None:
            self.lowercase = lowercase

        def get_vocab(self) -> dict[str, int]:
            return {"a": 1, "A": 2}

        def __call__(self, texts: Sequence[str], **options: Any) -> Any:
            texts = [text.lower() for text in texts] if self.lowercase else texts
            return {"input_ids": [[ord(letter) for letter in text] for text in texts]}

    for lowercase, found in ((True, [97]), (False, [65])):
        assert tokenizer_fingerprint(Words(lowercase)) is None
        assert list(kept_token_ids(Words(lowercase), ["A"], 16)) == [found]
    assert tokenized_pairs(pairs, Words(False), 16, {})["anchor"][1] == [ord(letter) for letter in "Wann"]
    assert not cache.exists()


def test_a_file_larger_than_the_limit_is_there_when_it_is_read(
    pairs: Dataset, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "remove_oldest", partial(remove_oldest, limit=0))
    assert list(kept_token_ids(tiny_tokenizer(), ["der"], 16)) == [ids_by_hand("der", 16)]
    found = tokenized_pairs(pairs, tiny_tokenizer(), 16, PROMPTS)

    assert list(found["anchor"]) == [ids_by_hand(PROMPTS["anchor"] + text, 16) for text in TEXTS["anchor"]]
    assert len(list(cache.iterdir())) == 1


def test_without_a_folder_to_keep_them_ids_are_made_all_the_same(
    pairs: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = tokenized_pairs(pairs, tiny_tokenizer(), 16, PROMPTS)
    (tmp_path / "file").touch()
    monkeypatch.setenv("MATRYOSHKA_CACHE", str(tmp_path / "file"))
    found = tokenized_pairs(pairs, tiny_tokenizer(), 16, PROMPTS)

    assert found[:] == expected[:]
    assert distinct_tokens(found) == distinct_tokens(expected)
    assert list(kept_token_ids(tiny_tokenizer(), ["der"], 16)) == [ids_by_hand("der", 16)]
    assert len(caplog.records) == 1


@pytest.mark.parametrize("lists", [[], [[]], [[1, 2], [3]], [[1], [], [1], [2, 1], [], [2, 1], [1]]])
def test_copies_are_left_out_and_found_again(lists: list[list[int]]) -> None:
    ids, rows = TokenIds.of(lists).without_copies()

    assert list(ids) == list(map(list, dict.fromkeys(map(tuple, lists))))
    assert [ids[row] for row in rows] == lists
