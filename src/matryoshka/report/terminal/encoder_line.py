"""What an encoder makes of a text, in lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matryoshka.encoder.encoder import Encoder


def encoder_line(encoder: Encoder) -> str:
    """Its name, size, pooling, width and length."""
    from matryoshka.encoder.pooling import described

    parameters = sum(p.numel() for p in encoder.parameters()) / 1e6
    pooling, lowercased = described(encoder.pooling), ", lowercased" if encoder.do_lower_case else ""
    length = f"{encoder.max_seq_length} tokens at most{lowercased}"
    return f"{encoder.name}, {parameters:.0f}M parameters, {pooling} pooling, {encoder.width} wide, {length}"


def encoder_lines(encoder: Encoder) -> Iterator[tuple[str, str]]:
    """(label, line): the same, its prompts, and what stands behind the pooling."""
    yield "encoder", encoder_line(encoder)
    prompts = [f"{kind} {prompt!r}" for kind, prompt in encoder.prompts.items() if prompt]
    yield "prompts", ", ".join(prompts) or "none"
    widths = [encoder.pooled_width, *(layer.width for layer in encoder.dense)]
    through = f"{' -> '.join(map(str, widths))} numbers, by the Dense modules saved with the model"
    yield "project", through if len(encoder.dense) else "none"
