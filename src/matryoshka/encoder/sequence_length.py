"""How many tokens of a text an encoder reads. Imports nothing slow."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from matryoshka.errors import UserError

log = logging.getLogger(__name__)

SHORTEST = 3
UNKNOWN = 1_000_000  # a tokenizer that says more says nothing: transformers writes 10^30
# Kinds whose position numbers begin behind that of the pad token, as RoBERTa's do.
BEHIND_PADDING = (
    *("roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "roberta-prelayernorm", "data2vec-text", "mpnet"),
    *("longformer", "luke", "mluke", "ibert", "xmod", "esm", "lilt", "markuplm", "layoutlmv3"),
)
# Kinds that call the number of their positions otherwise; with others the same key means another thing.
N_POSITIONS = ("gpt2", "gptj", "gpt_bigcode", "codegen", "ctrl", "openai-gpt")


def longest_sequence(config: Mapping[str, Any]) -> int:
    """Tokens that the positions of a model reach; config: what its config.json says."""
    kind = config.get("model_type")
    key = "n_positions" if kind in N_POSITIONS else "max_position_embeddings"
    positions = int(config.get(key) or 1 << 30)
    if kind not in BEHIND_PADDING:
        return positions
    padding = config.get("pad_token_id")
    return positions - (1 if padding is None or kind == "mpnet" else int(padding)) - 1


def length_problem(asked: int, longest: int) -> str | None:
    """Why texts cannot be cut at the length that is asked for."""
    return None if SHORTEST <= asked <= longest else f"{asked} is not between 3 and the model's {longest} tokens"


def sequence_length(
    name: str, config: Mapping[str, Any], *, asked: int | None, saved: int | None, of_tokenizer: int
) -> int:
    """The length that texts are cut at: that asked for, else saved, else the tokenizer's; at most what positions reach.

    name: of the model. Raises UserError for one asked for that the positions do not reach; a line says where another
    is cut.
    """
    longest = longest_sequence(config)
    if asked is not None:
        if problem := length_problem(asked, longest):
            raise UserError(f"{name}: max_seq_length={problem}")
        return asked
    said = of_tokenizer if saved is None else saved
    if longest < said < UNKNOWN:
        log.warning("%s: a length of %d tokens is saved, and its positions end at %d: cut there", name, said, longest)
    return min(said, longest)
