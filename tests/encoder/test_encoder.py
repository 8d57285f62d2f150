"""Texts to embeddings in their order, whatever the batches; a dim is the first numbers, normalised again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from matryoshka.data.packing import PackedBatch
from matryoshka.data.tokens import TokenIds
from matryoshka.encoder import Encoder
from matryoshka.encoder.buckets import Sequences
from tests.tiny import tiny_encoder

PROMPTS = {"query": "query: ", "document": "passage: "}
TEXTS = ["Wer zahlt?", "", "der Notar", "x" * 200, "Wer zahlt?", "und die Steuer der Gemeinde", "ß"]


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return tiny_encoder(modes=("cls", "mean"), prompts=PROMPTS)


def one_by_one(encoder: Encoder, texts: Sequence[str]) -> Tensor:
    """Each text alone, through the model's own forward."""
    embeddings = []
    with torch.no_grad():
        for text in texts:
            ids = encoder.tokenizer(text)["input_ids"]
            ids = [*ids[: encoder.max_seq_length - 1], 2] if len(ids) > encoder.max_seq_length else ids
            hidden_LH = encoder.backbone(
                input_ids=torch.tensor([ids]),
                position_ids=torch.arange(2, len(ids) + 2)[None],
                sequences=Sequences([len(ids)], torch.tensor([0, len(ids)], dtype=torch.int32)),
            ).last_hidden_state[0]
            embeddings.append(torch.cat([hidden_LH[0], hidden_LH.mean(0)]))
    return torch.stack(embeddings)


def normalized(embeddings_ND: Tensor) -> np.ndarray[Any, np.dtype[np.float32]]:
    return (embeddings_ND / embeddings_ND.norm(dim=1, keepdim=True)).numpy()


def test_each_text_has_the_embedding_it_has_alone_in_order(encoder: Encoder) -> None:
    embeddings_ND = encoder.encode(TEXTS)

    assert isinstance(embeddings_ND, np.ndarray)
    assert (embeddings_ND.shape, embeddings_ND.dtype) == ((7, 64), np.float32)
    np.testing.assert_allclose(embeddings_ND, normalized(one_by_one(encoder, TEXTS)), rtol=0, atol=1e-6)
    assert len(np.unique(embeddings_ND.round(4), axis=0)) == 6  # texts can be told apart; one stands there twice


def test_without_normalize_lengths_are_the_models(encoder: Encoder) -> None:
    embeddings_ND = encoder.encode(TEXTS, normalize=False)

    np.testing.assert_allclose(embeddings_ND, one_by_one(encoder, TEXTS), rtol=0, atol=1e-5)
    assert not np.allclose(np.linalg.norm(embeddings_ND, axis=1), 1, atol=0.1)


@pytest.mark.parametrize("name", ["query", "document"])
def test_a_prompt_stands_in_front_of_every_text(encoder: Encoder, name: Any) -> None:
    expected = one_by_one(encoder, [PROMPTS[name] + text for text in TEXTS])

    np.testing.assert_allclose(encoder.encode(TEXTS, prompt=name), normalized(expected), rtol=0, atol=1e-6)
    assert encoder.tokenize(["a"], name) == encoder.tokenize([PROMPTS[name] + "a"])


def test_without_prompts_a_prompt_changes_nothing() -> None:
    plain = tiny_encoder()

    np.testing.assert_array_equal(plain.encode(TEXTS, prompt="query"), plain.encode(TEXTS))
    assert plain.prompts == {"query": "", "document": ""}


@pytest.mark.parametrize("dim", [1, 16, 33, 64])
def test_a_dim_is_the_slice_made_of_length_1_again(encoder: Encoder, dim: int) -> None:
    whole_ND = torch.from_numpy(np.asarray(encoder.encode(TEXTS, normalize=False)))

    cut_Nd = encoder.encode(TEXTS, dim=dim)
    assert cut_Nd.shape == (7, dim)
    np.testing.assert_allclose(cut_Nd, normalized(whole_ND[:, :dim]), rtol=0, atol=1e-6)
    np.testing.assert_array_equal(encoder.encode(TEXTS, dim=dim, normalize=False), whole_ND[:, :dim])


@pytest.mark.parametrize("dim", [0, -1, 65])
def test_a_dim_out_of_range_is_refused(encoder: Encoder, dim: int) -> None:
    with pytest.raises(ValueError, match=rf"dim={dim}: the encoder is 64 wide"):
        encoder.encode(TEXTS, dim=dim)


@pytest.mark.parametrize("budget", [1, 37, 100])
def test_the_token_budget_changes_no_embedding(encoder: Encoder, budget: int) -> None:
    texts = ["wort " * (i % 7) + str(i) for i in range(40)]

    np.testing.assert_allclose(encoder.encode(texts, token_budget=budget), encoder.encode(texts), rtol=0, atol=1e-6)


def test_a_token_budget_bounds_what_is_computed_at_once(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    forward = encoder.forward

    def watched(batch: PackedBatch) -> Tensor:
        seen.append(len(batch.input_ids_T))
        return forward(batch)

    monkeypatch.setattr(encoder, "forward", watched)
    ids = TokenIds.of(encoder.tokenize(["wort " * (i % 5) for i in range(30)]))
    advanced: list[int] = []
    encoder.encode_into(torch.empty(30, encoder.width), ids, token_budget=64, advance=advanced.append)

    assert len(seen) > 1
    assert max(seen) <= 64
    assert advanced == seen
    assert sum(seen) == len(ids.flat)


def test_each_distinct_text_is_computed_once(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[str] = []
    tokenize = encoder.tokenize

    def watched(texts: Sequence[str], prompt: Any = None) -> list[list[int]]:
        given.extend(texts)
        return tokenize(texts, prompt)

    monkeypatch.setattr(encoder, "tokenize", watched)
    embeddings_ND = encoder.encode(["a", "b", "a", "c", "b", "a"])

    assert given == ["a", "b", "c"]
    np.testing.assert_array_equal(embeddings_ND[[0, 1, 0]], embeddings_ND[[2, 4, 5]])


def test_an_empty_text_has_an_embedding_of_its_own(encoder: Encoder) -> None:
    (embedding_D,) = encoder.encode([""])

    assert np.isfinite(embedding_D).all()
    assert np.linalg.norm(embedding_D) == pytest.approx(1, abs=1e-6)
    assert encoder.tokenize([""]) == [[0, 2]]


@pytest.mark.parametrize("dim", [None, 16])
def test_no_texts_have_no_embeddings(encoder: Encoder, dim: int | None) -> None:
    embeddings_ND = encoder.encode([], dim=dim)

    assert (embeddings_ND.shape, embeddings_ND.dtype) == ((0, dim or 64), np.float32)


def test_one_text_in_place_of_a_list_is_refused(encoder: Encoder) -> None:
    with pytest.raises(TypeError, match=r"encode\(\[text\]\)"):
        encoder.encode("Wer zahlt?")


def test_texts_are_cut_at_max_seq_length(encoder: Encoder) -> None:
    (ids,) = encoder.tokenize(["x" * 200])

    assert len(ids) == encoder.max_seq_length == 32
    np.testing.assert_array_equal(encoder.encode(["x" * 200]), encoder.encode(["x" * 300]))


def test_as_tensor_gives_the_same_numbers_ready_for_gradients(encoder: Encoder) -> None:
    embeddings_ND = encoder.encode(TEXTS, as_tensor=True)

    assert isinstance(embeddings_ND, Tensor)
    np.testing.assert_array_equal(embeddings_ND.numpy(), encoder.encode(TEXTS))
    head = torch.nn.Linear(64, 2)
    head(embeddings_ND).sum().backward()  # a tensor of inference mode would refuse
    assert head.weight.grad is not None


def test_bf16_comes_close_and_is_not_fp32(encoder: Encoder) -> None:
    fp32_ND, bf16_ND = encoder.encode(TEXTS), encoder.encode(TEXTS, precision="bf16")

    assert bf16_ND.dtype == np.float32
    assert 0 < np.abs(np.asarray(bf16_ND) - np.asarray(fp32_ND)).max() < 0.05


@pytest.mark.parametrize("training", [True, False])
def test_encoding_has_no_dropout_and_leaves_the_mode(training: bool) -> None:
    encoder = tiny_encoder(dropout=0.5).train(training)

    np.testing.assert_array_equal(encoder.encode(TEXTS), encoder.encode(TEXTS))
    assert encoder.training is encoder.backbone.training is training


def test_forward_has_gradients_and_no_normalisation(encoder: Encoder) -> None:
    ids = encoder.tokenize(TEXTS)
    embeddings_SD = encoder(PackedBatch.from_ids([ids[:3], ids[3:]]))

    assert embeddings_SD.requires_grad
    torch.testing.assert_close(embeddings_SD, one_by_one(encoder, TEXTS), rtol=0, atol=1e-5)


def test_width_counts_every_pooling() -> None:
    assert tiny_encoder(modes=("cls",)).width == 32
    assert tiny_encoder(modes=("cls", "mean", "max")).width == 96
    assert tiny_encoder().device == torch.device("cpu")
