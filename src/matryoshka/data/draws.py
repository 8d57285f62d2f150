"""Which of its positives and negatives each row has in each epoch, and what of a batch is therefore no negative."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from matryoshka.data.pools import Pool, Pools

Numbers = npt.NDArray[np.int64]


class Draws(Sequence[tuple[int, ...]]):
    """One positive and so many negatives of each row and epoch. Draw `epoch * rows + row` is that of a row in an epoch.

    Each list is put in an order drawn by the seed; every epoch takes the next ones in it, and begins again behind the
    last: so all are taken before any comes again, whatever batches they meet in and wherever a run goes on. A row with
    fewer negatives has its own again, or its positive where it has none: candidates for nobody.
    As a sequence: of each draw a number for each text, anchor, positive, negatives; equal texts have equal numbers.

    negatives: of a draw. anchors: the numbers of the rows' anchors. documents: those of the pools' texts.
    """

    def __init__(
        self, pools: Pools, negatives: int, seed: int, anchors: Sequence[int], documents: Sequence[int]
    ) -> None:
        self.pools, self.negatives = pools, negatives
        self.anchors_R, self.documents_U = (np.array(numbers, np.int64) for numbers in (anchors, documents))
        generator = np.random.default_rng(seed)
        self._positives, self._negatives = (_Side(pool, generator) for pool in (pools.positives, pools.negatives))
        self._last: dict[int, tuple[int, ...]] = {}  # of one batch: its mask and its negatives ask for the same draws
        self._several = bool((pools.positives.counts > 1).any())

    def __len__(self) -> int:
        return len(self.anchors_R)

    def __getitem__(self, draw: int) -> tuple[int, ...]:  # type: ignore[override]
        if draw not in self._last:
            self._last = {draw: tuple(self._texts([draw])[0].tolist())}
        return self._last[draw]

    def __iter__(self) -> Iterator[tuple[int, ...]]:
        return iter(map(tuple, self._texts(range(len(self))).tolist()))

    def documents(self, draws: Sequence[int]) -> Numbers:
        """The pools' texts that each draw has, (B, C): its positive and its negatives."""
        return self._drawn(draws)[0]

    def scores(self, draws: Sequence[int]) -> dict[str, list[float]]:
        """What a teacher gives each draw's candidates, as columns of numbers (see pairs); {} if nothing is known."""
        if not self.pools.kinds:
            return {}
        places, own = self._drawn(draws)[1:]
        sides = [self._positives, *[self._negatives] * self.negatives]
        columns = [side.scores[np.where(own[:, i], places[:, i], 0)] for i, side in enumerate(sides)]
        known = [np.where(own[:, i], column, np.nan) for i, column in enumerate(columns)]
        names = ["positive", *(f"negative_{i + 1}" for i in range(self.negatives))]
        return {f"{name}_teacher": column.tolist() for name, column in zip(names, known, strict=True)}

    def of_epoch(self, epoch: int) -> list[tuple[int, ...]]:
        """For each row the texts that may not meet in a batch: those drawn in the epoch, and its other positives."""
        rows = len(self)
        drawn = self._texts(range(epoch * rows, (epoch + 1) * rows)).tolist()
        if not self._several:
            return list(map(tuple, drawn))
        pool = self.pools.positives
        positives, offsets = self.documents_U[pool.documents].tolist(), pool.offsets.tolist()
        return [(*texts, *positives[offsets[row] : offsets[row + 1]]) for row, texts in enumerate(drawn)]

    def answers(self) -> Iterator[tuple[int, int]]:
        """Every anchor with each of its positives."""
        pool = self.pools.positives
        anchors = np.repeat(self.anchors_R, pool.counts).tolist()
        return zip(anchors, self.documents_U[pool.documents].tolist(), strict=True)

    def masks(self) -> bool:
        """Whether anything is left out, whatever batches there are."""
        fewer = bool(self.negatives) and bool((self.pools.negatives.counts < self.negatives).any())
        return fewer or self._several

    def mask(self, draws: Sequence[int]) -> Tensor | None:
        """What the rows themselves say is no negative, bool (B, N); None if there is nothing.

        Of a row's anchor all positives of a row with that anchor, drawn or not; of everyone a negative that its own row
        has before. The N candidates are the positives, then the first negatives ...; a row's own positive stays.
        """
        texts_BC = self._texts(draws)
        self._last = dict(zip(draws, map(tuple, texts_BC.tolist()), strict=True))
        rows, candidates_N = len(texts_BC), texts_BC[:, 1:].T.reshape(-1)
        mask_BN = self._answers(np.asarray(draws) % len(self), candidates_N)
        if len(np.unique(texts_BC[:, 0])) < rows:
            same_BB = texts_BC[:, :1] == texts_BC[:, 0]
            mask_BN = same_BB.astype(np.float32) @ mask_BN.astype(np.float32) > 0
        for i in range(2, texts_BC.shape[1]):
            again_B = (texts_BC[:, i : i + 1] == texts_BC[:, 1:i]).any(1)
            mask_BN[:, (i - 1) * rows : i * rows] |= again_B
        np.fill_diagonal(mask_BN[:, :rows], False)
        return torch.from_numpy(mask_BN) if mask_BN.any() else None

    def _answers(self, rows: Numbers, candidates_N: Numbers) -> npt.NDArray[np.bool_]:
        """Which candidates are among the positives of which row, (B, N)."""
        pool = self.pools.positives.select(rows.tolist())
        of_row, positives = np.repeat(np.arange(len(rows)), pool.counts), self.documents_U[pool.documents]
        order = np.argsort(candidates_N, kind="stable")
        first, last = (np.searchsorted(candidates_N[order], positives, side) for side in ("left", "right"))
        hits = last - first
        places = np.repeat(first - np.cumsum(hits) + hits, hits) + np.arange(hits.sum())
        mask_BN = np.zeros((len(rows), len(candidates_N)), np.bool_)
        mask_BN[np.repeat(of_row, hits), order[places]] = True
        return mask_BN

    def _texts(self, draws: Sequence[int] | range) -> Numbers:
        """A number for each text of each draw: (B, 1 + C)."""
        rows = np.asarray(draws, np.int64) % len(self)
        return np.column_stack([self.anchors_R[rows], self.documents_U[self.documents(draws)]])

    def _drawn(self, draws: Sequence[int]) -> tuple[Numbers, Numbers, npt.NDArray[np.bool_]]:
        """Of each draw the documents, their places in their side's order, and whether each comes first: (B, C)."""
        epochs, rows = np.divmod(np.asarray(draws, np.int64), len(self))
        one, ones = self._positives.take(rows, epochs[:, None])
        takes = epochs[:, None] * self.negatives + np.arange(self.negatives)
        others, other = self._negatives.take(rows, takes)
        counts_B1 = self._negatives.counts[rows][:, None]
        documents = np.column_stack([one, np.where(counts_B1 > 0, others, one)])
        own = np.column_stack([np.ones_like(one, np.bool_), np.arange(self.negatives) < counts_B1])
        return documents, np.column_stack([ones, other]), own


class DrawnColumn:
    """Which text of a table each draw has in one column. place_U: where the table has each document, or row's anchor.

    column: of the documents; None: the anchors.
    """

    def __init__(self, draws: Draws, place_U: Tensor, column: int | None = None) -> None:
        self.draws, self.place_U, self.column = draws, place_U, column

    def __len__(self) -> int:
        return len(self.draws)

    def __getitem__(self, draws: Sequence[int] | Tensor) -> Tensor:
        numbers = draws.tolist() if isinstance(draws, Tensor) else list(draws)
        if self.column is None:
            return self.place_U[[number % len(self) for number in numbers]]
        return self.place_U[torch.from_numpy(self.draws.documents(numbers)[:, self.column])]


class _Side:
    """A pool in an order drawn by a generator."""

    def __init__(self, pool: Pool, generator: np.random.Generator) -> None:
        self.counts, self._starts = pool.counts, pool.offsets[:-1]
        rows = np.repeat(np.arange(len(self.counts)), self.counts)
        order = np.lexsort([generator.random(len(rows)), rows])
        self._documents = np.append(pool.documents[order], 0)  # one more, for rows at the end that have none
        scores = np.full(len(rows), np.nan) if pool.scores is None else pool.scores[order]
        self.scores = np.append(scores, np.nan)

    def take(self, rows: Numbers, numbers_BK: Numbers) -> tuple[Numbers, Numbers]:
        """The documents of these numbers in each row's order, counted on from its beginning, and their places."""
        places = self._starts[rows][:, None] + numbers_BK % np.maximum(self.counts[rows], 1)[:, None]
        return self._documents[places], places
