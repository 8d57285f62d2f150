"""What one training run was and what came of it: the source of every surface."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from matryoshka.data.tokens import token_counts
from matryoshka.evaluation.result import EvaluationResult, SetResults
from matryoshka.report.encoder_summary import EncoderSummary
from matryoshka.training.loss_spikes import loss_spikes

if TYPE_CHECKING:
    from datasets import Dataset

    from matryoshka.data.doctor.diagnosis import Diagnosis
    from matryoshka.data.samplers import BatchSummary
    from matryoshka.evaluation.deployment.deployment import Deployment
    from matryoshka.evaluation.failures import Failures
    from matryoshka.evaluation.gains import Gains
    from matryoshka.training.blend import BlendOutcome
    from matryoshka.training.explanation.explanation import Explanation
    from matryoshka.training.mixes import MixOutcome

TEST = "test"  # the name of the test set among others
DEV = "dev/"  # in front of what is measured on dev queries, in the log
PROJECTED = "projection/"  # in front of what the projection alone gives
OVER_DIMS = {"mean": "mean {} over all dims", "worst": "lowest {} of all dims", "retention": "{} weighted by retention"}


@dataclass(frozen=True)
class PairsSummary:
    """The training pairs, in numbers and samples.

    lengths: per column the tokens of a text as (min, mean, max), over all rows, cut at max_seq_length.
    samples: the first rows, column -> text.
    """

    name: str
    rows: int
    columns: tuple[str, ...]
    lengths: Mapping[str, tuple[int, float, int]]
    samples: tuple[Mapping[str, str], ...]

    @classmethod
    def of(cls, name: str, pairs: Dataset, tokens: Dataset) -> PairsSummary:
        """The summary of pairs and their token ids."""
        lengths = {}
        for column, counts in token_counts(tokens).items():
            lengths[column] = (int(counts.min()), float(counts.mean()), int(counts.max()))
        samples = tuple(dict(row) for row in pairs.select(range(min(3, len(pairs)))))
        return cls(name, len(pairs), tuple(pairs.column_names), lengths, samples)


@dataclass(frozen=True)
class TrainingRecord:
    """One training run.

    name: the recipe's. stand_in: a sentence for each part that this run replaces and why; empty if it is the
    real one. history: every logged row, with `step` (updates) and `epoch`; training rows have `train/loss`,
    evaluations the metrics by full name. saved_step: the update whose weights were kept; `tuned` is their
    evaluation. selected: the metric that chose them; selected_value: what it was then. config: the resolved
    configuration, plain values. environment: versions and hardware. seconds: the whole run. batches: an epoch's.
    base, tuned and the baselines (BM25, other models) are measured on the same test queries. split: a sentence on which
    queries chose the checkpoint and which are reported. dev_base: the base on the queries that chose, None where these
    are the test queries; the history has the later ones as `dev/...`. diagnosis: what the data doctor found.
    deployment: what shorter or rounded vectors cost. failures: what the tuned model does not find. skipped: updates
    not made, since they were not finite. sets: name -> base and tuned on a further set, which chooses nothing.
    projected: what the projection alone gave before the encoder was trained with it; among the baselines too. Of a
    projection without training, updates is 0, tuned is the projection, and the log's steps are those of its fit.
    gains: name of a set -> what it gained over the base, the test set's first. blend: which weights were kept, where
    others than the tuned ones were tried. mixed: of weights that were not trained but mixed of several models', which
    and what the mixes came to; then updates is 0, and `tuned` is the kept mix.
    explanation: what training changed, where it was at hand.
    """

    name: str
    base_model: str
    stand_in: tuple[str, ...]
    encoder: EncoderSummary
    pairs: PairsSummary
    batches: BatchSummary | None
    base: EvaluationResult
    tuned: EvaluationResult
    selected: str
    saved_step: int
    config: Mapping[str, Any]
    environment: Mapping[str, str]
    history: tuple[Mapping[str, float], ...] = ()
    updates: int = 0
    seconds: float = 0.0
    selected_value: float | None = None
    split: str = ""
    dev_base: EvaluationResult | None = None
    baselines: tuple[EvaluationResult, ...] = ()
    diagnosis: Diagnosis | None = None
    deployment: Deployment | None = None
    failures: Failures | None = None
    skipped: int = 0
    sets: Mapping[str, SetResults] = field(default_factory=dict)
    projected: EvaluationResult | None = None
    gains: Mapping[str, Gains] = field(default_factory=dict)
    blend: BlendOutcome | None = None
    mixed: MixOutcome | None = None
    explanation: Explanation | None = None

    @property
    def fitted_alone(self) -> bool:
        """Whether the encoder stayed as it was, and `tuned` is the projection behind it."""
        return self.updates == 0 and self.mixed is None

    @property
    def blended(self) -> bool:
        """Whether other weights were kept than those of the saved update."""
        return self.blend is not None and self.blend.kept.share != 1

    @property
    def trained_projection(self) -> EvaluationResult | None:
        """What the projection alone gave, where a training with it was kept: then the two can be told apart."""
        return self.projected if self.blend is None or self.blend.kept.share else None

    @property
    def kept(self) -> str:
        """Which weights these are, in words."""
        if self.mixed:
            return f"{self.mixed.kept.name}{', as given' if self.mixed.given else f', the best by {self.selection}'}"
        share = self.blend.kept.share if self.blend else 1
        if not share:
            return f"the weights before training, the best by {self.selection}"
        of = "" if share == 1 else f"{share:g} of the way to "
        return f"{of}the weights of update {self.saved_step:,}, the best by {self.selection}"

    @property
    def troubles(self) -> tuple[str, ...]:
        """A sentence on updates that were skipped and one on loss spikes, if there were any."""
        spikes, said = loss_spikes(self.history), []
        if self.skipped:
            were = "1 update was" if self.skipped == 1 else f"{self.skipped:,} updates were"
            said.append(f"{were} skipped, for a loss or gradient that was not finite")
        if spikes:
            count = "1 loss spike" if len(spikes) == 1 else f"{len(spikes):,} loss spikes, the first"
            said.append(f"{count} at {spikes[0]}")
        return tuple(said)

    @property
    def selection(self) -> str:
        """The selecting metric in words: `ndcg@10 of dim_768 on the dev queries`."""
        metric, _, over = self.selected.removeprefix("merged/").partition("/")
        words = OVER_DIMS.get(over, f"{{}} of {over}").format(metric)
        merged = ", copies merged," if self.selected.startswith("merged/") else ""
        return f"{words}{merged} on the {'dev' if self.dev_base else 'test'} queries"

    @property
    def selection_prefix(self) -> str:
        """What the history has in front of the metrics of the queries that selected the checkpoint."""
        return DEV if self.dev_base else ""
