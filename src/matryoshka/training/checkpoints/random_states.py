"""The states of all generators that a training draws from."""

from __future__ import annotations

import random
from typing import Any, cast

import numpy as np
import torch


def random_states() -> dict[str, Any]:
    """Those of Python, NumPy, torch and the present GPU, as plain values and tensors."""
    name, numbers, *rest = cast(tuple[Any, ...], np.random.get_state())
    states = {
        "python": random.getstate(),
        "numpy": (str(name), torch.from_numpy(numbers.astype(np.int64)), *rest),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_initialized():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def restore_random_states(states: dict[str, Any]) -> None:
    """Let all of them go on from where they were."""
    random.setstate(states["python"])
    name, numbers, *rest = states["numpy"]
    np.random.set_state((name, numbers.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(states["torch"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
