"""The jobs of a search: each trial's words to a checked configuration, and what is refused before the first."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig

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
