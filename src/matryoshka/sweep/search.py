"""A search as optuna's study, kept in the sweep's folder: what to try next, and what came of what was tried."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import optuna
from optuna.distributions import check_distribution_compatibility
from optuna.trial import FrozenTrial, TrialState

from matryoshka.errors import UserError
from matryoshka.storage.atomic import write_atomically
from matryoshka.sweep.jobs import is_running
from matryoshka.sweep.result import Outcome
from matryoshka.sweep.space import Space, short
from matryoshka.sweep.status import read_status
from matryoshka.sweep.trial import journal_storage

JOURNAL = "optuna.journal"
DIRECTIONS: dict[str, Literal["maximize", "minimize"]] = {"quality": "maximize", "bytes": "minimize"}
ENDED = (TrialState.COMPLETE, TrialState.PRUNED)
REMEDY = "hydra.sweep.dir=<another folder> begins another search"


@dataclass(frozen=True)
class Asked:
    """A trial to run: its number, and the words of a command that its values are."""

    number: int
    words: tuple[str, ...]


@dataclass(frozen=True)
class TrialJob:
    """The job of a trial: its folder's name, the hash of its configuration, what a vector costs, all of its words."""

    name: str
    config_hash: str
    bytes: int | None = None
    words: tuple[str, ...] = ()


class Search:
    """A study of these objectives over this space; the journal of an earlier command is gone on with.

    objectives: of `quality`, the value that jobs return, and `bytes`, of a vector. startup_trials: drawn at random
    before TPE takes over. Raises UserError where the journal is of other objectives, or of other values of a choice.
    """

    def __init__(
        self, folder: Path, name: str, space: Space, objectives: Sequence[str], startup_trials: int, seed: int
    ) -> None:
        self.folder, self.space, self.objectives, self.startup_trials = folder, space, objectives, startup_trials
        self.journal = (folder / JOURNAL).resolve()
        _drop_torn_line(self.journal)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._asked: dict[int, optuna.Trial] = {}
        storage = journal_storage(self.journal)
        # The folder may have been moved since, and then has another name.
        names = [study.study_name for study in storage.get_all_studies()] or [name]
        self.study = optuna.create_study(
            storage=storage,
            study_name=names[0],
            directions=[DIRECTIONS[objective] for objective in objectives],
            load_if_exists=True,
        )
        self._check()
        # An equal seed would draw the first trials of the earlier command again.
        self.study.sampler = optuna.samplers.TPESampler(
            n_startup_trials=startup_trials, seed=seed + len(self.study.trials), constant_liar=True
        )

    def _check(self) -> None:
        wanted = [DIRECTIONS[objective] for objective in self.objectives]
        if [direction.name.lower() for direction in self.study.directions] != wanted:
            raise UserError(f"hydra.sweeper.objectives: the search in {self.folder} has others; {REMEDY}")
        for trial in self.study.trials:
            for key, earlier in trial.distributions.items():
                try:
                    check_distribution_compatibility(earlier, self.space.get(key, earlier))
                except ValueError as error:
                    message = f"{key}: the search in {self.folder} chooses from other values ({error}); {REMEDY}"
                    raise UserError(message) from None

    @property
    def ended(self) -> list[FrozenTrial]:
        """The trials that have a result or were given up early."""
        return self.study.get_trials(deepcopy=False, states=ENDED)

    @property
    def keys(self) -> set[str]:
        """All keys that were ever drawn here, and those that are to be."""
        return set(self.space).union(*(trial.distributions for trial in self.study.get_trials(deepcopy=False)))

    def settle(self) -> None:
        """Tell what became of the trials that an earlier command left running: what their folders say, else failed.

        Raises UserError if another process still runs one of them.
        """
        running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        for trial in running:
            if (job := job_of(trial)) and is_running(self.folder / job.name):
                raise UserError(f"{self.folder / job.name}: this job is still running; wait for its end or stop it")
        for trial in running:
            self.tell(trial.number)

    def retry(self, most: int) -> int:
        """Put the trials that failed or were killed, and were not tried again yet, first in line; returns how many."""
        trials = self.study.trials
        again = {trial.user_attrs.get("again") for trial in trials}
        lost = [trial for trial in trials if trial.state == TrialState.FAIL and trial.number not in again]
        for trial in [trial for trial in lost if job_of(trial)][:most]:
            shutil.rmtree(self.folder / trial.user_attrs["job"]["name"], ignore_errors=True)
            self.study.enqueue_trial(trial.params, user_attrs={"again": trial.number})
        return sum(trial.state == TrialState.WAITING for trial in self.study.trials)

    def ask(self) -> Asked:
        """The next trial."""
        trial = self.study.ask(fixed_distributions=dict(self.space))
        words = tuple(f"{key}={short(values, trial.params[key])}" for key, values in self.space.items())
        self._asked[trial.number] = trial
        return Asked(trial.number, words)

    def assign(self, number: int, job: TrialJob) -> None:
        """Note which job an asked trial is."""
        self._asked[number].set_user_attr("job", asdict(job))

    def known(self, config_hash: str) -> FrozenTrial | None:
        """An ended trial of an equal configuration."""
        found = ((trial, job_of(trial)) for trial in self.ended)
        return next((trial for trial, job in found if job and job.config_hash == config_hash), None)

    def tell_same(self, number: int, as_trial: FrozenTrial) -> None:
        """Tell what is known of an equal trial."""
        self.study.tell(number, as_trial.values if as_trial.state == TrialState.COMPLETE else None, as_trial.state)

    def tell(self, number: int) -> FrozenTrial:
        """Tell what a trial's folder says became of it; returns the trial."""
        job = job_of(self.study.trials[number])
        status = read_status(self.folder / job.name) if job else None
        state, values = TrialState.FAIL, None
        if job and status and status.config_hash == job.config_hash:
            if status.state == "pruned":
                state = TrialState.PRUNED
            elif status.state == "done" and status.objective is not None and math.isfinite(status.objective):
                state = TrialState.COMPLETE
                by_name = {"quality": status.objective, "bytes": job.bytes}
                values = [float(by_name[objective] or 0) for objective in self.objectives]
        return self.study.tell(number, values, state)

    @property
    def front(self) -> list[FrozenTrial]:
        """The best trials: of one objective one, of several those that none beats in all; of equal ones the first."""
        found = {tuple(trial.values): trial for trial in reversed(self.study.best_trials)}
        return list(reversed(found.values()))

    def outcomes(self) -> list[Outcome]:
        """Of a search with both objectives the finished trials, fewest bytes first."""
        best = {trial.number for trial in self.front}
        found = []
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            by_name = dict(zip(self.objectives, trial.values, strict=True))
            if job := job_of(trial):
                quality, size = by_name["quality"], int(by_name["bytes"])
                found.append(Outcome(trial.number, job.name, quality, size, trial.number in best))
        return sorted(found, key=lambda outcome: (outcome.bytes, -outcome.quality))


def job_of(trial: FrozenTrial) -> TrialJob | None:
    """The job of a trial; None where it has none of its own."""
    noted = trial.user_attrs.get("job")
    return TrialJob(**noted) if noted else None


def _drop_torn_line(journal: Path) -> None:
    """A disk that was full may have left half a line, and optuna would not read the journal any more."""
    if journal.is_file() and not (content := journal.read_bytes()).endswith(b"\n"):
        write_atomically(journal, content[: content.rfind(b"\n") + 1])
