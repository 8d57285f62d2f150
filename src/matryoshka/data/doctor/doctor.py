"""What is wrong with a data set: leaks, copies, texts that are cut, mixed languages. Looks, and changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge, Gt, Le

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from datasets import Dataset

    from matryoshka.data.doctor.diagnosis import Diagnosis
    from matryoshka.data.pools import Pools
    from matryoshka.data.retrieval_set import RetrievalSet
    from matryoshka.data.samplers import BatchSummary
    from matryoshka.data.sources import Problem

    TokenCounts = Mapping[str, npt.NDArray[np.integer]]

MISSING = "needs datasketch: pip install matryoshka[near-copies], or use null to look for none"

Jaccard = Annotated[float, Gt(0), Le(1), "{} is not above 0 and at most 1; use for example 0.8, or null"]
Texts = Annotated[int, Ge(0), "{} is below 0; use 0 for none"]


@dataclass(frozen=True)
class Doctor:
    """Examines training pairs and held-out sets.

    near_copies: the least Jaccard index, over runs of three words, of texts that nearly are copies; None: not looked
    for. languages: how many texts of each column to judge the language of. examples: how many to name of a finding.
    """

    near_copies: Jaccard | None = None
    languages: Texts = 1000
    examples: Texts = 3

    def problems(self) -> Iterator[Problem]:
        """A library that is missing."""
        if self.near_copies is not None and find_spec("datasketch") is None:
            yield "near_copies", MISSING

    def examine(
        self,
        pairs: Dataset,
        token_counts: TokenCounts,
        max_seq_length: int,
        held_out: Mapping[str, RetrievalSet],
        batches: BatchSummary | None = None,
        masked: bool = False,
        held_out_counts: Mapping[str, TokenCounts] | None = None,
        pools: Pools | None = None,
    ) -> Diagnosis:
        """Look at everything once.

        pairs: columns anchor, positive, negative_1 .... token_counts: tokens of each column's rows. Token ids are kept
        cut, so a text that is max_seq_length long counts as cut; a few may just fit. held_out: name -> set. batches: of
        an epoch; masked: whether the loss leaves out the copies that meet in one. held_out_counts: name -> tokens of
        its `queries` and `documents`. pools: further texts of the rows, which are looked for in the held-out sets.
        Raises UserError if near copies are asked for and their library is not installed.
        """
        from matryoshka.data.doctor.examination import examined  # it loads what a check of arguments can do without

        counts = held_out_counts or {}
        return examined(self, pairs, token_counts, max_seq_length, held_out, batches, masked, counts, pools)
