"""Which models take packed sequences, and what each needs for it."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from matryoshka.data.packing import PackedBatch
from matryoshka.encoder.buckets import Sequences
from matryoshka.encoder.packed_attention import NAME
from matryoshka.encoder.packed_mpnet import use_packed_mpnet

log = logging.getLogger(__name__)

# Models whose tokens meet nowhere but in attention and whose positions can be given, with the number of their first
# position; None: one more than the number of their pad token. How far a token sees is told by the layers themselves.
FIRST_POSITION: dict[str, int | None] = {
    **dict.fromkeys(("albert", "bert", "distilbert", "electra"), 0),
    **dict.fromkeys(("camembert", "roberta", "xlm-roberta"), None),
    "mpnet": 2,
    **dict.fromkeys(("eurobert", "gte", "jina_embeddings_v3", "modernbert", "nomic_bert"), 0),
    **dict.fromkeys(("gemma3_text", "llama", "mistral", "qwen2", "qwen3"), 0),
}


def use_packed_attention(model: PreTrainedModel, name: str = "") -> int | None:
    """Make the model attend within packed sequences; the number of its first position, or None where it can't.

    name: of the model, for the line that says that it can't, and why.
    """
    if reason := _obstacle(model):
        log.info("%s: sequences are padded, since %s can't be packed", name, reason)
        return None
    if model.config.model_type == "mpnet":
        use_packed_mpnet(model)
    else:
        model.set_attn_implementation(NAME)
    first = FIRST_POSITION[model.config.model_type]
    return int(model.config.pad_token_id) + 1 if first is None else first


def _obstacle(model: PreTrainedModel) -> str:
    """What can't be packed; empty if the model can."""
    kind = str(model.config.model_type)
    if kind not in FIRST_POSITION:
        return kind
    if getattr(model.config, "is_decoder", False):
        return "a decoder"
    if not type(model).__module__.startswith(("transformers.", "matryoshka.")):
        return f"code that comes with a {kind} model"
    if kind != "mpnet" and not model._can_set_attn_implementation():
        return f"the {kind} of this release of transformers"
    return ""


def keeps_scores(model: PreTrainedModel) -> bool:
    """Whether attention keeps a number for every two tokens on a GPU too: no kernel takes MPNet's bias."""
    return bool(model.config.model_type == "mpnet")


def packed_inputs(batch: PackedBatch, first: int) -> dict[str, Any]:
    """What a model is given beside a packed row's token ids: positions, sequences, and that it keeps no keys."""
    sequences = Sequences(batch.lengths, batch.cu_seqlens_Z)
    return {"position_ids": positions(batch, first)[None], "sequences": sequences, "use_cache": False}


def positions(batch: PackedBatch, first: int) -> Tensor:
    """The position of each token in its own sequence, (T,), from `first` on, the model's first position.

    RoBERTa's begin behind the number of the pad token; a pad token that a text spells out is passed over, and its own
    position is its number.
    """
    places_T, ids_T = batch.positions_T(), batch.input_ids_T
    if not first:
        return places_T
    pad_id = first - 1
    pad_T = (ids_T == pad_id).long()
    until_T = pad_T.cumsum(0)
    start_T = torch.arange(len(ids_T), device=ids_T.device) - places_T
    passed_T = until_T - (until_T - pad_T)[start_T]  # pad tokens of the same sequence up to here
    return (first + places_T - passed_T).masked_fill(pad_T.bool(), pad_id)
