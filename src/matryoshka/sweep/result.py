"""What a sweep came to: the source of its table, files, figures and page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from matryoshka.evaluation.result import EvaluationResult, SetResults
from matryoshka.sweep.status import State


def value_at(config: Mapping[str, Any], key: str, absent: Any) -> Any:
    """The value under a dotted key, as in `optimizer.lr`; `absent` where there is none."""
    value: Any = config
    for part in key.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return absent
        value = value[part]
    return value


@dataclass(frozen=True)
class JobResult:
    """One job.

    name: its folder, below the sweep's. settings: of its overrides those that differ between the jobs, key -> value
    (`optimizer.lr` -> 2e-05, `dims` -> [768, 64], `scheduler` -> cosine). seconds: how long it took. error: why it
    has no result, in a line. value: the selecting metric of the kept weights, on the queries that selected them; jobs
    are compared by it. tuned, base: the kept and the untrained weights on the test queries. sets: name -> the same on a
    further set. overrides: all of them, as words of a command. config: the resolved configuration.
    """

    name: str
    state: State
    settings: Mapping[str, Any]
    seconds: float | None = None
    error: str = ""
    value: float | None = None
    tuned: EvaluationResult | None = None
    base: EvaluationResult | None = None
    sets: Mapping[str, SetResults] = field(default_factory=dict)
    overrides: tuple[str, ...] = ()
    config: Mapping[str, Any] | None = None

    def flat(self) -> dict[str, float]:
        """Every test figure by its name, `ndcg@10/dim_256`, and those of further sets, `<set>/ndcg@10/dim_256`."""
        flat = self.tuned.flat() if self.tuned else {}
        return flat | {n: value for name, of in self.sets.items() for n, value in of.tuned.flat(f"{name}/").items()}


@dataclass(frozen=True)
class Outcome:
    """A finished trial of a search by quality and bytes. quality: the selecting metric. bytes: of a vector.

    best: it is on the front, where no other beats it.
    """

    number: int
    job: str
    quality: float
    bytes: int
    best: bool


@dataclass(frozen=True)
class Sweep:
    """All jobs of a sweep, best first, then those without a value.

    name: as in `bmf/dims_lr_scheduler`. keys: what differs between the jobs, in the command's order. selected: the
    metric that they are compared by, `ndcg@10/dim_64`. split: on which queries, in a sentence. stand_in: as in
    TrainingRecord.
    """

    name: str
    keys: tuple[str, ...]
    selected: str
    jobs: tuple[JobResult, ...]
    split: str = ""
    stand_in: tuple[str, ...] = ()

    @property
    def done(self) -> tuple[JobResult, ...]:
        """The jobs with a result, best first."""
        return tuple(job for job in self.jobs if job.state == "done" and job.tuned is not None)

    @property
    def failed(self) -> tuple[JobResult, ...]:
        """The jobs that came to nothing: failed, or killed."""
        return tuple(job for job in self.jobs if job.state in ("failed", "running"))

    @property
    def best(self) -> JobResult | None:
        """The job with the highest selecting metric."""
        return self.done[0] if self.done else None
