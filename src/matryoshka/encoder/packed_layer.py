"""A BERT layer on packed sequences in few calls: each input is cast once, each weight once for all passes at a time.

transformers' own layer makes 29 calls forward under bf16 autocast, of which 16 are casts. Here queries, keys and values
are one product, and weights come cast; an adapter of low rank is part of it. The model's modules keep their parameters
and their names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from matryoshka.encoder.buckets import Sequences
from matryoshka.encoder.dropout import Dropout
from matryoshka.encoder.low_rank import Product, is_low_rank, multiply, product_of
from matryoshka.encoder.packed_attention import attend, product_dtype

Activation = Callable[[Tensor], Tensor]
LINEAR = ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense")
PLAIN = {  # the parts of such a layer, by name, and of which kinds
    **dict.fromkeys((*LINEAR, "intermediate.dense", "output.dense"), (nn.Linear,)),
    **dict.fromkeys(("attention.output.LayerNorm", "output.LayerNorm"), (nn.LayerNorm,)),
    **dict.fromkeys(("attention.self.dropout", "attention.output.dropout", "output.dropout"), (nn.Dropout, Dropout)),
}


@dataclass(frozen=True)
class LayerWeights:
    """A layer's four products, in their precision.

    qkv: of queries, keys and values together. out: behind the attention. up, down: of the feed-forward part.
    """

    qkv: Product
    out: Product
    up: Product
    down: Product

    @classmethod
    def of(cls, layer: Any, dtype: torch.dtype) -> LayerWeights:
        """Those of a layer as they are now, with gradient where it is taken."""
        own = layer.attention.self
        others = (layer.attention.output.dense, layer.intermediate.dense, layer.output.dense)
        products = [product_of(own.query, own.key, own.value), *map(product_of, others)]
        return cls(*(tuple(tensor.to(dtype) for tensor in product) for product in products))


class PackedLayer:
    """What a layer with the forward below is, besides its own kind."""


class PackedLayers:
    """The layers of a model that compute packed sequences by `packed_layer`; others keep the forward of transformers.

    Those of a BERT whose parts are all of the plain kind, at most with an adapter of low rank beside a product.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        found: Iterable[nn.Module] = getattr(getattr(model, "encoder", None), "layer", ())
        self.layers: list[Any] = [layer for layer in found if _is_plain(layer)]
        for layer in self.layers:
            if not isinstance(layer, PackedLayer):
                layer.__class__ = _packed(type(layer))  # type: ignore[arg-type]  # classes are hashable
            layer.cast_weights, layer.rest = None, after_attention

    @property
    def compiled(self) -> bool:
        """Whether `compile` was called."""
        return any(layer.rest is not after_attention for layer in self.layers)

    @contextmanager
    def cast_once(self, device: torch.device, precision: torch.dtype | None = None) -> Iterator[None]:
        """Inside, weights that must not change meanwhile are cast once for all passes, with gradient where it is taken.

        precision: of the products; as autocast has it now if None.
        """
        for layer in filter(_is_plain, self.layers):
            layer.cast_weights = LayerWeights.of(layer, precision or product_dtype(device, torch.float32))
        try:
            yield
        finally:
            for layer in self.layers:
                layer.cast_weights = None

    def compile(self, backend: str = "inductor") -> None:
        """Compile what is behind the attention: one graph for all layers and all numbers of tokens."""
        compiled = torch.compile(after_attention, dynamic=True, backend=backend)
        for layer in self.layers:
            layer.rest = compiled


@cache
def _packed(kind: type[Any]) -> type[Any]:
    """A layer's class with this forward; a class, so that transformers' gradient checkpointing wraps it."""

    def forward(self: Any, *args: Any, sequences: Sequences | None = None, **options: Any) -> Any:
        if sequences is None:
            return kind.forward(self, *args, **options)
        if not _is_plain(self):  # another adapter was put into it since, or one with dropout
            return kind.forward(self, *args, sequences=sequences, **options)
        return packed_layer(self, args[0], sequences)

    def __reduce_ex__(self: Any, protocol: Any) -> Any:  # noqa: N807 - the class has no name to be found by
        state = {**self.__dict__, "cast_weights": None, "rest": after_attention}
        return _empty, (kind,), state

    name = f"Packed{kind.__name__}"
    methods = {"forward": forward, "__reduce_ex__": __reduce_ex__}
    return type(name, (kind, PackedLayer), {**methods, "__module__": __name__, "__qualname__": name})


def _empty(kind: type[Any]) -> Any:
    """A layer without a state, which unpickling and copying give it."""
    packed: Any = _packed(kind)  # type: ignore[arg-type]
    return packed.__new__(packed)


def packed_layer(layer: Any, hidden_states: Tensor, sequences: Sequences) -> Tensor:
    """A layer's output from its input, both (1, T, hidden size)."""
    dtype = product_dtype(hidden_states.device, hidden_states.dtype)
    with torch.autocast(hidden_states.device.type, enabled=False):
        kept: LayerWeights | None = layer.cast_weights
        weights = kept if kept and kept.qkv[0].dtype == dtype else LayerWeights.of(layer, dtype)
        own, hidden_TH = layer.attention.self, hidden_states[0]
        qkv_TX = multiply(hidden_TH.to(dtype), weights.qkv)
        qkv_T3HD = qkv_TX.view(len(hidden_TH), 3, own.num_attention_heads, own.attention_head_size)
        attended_THD = attend(qkv_T3HD, sequences, dropout=own.dropout.p if layer.training else 0.0)
        norms = (layer.attention.output.LayerNorm, layer.output.LayerNorm)
        drops = (layer.attention.output.dropout, layer.output.dropout)
        activation = layer.intermediate.intermediate_act_fn
        output_TH: Tensor = layer.rest(hidden_TH, attended_THD.flatten(1), weights, norms, drops, activation)
    return output_TH[None]


def after_attention(
    hidden_TH: Tensor,
    attended_TH: Tensor,
    weights: LayerWeights,
    norms: tuple[nn.Module, nn.Module],
    drops: tuple[nn.Module, nn.Module],
    activation: Activation,
) -> Tensor:
    """A layer's output (T, hidden size) from its input and what its attention gave; sums and norms in fp32."""
    middle_TH = norms[0](drops[0](multiply(attended_TH, weights.out)) + hidden_TH)
    inner_TX = activation(multiply(middle_TH.to(attended_TH.dtype), weights.up))
    return cast(Tensor, norms[1](drops[1](multiply(inner_TX, weights.down)) + middle_TH))


def _is_plain(layer: nn.Module) -> bool:
    """Whether each part is of the very kind that `packed_layer` computes."""
    return all(_is_of(_part(layer, name), kinds) for name, kinds in PLAIN.items()) and not any(
        _part(layer, name) for name in ("crossattention", "attention.self.distance_embedding")
    )


def _is_of(part: Any, kinds: tuple[type[nn.Module], ...]) -> bool:
    return type(part) in kinds or (nn.Linear in kinds and is_low_rank(part))


def _part(layer: nn.Module, name: str) -> Any:
    part: Any = layer
    for each in name.split("."):
        part = part._modules.get(each) if part is not None else None
    return part
