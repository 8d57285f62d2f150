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
    for group in ("sets", "sources"):
        parts: Mapping[str, Any] = getattr(recipe, group)
        commits = {name: commit for name, part in parts.items() if (commit := getattr(part, "commit", None))}
        if commits:
            pinned_ones = {name: {**config[group][name], "revision": commit} for name, commit in commits.items()}
            groups[group] = {**config[group], **pinned_ones}
    return {**config, **groups, "baselines": [_pinned_name(name) for name in recipe.baselines]}


def pinned_as_before(config: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with the commits that its run read before, where it names the same model or data and no commit.

    A branch or a tag is what it was when the run began.
    """
    groups = {group: _node_as_before(config[group], before.get(group, {})) for group in ("encoder", "data")}
    for group in ("sets", "sources"):
        if nodes := config.get(group):
            then = before.get(group) or {}
            groups[group] = {name: _node_as_before(node, then.get(name, {})) for name, node in nodes.items()}
    commits = {name.partition("@")[0]: name for name in before.get("baselines", ()) if "@" in name}
    return {**config, **groups, "baselines": [_as_before(name, commits) for name in config["baselines"]]}


def _node_as_before(node: Mapping[str, Any], there: Mapping[str, Any]) -> Mapping[str, Any]:
    asked, same = node.get("revision"), {**node, "revision": None} == {**there, "revision": None}
    return there if there.get("revision") and same and not (asked and COMMIT.fullmatch(asked)) else node


def _as_before(name: str, commits: Mapping[str, str]) -> str:
    model, _, asked = name.partition("@")
    return name if COMMIT.fullmatch(asked) else commits.get(model, name)


def _pinned_name(name: str) -> str:
    if name == WITHOUT_A_MODEL:
        return name
    model = Pretrained.named(name)
    commit = model.commit()
    return f"{model.model}@{commit}" if commit else name
