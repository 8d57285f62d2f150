"""What a training reads: the encoder, its batches, and what it is measured on. Nothing is encoded yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from matryoshka.config.recipe import EvaluationRecipe, Recipe, TrainingRecipe
from matryoshka.data.pairs import kinds
from matryoshka.data.split import Split
from matryoshka.data.tokens import TokenIds, kept_token_ids, token_counts, tokenized_pairs
from matryoshka.encoder.encoder import Encoder
from matryoshka.errors import UserError
from matryoshka.evaluation.tokenized_set import TokenizedSet
from matryoshka.projection.learned import Learned, Orthogonal
from matryoshka.report.record import DEV, PairsSummary
from matryoshka.tasks.make_loss import make_loss
from matryoshka.tasks.measuring import drawn_for_calibration
from matryoshka.tasks.row_prompts import take_prompts
from matryoshka.training.datamodule import PairsModule
from matryoshka.training.drawn_texts import DrawnTexts

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
        return TokenIds.of(positives[row] for row in drawn_for_calibration(len(self.batches.pairs)))

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
    split = recipe.split.split(recipe.data)
    require_numbers(recipe, split)
    encoder = load_encoder(recipe)
    split = take_prompts(recipe, split, encoder)
    prompts = prompts_of(encoder, split.pairs.column_names)
    tokens = tokenized_pairs(split.pairs, encoder.tokenizer, encoder.max_seq_length, prompts)
    drawn = drawn_texts(split, encoder, recipe.seed)
    given = (split.pairs, recipe.negatives, split.numbers, drawn)
    return TrainingData(
        encoder=encoder,
        split=split,
        batches=PairsModule(tokens, recipe.sampler, recipe.workers, *given),
        dev=tokenized_set(encoder, split.dev) if split.dev else None,
        test=tokenized_set(encoder, split.test),
        sets=tokenized_sets(recipe, encoder),
        pairs=PairsSummary.of(recipe.data.name, split.pairs, tokens),
        data_commit=getattr(recipe.data, "commit", None),
    )


def drawn_texts(split: Split, encoder: Encoder, seed: int) -> DrawnTexts | None:
    """What each epoch draws from, each distinct document tokenized once; None where rows have one text a column."""
    if split.pools is None:
        return None
    anchors, prompts = list(split.pairs["anchor"]), split.pools.prompts
    several = len(set(prompts)) > 1
    if several:
        anchors = [prompt + anchor for prompt, anchor in zip(prompts, anchors, strict=True)]
    sides = [(anchors, "" if several else encoder.prompts["query"]), (split.pools.texts, encoder.prompts["document"])]
    one, other = (kept_token_ids(encoder.tokenizer, texts, encoder.max_seq_length, prompt) for texts, prompt in sides)
    return DrawnTexts.of(split.pools, split.pairs, one, other, seed)


def prompts_of(encoder: Encoder, columns: Sequence[str]) -> dict[str, str]:
    """What stands in front of each column's texts."""
    return {name: encoder.prompts["query" if name == "anchor" else "document"] for name in columns}


def load_encoder(recipe: TrainingRecipe | EvaluationRecipe) -> Encoder:
    """The encoder with the recipe's pooling; without one, with the pooling saved with the model.

    Raises UserError for a dim that is wider, where that is only known of the loaded model: one just fetched.
    """
    encoder = recipe.encoder.load(recipe.pooling)
    if recipe.dims and (widest := max(recipe.dims)) > encoder.width:
        raise UserError(f"dims: {widest} is wider than the encoder's {encoder.width}; use dims up to that")
    return encoder


def tokenized_set(encoder: Encoder, held_out: RetrievalSet) -> TokenizedSet:
    """What is measured, tokenized once and kept for later runs."""

    def tokenize(texts: list[str], prompt: Prompt) -> TokenIds:
        return kept_token_ids(encoder.tokenizer, texts, encoder.max_seq_length, encoder.prompts[prompt])

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
