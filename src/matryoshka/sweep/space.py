"""What a search draws from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

Space = Mapping[str, BaseDistribution]  # the key of a word, `optimizer.lr` or `+trainer.limit_train_batches` -> values


def texts_to_check(values: BaseDistribution) -> list[str]:
    """What is tried out before a search begins: all choices, and of numbers the least and the greatest."""
    if isinstance(values, CategoricalDistribution):
        return [str(choice) for choice in values.choices]
    assert isinstance(values, FloatDistribution | IntDistribution)
    return [str(values.low), str(values.high)]


def space_words(values: BaseDistribution) -> str:
    """What a value is drawn from, in words."""
    if isinstance(values, CategoricalDistribution):
        return " | ".join(texts_to_check(values))
    assert isinstance(values, FloatDistribution | IntDistribution)
    step = f" in steps of {values.step:g}" if values.step and (values.step != 1 or "." in str(values.step)) else ""
    return f"{values.low:g} to {values.high:g}{step}{', by factors' if values.log else ''}"


def short(values: BaseDistribution, value: Any) -> Any:
    """Of a number between two ends four digits: people read them, and nobody can tell more apart."""
    if not isinstance(values, FloatDistribution):
        return value
    rounded = float(f"{value:.4g}") if values.step is None else float(f"{value:.12g}")
    return min(max(rounded, values.low), values.high)
