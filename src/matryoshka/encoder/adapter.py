"""Adapters: few weights beside those of the transformer, which stay as they are. By peft; imports nothing slow."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any, Protocol

from annotated_types import Ge, Gt, Le, Lt

from matryoshka.errors import UserError

if TYPE_CHECKING:
    from torch import nn

    from matryoshka.encoder.encoder import Encoder

MISSING = "peft is not installed; pip install 'matryoshka[adapters]', or choose adapter=none"


class Adapter(Protocol):
    """What is trained in the place of a transformer's own weights."""

    def size(self, model: nn.Module) -> int:
        """Bytes of its weights in this transformer. Raises UserError where it does not go with it."""

    def put_into(self, encoder: Encoder, seed: int) -> None:
        """Put it into the encoder's transformer, whose own weights take no gradient from then on."""


@dataclass(frozen=True)
class Lora:
    """LoRA: W x + s B (A x) in the place of W x, and only A (rank, I) and B (O, rank) are trained; B begins with zeros.

    s is alpha / rank, with rslora alpha / sqrt(rank). dropout: of x before A. target_modules: names of linear layers,
    or what they end in; None: all of the transformer's layers. Source: Hu et al. 2021, arXiv:2106.09685; rslora:
    Kalajdzievski 2023, arXiv:2312.03732.
    """

    rank: Annotated[int, Ge(1), Le(65_536), "16"] = 16
    alpha: Annotated[float, Gt(0), Le(1_000_000), "32"] = 32
    dropout: Annotated[float, Ge(0), Lt(1), "0.0"] = 0.0
    target_modules: Sequence[str] | None = None
    rslora: bool = False

    def problems(self) -> Iterator[tuple[str, str]]:
        """What is known before a model is looked at."""
        if find_spec("peft") is None:
            yield "_target_", MISSING
        if self.target_modules is not None and not self.target_modules:
            yield "target_modules", "names no layer; use null for all linear layers of the transformer's layers"

    def size(self, model: nn.Module) -> int:
        """Bytes of A and B of all layers. Raises UserError for names that no linear layer has."""
        layers: list[Any] = [model.get_submodule(name) for name in targets(model, self.target_modules)]
        return 4 * self.rank * sum(int(layer.in_features) + int(layer.out_features) for layer in layers)

    def put_into(self, encoder: Encoder, seed: int) -> None:
        """Beside each of the layers; A is drawn by the seed, and no other random number is."""
        import torch
        from peft import LoraConfig, inject_adapter_in_model

        from matryoshka.encoder.dropout import use_fast_dropout

        model: Any = encoder.backbone
        config = LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,  # type: ignore[arg-type]  # any number does
            lora_dropout=self.dropout,
            target_modules=targets(model, self.target_modules),
            use_rslora=self.rslora,
        )
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # that of the host alone
            inject_adapter_in_model(config, model)
        use_fast_dropout(model)
        model.train(model.training)


def targets(model: nn.Module, names: Sequence[str] | None) -> list[str]:
    """The full names of a transformer's linear layers that these names, or their ends, are; None: of all its layers.

    Raises UserError for a name that no linear layer has.
    """
    from torch import nn

    linear = [name for name, module in model.named_modules() if type(module) is nn.Linear]
    inside = {name: re.sub(r"^.*?\.\d+\.", "", name) for name in linear if re.search(r"\.\d+\.", name)}
    if names is None:
        if not inside:
            raise UserError("adapter.target_modules: this model has no numbered layers; name its linear layers")
        return list(inside)
    for name in names:
        if not any(f".{full}".endswith(f".{name}") for full in linear):
            there = list(dict.fromkeys(inside.values()))
            ends = [end for full in there for end in (full, full.rpartition(".")[2])]
            close = get_close_matches(name, ends, 1)
            meant = f"; did you mean {close[0]}?" if close else ""
            raise UserError(
                f"adapter.target_modules: no linear layer of the model is called {name}{meant} "
                f"There are {', '.join(there)}; null takes all of them"
            )
    return [full for full in linear if any(f".{full}".endswith(f".{name}") for name in names)]
