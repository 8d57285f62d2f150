"""What a sweep's jobs are called where they are tracked: the sweep they belong to, what it chose for each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode

NOT_NAMED = ("hydra", "logger", "export")


def sweep_group() -> str | None:
    """The sweep's folder below multirun/, as in `bmf/dims_lr_scheduler`; None outside a sweep."""
    if not _in_a_sweep():
        return None
    folder = Path(HydraConfig.get().sweep.dir)
    parts = folder.parts[folder.parts.index("multirun") + 1 :] if "multirun" in folder.parts else folder.parts[-1:]
    return "/".join(parts) or None


def sweep_choices() -> list[str]:
    """The job's overrides for a reader: `dims 768-64`, `lr 2e-05`, and of a group its choice alone, `cosine`."""
    if not _in_a_sweep():
        return []
    config = HydraConfig.get()
    left_out = {*config.job.config.override_dirname.exclude_keys, *NOT_NAMED}
    words = OverridesParser.create().parse_overrides(list(config.overrides.task))
    named = [word for word in words if not {word.key_or_group, word.key_or_group.partition(".")[0]} & left_out]
    groups = config.runtime.choices
    return [_told(word.key_or_group, word.value(), word.key_or_group in groups) for word in named]


def _told(key: str, value: Any, is_group: bool) -> str:
    text = "-".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if is_group else f"{key.rpartition('.')[2]} {text}"


def _in_a_sweep() -> bool:
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
