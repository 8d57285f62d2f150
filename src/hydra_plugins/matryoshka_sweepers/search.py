"""Trials that learn from those before: optuna chooses the values, Hydra's launchers run the jobs."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn

from .grid import GridSweeper

if TYPE_CHECKING:  # Hydra imports this file at every start
    from matryoshka.cli.trials import TrialJobs
    from matryoshka.sweep.jobs import Job
    from matryoshka.sweep.search import Search

log = logging.getLogger("matryoshka")


class SearchSweeper(GridSweeper):
    """Runs trials until so many have ended; the same command again goes on with what is missing of them.

    trials: wanted in all. objectives: quality, the selecting metric, or quality and bytes, those of a float32 vector of
    the dim that the selecting metric is of. startup_trials: drawn at random before TPE; pruning begins after half as
    many, as optuna has it. keep_percent: a trial goes on after an epoch only among the best so many percent of the
    finished ones; null: always. max_batch_size: trials that the launcher gets at once; null: as many as it runs at
    once. params: as in a command.
    """

    def __init__(
        self,
        trials: int = 20,
        objectives: Sequence[str] = ("quality",),
        startup_trials: int = 10,
        keep_percent: float | None = 50,
        max_batch_size: int | None = None,
        params: dict[str, str] | None = None,
    ) -> None:
        super().__init__(max_batch_size, params)
        self.trials = trials
        self.objectives = tuple(objectives)
        self.startup_trials = startup_trials
        self.keep_percent = keep_percent

    def sweep(self, arguments: list[str]) -> list[Sequence[JobReturn]]:
        """Raises ConfigError before the first trial, JobsFailedError after the last."""
        self._check_options()
        from matryoshka.cli import multirun
        from matryoshka.cli.trials import TrialJobs, search_space
        from matryoshka.config.resolvers import sweep_name
        from matryoshka.report.sweep.search_table import show_front
        from matryoshka.sweep.collect import collect
        from matryoshka.sweep.search import Search

        assert self.config is not None and self.hydra_context is not None
        loader = self.hydra_context.config_loader
        words = OverridesParser.create(config_loader=loader).parse_overrides([*self._parse_config(), *arguments])
        fixed, space = search_space(words)
        folder = multirun.place(self.config, [key.lstrip("+") for key in space])
        trial_jobs = TrialJobs(loader, self.config, fixed, self.objectives)
        metrics = trial_jobs.check(space)
        with multirun.sweep_of(self.config, folder):
            seed = int(self.config.get("seed") or 0)
            search = Search(folder, sweep_name(folder), space, self.objectives, self.startup_trials, seed)
            search.settle()
            trial_jobs.check_before(search)
            try:
                return self._run(search, trial_jobs, metrics)
            finally:
                if len(self.objectives) > 1:
                    show_front(folder, search.outcomes(), collect(folder, folder.name).stand_in)

    def _run(self, search: Search, trial_jobs: TrialJobs, metrics: Sequence[str]) -> list[Sequence[JobReturn]]:
        from matryoshka.report.sweep.search_table import show_search, trial_words
        from matryoshka.sweep.status import write_plan

        started, returns, names = time.time(), [], list[str]()
        left, at_once = max(0, self.trials - len(search.ended)), self._at_once()
        pruning = f"after an epoch a trial goes on only among the best {self.keep_percent}% of the finished ones"
        pruning = f"{pruning}, once there are {self.startup_trials // 2}"
        again = search.retry(left)
        show_search(search, left, again, at_once, metrics, self._unpruned(search) or pruning)
        while left > 0:
            asked = [search.ask() for _ in range(min(left, at_once))]
            left -= len(asked)
            jobs = trial_jobs.of(search, asked)
            names += [job.name for job in jobs.values()]
            write_plan(search.folder, [*names, *(f"not asked yet: {number}" for number in range(left))], started)
            returns.append(self._finished(search, jobs))
            for number in jobs:
                log.info("search: %s", trial_words(search.tell(number), search))
        return returns

    def _finished(self, search: Search, jobs: dict[int, Job]) -> Sequence[JobReturn]:
        """Run the jobs, each told which trial it is where it may be given up."""
        from matryoshka.sweep.jobs import left_to_run
        from matryoshka.sweep.trial import Trial

        to_run = left_to_run(search.folder, list(jobs.values()))  # all of them, unless the journal alone was lost
        if not self._unpruned(search):
            for number, job in jobs.items():
                if job in to_run:
                    first = self.startup_trials // 2
                    trial = Trial(str(search.journal), search.study.study_name, number, self.keep_percent or 0, first)
                    trial.write(search.folder / job.name)
        return self._launched(search.folder, to_run, min(jobs)) if to_run else []

    def _unpruned(self, search: Search) -> str:
        """Why no trial is given up early; empty where they are."""
        assert self.config is not None
        if self.keep_percent is None:
            return "no trial is given up early, as configured"
        if len(self.objectives) > 1:
            return "no trial is given up early: optuna has no rule for several objectives"
        if "trainer.max_epochs" not in search.space and self.config.trainer.max_epochs == 1:
            return "no trial is given up early: that happens after an epoch, and there is one"
        return ""

    def _at_once(self) -> int:
        """What the launcher runs at once: joblib's n_jobs, submitit's array_parallelism, else one."""
        assert self.config is not None
        if self.max_batch_size:
            return self.max_batch_size
        launcher = self.config.hydra.launcher
        if (jobs := launcher.get("n_jobs")) is not None:
            from joblib import effective_n_jobs

            return int(effective_n_jobs(jobs))
        return int(launcher.get("array_parallelism") or 1)

    def _check_options(self) -> None:
        """Raises UserError without optuna, ConfigError with all options that cannot be."""
        from matryoshka.errors import ConfigError, UserError

        try:
            import optuna  # noqa: F401
        except ImportError as error:
            raise UserError(f"a search needs optuna ({error}): pip install 'matryoshka[sweeps]'") from None
        problems = []
        if self.objectives not in (("quality",), ("quality", "bytes")):
            problems.append(("objectives", "[quality] or [quality,bytes]"))
        for key, least in (("trials", 1), ("startup_trials", 0)):
            if not isinstance(value := getattr(self, key), int) or value < least:
                problems.append((key, f"a whole number of at least {least}, not {value}"))
        if self.keep_percent is not None and not 0 < self.keep_percent < 100:
            problems.append(("keep_percent", "between 0 and 100, or null to finish every trial"))
        if problems:
            raise ConfigError([(f"hydra.sweeper.{key}", message) for key, message in problems])
