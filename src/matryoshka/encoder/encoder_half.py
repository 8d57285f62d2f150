"""Models of an encoder and a decoder: of which kinds the encoder alone is read. Imports nothing slow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Kinds of which sentence-transformers, too, reads the encoder alone -> its class in transformers.
ENCODERS = {
    "t5": "T5EncoderModel",
    "mt5": "MT5EncoderModel",
    "umt5": "UMT5EncoderModel",
    "longt5": "LongT5EncoderModel",
}
# Kinds whose whole model asks for a decoder's text, which an embedding has not.
UNREADABLE = (
    *("blenderbot", "blenderbot-small", "m2m_100", "marian", "nllb-moe", "pegasus", "pegasus_x", "prophetnet"),
    *("switch_transformers", "udop"),
)


WIDTHS = ("hidden_size", "d_model")  # of a hidden state, as kinds of models call it


def hidden_size(config: Mapping[str, Any]) -> int | None:
    """Numbers of a hidden state, as config.json says; None where it says it by another name."""
    return next((config[name] for name in WIDTHS if name in config), None)


def model_class(kind: str) -> Any:
    """The class of transformers whose from_pretrained reads a model of this model_type."""
    import transformers

    return getattr(transformers, ENCODERS.get(kind, "AutoModel"))
