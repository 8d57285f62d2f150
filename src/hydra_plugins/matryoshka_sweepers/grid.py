"""All combinations of the values given, each run once: Hydra's basic sweeper, which knows what is done."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn

if TYPE_CHECKING:
    from matryoshka.sweep.jobs import Job


class GridSweeper(BasicSweeper):
    """Runs the jobs that have no result yet, with any launcher, and sums up all of them."""

    def sweep(self, arguments: list[str]) -> list[Sequence[JobReturn]]:
        """One job for each combination. Raises ConfigError before the first, JobsFailedError after the last."""
        from matryoshka.cli import multirun
        from matryoshka.cli.task_choice import looks_at

        assert self.config is not None and self.hydra_context is not None
        loader = self.hydra_context.config_loader
        words = OverridesParser.create(config_loader=loader).parse_overrides([*self._parse_config(), *arguments])
        keys = [word.key_or_group for word in words if word.is_sweep_override()]
        batch = multirun.named(self.split_arguments(words, None)[0], keys)
        folder = multirun.place(self.config, keys)
        jobs = multirun.composed(loader, self.config, batch)
        with multirun.sweep_of(self.config, folder):
            left = multirun.to_run(folder, jobs, again=bool(looks_at(self.config)))
            size = self.max_batch_size or max(len(left), 1)
            chunks = [left[start : start + size] for start in range(0, len(left), size)]
            return [self._launched(folder, chunk, number * size) for number, chunk in enumerate(chunks)]

    def _launched(self, folder: Path, jobs: Sequence[Job], first: int) -> Sequence[JobReturn]:
        from matryoshka.cli.multirun import launched

        def launch(jobs: Sequence[Job]) -> Any:
            assert self.launcher is not None
            return self.launcher.launch([list(job.overrides) for job in jobs], initial_job_idx=first)

        return launched(folder, jobs, launch)
