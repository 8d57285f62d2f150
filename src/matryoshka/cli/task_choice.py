"""The task and the checked values that a composed configuration asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from matryoshka.config.validation import check_of, checked


def program() -> str:
    """train or evaluate."""
    return str(HydraConfig.get().job.config_name)


def task_of(config: Mapping[str, Any], program: str) -> str:
    """The name of the task that a configuration of train.py or evaluate.py asks for."""
    if program == "train":
        return str(config.get("task", "train"))
    return "compare" if config.get("compare") is not None else "evaluate"


def plain_values(config: DictConfig, program: str) -> dict[str, Any]:
    """The configuration without interpolations. Raises ConfigError with all its problems."""
    return checked(config, check_of(task_of(config, program)))


def looks_at(config: DictConfig) -> str:
    """What the jobs only show, without a result: doctor, plan, ask or compare; empty where they train or measure."""
    if (task := config.get("task", "train")) not in ("train", "project", "blend"):
        return str(task)
    return next((key for key in ("ask", "compare") if config.get(key) is not None), "")
