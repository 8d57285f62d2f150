"""Packed batches against loops over their sequences."""

from __future__ import annotations

import itertools
from dataclasses import FrozenInstanceError

import pytest
import torch

from matryoshka.data.packing import PackedBatch

COLUMNS = [[[5, 6], [7]], [[8, 9, 10, 11], [12]], [[13, 14, 15], [16, 17]]]


def test_sequences_lie_end_to_end_column_by_column() -> None:
    batch = PackedBatch.from_ids(COLUMNS)

    assert batch.input_ids_T.tolist() == list(range(5, 18))
    assert batch.input_ids_T.dtype == torch.int64
    assert batch.lengths == (2, 1, 4, 1, 3, 2)
    assert batch.columns == (2, 2, 2)


def test_offsets_cut_out_every_sequence() -> None:
    batch = PackedBatch.from_ids(COLUMNS)

    ids, offsets = batch.input_ids_T.tolist(), batch.cu_seqlens_Z.tolist()
    cut = [ids[start:end] for start, end in itertools.pairwise(offsets)]
    assert cut == [sequence for column in COLUMNS for sequence in column]


def test_positions_count_from_zero_in_every_sequence() -> None:
    assert PackedBatch.from_ids(COLUMNS).positions_T().tolist() == [0, 1, 0, 0, 1, 2, 3, 0, 0, 1, 2, 0, 1]


def test_padded_fills_up_on_the_right_to_the_longest() -> None:
    ids_SL, mask_SL = PackedBatch.from_ids(COLUMNS).padded(pad_id=1)

    sequences = [sequence for column in COLUMNS for sequence in column]
    assert ids_SL.tolist() == [sequence + [1] * (4 - len(sequence)) for sequence in sequences]
    assert mask_SL.tolist() == [[place < len(sequence) for place in range(4)] for sequence in sequences]
    assert (ids_SL.dtype, mask_SL.dtype) == (torch.int64, torch.bool)


def test_a_pad_id_within_a_sequence_is_no_padding() -> None:
    ids_SL, mask_SL = PackedBatch.from_ids([[[1, 1, 1], [4]]]).padded(pad_id=1)

    assert ids_SL.tolist() == [[1, 1, 1], [4, 1, 1]]
    assert mask_SL.tolist() == [[True, True, True], [True, False, False]]


def test_to_moves_only_the_ids() -> None:
    batch = PackedBatch.from_ids(COLUMNS)
    moved = batch.to("meta")

    assert moved.input_ids_T.device.type == "meta"
    assert moved.input_ids_T.shape == batch.input_ids_T.shape
    assert (moved.lengths, moved.columns) == (batch.lengths, batch.columns)
    assert batch.input_ids_T.device.type == "cpu"


def test_derived_tensors_are_where_the_ids_are() -> None:
    moved = PackedBatch.from_ids(COLUMNS).to("meta")

    assert moved.positions_T().device.type == "meta"


def test_pin_memory_keeps_lengths_and_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda ids: ids + 100)  # needs no GPU, and shows that it ran
    batch = PackedBatch.from_ids(COLUMNS)
    pinned = batch.pin_memory()

    assert pinned.input_ids_T.tolist() == [i + 100 for i in batch.input_ids_T.tolist()]
    assert (pinned.lengths, pinned.columns) == (batch.lengths, batch.columns)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_pinned_batches_reach_the_gpu() -> None:
    batch = PackedBatch.from_ids(COLUMNS).pin_memory()

    assert batch.input_ids_T.is_pinned()
    moved = batch.to("cuda", non_blocking=True)
    assert moved.positions_T().is_cuda
    assert moved.input_ids_T.tolist() == batch.input_ids_T.tolist()


def test_a_batch_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        PackedBatch.from_ids(COLUMNS).lengths = (13,)  # type: ignore[misc]
