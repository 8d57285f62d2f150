"""What a shorter or coarser vector costs: a metric against bytes per vector, for every dim and precision."""

from __future__ import annotations

from dataclasses import dataclass, replace

from matryoshka.evaluation.deployment.quantisation import VectorPrecision
from matryoshka.evaluation.result import display_name


@dataclass(frozen=True)
class DeploymentOption:
    """One way to store vectors, and what it is worth.

    rescored: the first hits are put in the order of the full vectors in float32, which then must be at hand, on disk
    for instance; bytes_per_vector are those of the index that is searched. value: the metric. retention: value / value
    of the full width in float32.
    """

    dim: int
    precision: VectorPrecision
    rescored: bool
    bytes_per_vector: int
    value: float
    retention: float

    def beats(self, other: DeploymentOption) -> bool:
        """Whether it is better in bytes or value and worse in neither."""
        no_worse = self.bytes_per_vector <= other.bytes_per_vector and self.value >= other.value
        return no_worse and (self.bytes_per_vector, self.value) != (other.bytes_per_vector, other.value)

    @property
    def name(self) -> str:
        """`256 x int8`."""
        return f"{self.dim} x {self.precision}{', rescored' if self.rescored else ''}"


@dataclass(frozen=True)
class Deployment:
    """All options of one model on one retrieval set, by dim and precision, the largest first, plain before rescored.

    calibration: texts that the ranges of int8 come from. rescored_hits: how many are put in the order of the full
    vectors. chosen, chosen_rescored: dim and precision of the plain and the rescored option that the dev queries chose;
    None if these queries choose.
    """

    metric: str
    options: tuple[DeploymentOption, ...]
    calibration: int
    queries: int
    documents: int
    rescored_hits: int
    chosen: tuple[int, str] | None = None
    chosen_rescored: tuple[int, str] | None = None

    @property
    def dims(self) -> list[int]:
        """The dims measured, widest first."""
        return sorted({option.dim for option in self.options}, reverse=True)

    @property
    def precisions(self) -> list[VectorPrecision]:
        """The precisions measured, most bytes first."""
        return list(dict.fromkeys(option.precision for option in self.options))

    @property
    def full(self) -> DeploymentOption:
        """The full width in float32."""
        return self.options[0]

    @property
    def metric_name(self) -> str:
        """The metric as the field writes it: nDCG@10."""
        return display_name(self.metric)

    def option(self, dim: int, precision: str, rescored: bool = False) -> DeploymentOption:
        """One of the options; the full width in float32 is as good rescored. Raises KeyError if it was not measured."""
        rescored = rescored and (dim, precision) != (self.full.dim, self.full.precision)
        for option in self.options:
            if (option.dim, option.precision, option.rescored) == (dim, precision, rescored):
                return option
        raise KeyError(f"{dim} x {precision}")

    def pareto(self, rescored: bool = False) -> list[DeploymentOption]:
        """The options that no other beats, by ascending bytes: of the plain ones, or of all."""
        some = [option for option in self.options if rescored or not option.rescored]
        kept = [option for option in some if not any(other.beats(option) for other in some)]
        return sorted(kept, key=lambda option: option.bytes_per_vector)

    def chosen_by(self, dev: Deployment, keep: float = 0.98) -> Deployment:
        """The same with the options that `dev` advises: the best of many is worth less where it was not picked.

        Raises KeyError if one of them was not measured here.
        """
        plain, coarse = (dev.advised(keep, rescored) for rescored in (False, True))
        self.option(plain.dim, plain.precision)
        self.option(coarse.dim, coarse.precision, coarse.rescored)
        chosen, chosen_rescored = (plain.dim, plain.precision), (coarse.dim, coarse.precision)
        return replace(self, chosen=chosen, chosen_rescored=chosen_rescored)

    def advised(self, keep: float = 0.98, rescored: bool = False) -> DeploymentOption:
        """The chosen option; else that of fewest bytes which keeps `keep` of the full value, or the full.

        rescored: of those whose hits are rescored, for a coarse index in memory; else of the plain ones.
        """
        if chosen := self.chosen_rescored if rescored else self.chosen:
            return self.option(*chosen, rescored)
        good = [option for option in self.options if option.rescored == rescored and option.retention >= keep]
        return min(good, key=lambda option: (option.bytes_per_vector, -option.value), default=self.full)

    @property
    def chosen_on(self) -> str:
        """Whose values chose the advised options."""
        return f"chosen on {'the dev' if self.chosen else 'these'} queries"

    @property
    def basis(self) -> str:
        """What the advice rests on."""
        return f"measured on {self.queries:,} queries over {self.documents:,} documents, {self.chosen_on}"

    def advice(self, keep: float = 0.98) -> str:
        """Both lines of `choices` and who chose, in one sentence."""
        return f"{'; '.join(self.choices(keep))} ({self.chosen_on})"

    def choices(self, keep: float = 0.98) -> list[str]:
        """What to deploy as one index, and what in memory where full vectors are on disk, if that was measured."""
        size = self.advised(keep).bytes_per_vector
        lines = [f"one index only: {self.saving(keep)} ({size:,} B a vector)"]
        if any(option.rescored for option in self.options) and bool(self.chosen) == bool(self.chosen_rescored):
            lines.append(f"coarse index plus full vectors on disk: {self.coarse_saving(keep)}")
        return lines

    def saving(self, keep: float = 0.98) -> str:
        """What `advised` is worth on these queries: "256 x int8: 98.1% of the full nDCG@10 at 1/12 of the bytes"."""
        best, full = self.advised(keep), self.full
        if best == full:
            return f"{full.name}: {self._nothing_smaller(keep)}"
        times, rest = divmod(full.bytes_per_vector, best.bytes_per_vector)
        share = f"{best.bytes_per_vector / full.bytes_per_vector:.0%}" if rest else f"1/{times}"
        return f"{best.name}: {best.retention:.1%} of the full {self.metric_name} at {share} of the bytes"

    def coarse_saving(self, keep: float = 0.98) -> str:
        """That of rescored hits: "64 x int8, 40 hits rescored: 99.4% at 64 B a vector in memory, 3,072 B on disk"."""
        best = self.advised(keep, rescored=True)
        if best == self.full:
            return self._nothing_smaller(keep)
        at = f"{best.bytes_per_vector:,} B a vector in memory, {self.full.bytes_per_vector:,} B on disk"
        return f"{best.dim} x {best.precision}, {self.rescored_hits} hits rescored: {best.retention:.1%} at {at}"

    def _nothing_smaller(self, keep: float) -> str:
        whose = "dev " if self.chosen else ""
        return f"nothing smaller keeps {keep:.0%} of the full {whose}{self.metric_name}"
