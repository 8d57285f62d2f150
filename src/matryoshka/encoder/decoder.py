"""Models that read from left to right, whose first token knows nothing of the text. Imports nothing slow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

CAUSAL = ("ForCausalLM", "LMHeadModel")  # ends of names of architectures
DECODERS = (
    *("llama", "mistral", "ministral", "mixtral", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "gemma", "gemma2"),
    *("gemma3_text", "phi", "phi3", "gpt2", "gpt_neo", "gpt_neox", "gptj", "gpt_bigcode", "openai-gpt", "codegen"),
    *("ctrl", "opt", "bloom", "falcon", "mpt", "stablelm", "olmo", "olmo2", "olmo3", "cohere", "cohere2", "starcoder2"),
    *("smollm3", "granite", "persimmon", "mamba", "mamba2", "rwkv", "modernbert-decoder"),
)
# Kinds that read in both directions, whatever their architecture's name, unless is_decoder is set.
ENCODERS = (
    *("bert", "roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "electra", "ernie", "megatron-bert", "big_bird"),
    *("roberta-prelayernorm", "data2vec-text", "rembert", "roformer", "xmod", "xlm", "flaubert", "xlnet", "bart"),
)


def reads_left_to_right(config: Mapping[str, Any]) -> bool:
    """Whether each token of a model sees only those before it, as its config.json says.

    Not told of one that brings its own code, nor of one that is set to see both directions.
    """
    both = config.get("is_causal") is False or config.get("use_bidirectional_attention") in (True, "all")
    if both or config.get("auto_map"):
        return False
    kind, named = config.get("model_type"), config.get("architectures")
    named = str(named[0]) if isinstance(named, list) and named else ""
    return bool(config.get("is_decoder")) or kind in DECODERS or (kind not in ENCODERS and named.endswith(CAUSAL))


def first_token_problem(
    name: str, config: Mapping[str, Any], modes: Sequence[str] | None, saved: Sequence[str] | None
) -> str | None:
    """Why the first token of a model must not be pooled; None where it may be, or where it is not.

    modes: what is asked for, None for what is saved; saved: with the model, None where it says nothing.
    """
    if "cls" in (saved or ()) or "cls" not in (modes or saved or ("cls",)) or not reads_left_to_right(config):
        return None
    kind = config.get("model_type")
    return f"{name} is a decoder ({kind}), whose first token sees nothing of the text after it; use pooling=last"
