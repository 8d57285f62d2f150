"""What two encoders must have in common for a mean of their weights to be an encoder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from matryoshka.encoder.dense import Dense
from matryoshka.encoder.encoder import Encoder
from matryoshka.encoder.pooling import described

BEHIND = "dense."  # names of what stands behind the pooling
# Of the backbone's configuration, what changes the result and no shape.
SETTINGS = ("model_type", "num_attention_heads", "num_key_value_heads", "hidden_act", "layer_norm_eps", "rope_theta")


@dataclass(frozen=True)
class Structure:
    """An encoder without the values of its weights. shapes: of the tensors in front of the dense layers."""

    architecture: str
    settings: Mapping[str, Any]
    vocabulary: int
    pooling: str
    prompts: Mapping[str, str]
    max_seq_length: int
    do_lower_case: bool
    dense: tuple[str, ...]
    shapes: Mapping[str, tuple[int, ...]]

    @classmethod
    def of(cls, encoder: Encoder) -> Structure:
        """That of an encoder with its whole vocabulary."""
        config, state = encoder.backbone.config, encoder.state_dict()
        return cls(
            architecture=type(encoder.backbone).__name__,
            settings={name: getattr(config, name, None) for name in SETTINGS},
            vocabulary=len(encoder.tokenizer),
            pooling=described(encoder.pooling),
            prompts=dict(encoder.prompts),
            max_seq_length=encoder.max_seq_length,
            do_lower_case=encoder.do_lower_case,
            dense=tuple(_described(cast(Dense, layer)) for layer in encoder.dense),
            shapes={name: tuple(tensor.shape) for name, tensor in state.items() if not name.startswith(BEHIND)},
        )

    def differences(self, other: Structure, *, dense: bool = True) -> Iterator[str]:
        """What differs, one and the other, in words. dense: whether what stands behind the pooling counts."""
        pairs: dict[str, tuple[Any, Any]] = {
            "architecture": (self.architecture, other.architecture),
            **{name: (value, other.settings[name]) for name, value in self.settings.items()},
            "tokens in the vocabulary": (self.vocabulary, other.vocabulary),
            "pooling": (self.pooling, other.pooling),
            **{f"prompt of a {kind}": (repr(p), repr(other.prompts.get(kind))) for kind, p in self.prompts.items()},
            "max_seq_length": (self.max_seq_length, other.max_seq_length),
            "do_lower_case": (self.do_lower_case, other.do_lower_case),
        }
        if dense:
            pairs["layers behind the pooling"] = _listed(self.dense), _listed(other.dense)
        different = [f"{name}: {one} and {two}" for name, (one, two) in pairs.items() if one != two]
        yield from different or _differing_shapes(self.shapes, other.shapes)


def _differing_shapes(one: Mapping[str, tuple[int, ...]], other: Mapping[str, tuple[int, ...]]) -> Iterator[str]:
    """The first tensor that differs."""
    for name in dict.fromkeys([*one, *other]):
        if one.get(name) != other.get(name):
            yield f"shape of {name}: {one.get(name, 'not there')} and {other.get(name, 'not there')}"
            return


def _described(layer: Dense) -> str:
    linear = layer.linear
    bias = "" if linear.bias is None else " with bias"
    return f"{linear.in_features} -> {linear.out_features}{bias}, {type(layer.activation).__name__}"


def _listed(layers: tuple[str, ...]) -> str:
    return "; ".join(layers) or "none"
