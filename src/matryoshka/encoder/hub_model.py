"""Models of the hub: what is in its cache, and what is fetched with one try of a few seconds. Imports nothing slow."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from matryoshka.encoder.model_folder import read_json
from matryoshka.encoder.weight_files import PICKLED, PICKLED_INDEX, weights_file
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


def unreadable(model: str, revision: str | None, *, pickled: bool) -> Path | None:
    """The folder of a hub model in the cache if none of its weights can be read; None if they can, or may be fetched.

    Where a pickle is there and no safetensors, the hub has none: whoever fetched it would have taken those.
    """
    import huggingface_hub as hub

    cached = at_hand(model, revision)
    if cached is None or weights_file(cached, pickled=pickled):
        return None
    return cached if hub.constants.HF_HUB_OFFLINE or any_pickled(cached) else None


def any_pickled(folder: Path) -> bool:
    """Whether weights lie in the folder as a pickle."""
    return any((folder / name).is_file() for name in (PICKLED, PICKLED_INDEX))


def hub_folder(model: str, revision: str | None, *, code: bool, pickled: bool = False) -> Path:
    """The folder with all files of a hub model, fetched first where they are not at hand; a pickle only if asked."""
    import huggingface_hub as hub

    # A * matches subfolders too: 1_Pooling/config.json, 2_Dense/model.safetensors.
    wanted = ["*.json", "*.txt", "*.model", "*.spm", "*.safetensors", *(["*.py"] if code else [])]
    wanted += ["*pytorch_model*.bin"] if pickled else []
    try:
        return Path(hub.snapshot_download(model, revision=revision, allow_patterns=wanted))
    except (OSError, ValueError) as error:
        raise _unreachable(model) from error
