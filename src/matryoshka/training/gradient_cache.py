"""A large batch in the memory of a small one: GradCache. Gao et al. 2021, arXiv:2101.06983.

The loss of in-batch negatives needs the embeddings of the whole batch, but the encoder's gradient only needs the loss's
gradient at them. So the batch is encoded part by part without keeping anything, the loss gives its gradient at the
embeddings, and each part is encoded once more, with the dropout of the first time, to take that gradient back.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from matryoshka.data.packing import PackedBatch, sent
from matryoshka.encoder.encoder import Encoder
from matryoshka.losses.nested_loss import NestedLoss
from matryoshka.processes.together import add_up, own_rows

OWN_GENERATOR = ("cuda", "mps")  # devices that draw dropout from a generator of their own


def cached_backward(
    encoder: Encoder,
    batch: PackedBatch,
    pairs_at_once: int,
    loss_of: Callable[[Tensor], NestedLoss],
    divisor: int = 1,
) -> NestedLoss:
    """Add the gradient of loss / divisor to the encoder's parameters; returns the loss, without a graph.

    loss_of: embeddings_SD of all sequences of the batch, column by column, to the loss. pairs_at_once: pairs whose
    activations are kept at a time. The result is that of one backward of the whole batch, to rounding; of several
    processes each encodes its own share of the pairs, and the sum of their gradients is the result.
    """
    parts = list(batch.in_parts(pairs_at_once, own_rows(batch.columns[0])))
    device = batch.input_ids_T.device
    states, embeddings = [], []
    with torch.no_grad():
        for part, _ in parts:
            states.append(random_state(device))
            embeddings.append(encoder(part))
    rows_S = sent(torch.tensor([row for _, rows in parts for row in rows], dtype=torch.int64), device)
    own_RD = torch.cat(embeddings) if parts else torch.zeros(0, encoder.width, device=device)
    embeddings_SD = own_RD.new_zeros(len(batch.lengths), encoder.width).index_copy_(0, rows_S, own_RD)
    add_up(embeddings_SD).requires_grad_()
    nested = loss_of(embeddings_SD)
    with torch.autocast(device.type, enabled=False):
        (gradient_SD,) = torch.autograd.grad(nested.total / divisor, embeddings_SD)
    after = random_state(device)
    gradients = gradient_SD[rows_S].split([len(rows) for _, rows in parts])
    for (part, _), state, part_SD in zip(parts, states, gradients, strict=True):
        set_random_state(device, state)
        encoded = encoder(part)
        with torch.autocast(device.type, enabled=False):
            encoded.backward(part_SD)
    set_random_state(device, after)
    return NestedLoss(nested.total.detach(), nested.per_dim)


def random_state(device: torch.device) -> Tensor:
    """The state of the generator that a device draws dropout from."""
    state: Tensor
    if device.type in OWN_GENERATOR:
        state = torch.get_device_module(device).get_rng_state(device)
    else:
        state = torch.get_rng_state()
    return state


def set_random_state(device: torch.device, state: Tensor) -> None:
    """Let a device draw dropout as it did from this state on."""
    if device.type in OWN_GENERATOR:
        torch.get_device_module(device).set_rng_state(state, device)
    else:
        torch.set_rng_state(state)
