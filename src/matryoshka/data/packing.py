"""Sequences in batches, laid end to end in one row: no padding to compute, and the padded form for whoever needs it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor

from matryoshka.data.pairs import CANDIDATE
from matryoshka.data.tokens import TokenIds


@dataclass(frozen=True)
class PackedBatch:
    """S sequences of token ids, T tokens in all.

    input_ids_T: the sequences one after another. cu_seqlens_Z: where each sequence starts, and the end of the last
    (Z = S + 1, int32). lengths: tokens of each sequence (on the host: no device sync). columns: how many of the
    sequences belong to each column (anchors first, then positives, then negatives). mask_BN: candidates that are no
    negatives of a row, if there are any (see negatives). rows: the pairs' numbers in the training set. numbers:
    matrices (B, N) of numbers of the candidates, by the name under which a loss asks for them (see data.pairs). masked:
    entries of mask_BN that are true, counted on the host. prompts: tokens of the prompt in front of each sequence, on
    the host; none where that is not known.
    """

    input_ids_T: Tensor
    cu_seqlens_Z: Tensor
    lengths: tuple[int, ...]
    columns: tuple[int, ...]
    mask_BN: Tensor | None = None
    rows: tuple[int, ...] = ()
    numbers: Mapping[str, Tensor] = field(default_factory=dict)
    masked: int = 0
    prompts: tuple[int, ...] = ()

    @classmethod
    def from_ids(
        cls,
        columns: Sequence[Sequence[Sequence[int]]],
        mask_BN: Tensor | None = None,
        rows: Sequence[int] = (),
        numbers: Mapping[str, Tensor] | None = None,
        prompts: Sequence[int | None] = (),
    ) -> PackedBatch:
        """Pack the sequences of every column, in order. prompts: a number of tokens each column."""
        sequences = [ids for column in columns for ids in column]
        flat = torch.tensor([i for ids in sequences for i in ids], dtype=torch.int64)
        lengths = tuple(map(len, sequences))
        masked, sizes = 0 if mask_BN is None else int(mask_BN.sum()), tuple(map(len, columns))
        known = [prompt for prompt in prompts if prompt is not None]
        told = tuple(np.repeat(known, sizes).tolist()) if len(known) == len(sizes) else ()
        return cls(flat, _cu_seqlens_Z(lengths), lengths, sizes, mask_BN, tuple(rows), numbers or {}, masked, told)

    @classmethod
    def of_texts(cls, ids: TokenIds, texts: Iterable[int]) -> PackedBatch:
        """Pack some of many texts, as one column."""
        return cls.from_ids([[ids[text] for text in texts]], prompts=[ids.prompt])

    @property
    def lengths_S(self) -> Tensor:
        """Tokens of each sequence, where the ids are."""
        return self.cu_seqlens_Z.diff().long()

    @property
    def sequences_T(self) -> Tensor:
        """The number of each token's sequence."""
        return torch.repeat_interleave(self.lengths_S, output_size=len(self.input_ids_T))

    def positions_T(self) -> Tensor:
        """The place of each token in its own sequence, from 0."""
        starts_T = self.cu_seqlens_Z[self.sequences_T]
        return torch.arange(len(starts_T), device=starts_T.device) - starts_T

    def padded_places_T(self) -> Tensor:
        """The place of each token in the padded batch, counted row after row."""
        return self.sequences_T * max(self.lengths) + self.positions_T()

    def padded(self, pad_id: int) -> tuple[Tensor, Tensor]:
        """input_ids_SL and attention_mask_SL, each sequence filled up on the right to the longest."""
        places_L = torch.arange(max(self.lengths), device=self.input_ids_T.device)
        mask_SL = places_L < self.lengths_S[:, None]
        # Whole numbers as indices: a mask as an index would be counted first, and the host would wait for it.
        ids_P = self.input_ids_T.new_full((mask_SL.numel(),), pad_id)
        ids_P[self.padded_places_T()] = self.input_ids_T
        return ids_P.view(mask_SL.shape), mask_SL

    def in_parts(self, pairs: int, of: range | None = None) -> Iterator[tuple[PackedBatch, list[int]]]:
        """The batch in parts of so many pairs, each with the places of its sequences in the whole batch.

        of: only these pairs.
        """
        ids, rows = self.input_ids_T.split(list(self.lengths)), self.columns[0]
        of = range(rows) if of is None else of
        for start in range(of.start, of.stop, pairs):
            end = min(start + pairs, of.stop)
            places = [column * rows + row for column in range(len(self.columns)) for row in range(start, end)]
            part = torch.cat([ids[place] for place in places])
            lengths = tuple(self.lengths[place] for place in places)
            cu_seqlens_Z = sent(_cu_seqlens_Z(lengths), part.device)
            prompts = tuple(self.prompts[place] for place in places) if self.prompts else ()
            yield PackedBatch(part, cu_seqlens_Z, lengths, (end - start,) * len(self.columns), prompts=prompts), places

    @classmethod
    def joined(cls, batches: Sequence[PackedBatch]) -> PackedBatch:
        """The sequences of several batches, one batch after another, as if they were of one column; to encode only."""
        lengths = tuple(length for batch in batches for length in batch.lengths)
        ids_T = torch.cat([batch.input_ids_T for batch in batches])
        known = all(batch.prompts for batch in batches)
        prompts = tuple(prompt for batch in batches for prompt in batch.prompts) if known else ()
        return cls(ids_T, sent(_cu_seqlens_Z(lengths), ids_T.device), lengths, (len(lengths),), prompts=prompts)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> PackedBatch:
        """The same batch on another device."""
        return self._changed(lambda x: x.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> PackedBatch:
        """The same batch in page-locked memory, from where copies to a GPU need not wait."""
        return self._changed(Tensor.pin_memory)

    def _changed(self, change: Callable[[Tensor], Tensor]) -> PackedBatch:
        """The batch with each of its tensors changed."""
        return replace(
            self,
            input_ids_T=change(self.input_ids_T),
            cu_seqlens_Z=change(self.cu_seqlens_Z),
            mask_BN=None if self.mask_BN is None else change(self.mask_BN),
            numbers={name: change(x_BN) for name, x_BN in self.numbers.items()},
        )

    def sent(self, device: torch.device) -> PackedBatch:
        """The same batch on a device that it goes to without the host waiting, as `sent` does for one tensor."""
        batch = self.pin_memory() if device.type == "cuda" else self
        return batch.to(device, non_blocking=device.type != "mps")


def sent(x: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host on a device. A GPU takes it from page-locked memory, so that the host need not wait."""
    x = x.pin_memory() if device.type == "cuda" else x
    return x.to(device, non_blocking=device.type != "mps")  # MPS may read after the memory is used anew


def _cu_seqlens_Z(lengths: Sequence[int]) -> Tensor:
    return torch.tensor([0, *accumulate(lengths)], dtype=torch.int32)


def number_matrices(table: Mapping[str, Sequence[float | None]], candidates: Sequence[str]) -> dict[str, Tensor]:
    """kind -> (B, N), fp32: row i has the numbers of its own candidates, NaN for those of other rows.

    table: the columns of numbers of B rows; None is NaN too. candidates: the columns of texts but the anchors; N are
    their B texts each.
    """
    matrices: dict[str, Tensor] = {}
    for column, values in table.items():
        candidate, kind = CANDIDATE.fullmatch(column).groups()  # type: ignore[union-attr]
        rows, known = len(values), [torch.nan if value is None else value for value in values]
        matrix_BN = matrices.setdefault(f"{kind}_BN", torch.full((rows, rows * len(candidates)), torch.nan))
        start = candidates.index(candidate) * rows
        matrix_BN[:, start : start + rows].diagonal().copy_(torch.tensor(known, dtype=torch.float32))
    return matrices


def stable_batches(ids: TokenIds, token_budget: int) -> Iterator[list[int]]:
    """Texts in batches of at most token_budget tokens (a longer one stands alone), longest first.

    Longest first, so that a batch that does not fit memory fails at the start; like lengths meet in a batch. By its
    hash, one text in as many as fit opens a new batch: so texts that come or go change the batches near them alone,
    as the chunks of a backup do (content-defined chunking, Muthitacharoen et al. 2001, doi:10.1145/502034.502052).
    """
    hashes = [hash(tuple(text)) for text in ids]  # of numbers: the same in every process
    lengths = ids.lengths.tolist()
    batch: list[int] = []
    tokens = 0
    for text in sorted(range(len(ids)), key=lambda i: (-lengths[i], hashes[i])):
        opens = hashes[text] % max(1, token_budget // max(1, lengths[text])) == 0
        copies = bool(batch) and hashes[batch[-1]] == hashes[text]  # else each of many copies would open a batch
        if batch and ((opens and not copies) or tokens + lengths[text] > token_budget):
            yield batch
            batch, tokens = [], 0
        batch.append(text)
        tokens += lengths[text]
    if batch:
        yield batch
