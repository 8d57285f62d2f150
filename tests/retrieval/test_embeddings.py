"""Embeddings found again are those of encoding anew, to the last bit; any difference in the encoder encodes anew."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from matryoshka.data.tokens import TokenIds
from matryoshka.encoder import Encoder, Pooling
from matryoshka.retrieval.embeddings import InMemory, OnDisk, Store, embed, stable_batches
from matryoshka.retrieval.evaluation import Evaluator
from matryoshka.retrieval.fingerprint import encoder_fingerprint
from tests.retrieval.small import small_set
from tests.tiny import tiny_encoder

TEXTS = [f"nr {i} {'der notar ' * (i % 3)}" for i in range(60)]
BUDGET = 100


def embedded(encoder: Encoder, texts: list[str], store: Store | None = None, **options: Any) -> Tensor:
    ids = TokenIds.of(encoder.tokenize(texts))
    (values_ND,), _ = embed(encoder, [ids], token_budget=BUDGET, store=store, **options)
    return values_ND


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many texts were encoded, batch by batch, by any encoder."""
    found: list[int] = []
    encode_ids = Encoder.encode_ids

    def counted(self: Encoder, ids: list[list[int]], **options: Any) -> Tensor:
        found.append(len(ids))
        return encode_ids(self, ids, **options)

    monkeypatch.setattr(Encoder, "encode_ids", counted)
    return found


@pytest.fixture(params=["disk", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return OnDisk(tmp_path / "embeddings") if request.param == "disk" else InMemory()


def test_batches_hold_every_text_once_longest_first_within_the_budget() -> None:
    ids = TokenIds.of([[i] * (1 + i % 40) for i in range(300)])
    batches = list(stable_batches(ids, 64))
    lengths = ids.lengths

    assert sorted(text for batch in batches for text in batch) == list(range(300))
    assert all(sum(lengths[batch]) <= 64 for batch in batches)
    in_order = [lengths[text] for batch in batches for text in batch]
    assert in_order == sorted(in_order, reverse=True)
    assert list(stable_batches(TokenIds.of([]), 64)) == []
    assert list(stable_batches(TokenIds.of([[1] * 9, [2] * 5, [2] * 7]), 3)) == [[0], [2], [1]]


def test_a_text_that_comes_changes_the_batches_near_it_alone() -> None:
    lists = [[i, i // 7, i % 11] * (1 + i % 20) for i in range(1000)]
    before = batches_of(lists)
    after = batches_of([*lists[:500], [5, 4, 3] * 10, *lists[500:]])

    assert len(before) > 50
    assert len(after - before) < len(before) / 10
    assert batches_of(lists[::-1]) == before


def batches_of(lists: list[list[int]]) -> set[tuple[tuple[int, ...], ...]]:
    return {tuple(tuple(lists[i]) for i in batch) for batch in stable_batches(TokenIds.of(lists), 600)}


def test_embeddings_equal_those_of_one_call(store: Store) -> None:
    encoder = tiny_encoder()
    plain_ND = encoder.encode(TEXTS, normalize=False, as_tensor=True)

    assert isinstance(plain_ND, Tensor)
    for kept in (None, store):
        torch.testing.assert_close(embedded(encoder, TEXTS, kept), plain_ND)


def test_what_was_encoded_before_is_found_to_the_last_bit(store: Store, counts: list[int]) -> None:
    encoder = tiny_encoder()
    anew_ND = embedded(encoder, TEXTS)
    first_ND = embedded(encoder, TEXTS, store)
    assert sum(counts) == 2 * len(TEXTS)
    counts.clear()

    assert torch.equal(embedded(tiny_encoder(), TEXTS, store), anew_ND)
    assert torch.equal(first_ND, anew_ND)
    assert counts == []


def test_a_set_that_shares_texts_encodes_the_changed_batches(store: Store, counts: list[int]) -> None:
    encoder, changed = tiny_encoder(), [*TEXTS[:20], "die neue", *TEXTS[21:][::-1]]
    embedded(encoder, TEXTS, store)
    counts.clear()
    found_ND = embedded(encoder, changed, store)

    assert 1 <= sum(counts) < len(TEXTS) / 2
    assert torch.equal(found_ND, embedded(encoder, changed))


def perturbed() -> Encoder:
    encoder = tiny_encoder()
    with torch.no_grad():
        encoder.backbone.encoder.layer[1].output.dense.bias[3] += 1e-6
    return encoder


def with_pooling(change: Callable[[Pooling], object]) -> Encoder:
    encoder = tiny_encoder()
    change(encoder.pooling)
    return encoder


def with_pooling_of_its_own() -> Encoder:
    class Squared(Pooling):
        def forward(self, hidden_TH: Tensor, lengths_S: Tensor) -> Tensor:
            embeddings_SD: Tensor = super().forward(hidden_TH, lengths_S).square()
            return embeddings_SD

    encoder = tiny_encoder()
    encoder.pooling = Squared(["cls"])
    return encoder


def with_config(**changed: Any) -> Encoder:
    encoder = tiny_encoder()
    encoder.backbone.config.update(changed)
    return encoder


@pytest.mark.parametrize(
    "other",
    [
        perturbed,
        with_pooling_of_its_own,
        lambda: tiny_encoder(seed=1),
        lambda: tiny_encoder(modes=("mean",)),
        lambda: with_pooling(lambda pooling: setattr(pooling, "temperature", 2.0)),
        lambda: with_config(layer_norm_eps=1e-3),
    ],
)
def test_another_encoder_encodes_anew(other: Callable[[], Encoder], store: Store, counts: list[int]) -> None:
    embedded(tiny_encoder(), TEXTS, store)
    counts.clear()

    embedded(other(), TEXTS, store)
    assert sum(counts) == len(TEXTS)


def test_another_precision_or_number_of_threads_encodes_anew() -> None:
    """A product's last bits may follow from the number of threads."""
    encoder, threads = tiny_encoder(), torch.get_num_threads()
    made = {encoder_fingerprint(encoder, "fp32"), encoder_fingerprint(encoder, "bf16")}
    try:
        torch.set_num_threads(threads + 1)
        made.add(encoder_fingerprint(encoder, "fp32"))
    finally:
        torch.set_num_threads(threads)

    assert len(made) == 3


def test_what_decides_no_embedding_is_not_asked_for() -> None:
    encoder = tiny_encoder()
    encoder.name, encoder.backbone.config._name_or_path = "another", "elsewhere"

    assert encoder_fingerprint(encoder.train(), "fp32") == encoder_fingerprint(tiny_encoder(), "fp32")


def test_prompts_length_and_tokenizer_are_in_the_ids(store: Store, counts: list[int]) -> None:
    embedded(tiny_encoder(), TEXTS, store)
    shorter, other = tiny_encoder(), tiny_encoder()
    shorter.max_seq_length = 6
    other.tokenizer.backend_tokenizer.normalizer = None
    for encoder, texts in ((shorter, TEXTS), (other, [text.upper() for text in TEXTS])):
        counts.clear()
        assert torch.equal(embedded(encoder, texts, store), embedded(encoder, texts))
        assert sum(counts) > len(TEXTS)  # once for each of the two, but for the shortest texts


def test_weights_of_every_kind_have_a_fingerprint() -> None:
    encoder = tiny_encoder()
    encoder.register_buffer("steps", torch.tensor(3))
    encoder.register_buffer("columns", torch.eye(3).T[:, 1:])
    encoder.register_buffer("flags", torch.tensor([True, False]), persistent=False)
    encoder.register_buffer("halves", torch.ones(3, dtype=torch.bfloat16))

    before = encoder_fingerprint(encoder, "fp32")
    assert encoder_fingerprint(encoder, "fp32") == before
    encoder.flags[0] = False  # type: ignore[index, operator]
    assert encoder_fingerprint(encoder, "fp32") != before


def test_memory_holds_the_last_evaluation_alone(counts: list[int]) -> None:
    store, first, second = InMemory(), tiny_encoder(), tiny_encoder(seed=1)
    for encoder, encodes in ((first, True), (first, False), (second, True), (second, False), (first, True)):
        counts.clear()
        embedded(encoder, TEXTS, store)
        assert bool(counts) == encodes


@pytest.mark.parametrize("make", [lambda limit, path: OnDisk(path, limit), lambda limit, path: InMemory(limit)])
def test_more_than_the_limit_is_not_kept(make: Callable[[int, Path], Store], tmp_path: Path, counts: list[int]) -> None:
    encoder, size = tiny_encoder(), 4 * len(TEXTS) * 32
    for limit, kept in ((size - 1, False), (2 * size, True)):
        store = make(limit, tmp_path)
        embedded(encoder, TEXTS, store)
        counts.clear()
        embedded(encoder, TEXTS, store)
        assert bool(counts) != kept


def test_files_stay_within_the_limit_and_one_that_is_broken_is_made_anew(tmp_path: Path, counts: list[int]) -> None:
    limit = 20_000
    for seed in range(4):
        embedded(tiny_encoder(seed=seed), TEXTS, OnDisk(tmp_path, limit))
    files = list(tmp_path.iterdir())
    assert limit / 2 < sum(path.stat().st_size for path in files) <= limit

    counts.clear()
    embedded(tiny_encoder(seed=3), TEXTS, OnDisk(tmp_path, limit))
    assert counts == []  # the newest are left
    for path in files:
        path.write_bytes(path.read_bytes()[:50])
    assert torch.equal(embedded(tiny_encoder(seed=3), TEXTS, OnDisk(tmp_path)), embedded(tiny_encoder(seed=3), TEXTS))


def test_an_evaluation_with_other_dims_and_metrics_encodes_nothing(store: Store, counts: list[int]) -> None:
    data, encoder = small_set(), tiny_encoder()
    first = Evaluator().evaluate(encoder, data, [32, 8], store=store)
    counts.clear()
    other_judgements = replace(data, name="other", relevant={**data.relevant, "q3": frozenset({"d04"})})
    for evaluator, asked, dims in ((Evaluator(map_at=(5,)), data, [16]), (Evaluator(), other_judgements, [32, 8])):
        found = evaluator.evaluate(encoder, asked, dims, store=store)
        assert counts == []
        assert found == evaluator.evaluate(encoder, asked, dims)
        assert found.tokens == first.tokens
        counts.clear()


def test_seconds_are_those_of_encoding_when_it_was_done(tmp_path: Path) -> None:
    encoder, data = tiny_encoder(), small_set()
    first = Evaluator().evaluate(encoder, data, [32], store=OnDisk(tmp_path))
    ids = TokenIds.of(encoder.tokenize(TEXTS))
    _, before = embed(encoder, [ids], token_budget=BUDGET, store=OnDisk(tmp_path))
    _, again = embed(encoder, [ids], token_budget=BUDGET, store=OnDisk(tmp_path))

    assert first.seconds > 0
    assert again == before > 0
