"""A sweep around its jobs: where they go, which are left to run, what is said before and written after."""

from __future__ import annotations

import logging
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import xxhash
from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from matryoshka.cli.task_choice import looks_at, plain_values
from matryoshka.config.resolvers import folder_name, sweep_name
from matryoshka.durations import in_words
from matryoshka.errors import ConfigError, JobsFailedError, UserError
from matryoshka.evaluation.result import selecting_metric
from matryoshka.report.terminal.lines import say
from matryoshka.storage.command_words import in_quotes
from matryoshka.sweep.collect import collect
from matryoshka.sweep.jobs import Job, config_hash, is_running, left_to_run, the_only_sweep
from matryoshka.sweep.result import Sweep
from matryoshka.sweep.status import PLAN, Status, mean_seconds, read_status, write_plan

log = logging.getLogger("matryoshka")

MANY = 30  # configurations that take seconds to check
SHOWN = 20  # jobs of a plan
PUSHED_OVER = "several jobs would push to {}, each over the last; push the best job's model afterwards"
Launch = Callable[[Sequence[Job]], Sequence[JobReturn]]


def place(config: DictConfig, keys: Sequence[str]) -> Path:
    """The sweep's folder, below hydra.sweep.dir: named after the sweep's choice, else after the keys that it sweeps.

    The command's own hydra.sweep.dir=... is taken as it is; every job is composed with the same folder. Raises
    UserError for hydra.sweep.subdir=..., which could name two jobs alike.
    """
    words = config.hydra.overrides.hydra
    if any(word.startswith("hydra.sweep.subdir=") for word in words):
        raise UserError("hydra.sweep.subdir: a sweep names its jobs' folders itself; hydra.sweep.dir=... says where")
    if any(word.startswith("hydra.sweep.dir=") for word in words):
        return Path(config.hydra.sweep.dir)
    choice = config.hydra.runtime.choices.get("sweep")
    name = choice if isinstance(choice, str) else "_".join(key.rpartition(".")[2] for key in keys) or "one_job"
    folder = Path(config.hydra.sweep.dir) / folder_name("-".join(filter(None, (name, looks_at(config)))))
    with read_write(config.hydra), open_dict(config.hydra):
        config.hydra.sweep.dir = str(folder)
        words.append(f"hydra.sweep.dir={in_quotes(str(folder))}")
    return folder


def named(batch: Sequence[Sequence[str]], keys: Sequence[str]) -> list[list[str]]:
    """Each job's overrides with the name of its folder: only what is swept, so that a name says what a job is.

    A value given twice is one job; of values that only a folder's name cannot tell apart, as a/b and a_b, a hash does.
    """
    swept: dict[tuple[str, ...], str] = {}
    for overrides in batch:
        words = [word.lstrip("+") for word in overrides]
        swept[tuple(overrides)] = ",".join(word for word in words if word.partition("=")[0] in keys)
    alike = Counter(map(folder_name, swept.values()))
    jobs = []
    for overrides, text in swept.items():
        name = folder_name(text)
        apart = f"-{xxhash.xxh3_64_hexdigest(text.encode())[:8]}" if alike[name] > 1 else ""
        jobs.append([*overrides, f"hydra.sweep.subdir='{name}{apart}'"])
    return jobs


def composed(loader: ConfigLoader, config: DictConfig, batch: Sequence[Sequence[str]]) -> list[Job]:
    """Each job's configuration, checked: raises ConfigError with the problems of all of them, so that none starts."""
    jobs: list[Job] = []
    problems: dict[tuple[str, str], list[str]] = {}
    pushes: dict[str, list[str]] = {}
    before = HydraConfig.instance().cfg
    if len(batch) > MANY:
        say("check", f"{len(batch)} configurations, before the first job")
    for overrides in batch:
        job = loader.load_sweep_config(config, list(overrides))
        HydraConfig.instance().set_config(job)
        name = str(job.hydra.sweep.subdir)
        try:
            values = OmegaConf.masked_copy(job, [str(key) for key in job if key != "hydra"])
            plain = plain_values(values, job.hydra.job.config_name)
            jobs.append(Job(name, tuple(overrides), config_hash(plain), _selected(plain)))
            if pushed := (plain.get("export") or {}).get("push_to_hub"):
                pushes.setdefault(pushed, []).append(name)
        except ConfigError as error:
            for problem in error.problems:
                problems.setdefault(problem, []).append(name)
        finally:
            HydraConfig.instance().cfg = before
    several = {pushed: names for pushed, names in pushes.items() if len(names) > 1}
    problems |= {("export.push_to_hub", PUSHED_OVER.format(pushed)): names for pushed, names in several.items()}
    if problems:
        raise ConfigError([(key, f"{message}{_where(names, batch)}") for (key, message), names in problems.items()])
    return jobs


def _selected(config: Mapping[str, Any]) -> str:
    """The metric that a job is judged by; without a dim where the dims are the model's own."""
    select, dims = str(config["evaluator"].get("select", "")), config.get("dims")
    if config.get("task") == "project":
        return f"{select.removeprefix('merged/').partition('/')[0]}/mean"
    return selecting_metric(select, dims) if dims else select


def _where(names: Sequence[str], batch: Sequence[Any]) -> str:
    if len(names) == len(batch):
        return ""
    return f" (job {names[0]})" if len(names) == 1 else f" ({len(names)} jobs, the first of them {names[0]})"


@contextmanager
def sweep_of(config: DictConfig, folder: Path) -> Iterator[None]:
    """Alone in the folder; afterwards, whatever happens to its jobs, what they came to is written and shown.

    Raises JobsFailedError where some of them came to nothing.
    """
    with the_only_sweep(folder):
        OmegaConf.save(config, folder / "multirun.yaml")
        try:
            yield
        finally:
            sweep = collect(folder, sweep_name(folder))
            if not looks_at(config) and not isinstance(sys.exception(), UserError):  # which says why nothing was begun
                _sum_up(folder, sweep)
    if sweep.failed:
        raise JobsFailedError([job.name for job in sweep.failed])


def _sum_up(folder: Path, sweep: Sweep) -> None:
    from matryoshka.report.sweep.sweep_files import write_sweep
    from matryoshka.report.sweep.sweep_table import show_sweep
    from matryoshka.report.wandb.names import sync_command

    show_sweep(sweep, write_sweep(folder, sweep))
    if command := sync_command(folder):
        say("W&B", f"kept offline; upload all jobs with: {command}")


def to_run(folder: Path, jobs: Sequence[Job], again: bool) -> list[Job]:
    """Say the plan; returns the jobs left to run. again: those with a result too."""
    left = left_to_run(folder, jobs, again)
    done = [status for job in jobs if (status := read_status(folder / job.name)) and status.state == "done"]
    say("sweep", f"{len(jobs)} jobs" + (f", {len(jobs) - len(left)} of them done before" if done else ""))
    for number, job in enumerate(left[:SHOWN]):
        say(f"{number + 1}", job.name)
    if len(left) > SHOWN:
        say("...", f"and {len(left) - SHOWN} more, all of them in {folder / PLAN}")
    if left and (seconds := mean_seconds(done)):
        duration = in_words(len(left) * seconds)
        say("time", f"about {duration}, if one job runs at a time and takes as long as those before")
    elif left:
        say("time", "known after the first job; if it is too long: Ctrl-C, and later the same command goes on")
    say("results", f"go to {folder}")
    if len(metrics := dict.fromkeys(job.selected for job in jobs)) > 1:
        say("note", f"each job is judged by a metric of its own ({', '.join(metrics)}); evaluator.select=... sets one")
    write_plan(folder, [job.name for job in left])
    return left


def launched(folder: Path, jobs: Sequence[Job], launch: Launch) -> list[JobReturn]:
    """Run the jobs; where one's process died, those that run go on and those that were not begun still run.

    Of a cluster's queue one may then be begun twice: the second time it finds its result.
    """
    results: list[JobReturn] = []
    while jobs:
        try:
            return [*results, *launch(jobs)]
        except Exception as error:
            while any(is_running(folder / job.name) for job in jobs):
                time.sleep(1)
            rest = [job for job in jobs if read_status(folder / job.name) is None]
            if len(rest) == len(jobs):
                raise
            log.error("the launcher failed (%s); %d jobs are left", error, len(rest))
            _mark_lost(folder, [job for job in jobs if job not in rest], error)
            jobs = rest
    return results


def _mark_lost(folder: Path, jobs: Sequence[Job], error: Exception) -> None:
    for job in jobs:
        status = read_status(folder / job.name)
        if status and status.state == "running":
            line = f"its process died ({type(error).__name__}); more jobs at once may need more memory than there is"
            Status("failed", job.config_hash, status.settings, error=line).write(folder / job.name)
