"""One job: a composed configuration to a task, and what becomes of it, alone or in a sweep."""

from __future__ import annotations

import logging
import math
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig

from matryoshka.cli.resuming import going_on, run_to_resume, use_folder
from matryoshka.config.resolvers import register_resolvers
from matryoshka.config.secrets import mask_written
from matryoshka.errors import DiskFullError, PrunedError, StoppedError, UserError
from matryoshka.processes.launched import speaks
from matryoshka.processes.signals import stopped_by_signals
from matryoshka.storage.atomic import saying_if_full
from matryoshka.storage.credentials import keep_out_of_logs, shown

register_resolvers()  # here, since a launcher's own process imports only this before it resolves a configuration
keep_out_of_logs()

log = logging.getLogger("matryoshka")

Task = Callable[[Mapping[str, Any], Path], float]
Check = Callable[[Mapping[str, Any]], None]


def run(config: DictConfig) -> float:
    """Check the configuration and run its task into Hydra's output folder; ends the process where that failed.

    A job of a sweep ends nothing: what became of it stands in its folder's status.json.
    """
    folder = Path(HydraConfig.get().runtime.output_dir)
    mask_written(folder)
    run_job = _in_a_sweep if HydraConfig.get().mode == RunMode.MULTIRUN else _alone
    return run_job(config, folder)


def task_and_check(program: str, config: Mapping[str, Any]) -> tuple[str, Check]:
    """The name of the task that a configuration of train.py or evaluate.py asks for, and the check of the whole."""
    from matryoshka.config.validation import check_comparison, check_evaluation, check_training

    if program == "train":
        return config.get("task", "train"), check_training
    return ("compare", check_comparison) if config.get("compare") is not None else ("evaluate", check_evaluation)


def plain_values(config: DictConfig, program: str) -> dict[str, Any]:
    """The configuration without interpolations. Raises ConfigError with all its problems."""
    from matryoshka.config.validation import checked

    return checked(config, task_and_check(program, config)[1])


def _start(plain: Mapping[str, Any], folder: Path) -> float:
    name, _ = task_and_check(_program(), plain)
    log.info("results go to %s", folder)  # at once: loading what follows takes seconds
    task: Task = getattr(import_module(f"matryoshka.tasks.{name}"), name)
    return task(plain, folder)


def _program() -> str:
    """train or evaluate."""
    return str(HydraConfig.get().job.config_name)


def _alone(config: DictConfig, folder: Path) -> float:
    try:
        with stopped_by_signals(), saying_if_full(folder):
            plain = plain_values(config, _program())
            folder = _run_folder(plain, folder)
            with _alone_there(plain, folder):
                value = _start(plain, folder)
        _remove_if_unused(folder)  # as after a question, whose answer is only shown
        return value
    except StoppedError as stop:
        _exit(128 + stop.number, f"{stop}; {going_on(folder)}")
    except KeyboardInterrupt:
        _exit(130, f"interrupted; {going_on(folder)}")
    except UserError as error:
        _remove_if_unused(folder)
        _exit(2, str(error))
    except DiskFullError as error:
        _exit(1, f"{error}; make room on that disk. Nothing that was there before is lost: {going_on(folder)}")
    except Exception as error:
        log.exception("failed")
        if not speaks():  # and so without a log
            sys.stderr.write(shown(traceback.format_exc()))
        written = folder / f"{HydraConfig.get().job.name}.log"
        _exit(1, f"{type(error).__name__}: {error}; the traceback is in {written}")


@contextmanager
def _alone_there(config: Mapping[str, Any], folder: Path) -> Iterator[None]:
    """Two trainings would write over each other in one folder. Raises UserError where another process is at work."""
    from matryoshka.sweep.jobs import is_running, running

    if task_and_check(_program(), config)[0] != "train" or not speaks():
        yield
        return
    if is_running(folder):
        raise UserError(f"{folder}: another process is training there; wait for it or stop it")
    with running(folder):
        yield


def _run_folder(config: Mapping[str, Any], folder: Path) -> Path:
    """Hydra's folder, or that of the run that resume=... goes on with, which Hydra's log then goes to as well."""
    if not config.get("resume") or config.get("task", "train") != "train" or not speaks():
        return folder
    given = any(word.startswith("hydra.run.dir=") for word in HydraConfig.get().overrides.hydra)
    if given and config["resume"] is True:
        return folder
    other = run_to_resume(config["resume"], folder)
    use_folder(other)
    _remove_if_unused(folder)
    return other


def _in_a_sweep(config: DictConfig, folder: Path) -> float:
    from matryoshka.sweep.jobs import config_hash, forget_attempt, goes_on, running
    from matryoshka.sweep.progress import progress
    from matryoshka.sweep.status import Status, read_status

    start = time.perf_counter()
    status = Status("running", "", _settings())
    with running(folder):
        before = read_status(folder)
        try:
            plain = plain_values(config, _program())
            status = replace(status, config_hash=config_hash(plain))
            if before and before.state == "done" and before.config_hash == status.config_hash:
                log.info("done before, by another process")
                return float("nan") if before.objective is None else before.objective
            if before and not goes_on(folder, status.config_hash):
                forget_attempt(folder)
            status.write(folder)
            with stopped_by_signals():
                value = _start(plain, folder)
            status = replace(status, state="done", objective=value if math.isfinite(value) else None)
        except DiskFullError:
            raise  # nothing more can be written: the job stays `running`, and goes on with the same command
        except PrunedError as error:
            log.info("%s", error)
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)  # weights that nobody asked for
            status = replace(status, state="pruned", objective=error.value)
        except UserError as error:
            log.error("%s", error)
            status = replace(status, state="failed", error=str(error))
        except Exception as error:
            log.exception("failed")
            line = f"{type(error).__name__}: {error}"
            status = replace(status, state="failed", error=line, traceback=traceback.format_exc())
        status = replace(status, seconds=round(time.perf_counter() - start, 1))
        status.write(folder)
    if line := progress(Path(HydraConfig.get().sweep.dir)):
        log.info("sweep: %s", line)
    return float("nan") if status.objective is None else status.objective


def _settings() -> dict[str, Any]:
    """The job's overrides by key, without those that do not name its folder either."""
    words = OverridesParser.create().parse_overrides(list(HydraConfig.get().overrides.task))
    left_out = HydraConfig.get().job.config.override_dirname.exclude_keys
    return {word.key_or_group: word.value() for word in words if word.key_or_group not in left_out}


def _remove_if_unused(folder: Path) -> None:
    """A run that wrote nothing leaves no folder behind: nothing is in it but what Hydra wrote."""
    if folder.is_dir() and all(item.name in (".hydra", ".lock") or item.suffix == ".log" for item in folder.iterdir()):
        shutil.rmtree(folder)
        if not any(folder.parent.iterdir()):
            folder.parent.rmdir()


def _exit(code: int, message: str) -> NoReturn:
    if speaks():
        sys.stderr.write(f"{shown(message)}\n")
    sys.exit(code)
