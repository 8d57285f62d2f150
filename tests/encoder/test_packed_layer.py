"""A layer of packed sequences equals transformers' own, in fewer calls; compiled it equals itself."""

from __future__ import annotations

import copy
import pickle
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters

from matryoshka.data.packing import PackedBatch
from matryoshka.encoder import Encoder, packed_attention
from matryoshka.encoder.packed_layer import PackedLayers
from tests.calls import Calls
from tests.encoder.test_packed_attention import backbone, encoder, sequences
from tests.tiny import tiny_encoder

KINDS = ("xlm-roberta", "roberta", "camembert", "bert", "electra")


def as_transformers_has_it(model: Encoder) -> Encoder:
    """The same encoder whose layers are transformers' own, with our attention behind its interface."""
    for layer in model.packed_layers.layers:
        layer.__class__ = type(layer).__bases__[0]
    model.packed_layers = PackedLayers(nn.Module())  # type: ignore[arg-type]  # of no layers
    return model


def embeddings_and_gradients(model: Encoder, *, bf16: bool = False) -> tuple[Tensor, dict[str, Tensor]]:
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        embeddings_SD = model(PackedBatch.from_ids([sequences()]))
    embeddings_SD.square().sum().backward()
    return embeddings_SD.detach(), {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bf16", [False, True])
def test_values_and_gradients_are_those_of_transformers_layer(kind: str, bf16: bool) -> None:
    ours, theirs = encoder(backbone(kind)), as_transformers_has_it(encoder(backbone(kind)))
    assert len(ours.packed_layers.layers) == len(ours.backbone.encoder.layer) and not theirs.packed_layers.layers

    (found_SD, found), (expected_SD, expected) = (embeddings_and_gradients(m, bf16=bf16) for m in (ours, theirs))
    torch.testing.assert_close(found_SD, expected_SD, atol=1e-2 if bf16 else 1e-6, rtol=0)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        if not name.endswith("key.bias"):  # its gradient is 0 but for rounding
            assert (found[name] - gradient).norm() <= (0.05 if bf16 else 1e-5) * gradient.norm(), name


def test_dropout_is_drawn_as_in_transformers_layer() -> None:
    found = []
    for model in (tiny_encoder(dropout=0.3), as_transformers_has_it(tiny_encoder(dropout=0.3))):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            found.append(embeddings_and_gradients(model.train())[0])
    torch.testing.assert_close(*found, atol=1e-6, rtol=0)


@pytest.fixture
def one_call_of_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU, where it is one kernel."""
    monkeypatch.setattr(packed_attention, "varlen_kernel", lambda *call: lambda q_THD, *others: q_THD.clone())


def calls(model: Encoder, passes: int = 1) -> Counter[str]:
    """Of forward passes under autocast, the casts of weights included."""
    batch = PackedBatch.from_ids([sequences()])
    with Calls() as made, torch.autocast("cpu", torch.bfloat16), model.packed_layers.cast_once(model.device):
        for _ in range(passes):
            model(batch)
    return made.count


def a_layer(of: Any, *models: Encoder) -> Counter[str]:
    """What one layer more adds."""
    fewer, more = (of(model) for model in models)
    assert isinstance(fewer, Counter) and isinstance(more, Counter)
    return more - fewer


@pytest.mark.usefixtures("one_call_of_attention")
def test_a_layer_makes_12_calls_with_weights_cast_and_half_of_transformers() -> None:
    """Fails where a call is added. cat and 8 casts are those of the weights, once however often the layer is used."""
    models = [tiny_encoder(layers=layers) for layers in (1, 2)]
    once, twice = (a_layer(lambda m, p=passes: calls(m, p), *models) for passes in (1, 2))

    assert dict(twice - once) == {"addmm": 4, "_to_copy": 2, "clone": 1, "add": 2, "native_layer_norm": 2, "gelu": 1}
    assert dict(once - (twice - once)) == {"cat": 2, "_to_copy": 8}
    others = a_layer(calls, *(as_transformers_has_it(model) for model in models))
    assert sum(others.values()) >= 24 > 2 * sum((twice - once).values()) - 1


@pytest.mark.usefixtures("one_call_of_attention")
def test_an_update_casts_weights_once_for_parts_and_passes() -> None:
    """Eight passes cast as many weights as one: what a pass adds is far below the weights' 8 casts a layer."""
    model = tiny_encoder(layers=6)
    one, two, eight = (calls(model, passes) for passes in (1, 2, 8))
    assert eight["_to_copy"] - one["_to_copy"] == 7 * (two["_to_copy"] - one["_to_copy"]) < 7 * 8 * 6


def test_cast_weights_are_forgotten_and_copies_have_their_own() -> None:
    model, batch = tiny_encoder(), PackedBatch.from_ids([sequences()])
    other = copy.deepcopy(model)
    with torch.no_grad(), model.packed_layers.cast_once(model.device):
        before_SD = model(batch)
    with torch.no_grad():
        for one, changed in zip(model.parameters(), other.parameters(), strict=True):
            one.mul_(1.5), changed.mul_(1.5)
        torch.testing.assert_close(model(batch), other(batch), atol=0, rtol=0)
        assert not torch.allclose(model(batch), before_SD, atol=1e-2)


def test_a_layer_with_another_part_stays_transformers() -> None:
    model = backbone("bert")
    layer = model.encoder.layer[0]  # type: ignore[union-attr, index]
    layer.attention.self.query = nn.Sequential(layer.attention.self.query)
    changed = encoder(model)
    assert [type(layer).__name__ for layer in changed.backbone.encoder.layer] == ["BertLayer", "PackedBertLayer"]
    torch.testing.assert_close(
        changed(PackedBatch.from_ids([sequences()])),
        encoder(backbone("bert"))(PackedBatch.from_ids([sequences()])),
        atol=1e-6,
        rtol=0,
    )


class Plus(nn.Module):
    """An adapter as PEFT's: it has the weights of what it is in the place of, and another forward."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear, self.weight, self.bias = linear, linear.weight, linear.bias

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) + 0.5 * x  # type: ignore[no-any-return]


def test_an_adapter_that_is_put_in_later_counts() -> None:
    batch, found = PackedBatch.from_ids([sequences()]), []
    for model in (tiny_encoder(), as_transformers_has_it(tiny_encoder())):
        layer = model.backbone.encoder.layer[1]
        layer.attention.self.query = Plus(layer.attention.self.query)
        with model.packed_layers.cast_once(model.device):
            found.append(model(batch))
    torch.testing.assert_close(*found, atol=1e-6, rtol=0)
    assert not torch.allclose(found[0], tiny_encoder()(batch), atol=1e-3)


def test_a_model_is_pickled_and_copied_without_what_is_cast_or_compiled() -> None:
    model, batch = tiny_encoder(), PackedBatch.from_ids([sequences()])
    expected_SD = encoder(model.backbone)(batch)
    model.packed_layers.compile(backend="eager")
    with model.packed_layers.cast_once(model.device):
        others = [pickle.loads(pickle.dumps(model.backbone)), copy.deepcopy(model.backbone)]
    for other in others:
        assert [type(layer).__name__ for layer in other.encoder.layer] == ["PackedXLMRobertaLayer"] * 2
        assert not PackedLayers(other).compiled
        assert torch.equal(encoder(other)(batch), expected_SD)


@pytest.fixture
def compiler() -> Iterator[None]:
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


@pytest.mark.usefixtures("compiler")
@pytest.mark.filterwarnings("ignore:The .grad attribute")  # torch's own, of what it looks at when it traces
def test_compiled_layers_equal_themselves_in_few_graphs_for_all_layers_and_lengths() -> None:
    """By a backend without a compiler of C++; what a GPU's makes of the graph is tried in benchmarks/gpu.py."""
    plain, compiled = (tiny_encoder(layers=12) for _ in range(2))
    compiled.packed_layers.compile(backend="aot_eager")
    for length in (3, 5, 9, 14):
        batch = PackedBatch.from_ids([[[4, 5, *[7] * length], [5, 7, 2]]])
        for model in (plain, compiled):
            model.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                model(batch).square().sum().backward()
        for (name, p), q in zip(plain.named_parameters(), compiled.parameters(), strict=True):
            if p.grad is not None:
                assert q.grad is not None
                torch.testing.assert_close(q.grad, p.grad, atol=1e-6, rtol=1e-5, msg=lambda m, n=name: f"{n}: {m}")
    assert counters["stats"]["unique_graphs"] <= 4 and not counters["graph_break"]
