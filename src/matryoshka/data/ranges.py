"""Numbers that several signatures take, each with its range and an example of it."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Le

Count = Annotated[int, Ge(1), Le(1_000_000), "16"]
Seed = Annotated[int, Ge(0), Le(2**32 - 1), "42"]
