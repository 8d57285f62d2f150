"""Embeddings that no projection changes: of the training pairs and of all that is measured."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial

import torch
from torch import Tensor

from matryoshka.config.recipe import TrainingRecipe
from matryoshka.data.retrieval_set import RetrievalSet
from matryoshka.data.split import Split
from matryoshka.evaluation.deployment.deployment import Deployment
from matryoshka.evaluation.deployment.measuring import measure_deployment
from matryoshka.evaluation.embeddings import OnDisk
from matryoshka.evaluation.judgements import Judgements
from matryoshka.evaluation.result import EvaluationResult
from matryoshka.evaluation.set_vectors import ChosenRows, SetVectors
from matryoshka.evaluation.tokenized_set import TokenizedSet
from matryoshka.projection.codes import Array
from matryoshka.projection.pair_vectors import PairVectors, require_directions
from matryoshka.projection.saved import SavedProjection
from matryoshka.projection.stored_pairs import VectorFiles, row_numbers
from matryoshka.projection.vector_files import mapped
from matryoshka.tasks.loading import TrainingData
from matryoshka.tasks.measuring import Measuring
from matryoshka.tasks.projecting import training_vectors

LARGEST = 2**28  # numbers of documents that are looked at for what to deploy: a copy of them is made for each way


@dataclass(frozen=True)
class Frozen:
    """name: of the model, for tables. label: which queries choose. precision: that texts were encoded in.
    device: that of the encoder, where sets are searched.

    sets: what makes the embeddings of each set, by name: `test`, `dev` where it chooses, further ones. They are made
    when they are first asked for, by all processes together: a fit needs the pairs alone.
    """

    name: str
    label: str
    pairs: PairVectors
    sets: Mapping[str, Callable[[], SetVectors]]
    precision: str = "fp32"
    device: torch.device | None = None

    @classmethod
    def of_texts(cls, data: TrainingData, measuring: Measuring) -> Frozen:
        """Each distinct text encoded once; what an earlier task encoded is found again."""
        sets = {name: partial(encoded, texts, measuring) for name, texts in data.held_out.items()}
        pairs = training_vectors(data, measuring)
        return cls(measuring.encoder.name, data.split.label, pairs, sets, measuring.precision, measuring.device)

    @classmethod
    def of_files(cls, source: VectorFiles, split: Split) -> Frozen:
        """Vectors that are stored, mapped from their files. Raises DataError for one that has no direction."""
        queries_AD, documents_PD = (_tensor(mapped(path)) for path in (source.queries, source.documents))
        anchor_N, positive_N = (torch.tensor(row_numbers(split.pairs[side][:])) for side in ("anchor", "positive"))

        def rows_of(texts: Iterable[str], path: str, vectors_ND: Tensor) -> Tensor:
            rows_M = torch.tensor(row_numbers(list(texts)))
            require_directions(path, vectors_ND, rows_M)
            return rows_M

        def stored(data: RetrievalSet) -> SetVectors:
            judgements = Judgements(data, list(data.queries), sorted(data.corpus))
            asked, found = data.queries.values(), (data.corpus[name] for name in judgements.document_ids)
            rows_Q = rows_of(asked, source.queries, queries_AD)
            documents_ND = ChosenRows(documents_PD, rows_of(found, source.documents, documents_PD))
            return SetVectors(judgements, queries_AD[rows_Q].float(), documents_ND, torch.arange(len(documents_ND)))

        require_directions(source.queries, queries_AD, anchor_N.unique())
        require_directions(source.documents, documents_PD, positive_N.unique())
        held_out = {"test": split.test, **({"dev": split.dev} if split.dev else {})}
        pairs = PairVectors(queries_AD, documents_PD, anchor_N, positive_N)
        return cls(source.name, split.label, pairs, {name: partial(stored, data) for name, data in held_out.items()})

    @cached_property
    def made(self) -> Mapping[str, SetVectors]:
        """The embeddings of every set."""
        return {name: make() for name, make in self.sets.items()}

    @property
    def test(self) -> SetVectors:
        """What is reported."""
        return self.made["test"]

    @property
    def dev(self) -> SetVectors | None:
        """What chooses; None where the test queries do."""
        return self.made.get("dev")

    @property
    def further(self) -> Mapping[str, SetVectors]:
        """Sets that choose nothing."""
        return {name: vectors for name, vectors in self.made.items() if name not in ("test", "dev")}

    def measured(
        self, vectors: SetVectors, recipe: TrainingRecipe, projection: SavedProjection | None = None
    ) -> EvaluationResult:
        """What these vectors are worth as they are, or behind the projection."""
        vectors = behind(vectors, projection) if projection else vectors
        result = recipe.evaluator.measure_vectors(self.name, vectors, recipe.dims, self.device)
        return replace(result, precision=self.precision, width=self.pairs.width)


def behind(vectors: SetVectors, projection: SavedProjection) -> SetVectors:
    """The set behind a projection: both sides, or the queries alone."""
    return vectors.projected(torch.from_numpy(projection.matrix_DE), documents=projection.side == "both")


def encoded(texts: TokenizedSet, measuring: Measuring) -> SetVectors:
    """A set's texts, encoded or found again."""
    to_file = measuring.too_large(len(texts.documents))
    documents_UD, queries_UD = measuring.embedded([texts.documents, texts.queries], OnDisk(), mapped=to_file)
    return SetVectors.of(texts, queries_UD, documents_UD)


def deployment(vectors: SetVectors, calibration_MD: Tensor, dims: list[int], metric: str) -> Deployment | None:
    """What cutting and rounding the vectors costs, copies merged; None of more documents than a copy is made of."""
    if len(vectors.documents_UD) * len(calibration_MD[0]) > LARGEST:
        return None
    return measure_deployment(*vectors.merged(), calibration_MD, dims, metric)


def _tensor(array_ND: Array) -> Tensor:
    """The same memory as a tensor. torch warns that it could be written to, which nothing here does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.from_numpy(array_ND)
