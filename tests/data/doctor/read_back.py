"""A diagnosis from what was written of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter

from matryoshka.data.doctor.diagnosis import Diagnosis


def read_back(plain: Mapping[str, Any]) -> Diagnosis:
    from matryoshka.data.samplers import BatchSummary  # noqa: F401 - looked up here by its name

    return TypeAdapter(Diagnosis).validate_python(dict(plain))
