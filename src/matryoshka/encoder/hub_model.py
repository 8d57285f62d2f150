"""Models of the hub: what is in its cache, and what is fetched with one try of a few seconds. Imports nothing slow."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from matryoshka.encoder.missing_weights import MissingFileError, hub_name
from matryoshka.encoder.model_folder import read_json, require_loadable, require_settings
from matryoshka.encoder.sentence_transformers import SavedSettings
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
        with fetched_anew(Path(cached).parent):
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


def require_cached(folder: Path, *, trust_remote_code: bool, pickled_weights: bool) -> None:
    """As `require_loadable`, of a hub model in the cache: what is there is whole. What is not may yet be fetched."""
    import huggingface_hub as hub

    try:
        with fetched_anew(folder):
            require_settings(folder, trust_remote_code=trust_remote_code)
            SavedSettings.read(folder, pickled=pickled_weights)
            if weights_file(folder, pickled=pickled_weights):
                require_loadable(folder, trust_remote_code=trust_remote_code, pickled_weights=pickled_weights)
    except MissingFileError:
        if hub.constants.HF_HUB_OFFLINE:
            raise


@contextmanager
def fetched_anew(folder: Path) -> Iterator[None]:
    """Says of a file to be copied again, if it lies in the hub's cache, how: what is there is not fetched by itself."""
    try:
        yield
    except UserError as error:
        if (commit := commit_of(folder)) is None or "; copy " not in str(error):
            raise
        how = f"hf download {hub_name(folder)} --revision {commit} --force-download"
        raise type(error)(f"{error}: {how}") from error


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
