"""What the process of a job knows of the search that it is a trial of: one file in the job's folder."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from matryoshka.storage.atomic import write_json

if TYPE_CHECKING:  # every run imports this module, but only a search needs optuna
    from optuna.storages.journal import JournalStorage

NAME = "trial.json"


@dataclass(frozen=True)
class Trial:
    """A trial that may be given up early.

    journal: of the search. study: its name. number: the trial's. keep_percent: after an epoch it goes on only among the
    best so many percent of the finished trials at that epoch. startup_trials: finished ones before any is given up.
    """

    journal: str
    study: str
    number: int
    keep_percent: float
    startup_trials: int

    def write(self, folder: Path) -> Path:
        """Leave it in the job's folder, before the job begins."""
        return write_json(folder / NAME, asdict(self))

    def report(self, value: float, epoch: int) -> bool:
        """Note the selecting metric after an epoch in the journal; returns whether the trial should be given up."""
        import optuna

        storage = journal_storage(Path(self.journal))
        study = optuna.load_study(study_name=self.study, storage=storage)
        key = storage.get_trial_id_from_study_id_trial_number(storage.get_study_id_from_name(self.study), self.number)
        storage.set_trial_intermediate_value(key, epoch, value)
        pruner = optuna.pruners.PercentilePruner(self.keep_percent, self.startup_trials)
        return bool(pruner.prune(study, storage.get_trial(key)))


def read_trial(folder: Path) -> Trial | None:
    """The trial that a job's folder belongs to; None where none does that may be given up."""
    path = folder / NAME
    return Trial(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


def journal_storage(journal: Path) -> JournalStorage:
    """The storage in a file, which several processes may write. journal: absolute, as optuna's lock needs it."""
    from optuna.storages.journal import JournalFileBackend, JournalStorage

    return JournalStorage(JournalFileBackend(str(journal)))
