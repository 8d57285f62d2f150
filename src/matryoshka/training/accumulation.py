"""The gradient of some micro-batches of an update, in one pass of the encoder, or in many small ones.

A loss needs embeddings, and the encoder's gradient only needs the loss's gradient at them. So embeddings are cut from
the encoder's graph, each micro-batch's loss gives its gradient at its own, and a backward takes these through the
encoder. What is encoded at once need not be a micro-batch: several of them in one pass pay for each call once. Or one
is encoded part by part without keeping anything, and each part once more, with the dropout of the first time, to take
its gradient back: a large batch in the memory of a small one (GradCache, Gao et al. 2021, arXiv:2101.06983). Processes
that share a batch do the same, each with its own rows (see processes.together).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from matryoshka.data.packing import PackedBatch, sent
from matryoshka.encoder.encoder import Encoder
from matryoshka.losses.nested_loss import NestedLoss
from matryoshka.losses.precision import ieee_products
from matryoshka.processes.together import add_up, own_rows

LossOf = Callable[[int, Tensor], NestedLoss]  # of a micro-batch, by its place, and of its embeddings
Part = tuple[PackedBatch, list[int]]  # sequences that are encoded at once, and their places among those of all batches
OWN_GENERATOR = ("cuda", "mps")  # devices that draw dropout from a generator of their own


def add_gradients(
    encoder: Encoder,
    batches: Sequence[PackedBatch],
    loss_of: LossOf,
    divisor: int = 1,
    pairs_at_once: int | None = None,
    *,
    shared: bool = False,
) -> list[NestedLoss]:
    """Add the gradient of the sum of losses / divisor to the encoder's parameters; returns the losses, without a graph.

    loss_of: of a micro-batch the embeddings_SD of all its sequences, column by column, to its loss. pairs_at_once:
    pairs whose activations are kept at a time, in several passes; None: all, in one pass. shared: several processes
    have the same batches and each encodes its own rows; the sum of their gradients is the result. To rounding it is
    that of one backward after another. A loss's products are never rounded to bf16 or tf32, whatever the encoder's are.
    """
    device = batches[0].input_ids_T.device
    with encoder.packed_layers.cast_once(device):  # with a gradient, also where the first of several passes takes none
        return _add(encoder, list(_parts(batches, pairs_at_once, shared)), batches, loss_of, divisor, shared)


def _add(
    encoder: Encoder,
    parts: Sequence[Part],
    batches: Sequence[PackedBatch],
    loss_of: LossOf,
    divisor: int,
    shared: bool,
) -> list[NestedLoss]:
    device, states, encoded = batches[0].input_ids_T.device, list[Tensor](), list[Tensor]()
    with torch.set_grad_enabled(len(parts) == 1):
        for part, _ in parts:
            states.append(random_state(device))
            encoded.append(encoder(part))
    sizes = [len(batch.lengths) for batch in batches]
    places_R = sent(torch.tensor([place for _, places in parts for place in places], dtype=torch.int64), device)
    embeddings_SD = _in_place(encoder, encoded, places_R, sum(sizes))
    embeddings_SD = (add_up(embeddings_SD) if shared else embeddings_SD).requires_grad_()
    with torch.autocast(device.type, enabled=False), ieee_products():
        nested = [loss_of(i, own_SD) for i, own_SD in enumerate(embeddings_SD.split(sizes))]
        total = torch.stack([loss.total for loss in nested]).sum() / divisor
        (gradient_SD,) = torch.autograd.grad(total, embeddings_SD)
    after = random_state(device)
    gradients = gradient_SD[places_R].split([len(places) for _, places in parts])
    for (part, _), state, own_RD, gradient_RD in zip(parts, states, encoded, gradients, strict=True):
        if len(parts) > 1:
            set_random_state(device, state)
            own_RD = encoder(part)
        with torch.autocast(device.type, enabled=False):
            own_RD.backward(gradient_RD)
    set_random_state(device, after)
    return [loss.detached() for loss in nested]


def _parts(batches: Sequence[PackedBatch], pairs_at_once: int | None, shared: bool) -> Iterator[Part]:
    """What this process encodes, part by part; nothing where it has no row."""
    first, found = 0, list[Part]()
    for batch in batches:
        rows = own_rows(batch.columns[0]) if shared else range(batch.columns[0])
        if len(rows) == batch.columns[0] and (pairs_at_once or len(rows)) >= len(rows):
            found.append((batch, list(range(first, first + len(batch.lengths)))))
        else:
            parts = batch.in_parts(pairs_at_once or max(1, len(rows)), rows)
            found += [(part, [first + place for place in places]) for part, places in parts]
        first += len(batch.lengths)
    if pairs_at_once is not None or len(found) < 2:
        yield from found
    else:
        yield PackedBatch.joined([part for part, _ in found]), [place for _, places in found for place in places]


def _in_place(encoder: Encoder, encoded: Sequence[Tensor], places_R: Tensor, sequences: int) -> Tensor:
    """The embeddings of all sequences (S, D) without a graph; zeros for those that are not encoded here."""
    if not encoded:
        return torch.zeros(sequences, encoder.width, device=places_R.device)
    own_RD = torch.cat([each.detach() for each in encoded])
    return own_RD.new_zeros(sequences, own_RD.shape[1]).index_copy_(0, places_R, own_RD)


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
