"""What a run is instead of what its recipe stands for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Config = Mapping[str, Any]


def stand_ins(config: Config, reference: Config) -> Iterator[str]:
    """One sentence for each part of the reference that a recipe replaces."""
    used = {"encoder": config["encoder"].get("model"), "data": config["data"].get("name")}
    for name in ("encoder", "data"):
        wanted = reference.get(name)
        if wanted and used[name] != wanted:
            why = reference.get(f"{name}_missing") or "it was chosen so"
            what = wanted if name == "encoder" else "the card's pairs"
            yield f"{used[name]} is a stand-in for {what}, because {why}"
    if (why := reference.get("encoder_missing")) and used["encoder"] == reference.get("encoder"):
        yield f"batch, rate, epochs and pooling are a stand-in for the card's, because {why}"
