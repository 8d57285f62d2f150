"""A run that is over, by its folder: its values, its projection, its model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from matryoshka.config.past_run import as_of_then
from matryoshka.config.recipe import TrainingRecipe, build
from matryoshka.encoder.encoder import Encoder
from matryoshka.encoder.model_folder import read_json
from matryoshka.errors import UserError
from matryoshka.projection.saved import FILE, SavedProjection
from matryoshka.report.files import FINISHED
from matryoshka.tasks.projecting import put_behind

REMEDY = "give the folder of a finished training, as in run=outputs/train/..."


@dataclass(frozen=True)
class FinishedRun:
    """folder: the run's. config: its config.yaml. facts: its run.json."""

    folder: Path
    config: Mapping[str, Any]
    facts: Mapping[str, Any]

    @classmethod
    def read(cls, place: str) -> FinishedRun:
        """The run in a folder. Raises UserError for one that is no finished training with a kept model."""
        folder = Path(place).expanduser()
        if not folder.is_dir():
            raise UserError(f"run={place}: there is no such folder; {REMEDY}")
        if not (folder / "config.yaml").is_file():
            raise UserError(f"run={place}: holds no run (config.yaml is missing); {REMEDY}")
        config = _values(folder / "config.yaml")
        if (task := config.get("task", "train")) != "train":
            raise UserError(f"run={place}: is of task={task}, which trains no encoder; {REMEDY}")
        if not (folder / FINISHED).is_file():
            raise UserError(f"run={place}: is not finished ({FINISHED} is missing); end it with resume={place}")
        if not (folder / "model" / "config.json").is_file():
            missing = "model/config.json is missing; with export=none a run keeps none"
            raise UserError(f"run={place}: kept no model ({missing}); {REMEDY}")
        return cls(folder, config, read_json(folder / FINISHED))

    def recipe(self, now: TrainingRecipe) -> TrainingRecipe:
        """The run's recipe, on this machine's device. now: that of the command."""
        return build(as_of_then(self.config, now.config, str(self.folder / "config.yaml")), TrainingRecipe)

    def put_projection(self, encoder: Encoder) -> None:
        """Let the encoder end in the projection that the run began with, unless the run gave it up at its end."""
        if saved := kept_projection(self.folder, self.facts):
            put_behind(encoder, saved)

    def tuned(self, recipe: TrainingRecipe) -> Encoder:
        """The model that the run kept, with the length and the prompts of the run."""
        return replace(recipe.encoder, model=str(self.folder / "model"), revision=None).load(None)


def kept_projection(folder: Path, facts: Mapping[str, Any]) -> SavedProjection | None:
    """The projection that a run began with, as it was fitted; None without one, or where the run gave it up.

    facts: its run.json.
    """
    share = ((facts.get("blend") or {}).get("kept") or {"share": 1}).get("share")
    return SavedProjection.read(folder) if share is not None and (folder / FILE).is_file() else None


def _values(path: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {str(error).splitlines()[0]}; {REMEDY}") from error
    if not isinstance(found, dict):
        raise UserError(f"{path} is no configuration; {REMEDY}")
    return found
