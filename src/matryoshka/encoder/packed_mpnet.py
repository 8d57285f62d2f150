"""MPNet on packed sequences: its attention adds a bias by distance to the scores, and is not behind the interface."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.mpnet import modeling_mpnet

from matryoshka.encoder.buckets import Sequences
from matryoshka.encoder.packed_attention import attend


class MPNetSelfAttention(modeling_mpnet.MPNetSelfAttention):
    """Of a packed row where `sequences` are given with the bias."""

    def forward(
        self, hidden_states: Tensor, attention_mask: Any = None, position_bias: Any = None, *args: Any, **options: Any
    ) -> Any:
        """(hidden states,). position_bias: of a packed row (bias_HLL, its sequences)."""
        if not isinstance(position_bias, tuple):
            forward: Any = super().forward
            return forward(hidden_states, attention_mask, position_bias, *args, **options)
        bias_HLL, sequences = position_bias
        qkv_T3X = torch.stack([product(hidden_states[0]) for product in (self.q, self.k, self.v)], 1)
        qkv_T3HD = qkv_T3X.unflatten(2, (self.num_attention_heads, self.attention_head_size))
        rate = self.dropout.p if self.training else 0.0
        attended_THD = attend(qkv_T3HD, sequences, dropout=rate, bias_HLL=bias_HLL)
        return (self.o(attended_THD.flatten(1))[None],)


class MPNetModel(modeling_mpnet.MPNetModel):
    """Of the same name, which is saved. Without `sequences` all is as transformers has it."""

    def forward(
        self,
        input_ids: Any = None,
        *args: Any,
        position_ids: Any = None,
        sequences: Sequences | None = None,
        **own: Any,
    ) -> Any:
        """Hidden states; of a packed row without the pooler, which nothing here uses."""
        if sequences is None:
            return super().forward(input_ids, *args, position_ids=position_ids, **own)
        hidden_states = self.embeddings(input_ids=input_ids, position_ids=position_ids)
        (bias_HLL,) = self.encoder.compute_position_bias(hidden_states[:, : sequences.longest])
        for layer in self.encoder.layer:
            (hidden_states,) = layer(hidden_states, position_bias=(bias_HLL, sequences))
        return BaseModelOutput(last_hidden_state=hidden_states)


def use_packed_mpnet(model: Any) -> None:
    """Let an MPNetModel take packed sequences; its weights and their names stay."""
    model.__class__ = MPNetModel
    for layer in model.encoder.layer:
        layer.attention.attn.__class__ = MPNetSelfAttention
