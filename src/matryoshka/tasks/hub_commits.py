"""Which commits of the hub a run has read: they stand in its configuration, so that it can be repeated exactly."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from matryoshka.config.recipe import Recipe, TrainingRecipe, rebuilt
from matryoshka.encoder.hub_model import COMMIT
from matryoshka.encoder.pretrained import Pretrained
from matryoshka.processes.together import first_then_others, from_first
from matryoshka.tasks.baselines import WITHOUT_A_MODEL
from matryoshka.tasks.loading import TrainingData, load

if TYPE_CHECKING:
    from matryoshka.encoder.encoder import Encoder


def loaded(
    recipe: TrainingRecipe, require: Callable[[TrainingData], object] = bool
) -> tuple[TrainingRecipe, TrainingData]:
    """What a training reads, and the recipe with the commits of the hub that were read.

    require: raises for data that the task can do nothing with, before anything else is fetched.
    """
    data = first_then_others(lambda: load(recipe))
    require(data)
    return rebuilt(recipe, from_first(partial(pinned, recipe, data.encoder, data.data_commit))), data


def pinned(recipe: Recipe, encoder: Encoder, data_commit: str | None) -> dict[str, Any]:
    """The recipe's configuration with the commit of each hub model and data set as its revision; no other change.

    data_commit: that of the data set, None where it is not from the hub. Baselines are fetched if they are not at hand.
    """
    config = recipe.config
    revisions = {"encoder": encoder.revision, "data": data_commit}
    groups = {group: {**config[group], "revision": revision} for group, revision in revisions.items() if revision}
    sources = dict(config.get("sources") or {})
    for name, source in recipe.sources.items():
        if commit := getattr(source, "commit", None):
            sources[name] = {**sources[name], "revision": commit}
    groups |= {"sources": sources} if sources else {}
    return {**config, **groups, "baselines": [_pinned_name(name) for name in recipe.baselines]}


def pinned_as_before(config: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with the commits that its run read before, where it names the same model or data and no commit.

    A branch or a tag is what it was when the run began.
    """
    groups = {group: _revised(config[group], before.get(group, {})) for group in ("encoder", "data")}
    if sources := config.get("sources"):
        then = before.get("sources") or {}
        groups["sources"] = {name: _revised(node, then.get(name, {})) for name, node in sources.items()}
    commits = {name.partition("@")[0]: name for name in before.get("baselines", ()) if "@" in name}
    return {**config, **groups, "baselines": [_as_before(name, commits) for name in config["baselines"]]}


def _revised(node: Mapping[str, Any], before: Mapping[str, Any]) -> Mapping[str, Any]:
    """A model or data set at the commit that it was read at before, if it is the same."""
    asked, same = node.get("revision"), {**node, "revision": None} == {**before, "revision": None}
    return before if before.get("revision") and same and not (asked and COMMIT.fullmatch(asked)) else node


def _as_before(name: str, commits: Mapping[str, str]) -> str:
    model, _, asked = name.partition("@")
    return name if COMMIT.fullmatch(asked) else commits.get(model, name)


def _pinned_name(name: str) -> str:
    if name == WITHOUT_A_MODEL:
        return name
    model = Pretrained.named(name)
    commit = model.commit()
    return f"{model.model}@{commit}" if commit else name
