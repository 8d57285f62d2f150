"""Which rows of the word-embedding table a training needs: decided once, for the estimate of memory and for the run."""

from __future__ import annotations

from dataclasses import dataclass

from matryoshka.config.recipe import TrainingRecipe
from matryoshka.encoder.compact_vocabulary import is_exact_with
from matryoshka.tasks.loading import TrainingData


@dataclass(frozen=True)
class Vocabulary:
    """whole: why every row is trained; empty where only those of the used tokens are."""

    data: TrainingData
    whole: str
    frozen: bool = False  # under an adapter

    @classmethod
    def of(cls, recipe: TrainingRecipe, data: TrainingData) -> Vocabulary:
        """Every row is trained where training would not come to the same, as with another optimizer."""
        if not recipe.compact_vocabulary:
            return cls(data, ", as configured", recipe.adapter is not None)
        if recipe.adapter:
            return cls(data, "", frozen=True)
        if not is_exact_with(recipe.optimizer):
            name = recipe.config["optimizer"]["_target_"].rpartition(".")[2]
            return cls(data, f": {name} as configured changes rows that no text uses")
        return cls(data, "")

    @property
    def rows(self) -> int | None:
        """How many rows are trained; None: all."""
        return None if self.whole or not self.data.encoder.packed else len(self.data.used_tokens)

    def compact(self) -> str:
        """Set the other rows aside; returns what was done, and why."""
        verb = "held" if self.frozen else "trained"
        every = f"every row of the word-embedding table is {verb}"
        if self.whole:
            return f"{every}{self.whole}"
        try:
            vocabulary = self.data.encoder.compact_vocabulary(self.data.used_tokens)
        except ValueError as error:
            return f"{every}: {error}"
        kept, whole = vocabulary.rows
        saves = "" if self.frozen else f"saves {vocabulary.bytes_saved / 1e6:,.0f} MB and "
        return (
            f"{kept:,} of {whole:,} rows of the word-embedding table occur and are {verb}, which {saves}changes nothing"
        )
