"""How many batches Lightning takes from a loader."""

from __future__ import annotations

import pytorch_lightning as pl


def use_micro_batches(trainer: pl.Trainer, count: int, first: int) -> None:
    """Let the present epoch have `count` micro-batches, of which the first so many are done.

    Lightning counts the first epoch's and cuts off what later epochs have more. Raises ValueError where its count of
    the first epoch is another.
    """
    loop = trainer.fit_loop
    assert loop._combined_loader is not None
    if trainer.current_epoch == 0 and loop.max_batches != count:
        raise ValueError(f"the plan has {count} micro-batches in the first epoch, the Trainer {loop.max_batches}")
    loop.max_batches = count - first
    loop._combined_loader.limits = [count - first]
