"""What keeps the weights of two encoders from being mixed."""

from __future__ import annotations

import pytest
import torch

from matryoshka.encoder.dense import Dense
from matryoshka.encoder.structure import Structure
from tests.tiny import tiny_encoder


def test_encoders_of_other_weights_do_not_differ() -> None:
    assert not list(Structure.of(tiny_encoder(seed=1)).differences(Structure.of(tiny_encoder(seed=2))))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"modes": ("cls", "mean")}, "pooling: cls and cls + mean"),
        ({"prompts": {"query": "query: "}}, "prompt of a query: '' and 'query: '"),
        ({"width": 16}, "shape of backbone.embeddings.word_embeddings.weight: "),
        ({"layers": 1}, "shape of backbone.encoder.layer.1.attention.self.query.weight: (32, 32) and not there"),
    ],
)
def test_the_first_thing_that_differs_is_named(options: dict[str, object], said: str) -> None:
    (difference,) = Structure.of(tiny_encoder()).differences(Structure.of(tiny_encoder(**options)))  # type: ignore[arg-type]
    assert difference.startswith(said)


def test_a_layer_behind_the_pooling_counts_unless_it_is_left_out() -> None:
    one, other = tiny_encoder(), tiny_encoder()
    other.dense.append(Dense.of(torch.eye(32)))

    assert list(Structure.of(one).differences(Structure.of(other))) == [
        "layers behind the pooling: none and 32 -> 32, Identity"
    ]
    assert not list(Structure.of(one).differences(Structure.of(other), dense=False))


def test_heads_are_told_apart_though_no_shape_is() -> None:
    one, other = tiny_encoder(), tiny_encoder()
    other.backbone.config.num_attention_heads = 2

    assert list(Structure.of(one).differences(Structure.of(other))) == ["num_attention_heads: 4 and 2"]
