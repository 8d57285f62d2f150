"""Callbacks with other weights than the trained ones, such as their average."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol, runtime_checkable

import pytorch_lightning as pl


@runtime_checkable
class OtherWeights(Protocol):
    """A callback whose weights are measured, and saved as best, in place of those that are trained on."""

    def weights_to_measure(self, module: pl.LightningModule, /) -> AbstractContextManager[None]:
        """Inside, the module's encoder has these weights; afterwards its own, to the bit."""
