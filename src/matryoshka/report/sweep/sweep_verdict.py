"""What a sweep says, in sentences: which job is best, on which figures, and which others cannot be told from it."""

from __future__ import annotations

from dataclasses import dataclass

from matryoshka.evaluation.result import EvaluationResult, display_name, shown_metric
from matryoshka.report.record import OVER_DIMS
from matryoshka.sweep.effects import as_level
from matryoshka.sweep.result import JobResult, Sweep

Ends = tuple[float, float]


@dataclass(frozen=True)
class Reported:
    """One test figure of a job: the metric's value at a dim, with its 95% interval where there is one."""

    dim: int
    value: float
    interval: Ends | None


def selected_words(selected: str) -> str:
    """The metric that jobs are compared by: `ndcg@10/dim_64` -> nDCG@10 at 64."""
    metric, _, over = selected.removeprefix("merged/").partition("/")
    if not metric:
        return "the selecting metric"
    words = OVER_DIMS.get(over, f"{{}} at {over.removeprefix('dim_')}").format(display_name(metric))
    return f"{words}, copies merged" if selected.startswith("merged/") else words


def settings_words(sweep: Sweep, job: JobResult) -> str:
    """What sets a job apart: `dims=768-64, optimizer.lr=5e-5`; its name where nothing does."""
    return ", ".join(f"{key}={as_level(job.settings[key])}" for key in sweep.keys if key in job.settings) or job.name


def reported_metric(sweep: Sweep) -> str:
    """The metric of the test queries that is shown of every job; empty where no job is done."""
    return shown_metric(sweep.best.tuned) if sweep.best and sweep.best.tuned else ""


def common_dims(sweep: Sweep) -> tuple[int, ...]:
    """The widest and the narrowest dim that every done job was measured at; empty where there is none."""
    dims = sorted(set.intersection(*(set(job.tuned.dims) for job in sweep.done if job.tuned)) if sweep.done else ())
    return tuple(dict.fromkeys((dims[-1], dims[0]))) if dims else ()


def reported_figures(sweep: Sweep, job: JobResult) -> tuple[Reported | None, ...]:
    """A job's figures at `common_dims`, or at its own widest and narrowest; None for what was not measured."""
    if job.tuned is None:
        return ()
    dims = common_dims(sweep) or (job.tuned.dims[0], job.tuned.dims[-1])
    return tuple(_figure(job.tuned, dim, reported_metric(sweep)) for dim in dims)


def _figure(result: EvaluationResult, dim: int, metric: str) -> Reported | None:
    value = result.metrics[dim].get(metric)
    return None if value is None else Reported(dim, value, result.intervals.get(dim, {}).get(metric))


def verdict(sweep: Sweep) -> str:
    """The best job in a sentence, with its figures on the test queries."""
    best = sweep.best
    if best is None:
        return f"None of {len(sweep.jobs)} jobs is done" if sweep.jobs else "There are no jobs"
    value = "" if best.value is None else f" ({best.value:.4f})"
    count = len(sweep.done)
    if count == 1:
        first = f"One job is done, so there is nothing to compare it with: {settings_words(sweep, best)}{value}"
    else:
        chosen = f"the best of {count} jobs by {selected_words(sweep.selected)}{value}"
        first = f"{settings_words(sweep, best)} is {chosen}"
    figures = [figure for figure in reported_figures(sweep, best) if figure]
    shown = " and ".join(f"{figure.value:.3f} at {figure.dim}{_ends(figure.interval)}" for figure in figures)
    return f"{first}; {display_name(reported_metric(sweep))} on the test queries is {shown}" if shown else first


def _ends(interval: Ends | None) -> str:
    return f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else ""


def close_jobs(sweep: Sweep) -> list[JobResult]:
    """The jobs whose 95% interval overlaps with the best one's, as `closeness` says it."""
    if sweep.best is None or (own := _compared(sweep, sweep.best)) is None:
        return []
    others = [(job, _compared(sweep, job)) for job in sweep.done[1:]]
    return [job for job, ends in others if ends and ends[0] <= own[1] and own[0] <= ends[1]]


def closeness(sweep: Sweep) -> str:
    """Whether the figures tell the best job from the others; empty where there are no intervals to go by."""
    if sweep.best is None or len(sweep.done) < 2 or _compared(sweep, sweep.best) is None:
        return ""
    close, others = len(close_jobs(sweep)), len(sweep.done) - 1
    at = f"95% intervals of {_compared_at(sweep)[0]} on the test queries"
    if not close:
        return f"By the {at} the best job stands apart from the other {others}."
    which = "the other job overlaps" if others == 1 else f"{close} of the other {others} jobs overlap"
    return (
        f"By the {at}, {which} with the best one: these figures do not tell them apart. "
        "All answered the same queries, so a comparison query by query can see smaller differences."
    )


def _compared(sweep: Sweep, job: JobResult) -> Ends | None:
    _, protocol, metric, dim = _compared_at(sweep)
    found: Ends | None = getattr(job.tuned, protocol).get(dim, {}).get(metric)
    return found


def _compared_at(sweep: Sweep) -> tuple[str, str, str, int]:
    """In words, and as (protocol, metric, dim): the selecting metric; without intervals the one shown, cut most."""
    metric, _, over = sweep.selected.removeprefix("merged/").partition("/")
    protocol = "merged_intervals" if sweep.selected.startswith("merged/") else "intervals"
    dim = int(over.removeprefix("dim_")) if over.startswith("dim_") else 0
    if sweep.best and metric in getattr(sweep.best.tuned, protocol).get(dim, {}):
        return selected_words(sweep.selected), protocol, metric, dim
    metric, narrowest = reported_metric(sweep), common_dims(sweep)[-1:]
    return f"{display_name(metric)} at {sum(narrowest)}", "intervals", metric, sum(narrowest)
