"""Models of the hub: what is in its cache, and what is fetched with one try of a few seconds. Imports nothing slow."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from matryoshka.encoder.model_folder import read_json
from matryoshka.errors import UserError

COMMIT = re.compile(r"[0-9a-f]{40}")


def commit_of(folder: Path) -> str | None:
    """The commit that a folder of the hub's cache is a snapshot of."""
    return folder.name if folder.parent.name == "snapshots" and COMMIT.fullmatch(folder.name) else None


def _unreachable(model: str) -> UserError:
    return UserError(
        f"{model!r} is no folder here, is not in the hub's cache, and the hub cannot be reached; "
        "use encoder=e5_small, or encoder=pretrained encoder.model=<folder>"
    )


def hub_config(model: str, revision: str | None) -> dict[str, Any]:
    """config.json of a hub model, from the cache or, with one try of a few seconds, from the hub."""
    import huggingface_hub as hub

    try:
        cached = hub.try_to_load_from_cache(model, "config.json", revision=revision)
    except ValueError as error:  # a name that no hub model can have
        raise UserError(f"{model!r} is neither a folder here nor a hub name like BAAI/bge-m3") from error
    if isinstance(cached, str):
        return read_json(Path(cached))
    if hub.constants.HF_HUB_OFFLINE:
        raise _unreachable(model)
    try:
        url = hub.hf_hub_url(model, "config.json", revision=revision)
        headers = hub.utils.build_hf_headers()  # type: ignore[attr-defined]
        answer = hub.get_session().get(url, timeout=3, follow_redirects=True, headers=headers)
    except Exception as error:  # the network errors of the hub's client are of whichever library it uses
        raise _unreachable(model) from error
    if answer.status_code != 200:
        raise UserError(f"the hub answers {answer.status_code} for {model!r} at revision {revision or 'main'!r}")
    try:
        config = answer.json()
    except ValueError as error:
        raise UserError(f"the hub's config.json of {model!r} is no JSON ({error}); use another revision") from error
    if not isinstance(config, dict):
        raise UserError(f"the hub's config.json of {model!r} is not a JSON object; use another revision")
    return config


def at_hand(model: str, revision: str | None) -> Path | None:
    """The folder of a hub model in the cache, whether all of its files are there or not; None if it is not there."""
    import huggingface_hub as hub

    cached = hub.try_to_load_from_cache(model, "config.json", revision=revision)
    return Path(cached).parent if isinstance(cached, str) else None


def hub_folder(model: str, revision: str | None, *, code: bool) -> Path:
    """The folder with all files of a hub model, fetched first where they are not at hand; never a pickle."""
    import huggingface_hub as hub

    # A * matches subfolders too: 1_Pooling/config.json, 2_Dense/model.safetensors.
    wanted = ["*.json", "*.txt", "*.model", "*.spm", "*.safetensors", *(["*.py"] if code else [])]
    try:
        return Path(hub.snapshot_download(model, revision=revision, allow_patterns=wanted))
    except (OSError, ValueError) as error:
        raise _unreachable(model) from error
