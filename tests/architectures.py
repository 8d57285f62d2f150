"""Random models of many architectures, each small enough for any test, with what is special of each."""

from __future__ import annotations

from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModel, PreTrainedModel

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
PLAIN = {"vocab_size": 60, "max_position_embeddings": 64, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
GROUPED = {"num_key_value_heads": 2}  # keys and values of two queries each
WINDOW = 7  # shorter than most sequences
SECOND_SLIDES = {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1}
GEMMA = {**GROUPED, "head_dim": 12, "layer_types": ["sliding_attention", "full_attention"]}
OWN: dict[str, dict[str, Any]] = {  # by model type
    "albert": {"embedding_size": 16},
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48, "dropout": 0.0},
    "electra": {"embedding_size": 16},
    "eurobert": {**GROUPED, "mask_token_id": 3},
    "gemma3_text": {**GEMMA, "sliding_window": WINDOW},
    "llama": GROUPED,
    "mistral": {**GROUPED, "sliding_window": WINDOW},
    "modernbert": {
        "local_attention": 2 * WINDOW,
        "global_attn_every_n_layers": 2,
        "cls_token_id": 0,
        "sep_token_id": 2,
    },
    "qwen2": {**GROUPED, **SECOND_SLIDES},
    "t5": {"d_model": 32, "num_layers": 2, "num_heads": 4, "d_ff": 48, "d_kv": 8, "dropout_rate": 0.0},
    "qwen3": {**GROUPED, **SECOND_SLIDES, "head_dim": 12},
}
OWN_NAMES = ("distilbert", "t5")  # of sizes and dropout
# By name: model type and further options.
PACKED: dict[str, tuple[str, dict[str, Any]]] = {
    **{
        kind: (kind, {})
        for kind in (
            *("albert", "bert", "camembert", "distilbert", "electra", "eurobert", "gemma3_text", "gte"),
            *("jina_embeddings_v3", "llama", "mistral", "modernbert", "mpnet", "nomic_bert", "qwen2", "qwen3"),
            *("roberta", "xlm-roberta"),
        )
    },
    "gemma3_text, bidirectional": ("gemma3_text", {"use_bidirectional_attention": True, "sliding_window": 2 * WINDOW}),
    "qwen3, bidirectional": ("qwen3", {"is_causal": False}),
}

PADDED = ("deberta-v2", "gpt2", "gpt_neox", "t5", "xlm")


def tiny_backbone(
    name: str, *, dropout: float = 0.0, attention_dropout: float = 0.0, **options: Any
) -> PreTrainedModel:
    """A model by its name in PACKED, or of any model type; always the same, in evaluation mode."""
    kind, special = PACKED.get(name, (name, {}))
    own, rate = OWN.get(kind, {}), attention_dropout
    usual = {**SIZES, "hidden_dropout_prob": dropout, "attention_probs_dropout_prob": rate}
    sizes = {"attention_dropout": rate, **({} if kind in OWN_NAMES else usual)}
    config = CONFIG_MAPPING[kind](**{**PLAIN, "initializer_range": 0.2, **sizes, **own, **special, **options})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: PreTrainedModel = AutoModel.from_config(config, attn_implementation="eager")
        with torch.no_grad():
            for weight in model.parameters():
                if weight.dim() == 1:  # norms and biases, which begin as ones and zeros
                    weight += 0.1 * torch.randn_like(weight)
    return model.eval()
