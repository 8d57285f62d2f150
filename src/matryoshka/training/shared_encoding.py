"""A batch encoded by all processes of a run, each its share of the pairs."""

from __future__ import annotations

import torch
from torch import Tensor

from matryoshka.data.packing import PackedBatch, sent
from matryoshka.encoder.encoder import Encoder
from matryoshka.processes.together import gathered, own_rows, processes


def encode_together(encoder: Encoder, batch: PackedBatch) -> Tensor:
    """Embeddings of the whole batch (S, width) in every process, with the gradient of its own share of the pairs.

    Alone it is the encoder's forward. The shares are rows of the batch, one after another, with all their columns.
    """
    if processes() == 1:
        whole_SD: Tensor = encoder(batch)
        return whole_SD
    rows = own_rows(batch.columns[0])
    device = batch.input_ids_T.device
    own_RD, places = torch.zeros(0, encoder.width, device=device, requires_grad=True), list[int]()
    for part, places in batch.in_parts(max(1, len(rows)), rows):  # noqa: B007 - one part, or none
        own_RD = encoder(part)
    places_R = sent(torch.tensor(places, dtype=torch.int64), device)
    return gathered(own_RD, places_R, len(batch.lengths))
