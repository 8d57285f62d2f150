"""How a task measures an encoder: always the same dims, precision and device, each set of weights encoded once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from matryoshka.config.recipe import Recipe, TrainingRecipe
from matryoshka.data.tokens import TokenIds
from matryoshka.encoder.encoder import Encoder, Precision
from matryoshka.encoder.progress import Advance
from matryoshka.evaluation.deployment.deployment import Deployment
from matryoshka.evaluation.deployment.measuring import drawn, measure_deployment
from matryoshka.evaluation.embeddings import InMemory, Store, embed
from matryoshka.evaluation.evaluator import Evaluator
from matryoshka.evaluation.kept_embeddings import kept_embeddings
from matryoshka.evaluation.result import EvaluationResult
from matryoshka.evaluation.set_vectors import SetVectors
from matryoshka.evaluation.several_sets import SeveralSets, mean_result
from matryoshka.evaluation.tokenized_set import TokenizedSet
from matryoshka.memory.available import available
from matryoshka.processes.together import from_first, processes
from matryoshka.report.terminal import lines
from matryoshka.storage.cache import cache_folder

OF_MEMORY = 1 / 3  # of what is free: a larger share for embeddings sends them to the disk
CALIBRATED_ON = 256  # training passages, from which int8 takes its ranges; sentence-transformers asks for 100 or more


@dataclass(frozen=True)
class Measuring:
    """An encoder and how it is measured. store: where embeddings of equal weights are found again.

    on_disk: whether embeddings of so many bytes go to a file, decided once: free memory changes meanwhile.
    """

    encoder: Encoder
    evaluator: Evaluator
    dims: Sequence[int]
    precision: Precision
    device: torch.device
    store: Store
    on_disk: dict[int, bool] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        recipe: Recipe,
        encoder: Encoder,
        dims: Sequence[int],
        precision: str,
        device: torch.device,
        store: Store | None = None,
    ) -> Measuring:
        """As the recipe's evaluator says; precision: any name with bf16 in it, else fp32.

        How many tokens are encoded at once is decided here, before the run, and by the first of several processes:
        free memory changes meanwhile, and batches decide an embedding's last bits.
        """
        trains = isinstance(recipe, TrainingRecipe)
        budget = from_first(lambda: recipe.evaluator.budget(encoder, device, trains=trains))
        evaluator = recipe.evaluator.with_budget(budget)
        return cls(encoder, evaluator, dims, "bf16" if "bf16" in precision else "fp32", device, store or InMemory())

    def of_encoder(self, encoder: Encoder) -> Measuring:
        """Another encoder measured the same way, at those of the dims that it has."""
        dims = [dim for dim in self.dims if dim <= encoder.width] or [encoder.width]
        return replace(self, encoder=encoder, dims=dims)

    @property
    def token_budget(self) -> int:
        """Tokens encoded at once."""
        return self.evaluator.budget(self.encoder, self.device)

    @property
    def selected(self) -> str:
        """The full name of the selecting metric."""
        return self.evaluator.selected(self.dims)

    @property
    def may_go_to_disk(self) -> bool:
        """Whether evaluator.on_disk=true would change where the documents' embeddings are kept."""
        return self.evaluator.on_disk is not True and processes() == 1

    def measure(
        self, texts: TokenizedSet, store: Store | None = None, *, may_be_equal: bool = False
    ) -> EvaluationResult:
        """The encoder as it is now, on this set; a line says how large a file its embeddings take, if they do.

        Of several sets each is measured by itself, and the result is their mean. may_be_equal: as of Evaluator.
        """
        if isinstance(texts, SeveralSets):
            measure = partial(self.measure, store=store, may_be_equal=may_be_equal)
            return mean_result(*texts.named, {name: measure(part) for name, part in texts.parts.items()})
        if on_disk := self._on_disk(texts):
            documents, size = f"{len(texts.documents):,} documents", f"{self._bytes(texts) / 1e9:.1f} GB"
            lines.say("disk", f"the embeddings of {documents} take {size} in {cache_folder()} meanwhile")
        return self.evaluator.evaluate(
            self.encoder,
            texts,
            self.dims,
            precision=self.precision,
            progress=True,
            store=store or self.store,
            on_disk=on_disk,
            may_be_equal=may_be_equal,
        )

    def _on_disk(self, texts: TokenizedSet) -> bool:
        """Whether the documents' embeddings go to a file, as configured, if one process works alone."""
        if (size := self._bytes(texts)) not in self.on_disk:
            asked = self.evaluator.on_disk
            asked = self.too_large(len(texts.documents)) if asked == "auto" else asked
            self.on_disk[size] = asked and processes() == 1
        return self.on_disk[size]

    def too_large(self, texts: int) -> bool:
        """Whether the embeddings of so many texts take a larger share of the free memory than they may."""
        free = available(torch.device("cpu"), self.encoder)
        return free is not None and 4 * texts * self.encoder.width > free * OF_MEMORY

    def _bytes(self, texts: TokenizedSet) -> int:
        return 4 * len(texts.documents) * self.encoder.width

    def embedded(
        self, parts: Sequence[TokenIds], store: Store, advance: Advance | None = None, *, mapped: bool = False
    ) -> list[Tensor]:
        """Embeddings of these texts, by the budget and the precision that all are measured with; see `embed`."""
        options: Any = {"token_budget": self.token_budget, "precision": self.precision, "advance": advance}
        return embed(self.encoder, parts, store=store, mapped=mapped, **options)[0]

    def kept(self, texts: TokenizedSet, store: Store) -> list[Tensor] | None:
        """Embeddings of a measured set's documents and queries, of the first process alone; nothing is encoded.

        None where they are not all kept, or stay on the disk.
        """
        if self._on_disk(texts):
            return None
        options: Any = {"token_budget": self.token_budget, "precision": self.precision}
        return kept_embeddings(self.encoder, [texts.documents, texts.queries], store, **options)

    def deployment(self, texts: TokenizedSet, passages: TokenIds) -> Deployment | None:
        """What cutting and rounding the vectors costs in the selecting metric, copies merged.

        passages: those of the training set, from which int8 takes its ranges. The set's own embeddings are found again.
        None where they do not stay in memory: each way of rounding would be another copy of them.
        """
        if isinstance(texts, SeveralSets):
            lines.say("deploy", "left out: it needs one corpus, and here are several sources")
            return None
        if self._on_disk(texts):
            lines.say("deploy", "left out: it needs the documents' embeddings in memory, evaluator.on_disk=false")
            return None
        documents_UD, queries_UD, calibration_MD = self.embedded([texts.documents, texts.queries, passages], self.store)
        vectors = SetVectors.of(texts, queries_UD, documents_UD)
        metric = self.evaluator.metric
        return from_first(lambda: measure_deployment(*vectors.merged(), calibration_MD, self.dims, metric))


def drawn_for_calibration(passages: int) -> list[int]:
    """The numbers of the training passages to calibrate on."""
    return drawn(passages, CALIBRATED_ON)
