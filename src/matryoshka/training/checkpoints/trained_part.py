"""Which of a model's weights a checkpoint holds: all of them, or those beside a transformer that an adapter leaves."""

from __future__ import annotations

from torch import Tensor, nn

from matryoshka.encoder.low_rank import DOWN

TRANSFORMER = "backbone."


def trained_part(model: nn.Module) -> dict[str, Tensor]:
    """The model's state without those weights of its transformer that are not trained: its own files have them."""
    named = model.named_parameters(remove_duplicate=False)
    frozen = {name for name, weight in named if name.startswith(TRANSFORMER) and not weight.requires_grad}
    return {name: values for name, values in model.state_dict().items() if name not in frozen}


def start_of_mixes(model: nn.Module) -> dict[str, Tensor]:
    """What the weights before a training are in a mean with those after it, as the mean of what is multiplied.

    W + s B A with B = 0 before: share * B with A as it is after is that mean, so A is left out.
    """
    return {name: values for name, values in trained_part(model).items() if DOWN not in name}
