"""The command line: words to a composed and checked configuration, to a task. Errors of the user end with exit code 2."""

from __future__ import annotations

import difflib
import logging
import os
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

# Hydra would otherwise print its own summary of an error and hide ours. It reads this when it is imported.
os.environ.setdefault("HYDRA_FULL_ERROR", "1")

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from matryoshka.config.resolvers import register_resolvers
from matryoshka.config.signatures import parameters_of
from matryoshka.errors import UserError

log = logging.getLogger("matryoshka")

Task = Callable[[Mapping[str, Any], Path], float]
Check = Callable[[Mapping[str, Any]], None]


def configuration_folder() -> Path:
    """conf/ of the checkout, or the copy inside the installed package."""
    package = Path(__file__).resolve().parent
    checkout = package.parents[1] / "conf"
    return checkout if (checkout / "train.yaml").is_file() else package / "conf"


def train() -> None:
    """`python train.py`: train, measure, save."""
    _run("train", _train)


def evaluate() -> None:
    """`python evaluate.py`: measure a model."""
    _run("evaluate", _evaluate)


def main() -> None:
    """The console script: `matryoshka train ...` and `matryoshka evaluate ...`."""
    commands = {"train": train, "evaluate": evaluate}
    if len(sys.argv) < 2 or sys.argv[1] not in commands:
        wanted = "usage: matryoshka {train,evaluate} [options and overrides]; matryoshka train --help shows every choice"
        sys.exit(wanted if len(sys.argv) < 2 or sys.argv[1] not in ("-h", "--help") else print(wanted))
    command = sys.argv.pop(1)
    sys.argv[0] = f"matryoshka {command}"
    commands[command]()


def _run(name: str, job: Callable[[DictConfig], float]) -> None:
    register_resolvers()
    # argparse reads overrides only in one piece; people put -m anywhere.
    sys.argv[1:] = sorted(sys.argv[1:], key=lambda word: word not in ("-m", "--multirun"))
    decorated = hydra.main(version_base="1.3", config_path=str(configuration_folder()), config_name=name)(job)
    try:
        decorated()
    except UserError as error:
        _exit(2, str(error))
    except (HydraException, OmegaConfBaseException) as error:
        _exit(2, hydra_message(error, name))
    except KeyboardInterrupt:
        _exit(130, "interrupted")
    except BrokenPipeError:  # the reader (head, less) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception:
        log.exception("failed")
        sys.exit(1)


def _train(config: DictConfig) -> float:
    from matryoshka.config.validation import check_training

    return _job(config, check_training, "train")


def _evaluate(config: DictConfig) -> float:
    from matryoshka.config.validation import check_evaluation

    return _job(config, check_evaluation, "evaluate")


def _job(config: DictConfig, check: Check, task_name: str) -> float:
    folder = Path(HydraConfig.get().runtime.output_dir)
    try:
        plain: Any = OmegaConf.to_container(config, resolve=True)
        check(plain)
        task: Task = getattr(import_module(f"matryoshka.tasks.{task_name}"), task_name)
        return task(plain, folder)
    except UserError as error:
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            raise
        _remove_if_unused(folder)
        _exit(2, str(error))
    except Exception as error:
        log.exception("failed")
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            raise
        written = folder / f"{HydraConfig.get().job.name}.log"
        _exit(1, f"{type(error).__name__}: {error}; the traceback is in {written}")


def _remove_if_unused(folder: Path) -> None:
    """A run that never started leaves no folder behind: nothing is in it but what Hydra wrote."""
    if folder.is_dir() and all(item.name == ".hydra" or item.suffix == ".log" for item in folder.iterdir()):
        shutil.rmtree(folder)
        if not any(folder.parent.iterdir()):
            folder.parent.rmdir()


def _exit(code: int, message: str) -> NoReturn:
    print(message, file=sys.stderr)
    sys.exit(code)


def hydra_message(error: Exception, config_name: str) -> str:
    """What Hydra says, without its stack, and the key or choice that was probably meant."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    if match := re.match(r"Could not override '([^']+)'", lines[0] if lines else ""):
        return _unknown_key(match[1], config_name)
    if match := re.search(r"Could not find '(.+)/([^/']+)'", str(error)):
        group, choice = match.groups()
        choices = [line.strip() for line in lines[2:] if line.startswith("\t") and "=" not in line]
        near = difflib.get_close_matches(choice, choices, n=1)
        meant = f"did you mean {near[0]}? " if near else ""
        return f"{group}={choice}: unknown choice; {meant}there are {', '.join(choices)}"
    return "\n".join(lines) or type(error).__name__


def _unknown_key(key: str, config_name: str) -> str:
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(configuration_folder()), version_base="1.3"):
        config: Any = OmegaConf.to_container(hydra.compose(config_name), resolve=False)
    group, _, argument = key.partition(".")
    target = config[group].get("_target_") if isinstance(config.get(group), dict) else None
    if target and argument in parameters_of(target):
        return f"{key} is not set by default: write +{key}=..."
    near = difflib.get_close_matches(key, _dotted(config), n=1)
    return f"{key}: unknown key; " + (f"did you mean {near[0]}?" if near else "--help shows every key")


def _dotted(config: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Every key of a nested configuration, `group.key`."""
    keys: list[str] = []
    for key, value in config.items():
        keys.append(f"{prefix}{key}")
        if isinstance(value, dict):
            keys += _dotted(value, f"{prefix}{key}.")
    return keys
