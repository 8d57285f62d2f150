"""A saved model to the hub, by the hub's own client. It finds the token by itself; nothing here reads or shows it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from matryoshka.errors import NotPushedError

KEY = "push_to_hub"


def push_problems(name: str | None) -> Iterator[tuple[str, str]]:
    """Why a run could not push to a repository of this name, found before it starts and without the network."""
    if name is None:
        return
    import huggingface_hub as hub

    owner, _, rest = name.partition("/")
    try:
        hub.utils.validate_repo_id(name)  # type: ignore[attr-defined]
    except ValueError:  # of several kinds
        owner = ""
    if not owner or not rest:
        yield KEY, f"{name!r} is no name of a repository; give owner/name, of letters, digits, '-', '_' and '.'"
    if hub.constants.HF_HUB_OFFLINE:
        yield KEY, "the hub is switched off by HF_HUB_OFFLINE; unset it, or push later with hf upload"
    elif hub.get_token() is None:
        yield KEY, "there is no token of the hub; run hf auth login, or set HF_TOKEN to one that may write"


def push(folder: Path, name: str, *, private: bool) -> str:
    """Upload a model's folder and return its address. Raises NotPushedError, which says how to do it later.

    The repository is made if there is none. private: it is refused if it is there already and public.
    """
    import huggingface_hub as hub

    visible = "--private" if private else "--no-private"
    later = f"push it later with: hf upload {name} {shlex.quote(str(folder))} . {visible}"
    try:
        hub.create_repo(name, private=private, exist_ok=True)
        if private and not hub.repo_info(name).private:
            public = f"{name} is there and public; with export.private=false it is pushed to"
            raise NotPushedError(f"the run is done, but its model was not pushed: {public}, or {later}")
        return str(hub.upload_folder(repo_id=name, folder_path=folder, commit_message="Add the trained model"))
    except NotPushedError:
        raise
    except Exception as error:  # the errors of the hub's client are of whichever library it uses
        said = " ".join(str(error).split()) or type(error).__name__
        raise NotPushedError(f"the run is done, but its model was not pushed: {said}; {later}") from error
