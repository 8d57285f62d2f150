"""tokenizer_config.json of a saved model: read by transformers 4 and 5, cut and padded as the encoder does it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from matryoshka.errors import UserError

AS_PAD = ("eos_token", "unk_token", "bos_token")  # what pads where a decoder has no pad token, the first that it has


def pad_token(tokenizer: Any) -> str:
    """The token that fills up short texts: any will do, as the attention mask leaves it out.

    Raises UserError if the tokenizer has none, nor another special token: an ordinary one would be cut out of texts.
    """
    found = next((token for name in ("pad_token", *AS_PAD) if (token := getattr(tokenizer, name, None))), None)
    if found is None:
        raise UserError(
            f"the tokenizer has no pad token, and none of {', '.join(AS_PAD)} to take its place, so a saved model "
            "could not encode two texts at once; give it a pad_token in tokenizer_config.json, or use export=none"
        )
    return str(found)


def mend_tokenizer_config(path: Path, tokenizer: Any, max_seq_length: int) -> None:
    """Change the file that transformers has written.

    The length is the one trained with, as in sentence-transformers 3.0.1: whoever uses the tokenizer alone cuts texts
    where this encoder does. It pads on the right, as this encoder does: a model that counts positions from the left
    gives other embeddings behind padding.
    """
    config = json.loads(path.read_text(encoding="utf-8")) | {"model_max_length": max_seq_length}
    # transformers 5 calls fast tokenizers without a class of their own by a name that 4 does not know, though
    # both know the older one, and saves how the tokenizer was loaded here, which concerns nobody else.
    if config.get("tokenizer_class") == "TokenizersBackend":
        config["tokenizer_class"] = "PreTrainedTokenizerFast"
    if not config.get("pad_token"):
        config["pad_token"] = pad_token(tokenizer)
    if config.get("padding_side", tokenizer.padding_side) != "right":
        config["padding_side"] = "right"
    kept = {key: value for key, value in config.items() if key not in ("is_local", "local_files_only")}
    path.write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
