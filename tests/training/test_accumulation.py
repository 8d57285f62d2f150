"""Micro-batches together, alone and in parts: the same losses and gradients as one backward after another."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from matryoshka.data.packing import PackedBatch
from matryoshka.encoder import Encoder, Pooling
from matryoshka.encoder.packed_layer import PackedLayers
from matryoshka.losses import MatryoshkaLoss, NestedLoss, RankingLoss
from matryoshka.training.accumulation import add_gradients
from tests.tiny import tiny_encoder

TEXTS = [
    ["der", "die das", "und der", "das haus", "ein rad", "x", "schule"],
    ["die schule", "da", "das und", "y", "ein langes haus mit rad", "z und", "die"],
    ["haus", "rad", "der der", "w", "v und", "das", "u"],
]
LOSS = MatryoshkaLoss(RankingLoss(direction="both"), [32, 8], [1.0, 0.5])


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def batch_for(encoder: Encoder, columns: int, masked: bool = False) -> PackedBatch:
    ids = [encoder.tokenize(column) for column in TEXTS[:columns]]
    mask_BN = torch.rand(7, 7 * (columns - 1)) < 0.2 if masked else None
    return PackedBatch.from_ids(ids, mask_BN)


def loss_of(batch: PackedBatch, embeddings_SD: Tensor) -> NestedLoss:
    nested: NestedLoss = LOSS(*embeddings_SD.tensor_split([batch.columns[0]]), batch.mask_BN)
    return nested


def gradients(encoder: Encoder) -> dict[str, Tensor]:
    return {name: p.grad for name, p in encoder.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("pairs", [1, 2, 3, 6, 7, 100])
@pytest.mark.parametrize(("columns", "masked"), [(2, False), (3, True)])
def test_equals_one_backward_of_the_whole_batch(pairs: int, columns: int, masked: bool) -> None:
    whole, cached = tiny_encoder().train(), tiny_encoder().train()
    batch = batch_for(whole, columns, masked)

    nested = loss_of(batch, whole(batch))
    (nested.total / 4).backward()
    other = add_gradients(cached, [batch], lambda _, x: loss_of(batch, x), 4, pairs)[0]
    torch.testing.assert_close(other.total, nested.total.detach(), rtol=0, atol=1e-5)
    assert not other.total.requires_grad
    expected, found = gradients(whole), gradients(cached)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=2e-6, msg=lambda m, n=name: f"{n}: {m}")


def test_dropout_is_that_of_the_first_pass() -> None:
    """The same parts encoded with their graphs kept, which needs the memory of the whole batch."""
    kept, cached = tiny_encoder(dropout=0.3).train(), tiny_encoder(dropout=0.3).train()
    batch = batch_for(kept, 2)

    torch.manual_seed(5)
    parts = list(batch.in_parts(3))
    encoded = torch.cat([kept(part) for part, _ in parts])
    order = torch.tensor([row for _, rows in parts for row in rows]).argsort()
    loss_of(batch, encoded[order]).total.backward()
    state = torch.get_rng_state()
    torch.manual_seed(5)
    add_gradients(cached, [batch], lambda _, x: loss_of(batch, x), pairs_at_once=3)
    assert torch.equal(torch.get_rng_state(), state)  # what follows draws as if nothing had been drawn twice
    for name, gradient in gradients(kept).items():
        torch.testing.assert_close(gradients(cached)[name], gradient, rtol=1e-4, atol=2e-6)


def test_gradients_add_up_over_batches() -> None:
    encoder = tiny_encoder().train()
    batch = batch_for(encoder, 2)

    add_gradients(encoder, [batch], lambda _, x: loss_of(batch, x), pairs_at_once=2)
    once = {name: gradient.clone() for name, gradient in gradients(encoder).items()}
    add_gradients(encoder, [batch], lambda _, x: loss_of(batch, x), pairs_at_once=2)
    for name, gradient in gradients(encoder).items():
        torch.testing.assert_close(gradient, 2 * once[name], rtol=1e-4, atol=1e-6)


def test_parts_hold_every_sequence_once_with_its_place() -> None:
    batch = batch_for(tiny_encoder(), 3)

    texts = [ids.tolist() for ids in batch.input_ids_T.split(list(batch.lengths))]
    seen: list[int] = []
    for part, places in batch.in_parts(3):
        found = [ids.tolist() for ids in part.input_ids_T.split(list(part.lengths))]
        assert found == [texts[place] for place in places]
        assert len(set(part.columns)) == 1
        seen += places
    assert sorted(seen) == list(range(21))


def several(encoder: Encoder) -> list[PackedBatch]:
    """Micro-batches of different size, one with a mask and hard negatives."""
    ids = [encoder.tokenize(column) for column in TEXTS]
    return [
        PackedBatch.from_ids([column[:5] for column in ids[:2]]),
        batch_for(encoder, 2, masked=True),
        PackedBatch.from_ids([column[3:] for column in ids[:2]]),
    ]


@pytest.mark.parametrize("pairs_at_once", [None, 2])
def test_micro_batches_encoded_together_equal_one_backward_after_another(pairs_at_once: int | None) -> None:
    apart, together = tiny_encoder().train(), tiny_encoder().train()
    batches, passes = several(apart), list[int]()
    expected_losses = []
    for batch in batches:
        nested = loss_of(batch, apart(batch))
        (nested.total / 3).backward()
        expected_losses.append(float(nested.total.detach()))
    together.backbone.register_forward_hook(lambda *_: passes.append(1))
    losses = add_gradients(together, batches, lambda i, x: loss_of(batches[i], x), 3, pairs_at_once)

    assert len(passes) == (1 if pairs_at_once is None else 2 * (3 + 4 + 2))
    assert [float(loss.total) for loss in losses] == pytest.approx(expected_losses, abs=1e-5)
    expected, found = gradients(apart), gradients(together)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=2e-6, msg=lambda m, n=name: f"{n}: {m}")


class Given(torch.nn.Module):
    """Stands in for an encoder whose gradient is the loss's own: its embeddings are its parameter."""

    width = 32

    def __init__(self, embeddings_SD: Tensor) -> None:
        super().__init__()
        self.embeddings_SD = torch.nn.Parameter(embeddings_SD.clone())
        self.packed_layers = PackedLayers(torch.nn.Module())  # type: ignore[arg-type]

    def forward(self, batch: PackedBatch) -> Tensor:
        return self.embeddings_SD[batch.input_ids_T[batch.cu_seqlens_Z[:-1].long()]]


@pytest.mark.parametrize("pairs_at_once", [None, 2])
def test_under_autocast_the_losss_gradient_is_that_of_fp32(pairs_at_once: int | None) -> None:
    """Where backward runs inside autocast, as it did, the products of its gradient are rounded to bf16."""
    embeddings_SD = torch.randn(14, 32)
    batch = PackedBatch.from_ids([[[i] for i in range(7)], [[i] for i in range(7, 14)]])

    def gradient(bf16: bool, at_once: int | None) -> Tensor:
        given = Given(embeddings_SD)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            add_gradients(given, [batch], lambda _, x: loss_of(batch, x), pairs_at_once=at_once)  # type: ignore[arg-type]
        assert given.embeddings_SD.grad is not None
        return given.embeddings_SD.grad

    exact_SD = gradient(False, None)
    assert (gradient(True, pairs_at_once) - exact_SD).norm() < 1e-6 * exact_SD.norm()
    given = Given(embeddings_SD)
    with torch.autocast("cpu", torch.bfloat16):
        (given(batch) @ given(batch).T).softmax(1)[:, 0].sum().backward()
    rounded_SD, given.embeddings_SD.grad = given.embeddings_SD.grad, None
    (given(batch) @ given(batch).T).softmax(1)[:, 0].sum().backward()
    assert rounded_SD is not None and given.embeddings_SD.grad is not None
    assert (rounded_SD - given.embeddings_SD.grad).norm() > 1e-4 * rounded_SD.norm()  # so the comparison can fail


def test_a_losss_products_are_exact_whatever_the_run_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forward and backward; the encoder's own may be rounded to tf32."""
    seen: list[str] = []

    class Look(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, x: Tensor) -> Tensor:
            seen.append(torch.get_float32_matmul_precision())
            return x.clone()

        @staticmethod
        def backward(ctx: object, gradient: Tensor) -> Tensor:
            seen.append(torch.get_float32_matmul_precision())
            return gradient

    encoder = tiny_encoder()
    batch = batch_for(encoder, 2)
    torch.set_float32_matmul_precision("high")
    try:
        encoder.backbone.register_forward_hook(lambda *_: seen.append(torch.get_float32_matmul_precision()))
        add_gradients(encoder, [batch], lambda _, x: loss_of(batch, Look.apply(x)))  # type: ignore[no-untyped-call]
        assert seen == ["high", "highest", "highest"] and torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize("pairs", [None, 2, 7])
def test_a_pooling_without_the_prompt_knows_it_in_every_part(pairs: int | None) -> None:
    """The reference has one text at a time, and takes the mean behind its prompt."""
    prompts = {"query": "query: ", "document": "das wort "}
    whole, cached = (tiny_encoder(prompts=prompts).train() for _ in range(2))
    whole.pooling = cached.pooling = Pooling(["mean"], include_prompt=False)
    ids = [whole.token_ids(TEXTS[0], "query"), whole.token_ids(TEXTS[1], "document")]
    in_front = [len(whole.tokenizer("query: ")["input_ids"]) - 1, len(whole.tokenizer("das wort ")["input_ids"]) - 1]
    batch = PackedBatch.from_ids(ids, prompts=in_front)
    assert [column.prompt for column in ids] == in_front
    assert in_front[0] != in_front[1]

    whole.backbone.set_attn_implementation("eager")  # transformers' own, for one text alone
    states = [(text, before) for column, before in zip(ids, in_front, strict=True) for text in column]
    by_hand = torch.stack(
        [whole.backbone(input_ids=torch.tensor([text]))[0][0, before:].mean(0) for text, before in states]
    )
    nested = loss_of(batch, by_hand)
    nested.total.backward()
    other = add_gradients(cached, [batch], lambda _, x: loss_of(batch, x), 1, pairs)[0]
    torch.testing.assert_close(other.total, nested.total.detach(), rtol=0, atol=1e-5)
    expected, found = gradients(whole), gradients(cached)
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], rtol=0, atol=1e-5, msg=name)
