"""Names of a sweep's jobs for trackers: the sweep that they belong to, what it chose for each."""

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
    return sweep_name(Path(HydraConfig.get().sweep.dir)) or None


def sweep_name(folder: Path) -> str:
    """A sweep's folder without the one of all sweeps; its own name where it lies elsewhere."""
    parts = folder.parts[folder.parts.index("multirun") + 1 :] if "multirun" in folder.parts else folder.parts[-1:]
    return "/".join(parts)


def sweep_choices() -> list[str]:
    """What is swept of the job's overrides, for a reader: `dims 768-64`, `lr 2e-05`, of a group its choice: `cosine`.

    Swept is what the job's folder is named after; where the user named it, every override.
    """
    if not _in_a_sweep():
        return []
    config = HydraConfig.get()
    left_out = {*config.job.config.override_dirname.exclude_keys, *NOT_NAMED}
    words = OverridesParser.create().parse_overrides(list(config.overrides.task))
    words = [word for word in words if not {word.key_or_group, word.key_or_group.partition(".")[0]} & left_out]
    swept = {part.partition("=")[0] for part in str(config.sweep.subdir).split(",")}
    named = [word for word in words if word.key_or_group in swept] or words
    return [_told(word.key_or_group, word.value(), word.key_or_group in config.runtime.choices) for word in named]


def _told(key: str, value: Any, is_group: bool) -> str:
    text = "-".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if is_group else f"{key.rpartition('.')[2]} {text}"


def _in_a_sweep() -> bool:
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
