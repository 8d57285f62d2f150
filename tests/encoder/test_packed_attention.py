"""Attention over packed sequences equals attention over one sequence at a time, and the padded model."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CONFIG_MAPPING, AutoModel, PreTrainedModel

from matryoshka.data.packing import PackedBatch
from matryoshka.encoder import Encoder, Pooling
from matryoshka.encoder.architectures import use_packed_attention
from matryoshka.encoder.buckets import Buckets, Reach, Sequences
from matryoshka.encoder.packed_attention import attend, packed_attention
from tests.tiny import tiny_tokenizer

LENGTHS = (5, 40, 1, 17, 2, 1, 33, 16, 3, 40, 8, 21)
HEADS, SIZE = 3, 4
BERT_FAMILY = ("xlm-roberta", "roberta", "camembert", "bert", "electra")


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def qkv(lengths: Sequence[int] = LENGTHS) -> list[Tensor]:
    return [draw(1, HEADS, sum(lengths), SIZE, seed=seed).requires_grad_() for seed in range(3)]


def row_of(lengths: Sequence[int]) -> Sequences:
    return Sequences(lengths, torch.tensor([0, *accumulate(lengths)], dtype=torch.int32))


def attention(q: Tensor, k: Tensor, v: Tensor, lengths: Sequence[int], **options: float) -> Tensor:
    attended, weights = packed_attention(nn.Module(), q, k, v, sequences=row_of(lengths), **options)
    assert weights is None
    return attended


def attention_by_loop(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    lengths: Sequence[int],
    scaling: float | None = None,
    sees: Callable[[int, int], bool] = lambda query, key: True,
    bias_HLL: Tensor | None = None,
) -> Tensor:
    """One sequence at a time, written out: softmax(q k / sqrt(size) + bias) v over the keys that a query sees."""
    attended = []
    for q_HLD, k_HLD, v_HLD in zip(*(x[0].split(list(lengths), dim=1) for x in (q, k, v)), strict=True):
        length = q_HLD.shape[1]
        scores_HLL = torch.einsum("hid,hjd->hij", q_HLD, k_HLD) * (scaling or q.shape[-1] ** -0.5)
        if bias_HLL is not None:
            scores_HLL = scores_HLL + bias_HLL[:, :length, :length]
        hidden_LL = torch.tensor([[not sees(i, j) for j in range(length)] for i in range(length)])
        scores_HLL = scores_HLL.masked_fill(hidden_LL, -torch.inf)
        attended.append(torch.einsum("hij,hjd->ihd", scores_HLL.softmax(-1), v_HLD))
    return torch.cat(attended)[None]


@pytest.mark.parametrize("lengths", [LENGTHS, (1,), (7,), (1, 1, 1), (40, 1), tuple(range(1, 41))])
@pytest.mark.parametrize("scaling", [None, 0.3])
def test_packed_attention_equals_one_sequence_at_a_time(lengths: tuple[int, ...], scaling: float | None) -> None:
    inputs = qkv(lengths)
    packed = attention(*inputs, lengths, **({} if scaling is None else {"scaling": scaling}))
    looped = attention_by_loop(*inputs, lengths, scaling)

    assert packed.shape == (1, sum(lengths), HEADS, SIZE)
    torch.testing.assert_close(packed, looped, rtol=0, atol=1e-12)
    weights = draw(*packed.shape, seed=9)
    gradients = torch.autograd.grad((packed * weights).sum(), inputs)
    expected = torch.autograd.grad((looped * weights).sum(), inputs)
    for gradient, other in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, other, rtol=0, atol=1e-12)


REACHES: dict[str, tuple[Reach, Callable[[int, int], bool]]] = {
    "everywhere": (Reach(), lambda query, key: True),
    "causal": (Reach(causal=True), lambda query, key: key <= query),
    "window": (Reach(window=5), lambda query, key: abs(query - key) < 5),
    "causal window": (Reach(causal=True, window=5), lambda query, key: 0 <= query - key < 5),
    "window of itself": (Reach(window=1), lambda query, key: query == key),
    "wide window": (Reach(window=40), lambda query, key: True),
    "wide causal window": (Reach(causal=True, window=40), lambda query, key: key <= query),
}


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("reach", REACHES)
def test_a_token_sees_what_is_in_its_reach(reach: str, biased: bool) -> None:
    """Gradients too, of a bias as well, and in buckets with padding, of which some rows see nothing else."""
    given, sees = REACHES[reach]
    bias_HLL = draw(HEADS, 40, 40, seed=5).requires_grad_() if biased else None
    inputs = qkv()
    qkv_T3HD = torch.stack([x[0].transpose(0, 1) for x in inputs], 1)
    packed = attend(qkv_T3HD, row_of(LENGTHS), reach=given, bias_HLL=bias_HLL)[None]
    looped = attention_by_loop(*inputs, LENGTHS, None, sees, bias_HLL)

    torch.testing.assert_close(packed, looped, rtol=0, atol=1e-12)
    weights, leaves = draw(*packed.shape, seed=9), [*inputs, *([] if bias_HLL is None else [bias_HLL])]
    found = torch.autograd.grad((packed * weights).sum(), leaves)
    expected = torch.autograd.grad((looped * weights).sum(), leaves)
    for gradient, other in zip(found, expected, strict=True):
        torch.testing.assert_close(gradient, other, rtol=0, atol=1e-12)


def test_gradcheck() -> None:
    lengths = (2, 1, 4, 2)

    assert torch.autograd.gradcheck(lambda *inputs: attention(*inputs, lengths), qkv(lengths))


@pytest.mark.parametrize("growth", [1.0, 1.25, 100.0])
def test_every_token_has_one_place_however_sequences_share_buckets(growth: float) -> None:
    buckets = Buckets.of(LENGTHS, torch.device("cpu"), growth)
    places_P, valid_P = places_and_valid(buckets)

    assert sum(part.shape[0] for part in buckets.parts) == len(LENGTHS)
    assert sum(sequences * length for sequences, length in (part.shape for part in buckets.parts)) == len(places_P)
    assert sorted(places_P[valid_P].tolist()) == list(range(sum(LENGTHS)))
    assert torch.equal(places_P[buckets.back_T], torch.arange(sum(LENGTHS)))
    assert valid_P[buckets.back_T].all()
    for part in buckets.parts:  # a mask only where there is padding: without one attention is faster
        assert part.valid_SL is None or not part.valid_SL.all()


def places_and_valid(buckets: Buckets) -> tuple[Tensor, Tensor]:
    """Of all buckets, one after another: the token of each place, and whether one stands there."""
    valid = [torch.ones(p.shape).bool() if p.valid_SL is None else p.valid_SL for p in buckets.parts]
    return torch.cat([part.places_P for part in buckets.parts]), torch.cat([part.flatten() for part in valid])


def test_like_lengths_share_a_bucket_and_padding_stays_small() -> None:
    lengths = [40 - i % 40 for i in range(400)]
    buckets = Buckets.of(lengths, torch.device("cpu"))

    assert len(buckets.parts) < 15
    assert sum(len(part.places_P) for part in buckets.parts) < 1.25 * sum(lengths)


@pytest.fixture
def seeded() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.mark.usefixtures("seeded")
def test_dropout_keeps_the_expectation() -> None:
    inputs = [x.detach() for x in qkv()]
    draws = torch.stack([attention(*inputs, LENGTHS, dropout=0.3) for _ in range(400)])

    plain = attention(*inputs, LENGTHS)
    error = draws.std(0) / len(draws) ** 0.5
    assert (draws.std(0) > 0.01).all()
    assert ((draws.mean(0) - plain).abs() < 5 * error + 1e-9).all()


@pytest.mark.usefixtures("seeded")
def test_dropout_falls_on_weights_after_the_softmax() -> None:
    """Of a sequence of one token the weight is 1: it is kept and scaled, or the output is 0."""
    lengths = (1,) * 500
    inputs = [x.detach() for x in qkv(lengths)]
    attended = attention(*inputs, lengths, dropout=0.25)[0]

    ratio_Th = (attended / inputs[2][0].transpose(0, 1)).round(decimals=6)
    assert set(ratio_Th.unique().tolist()) == {0.0, round(1 / 0.75, 6)}
    assert abs((ratio_Th[..., 0] == 0).double().mean() - 0.25) < 0.05


def test_gradcheck_with_dropout() -> None:
    lengths = (2, 1, 4, 2)

    def same_draw(*inputs: Tensor) -> Tensor:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return attention(*inputs, lengths, dropout=0.4)

    assert torch.autograd.gradcheck(same_draw, qkv(lengths))


def test_dropout_without_a_gradient_draws_the_same() -> None:
    """A first pass without gradients is repeated with them where memory is short."""

    def drawn(inputs: list[Tensor]) -> Tensor:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            return attention(*inputs, LENGTHS, dropout=0.3)

    assert torch.equal(drawn(qkv()), drawn([x.detach() for x in qkv()]))


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_bf16_stays_near(dropout: float) -> None:
    def with_gradient(dtype: torch.dtype) -> tuple[Tensor, ...]:
        inputs = [x.detach().to(dtype).requires_grad_() for x in qkv()]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            attended = attention(*inputs, LENGTHS, dropout=dropout)
        assert attended.dtype == dtype
        return attended, *torch.autograd.grad(attended.sum(), inputs)

    for narrow, wide in zip(with_gradient(torch.bfloat16), with_gradient(torch.float32), strict=True):
        torch.testing.assert_close(narrow.float(), wide, rtol=0.05, atol=0.06)


def test_dropout_is_drawn_from_torchs_seed() -> None:
    inputs = [x.detach() for x in qkv()]

    def drawn(seed: int) -> Tensor:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return attention(*inputs, LENGTHS, dropout=0.3)

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))


def backbone(kind: str, *, hidden_dropout: float = 0.0, attention_dropout: float = 0.0) -> PreTrainedModel:
    """A random model of any architecture with fewer positions than a packed row has tokens."""
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    options = {"vocab_size": 60, "max_position_embeddings": 64, "pad_token_id": 1, "initializer_range": 0.2}
    dropouts = {"hidden_dropout_prob": hidden_dropout, "attention_probs_dropout_prob": attention_dropout}
    if kind == "electra":
        sizes["embedding_size"] = 16
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: PreTrainedModel = AutoModel.from_config(CONFIG_MAPPING[kind](**options, **sizes, **dropouts))
    return model.eval()


def sequences(seed: int = 0) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(5, 60, (length,), generator=generator).tolist() for length in LENGTHS]


def encoder(model: PreTrainedModel) -> Encoder:
    return Encoder(model, tiny_tokenizer(), Pooling(["cls", "mean"]), max_seq_length=40, name="tiny").eval()


def padded_embeddings(model: PreTrainedModel) -> Tensor:
    """The model as transformers runs it: padded, with a mask."""
    ids_SL, mask_SL = PackedBatch.from_ids([sequences()]).padded(pad_id=1)
    hidden_SLH = model(input_ids=ids_SL, attention_mask=mask_SL.long()).last_hidden_state
    mean_SH = (hidden_SLH * mask_SL[..., None]).sum(1) / mask_SL.sum(1, keepdim=True)
    return torch.cat([hidden_SLH[:, 0], mean_SH], dim=1)


def gradients(embeddings_SD: Tensor, model: PreTrainedModel) -> dict[str, Tensor]:
    model.zero_grad()
    F.normalize(embeddings_SD, dim=1).matmul(draw(embeddings_SD.shape[1], 3).float()).square().mean().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("kind", BERT_FAMILY)
def test_packed_models_equal_the_model_on_each_sequence_alone(kind: str) -> None:
    packed_SD = encoder(backbone(kind))(PackedBatch.from_ids([sequences()]))

    model = backbone(kind)
    for ids, packed_D in zip(sequences(), packed_SD, strict=True):
        hidden_LH = model(input_ids=torch.tensor([ids])).last_hidden_state[0]
        torch.testing.assert_close(packed_D, torch.cat([hidden_LH[0], hidden_LH.mean(0)]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", BERT_FAMILY)
def test_a_pad_token_that_a_text_spells_out_has_the_models_position(kind: str) -> None:
    spelt_out = [[0, 1, 7, 8, 2], [0, 9, 2], [0, 7, 1, 1, 8, 9, 1, 2], [1], [0, 5, 6, 7, 2]]
    packed_SD = encoder(backbone(kind))(PackedBatch.from_ids([spelt_out]))

    model = backbone(kind)
    for ids, packed_D in zip(spelt_out, packed_SD, strict=True):
        ids_SL = torch.tensor([ids])
        hidden_LH = model(input_ids=ids_SL, attention_mask=torch.ones_like(ids_SL)).last_hidden_state[0]
        torch.testing.assert_close(packed_D, torch.cat([hidden_LH[0], hidden_LH.mean(0)]), rtol=0, atol=1e-5)


@pytest.mark.usefixtures("seeded")
@pytest.mark.parametrize("place", ["hidden_dropout", "attention_dropout"])
@pytest.mark.parametrize("kind", ["xlm-roberta", "bert"])
def test_either_dropout_acts_in_training_only(kind: str, place: str) -> None:
    model, batch = encoder(backbone(kind, **{place: 0.2})), PackedBatch.from_ids([sequences()])

    assert torch.equal(model(batch), model(batch))
    model.train()
    assert not torch.equal(model(batch), model(batch))


def test_a_packed_model_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="matryoshka"):
        encoder(backbone("bert"))

    assert caplog.messages == []


def test_a_decoder_is_padded_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    def decoder() -> PreTrainedModel:
        config = backbone("bert").config
        config.is_decoder, config.use_cache = True, False
        model: PreTrainedModel = AutoModel.from_config(config)
        model.load_state_dict(backbone("bert").state_dict())
        return model.eval()

    with caplog.at_level(logging.INFO, logger="matryoshka"):
        model = encoder(decoder())

    assert not model.packed
    assert caplog.messages == ["tiny: sequences are padded, since a decoder can't be packed"]
    assert use_packed_attention(decoder()) is None
    batch = PackedBatch.from_ids([sequences()])
    torch.testing.assert_close(model(batch), padded_embeddings(decoder()), rtol=0, atol=1e-5)
    assert not torch.allclose(model(batch), encoder(backbone("bert"))(batch), atol=1e-2)  # each token sees those before
    model.tokenizer.pad_token = None  # as decoders' tokenizers often come
    torch.testing.assert_close(model(batch), padded_embeddings(decoder()), rtol=0, atol=1e-5)
