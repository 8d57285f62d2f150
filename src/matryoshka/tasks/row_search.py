"""What a mining searches, by whom, and what is said of it before it begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from matryoshka.config.recipe import TrainingRecipe
from matryoshka.data.doctor.shared_texts import answers
from matryoshka.data.split import Split
from matryoshka.mining.candidates import Candidates
from matryoshka.mining.cross_encoder import CrossEncoder
from matryoshka.mining.scored import RowSearch
from matryoshka.mining.scorers import CosineScorer, CrossEncoderScorer, Scorer
from matryoshka.mining.searchers import BM25Searcher, EncoderSearcher, Searcher
from matryoshka.mining.thresholds import RULES
from matryoshka.projection.pair_vectors import PairVectors
from matryoshka.report.terminal import lines
from matryoshka.tasks.data_lines import show_read_as
from matryoshka.tasks.loading import TrainingData


@dataclass(frozen=True)
class TrainingTexts:
    """The texts of the training rows, and those of them that can be negatives."""

    anchors: Sequence[str]
    positives: Sequence[str]
    candidates: Candidates

    @classmethod
    def of(cls, split: Split) -> TrainingTexts:
        """Nothing of dev or test: what answers there is no negative here."""
        anchors, positives = (list(split.pairs[column][:]) for column in ("anchor", "positive"))
        held_out = [split.test, *([split.dev] if split.dev else [])]
        right = (text for data in held_out for text in answers(data).values())
        further = split.pools.answers(anchors) if split.pools else ()
        return cls(anchors, positives, Candidates.of(anchors, positives, right, further))

    def __len__(self) -> int:
        return len(self.anchors)


def row_search(
    recipe: TrainingRecipe, texts: TrainingTexts, vectors: PairVectors | None, encoder: str, device: torch.device
) -> RowSearch:
    """As the recipe's mining says. vectors: None where no encoder is asked. encoder: its name."""
    mining, candidates = recipe.mining, texts.candidates
    searchers: list[Searcher] = []
    if mining.search in ("encoder", "both"):
        assert vectors is not None
        searchers.append(EncoderSearcher(encoder, vectors, candidates, device))
    if mining.search in ("bm25", "both"):
        searchers.append(BM25Searcher(recipe.bm25, texts.anchors, candidates))
    scorer: Scorer
    if mining.cross_encoder is not None:
        cross_encoder = CrossEncoder.load(mining.cross_encoder, device)
        scorer = CrossEncoderScorer(mining.cross_encoder, cross_encoder, texts.anchors, texts.positives)
    else:
        assert vectors is not None
        scorer = CosineScorer(encoder, vectors, candidates)
    return RowSearch(mining, candidates, searchers, scorer)


def announce_mining(recipe: TrainingRecipe, data: TrainingData, texts: TrainingTexts, why_precision: str) -> None:
    """The first lines: what is searched, by whom, and what passes."""
    mining, candidates = recipe.mining, texts.candidates
    encoder = f"{data.encoder.name}, untrained, {data.encoder.width} wide"
    searched_by = {"encoder": encoder, "bm25": "BM25", "both": f"{encoder}, and BM25, fused by reciprocal rank"}
    held_out = f"; {candidates.held_out:,} more answer a dev or test query" if candidates.held_out else ""
    rules = [f"{rule} {getattr(mining, rule)}" for rule in RULES if getattr(mining, rule) is not None]
    lines.show_stand_in(recipe.stand_in)
    lines.say("mine", f"{len(texts):,} training rows of {recipe.data.name} over {len(candidates):,} passages{held_out}")
    lines.say("search", searched_by[mining.search])
    lines.say("ranks", f"{mining.first} to {mining.last}, {mining.per_row} negatives a row, {mining.pick}")
    lines.say("refuse", f"{' and '.join(rules) or 'nothing'}, by {mining.cross_encoder or data.encoder.name}")
    lines.say("split", data.split.label)
    lines.say("device", f"{recipe.accelerator}, {recipe.precision} ({why_precision})")
    show_read_as(recipe, data.split)
    if data.split.pools:
        lines.say("note", "of rows with several positives the first is taken; the others are no negatives")
    if own := [name for name in data.split.pairs.column_names if name not in ("anchor", "positive")]:
        lines.say("note", f"the data's own negatives ({', '.join(own)}) are not taken over")
