"""The encoder of a run, in a few words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from matryoshka.encoder.saved_dense import dense_config
from matryoshka.export.sentence_transformers import kept_layers

if TYPE_CHECKING:
    from matryoshka.encoder.encoder import Encoder
    from matryoshka.encoder.pooling import Mode


@dataclass(frozen=True)
class EncoderSummary:
    """The encoder, in a few words: what a reader of its card must know to use it.

    architecture: the transformers class. hidden_size: numbers a pooling mode. max_seq_length: in tokens. dense: what
    the config.json of each Dense module of the saved model says. include_prompt: whether a prompt's tokens are pooled.
    do_lower_case: whether all texts are lowercased first.
    """

    architecture: str
    hidden_size: int
    modes: tuple[Mode, ...]
    max_seq_length: int
    prompts: Mapping[str, str]
    revision: str | None = None
    dense: tuple[dict[str, Any], ...] = ()
    include_prompt: bool = True
    do_lower_case: bool = False

    @classmethod
    def unknown(cls, width: int) -> EncoderSummary:
        """That of stored vectors, of whose encoder nothing is known."""
        return cls(architecture="", hidden_size=width, modes=(), max_seq_length=0, prompts={})

    @classmethod
    def of(cls, encoder: Encoder, dim: int | None = None) -> EncoderSummary:
        """The summary of an encoder. dim: how many of its numbers are saved; None for all."""
        from matryoshka.encoder.pooling import includes_prompt

        return cls(
            architecture=type(encoder.backbone).__name__,
            hidden_size=encoder.pooled_width // encoder.pooling.factor,
            modes=tuple(encoder.pooling.modes),
            max_seq_length=encoder.max_seq_length,
            prompts=dict(encoder.prompts),
            revision=encoder.revision,
            dense=tuple(dense_config(layer) for layer in kept_layers(encoder, dim)),
            include_prompt=includes_prompt(encoder.pooling),
            do_lower_case=encoder.do_lower_case,
        )

    @property
    def width(self) -> int:
        """Numbers in an embedding of the saved model."""
        return int(self.dense[-1]["out_features"]) if self.dense else self.hidden_size * len(self.modes)
