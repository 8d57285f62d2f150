"""Texts of a retrieval set as distinct token ids, and which of them each text has."""

from __future__ import annotations

import pytest

from matryoshka.data.retrieval_set import RetrievalSet
from matryoshka.errors import DataError
from matryoshka.evaluation.evaluator import Evaluator
from matryoshka.evaluation.tokenized_set import TokenizedSet
from tests.tiny import tiny_encoder

CORPUS = {"c": "der notar zahlt morgen", "a": "der notar geht", "b": "die", "d": "die"}


def small(corpus: dict[str, str]) -> RetrievalSet:
    queries = {"q2": "die", "q1": "der", "q3": "die"}
    return RetrievalSet("small", queries, corpus, dict.fromkeys(queries, frozenset({"b"})))


@pytest.mark.parametrize("length", [4, 64])
def test_each_text_has_its_own_ids_and_no_ids_come_twice(length: int) -> None:
    encoder = tiny_encoder()
    encoder.max_seq_length = length
    found = TokenizedSet.of(small(CORPUS), encoder.tokenize)

    assert [found.queries[row] for row in found.queries_Q] == encoder.tokenize(["die", "der", "die"])
    documents = encoder.tokenize([CORPUS[name] for name in "abcd"])
    assert [found.documents[row] for row in found.documents_N] == documents
    for ids, count in ((found.queries, 2), (found.documents, 2 if length == 4 else 3)):
        assert len(ids) == len(set(map(tuple, ids))) == count


def test_texts_equal_up_to_the_cut_are_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = tiny_encoder()
    encoder.max_seq_length = 6
    seen: list[int] = []
    pooled = encoder.pooled
    monkeypatch.setattr(encoder, "pooled", lambda batch: seen.append(len(batch.lengths)) or pooled(batch))
    corpus = {f"d{i}": f"der notar nr {i}" for i in range(40)} | {"b": "die"}

    result = Evaluator().evaluate(encoder, small(corpus), [32])
    assert sum(seen) == 4  # two queries, and two documents
    assert result.documents == 41


def test_a_text_of_no_tokens_is_named() -> None:
    encoder = tiny_encoder()
    encoder.tokenizer.backend_tokenizer.post_processor = None

    with pytest.raises(DataError, match="document 'x' has no tokens"):
        TokenizedSet.of(small({"b": "die", "x": "", "y": "der"}), encoder.tokenize)
