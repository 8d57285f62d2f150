"""Compute a step that could not be made once more: python -m matryoshka.tasks.repeat outputs/.../not_finite

It prints each micro-batch's loss by dim, as it was and as it is now, and the first module whose output is not finite.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor, nn

from matryoshka.data.clashes import no_negatives
from matryoshka.data.packing import PackedBatch
from matryoshka.encoder.encoder import Encoder
from matryoshka.encoder.pretrained import Pretrained
from matryoshka.losses.matryoshka import NestedLoss
from matryoshka.tasks.setup import device_of
from matryoshka.tasks.trainer import make_loss
from matryoshka.training.gradient_cache import cached_backward, set_random_state

Config = Mapping[str, Any]
OF_RUN = {"dim_weights": None, "dims_per_step": None}  # what a configuration need not have
NOT_TEXTS = ("micro_batch", "row")


@dataclass(frozen=True)
class Repeated:
    """A micro-batch's loss by dim, and the name of the first module whose output is not finite, if there is one."""

    per_dim: Mapping[str, float]
    first_module: str | None


def repeat(folder: Path) -> list[Repeated]:
    """Every micro-batch of the step in the folder, with the weights, rows, dropout and precision of the run."""
    step = json.loads((folder / "step.json").read_text(encoding="utf-8"))
    config = OF_RUN | yaml.safe_load((folder.parent / "config.yaml").read_text(encoding="utf-8"))
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
    states = load_file(folder / "random_states.safetensors")
    device = device_of(config["trainer"].get("accelerator", "auto"))
    encoder = Pretrained(str(folder / "model")).load(finite=False).to(device).train()
    repeated = []
    for i, micro in enumerate(step["micro_batches"]):
        batch = _batch([row for row in rows if row["micro_batch"] == i], config, encoder).to(device)
        set_random_state(device, states[f"micro_batch_{i}"])
        dims = [dim for dim in config["dims"] if str(dim) in micro["loss_by_dim"]]
        with _first_broken(encoder) as broken:
            nested = _loss(encoder, batch, {**config, "dims": dims, "dim_weights": None, "dims_per_step": None})
        per_dim = {str(dim): float(loss) for dim, loss in nested.per_dim.items()}
        repeated.append(Repeated(per_dim, broken[0] if broken else None))
    return repeated


def _batch(rows: Sequence[Mapping[str, str]], config: Config, encoder: Encoder) -> PackedBatch:
    columns = [name for name in rows[0] if name not in NOT_TEXTS]
    texts = {name: [row[name] for row in rows] for name in columns}
    mask_BN = None
    if config["sampler"].get("clashes") == "mask":
        number = {text: i for i, text in enumerate(dict.fromkeys(text for column in texts.values() for text in column))}
        mask_BN = no_negatives(torch.tensor([[number[text] for text in column] for column in texts.values()]))
    ids = [encoder.tokenize(texts[name], "query" if name == "anchor" else "document") for name in columns]
    return PackedBatch.from_ids(ids, mask_BN)


def _loss(encoder: Encoder, batch: PackedBatch, config: Config) -> NestedLoss:
    loss, rows = make_loss(config), batch.columns[0]
    at_once = config.get("pairs_at_once") or rows
    cached = at_once < rows

    def loss_of(embeddings_SD: Tensor) -> NestedLoss:
        nested: NestedLoss = loss(*embeddings_SD.tensor_split([rows]), batch.mask_BN, one_dim_at_a_time=cached)
        return nested

    with torch.autocast(encoder.device.type, torch.bfloat16, enabled="bf16" in config["trainer"]["precision"]):
        return cached_backward(encoder, batch, at_once, loss_of) if cached else loss_of(encoder(batch))


@contextmanager
def _first_broken(encoder: nn.Module) -> Iterator[list[str]]:
    """The names of modules whose output is not finite, in the order in which they are through."""
    found: list[str] = []
    named = [(name, module) for name, module in encoder.named_modules() if name]

    def look(name: str, output: Any) -> None:
        if isinstance(output, Tensor) and not bool(torch.isfinite(output).all()):
            found.append(name)

    hooks = [module.register_forward_hook(lambda _, __, out, name=name: look(name, out)) for name, module in named]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def main() -> None:
    """The command."""
    folder = Path(sys.argv[1])
    was = json.loads((folder / "step.json").read_text(encoding="utf-8"))["micro_batches"]
    for i, (micro, now) in enumerate(zip(was, repeat(folder), strict=True), 1):
        first = now.first_module or "none"
        sys.stdout.write(f"micro-batch {i}: loss by dim {dict(now.per_dim)}, it was {micro['loss_by_dim']}; ")
        sys.stdout.write(f"first module whose output is not finite: {first}\n")


if __name__ == "__main__":
    main()
