"""What things are called in W&B, in one place for the logger that writes them and the workspace that shows them.

W&B makes a section of all names with one prefix, so a dim's metrics stand together, and so do all dims' losses. The
configuration is given flat, with dots (`optimizer.lr`), as W&B's own sweeps write it.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

UPDATE = "update"  # the x axis of every row
LOSS = "train/loss"
LEARNING_RATE = "train/learning_rate"
GRADIENT_NORM = "train/gradient_norm"
PAIRS_PER_SECOND = "train/pairs_per_second"
TOKENS_PER_SECOND = "train/tokens_per_second"
MEMORY = "train/memory_gigabytes"
SELECTED = "selected_value"  # the number that chose the checkpoint, by which the jobs of a sweep are compared
PRUNED = "pruned"  # true of a trial that was given up early
SETS = "further_sets"  # a table, of runs that have some
TABLES = ("results", "hardest_queries", "lost_queries", "deployment")
FIGURE = "metric_against_dim"
AT_DIM = re.compile(r"(?:(?P<part>.+)/)?(?P<name>[^/]+)/dim_(?P<dim>\d+)")
RUNS = "wandb/offline-run-*"  # below a run's folder


def name_of(logged: str) -> str:
    """What a column of metrics.jsonl is called in W&B: `dev/ndcg@10/dim_256` -> `dev/dim_256/ndcg@10`.

    So is a further set's `<set>/ndcg@10/dim_256`.
    """
    match = AT_DIM.fullmatch(logged)
    if not match:
        return logged
    part, name, dim = match["part"] or "", match["name"], int(match["dim"])
    if part == "train":
        return gradient_share_name(dim) if name == "gradient_share" else loss_name(dim)
    return metric_name(name, dim, part)


def metric_name(metric: str, dim: int, part: str = "") -> str:
    """`dim_256/ndcg@10`; of another part than the test queries (dev, base, merged, a set), `dev/dim_256/ndcg@10`."""
    return "/".join(filter(None, [part, f"dim_{dim}", metric]))


def loss_name(dim: int) -> str:
    """A dim's own part of the loss, before its weight: `loss/dim_256`."""
    return f"loss/dim_{dim}"


def gradient_share_name(dim: int) -> str:
    """A dim's share in the norm of the gradient: `gradient_share/dim_256`."""
    return f"gradient_share/dim_{dim}"


def sync_command(folder: Path) -> str:
    """What uploads the offline runs of a run's folder, or of a whole sweep's; empty if there are none.

    Given again it uploads only what is new: wandb marks what it has uploaded.
    """
    for pattern in (RUNS, f"*/{RUNS}"):
        if any(folder.glob(pattern)):
            return f"wandb sync {shlex.quote(str(folder))}/{pattern}"
    return ""
