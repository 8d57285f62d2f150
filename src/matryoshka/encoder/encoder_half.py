"""Models of an encoder and a decoder: of which kinds the encoder alone is read. Imports nothing slow."""

from __future__ import annotations

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


def model_class(kind: str) -> Any:
    """The class of transformers whose from_pretrained reads a model of this model_type."""
    import transformers

    return getattr(transformers, ENCODERS.get(kind, "AutoModel"))
