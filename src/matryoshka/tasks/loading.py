"""What a run reads: the encoder, its training batches, and what it is measured on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from hydra.utils import instantiate

from matryoshka.data.split import Split
from matryoshka.data.tokens import TokenIds, distinct_tokens, token_counts, tokenized_pairs
from matryoshka.encoder.encoder import Encoder
from matryoshka.evaluation.tokenized_set import TokenizedSet
from matryoshka.report.record import DEV, PairsSummary
from matryoshka.tasks.measuring import drawn_for_calibration
from matryoshka.tasks.setup import load_encoder, pairs_summary, tokenized_set
from matryoshka.training.datamodule import PairsModule

if TYPE_CHECKING:
    from matryoshka.data.doctor.diagnosis import Diagnosis
    from matryoshka.data.samplers import BatchSummary


@dataclass(frozen=True)
class Loaded:
    """Texts and token ids of all sides. dev: None where the test queries select the checkpoint.

    data_commit: of a hub data set, the commit that was read.
    """

    encoder: Encoder
    split: Split
    batches: PairsModule
    dev: TokenizedSet | None
    test: TokenizedSet
    pairs: PairsSummary
    data_commit: str | None = None

    @property
    def selecting(self) -> TokenizedSet:
        """What the checkpoint is selected on."""
        return self.dev or self.test

    @property
    def prefix(self) -> str:
        """What the log has in front of the metrics of the selecting queries."""
        return DEV if self.dev else ""

    @cached_property
    def batch_summary(self) -> BatchSummary:
        """An epoch's batches, in numbers."""
        return self.batches.sampler.summary()

    @cached_property
    def passages(self) -> TokenIds:
        """Some of the training passages, to calibrate on."""
        positives = self.batches.pairs.with_format("python")["positive"]
        return TokenIds.of(positives[row] for row in drawn_for_calibration(len(self.batches.pairs)))

    @cached_property
    def used_tokens(self) -> set[int]:
        """Every token that a training or held-out text has."""
        dev = self.dev.distinct_tokens() if self.dev else set()
        return distinct_tokens(self.batches.pairs) | self.test.distinct_tokens() | dev

    def examine(self, doctor: Any) -> Diagnosis:
        """What the data doctor finds."""
        held_out = {"dev": self.dev, "test": self.test} if self.dev else {"test": self.test}
        diagnosis: Diagnosis = doctor.examine(
            self.split.pairs,
            token_counts(self.batches.pairs),
            self.encoder.max_seq_length,
            {name: texts.data for name, texts in held_out.items()},
            self.batch_summary,
            self.batches.sampler.mask_clashes,
            {
                name: {
                    "queries": texts.queries.lengths[texts.queries_Q.numpy()],
                    "documents": texts.documents.lengths[texts.documents_N.numpy()],
                }
                for name, texts in held_out.items()
            },
        )
        return diagnosis


def load(config: Mapping[str, Any]) -> Loaded:
    """Read, split and tokenize; nothing is encoded yet."""
    source = instantiate(config["data"], _convert_="all")
    split: Split = instantiate(config["split"], _convert_="all").split(source)
    encoder = load_encoder(config)
    columns = split.pairs.column_names
    prompts = {name: encoder.prompts["query" if name == "anchor" else "document"] for name in columns}
    tokens = tokenized_pairs(split.pairs, encoder.tokenizer, encoder.max_seq_length, prompts)
    sampler = instantiate(config["sampler"], _partial_=True, _convert_="all")
    batches = PairsModule(tokens, sampler, config.get("workers", 0), texts=split.pairs)
    return Loaded(
        encoder=encoder,
        split=split,
        batches=batches,
        dev=tokenized_set(encoder, split.dev) if split.dev else None,
        test=tokenized_set(encoder, split.test),
        pairs=pairs_summary(source.name, split.pairs, tokens),
        data_commit=getattr(source, "commit", None),
    )
