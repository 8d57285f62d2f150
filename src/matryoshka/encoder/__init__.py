"""Token ids to embeddings: a transformers model without padding, pooling, and where models are found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matryoshka.encoder.encoder import Encoder
    from matryoshka.encoder.pooling import Pooling
    from matryoshka.encoder.pretrained import Pretrained

__all__ = ["Encoder", "Pooling", "Pretrained"]


def __getattr__(name: str) -> Any:
    # Looking a model up must not import torch: the configuration is checked before anything slow starts.
    from importlib import import_module

    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{name.lower()}"), name)
