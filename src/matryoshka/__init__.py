"""Fine-tune text embeddings that can be cut short, and measure them honestly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matryoshka.encoder.encoder import Encoder

__version__ = "0.1.0"
__all__ = ["Encoder", "__version__"]


def __getattr__(name: str) -> Any:
    # `from matryoshka import Encoder` loads torch; `import matryoshka` alone does not.
    if name == "Encoder":
        from matryoshka.encoder.encoder import Encoder

        return Encoder
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
