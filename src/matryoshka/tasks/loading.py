"""What a training reads: the encoder, its batches, and what it is measured on. Nothing is encoded yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING

from matryoshka.config.recipe import EvaluationRecipe, Recipe, TrainingRecipe
from matryoshka.data.mixture import MixedSet, MixedSources, MixedSplit
from matryoshka.data.mixture_sampler import MixtureSampler
from matryoshka.data.pairs import kinds
from matryoshka.data.split import Prompts, Split
from matryoshka.data.tokens import TokenIds, kept_token_ids, token_counts
from matryoshka.encoder.encoder import Encoder
from matryoshka.errors import UserError
from matryoshka.evaluation.several_sets import SeveralSets
from matryoshka.evaluation.tokenized_set import TokenizedSet
from matryoshka.export.tokenizer_config import pad_token
from matryoshka.projection.learned import Learned, Orthogonal
from matryoshka.report.record import DEV, PairsSummary
from matryoshka.tasks.make_loss import make_loss
from matryoshka.tasks.measuring import drawn_for_calibration
from matryoshka.tasks.pair_tokens import drawn_texts, kind_of, pair_tokens
from matryoshka.tasks.row_prompts import take_prompts
from matryoshka.training.datamodule import MakeSampler, PairsModule

if TYPE_CHECKING:
    from matryoshka.data.doctor.diagnosis import Diagnosis
    from matryoshka.data.doctor.doctor import Doctor
    from matryoshka.data.retrieval_set import RetrievalSet
    from matryoshka.data.samplers import BatchSummary
    from matryoshka.encoder.encoder import Prompt


@dataclass(frozen=True)
class TrainingData:
    """Texts and token ids of all sides. dev: None where the test queries select the checkpoint.

    sets: further ones to measure, by name. data_commit: of a hub data set, the commit that was read.
    """

    encoder: Encoder
    split: Split
    batches: PairsModule
    dev: TokenizedSet | None
    test: TokenizedSet
    sets: Mapping[str, TokenizedSet]
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

    @property
    def held_out(self) -> dict[str, TokenizedSet]:
        """All that is measured, by name."""
        dev = {"dev": self.dev} if self.dev else {}
        return {**dev, "test": self.test, **self.sets}

    @cached_property
    def batch_summary(self) -> BatchSummary:
        """An epoch's batches, in numbers."""
        return self.batches.sampler.summary()

    @property
    def masked(self) -> bool:
        """Whether the loss leaves out candidates."""
        return self.batches.masks(self.batch_summary)

    @cached_property
    def passages(self) -> TokenIds:
        """Some of the training passages, to calibrate on."""
        positives = self.batches.pairs.with_format("python")["positive"]
        drawn = (positives[row] for row in drawn_for_calibration(len(self.batches.pairs)))
        return TokenIds.of(drawn, self.encoder.prompt_tokens("document"))

    @cached_property
    def used_tokens(self) -> set[int]:
        """Every token that a training or held-out text has."""
        return self.batches.distinct_tokens().union(*(texts.distinct_tokens() for texts in self.held_out.values()))

    def examine(self, doctor: Doctor) -> Diagnosis:
        """What the data doctor finds; of the sets only those that the data bring along."""
        own = {name: texts for name, texts in self.held_out.items() if name not in self.sets}
        return doctor.examine(
            self.split.pairs,
            token_counts(self.batches.pairs),
            self.encoder.max_seq_length,
            {name: texts.data for name, texts in own.items()},
            self.batch_summary,
            self.masked,
            {
                name: {
                    "queries": texts.queries.lengths[texts.queries_Q.numpy()],
                    "documents": texts.documents.lengths[texts.documents_N.numpy()],
                }
                for name, texts in own.items()
            },
            self.split.pools,
        )


def load(recipe: TrainingRecipe) -> TrainingData:
    """Read, split and tokenize. Raises UserError for a loss that takes what the data do not have."""
    source = recipe.data
    split = source.split_by(recipe.split) if isinstance(source, MixedSources) else recipe.split.split(source)
    require_numbers(recipe, split)
    encoder = load_encoder(recipe)
    if recipe.adapter:
        recipe.adapter.size(encoder.backbone)  # which finds names that the model does not have
    split = take_prompts(recipe, split, encoder)
    sampler: MakeSampler = recipe.sampler
    if isinstance(split, MixedSplit):
        sampler = partial(MixtureSampler, make=recipe.sampler, sizes=split.sizes, weights=split.weights)
    in_front = {name: encoder.prompt_tokens(kind_of(name)) for name in split.pairs.column_names}
    drawn = drawn_texts(split, encoder, recipe.seed)
    tokens, given = pair_tokens(encoder, split), (split.pairs, recipe.negatives, split.numbers, in_front, drawn)
    return TrainingData(
        encoder=encoder,
        split=split,
        batches=PairsModule(tokens, sampler, recipe.workers, *given),
        dev=tokenized_set(encoder, split.dev) if split.dev else None,
        test=tokenized_set(encoder, split.test),
        sets=tokenized_sets(recipe, encoder),
        pairs=PairsSummary.of(recipe.data.name, split.pairs, tokens),
        data_commit=getattr(recipe.data, "commit", None),
    )


def load_encoder(recipe: TrainingRecipe | EvaluationRecipe) -> Encoder:
    """The encoder with the recipe's pooling; without one, with the pooling saved with the model.

    Raises UserError for what is only known of the loaded model: a dim that is wider, or a tokenizer without a token to
    pad with where the model is to be saved.
    """
    encoder = recipe.encoder.load(recipe.pooling)
    if recipe.dims and (widest := max(recipe.dims)) > encoder.width:
        raise UserError(f"dims: {widest} is wider than the encoder's {encoder.width}; use dims up to that")
    if getattr(recipe, "export", None):
        pad_token(encoder.tokenizer)
    return encoder


def tokenized_set(encoder: Encoder, held_out: RetrievalSet, own: Prompts | None = None) -> TokenizedSet:
    """What is measured, tokenized once and kept for later runs. own: prompts in place of the encoder's."""
    if isinstance(held_out, MixedSet):
        prompts = {name: held_out.prompts.get(name) for name in held_out.parts}
        parts = {name: tokenized_set(encoder, part, prompts[name]) for name, part in held_out.parts.items()}
        return SeveralSets.joined(held_out, parts)

    def tokenize(texts: list[str], prompt: Prompt) -> TokenIds:
        before = {**encoder.prompts, **(own or {})}[prompt]
        return kept_token_ids(encoder.tokenizer, texts, encoder.max_seq_length, before)

    return TokenizedSet.of(held_out, tokenize)


def tokenized_sets(recipe: Recipe, encoder: Encoder) -> dict[str, TokenizedSet]:
    """The recipe's further sets, by name."""
    return {name: tokenized_set(encoder, source.retrieval_set()) for name, source in recipe.sets.items()}


def require_numbers(recipe: TrainingRecipe, split: Split) -> None:
    """Raises UserError where the loss asks for numbers of the candidates that no column has, or no projection knows."""
    needs = make_loss(recipe).needs - {"mask_BN"}
    if needs and isinstance(recipe.projection, Learned | Orthogonal):
        raise UserError(
            f"projection: {recipe.projection.kind} goes down the loss, and {type(recipe.loss).__name__} takes numbers "
            "of each candidate; use projection=rotation, which needs no loss, or another loss"
        )
    known = kinds(split.numbers) | (split.pools.kinds if split.pools else set())
    by_guide: frozenset[str] = getattr(getattr(recipe.negatives, "func", None), "gives", frozenset())
    if missing := sorted(needs - known - by_guide):
        columns = ", ".join(f"positive_{name.removesuffix('_BN')}" for name in missing)
        raise UserError(
            f"loss: {type(recipe.loss).__name__} takes {', '.join(missing)}, numbers of each candidate, and the data "
            f"have no column {columns}; add it, let a guide give it (negatives=guide), or choose another loss"
        )
