"""Hydra's syntax of sweeps as what a search draws from."""

from __future__ import annotations

from collections.abc import Sequence

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep, Sweep
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from matryoshka.errors import ConfigError
from matryoshka.sweep.space import Space


def search_space(words: Sequence[Override]) -> tuple[list[str], Space]:
    """The words that every trial has, and what the others are drawn from; of a key that is said twice the last holds.

    `a,b`, `choice(a, b)` and `glob(*)`: one of them. `range(1, 9, step=2)`: a number of it. `interval(0.1, 0.5)`: any
    number between, `int(interval(1, 9))` a whole one. `tag(log, ...)` of numbers: by factors, not by differences.
    Raises ConfigError with all values that cannot be drawn from.
    """
    last = {word.get_key_element().lstrip("+~"): word for word in words}
    fixed, space, problems = [], {}, []
    for key, word in last.items():
        if not word.is_sweep_override():
            fixed.append(word.input_line or f"{word.get_key_element()}={word.get_value_element_as_str()}")
            continue
        try:
            space[word.get_key_element()] = _distribution(word)
        except ValueError as error:
            problems.append((key, str(error)))
    if problems:
        raise ConfigError(problems)
    return fixed, space


def _distribution(word: Override) -> BaseDistribution:
    """Raises ValueError, optuna's or with the remedy."""
    value = word.value()
    assert isinstance(value, Sweep)
    numbers = isinstance(value, IntervalSweep | RangeSweep)
    if unknown := value.tags - ({"log"} if numbers else set()):
        raise ValueError(f"tag {', '.join(unknown)}: only numbers have one, log")
    log = "log" in value.tags
    if isinstance(value, IntervalSweep):
        if isinstance(value.start, int) and isinstance(value.end, int):
            return IntDistribution(value.start, value.end, log=log)
        return FloatDistribution(value.start, value.end, log=log)  # type: ignore[arg-type]
    if isinstance(value, RangeSweep):
        members = sorted(value.range())
        if not members:
            raise ValueError("this range is empty")
        if all(isinstance(member, int) for member in members):
            return IntDistribution(members[0], members[-1], step=abs(int(value.step)), log=log)
        return FloatDistribution(members[0], members[-1], step=abs(float(value.step)), log=log)
    return CategoricalDistribution(list(word.sweep_string_iterator()))
