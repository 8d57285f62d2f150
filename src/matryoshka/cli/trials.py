"""A search from Hydra's syntax of sweeps to jobs: what trials draw from, and what is refused before the first."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep, Sweep
from omegaconf import DictConfig
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from matryoshka.cli.multirun import composed
from matryoshka.config.resolvers import folder_name
from matryoshka.errors import ConfigError, UserError
from matryoshka.evaluation.deployment.quantisation import bytes_per_vector
from matryoshka.sweep.jobs import Job
from matryoshka.sweep.search import REMEDY, Asked, Search, TrialJob, job_of
from matryoshka.sweep.space import Space, texts_to_check

log = logging.getLogger("matryoshka")


class TrialJobs:
    """Makes jobs of trials. fixed: the words that all of them have."""

    def __init__(self, loader: ConfigLoader, config: DictConfig, fixed: Sequence[str], objectives: Sequence[str]):
        self.loader, self.config = loader, config
        self.fixed, self.objectives = fixed, objectives

    def check(self, space: Space) -> list[str]:
        """Try every choice and both ends of numbers once, the others at their first; returns the selecting metrics.

        Raises ConfigError with the problems of all of them.
        """
        if not space:
            raise ConfigError(
                [("hydra.sweeper.params", "nothing to search in; as in optimizer.lr=interval(1e-5,1e-4)")]
            )
        texts = {key: texts_to_check(values) for key, values in space.items()}
        first = {key: values[0] for key, values in texts.items()}
        tried = [first] + [first | {key: text} for key, values in texts.items() for text in values[1:]]
        problems: dict[tuple[str, str], None] = {}
        metrics: dict[str, None] = {}
        for values in tried:
            try:
                job = self._composed([f"{key}={text}" for key, text in values.items()])
                metrics[job.selected] = None
                if "bytes" in self.objectives and _bytes(job) is None:
                    message = f"bytes are those of one dim: evaluator.select=ndcg@10/dim_64, not {job.selected}"
                    problems["hydra.sweeper.objectives", message] = None
            except ConfigError as error:
                problems |= dict.fromkeys(error.problems)
        if problems:
            raise ConfigError(list(problems))
        return list(metrics)

    def check_before(self, search: Search) -> None:
        """Raises UserError where the trials before are of another configuration: their values cannot be compared."""
        before = [job for trial in search.ended if (job := job_of(trial))]
        if not before:
            return
        job = before[-1]  # those before it were compared with each other when they were asked for
        keys = search.keys
        try:
            now = self._composed([word for word in job.words if word.partition("=")[0] in keys]).config_hash
        except ConfigError:
            now = ""
        if now != job.config_hash:
            what = "of another configuration, other data or another version"
            raise UserError(f"{search.folder}: the trials in it are {what}; {REMEDY}")

    def of(self, search: Search, asked: Sequence[Asked]) -> dict[int, Job]:
        """Number -> job of the trials that are to be run; of the others what is known is told to the search."""
        jobs = {}
        for trial in asked:
            try:
                name = folder_name(",".join([f"trial_{trial.number:03d}", *(word.lstrip("+") for word in trial.words)]))
                job = self._composed([*trial.words, f"hydra.sweep.subdir='{name}'"])
            except ConfigError as error:
                log.error("trial %d: %s", trial.number, error)
                search.tell(trial.number)
                continue
            if earlier := search.known(job.config_hash):
                log.info("search: trial %d is the same as trial %d", trial.number, earlier.number)
                search.tell_same(trial.number, earlier)
                continue
            search.assign(trial.number, TrialJob(job.name, job.config_hash, _bytes(job), job.overrides))
            jobs[trial.number] = job
        return jobs

    def _composed(self, words: Sequence[str]) -> Job:
        return composed(self.loader, self.config, [[*self.fixed, *words]])[0]


def _bytes(job: Job) -> int | None:
    """The bytes of a float32 vector at the dim that judges the job; None where several dims do."""
    dim = job.selected.rpartition("/dim_")[2]
    return bytes_per_vector(int(dim), "float32") if dim.isdigit() else None


def search_space(words: Sequence[Override]) -> tuple[list[str], Space]:
    """The words that every trial has, and what the others are drawn from; of a key that is said twice the last holds.

    `a,b`, `choice(a, b)` and `glob(*)`: one of them. `range(1, 9, step=2)`: a number of it. `interval(0.1, 0.5)`: any
    number between, `int(interval(1, 9))` a whole one. `tag(log, ...)` of numbers: by factors, not by differences.
    Raises ConfigError with all values that cannot be drawn from.
    """
    last = {word.get_key_element().lstrip("+~"): word for word in words}
    fixed, space, problems = [], {}, []
    for key, word in last.items():
        if not word.is_sweep_override():
            fixed.append(word.input_line or f"{word.get_key_element()}={word.get_value_element_as_str()}")
            continue
        try:
            space[word.get_key_element()] = _distribution(word)
        except ValueError as error:
            problems.append((key, str(error)))
    if problems:
        raise ConfigError(problems)
    return fixed, space


def _distribution(word: Override) -> BaseDistribution:
    """Raises ValueError, optuna's or with the remedy."""
    value = word.value()
    assert isinstance(value, Sweep)
    numbers = isinstance(value, IntervalSweep | RangeSweep)
    if unknown := value.tags - ({"log"} if numbers else set()):
        raise ValueError(f"tag {', '.join(unknown)}: only numbers have one, log")
    log = "log" in value.tags
    if isinstance(value, IntervalSweep):
        if isinstance(value.start, int) and isinstance(value.end, int):
            return IntDistribution(value.start, value.end, log=log)
        return FloatDistribution(value.start, value.end, log=log)  # type: ignore[arg-type]
    if isinstance(value, RangeSweep):
        members = sorted(value.range())
        if not members:
            raise ValueError("this range is empty")
        if all(isinstance(member, int) for member in members):
            return IntDistribution(members[0], members[-1], step=abs(int(value.step)), log=log)
        return FloatDistribution(members[0], members[-1], step=abs(float(value.step)), log=log)
    return CategoricalDistribution(list(word.sweep_string_iterator()))
