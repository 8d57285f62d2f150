"""Linear layers with an adapter of low rank beside them, W x + b + s B (A x), as peft puts them into a model (LoRA).

Source: Hu et al. 2021, arXiv:2106.09685. A layer is known by its parts: nothing of peft is imported here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NAME = "default"  # of the only adapter, as peft calls it
DOWN = f".lora_A.{NAME}."  # what the names of the weights A have in them

# Weight (O, I) and bias (O,) of a product; of one with an adapter whose gradient is taken also A (R, I) and s B (O, R).
Product = tuple[Tensor, ...]


def is_low_rank(part: Any) -> bool:
    """Whether a module computes W x + b + s B (A x) and nothing else, such as dropout, while it is in this mode."""
    if not isinstance(part, nn.Module) or not {"base_layer", "lora_A", "lora_B"} <= part._modules.keys():
        return False
    layer = cast(Any, part)
    other = layer.merged or layer.disable_adapters or layer.lora_variant or list(layer.lora_A) != [NAME]
    if other or layer.lora_bias[NAME] or type(layer.base_layer) is not nn.Linear:
        return False
    return not layer.training or type(layer.lora_dropout[NAME]) is nn.Identity


def product_of(*linears: Any) -> Product:
    """One product in the place of those of several linear layers with the same input, plain or of low rank.

    Where no gradient is taken, adapters are added to the weights.
    """
    own = [linear.base_layer if is_low_rank(linear) else linear for linear in linears]
    factors = any(map(is_low_rank, linears)) and torch.is_grad_enabled()
    weights = [one.weight if factors else _with_adapter(linear) for one, linear in zip(own, linears, strict=True)]
    weight, bias = _joined(weights), _joined([one.bias for one in own])
    if not factors:
        return weight, bias
    down, up = zip(*map(_factors, linears), strict=True)
    return weight, bias, torch.cat(down), torch.block_diag(*up)


def multiply(x_TI: Tensor, product: Product) -> Tensor:
    """(T, O): the product with every row."""
    y_TO = F.linear(x_TI, product[0], product[1])
    return y_TO if len(product) == 2 else torch.addmm(y_TO, F.linear(x_TI, product[2]), product[3].T)


def adapted_layers(model: nn.Module) -> Iterator[tuple[nn.Module, str, Any]]:
    """Every layer of a model with an adapter of peft's beside it: (parent, name in it, layer)."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if "base_layer" in child._modules:
                yield parent, name, child


@torch.no_grad()
def merge_adapter(model: nn.Module) -> None:
    """Add an adapter to the weights that it stands beside, for good; nothing where there is none.

    Then every weight takes a gradient again.
    """
    for parent, name, layer in adapted_layers(model):
        layer.merge()
        setattr(parent, name, layer.base_layer)
        model.requires_grad_(True)
    vars(model).pop("peft_config", None)


def _with_adapter(linear: Any) -> Tensor:
    if not is_low_rank(linear):
        return cast(Tensor, linear.weight)
    return cast(Tensor, linear.base_layer.weight + linear.get_delta_weight(NAME))


def _factors(linear: Any) -> tuple[Tensor, Tensor]:
    """A and s B; of no rank for a plain layer."""
    if is_low_rank(linear):
        up: Tensor = linear.lora_B[NAME].weight
        # A sum, since a product would keep a tensor for its gradient, and several backward passes go through this one.
        return linear.lora_A[NAME].weight, up.new_zeros(()).add(up, alpha=linear.scaling[NAME])
    weight: Tensor = linear.weight
    return weight.new_zeros(0, weight.shape[1]), weight.new_zeros(weight.shape[0], 0)


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)
