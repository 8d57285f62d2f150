"""Checks of values against each other: dims, counts, the selecting metric, data and encoder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hydra.errors import InstantiationException
from omegaconf.errors import OmegaConfBaseException

from matryoshka.config.pooling_modes import POOLING, first_token_problems
from matryoshka.config.projecting import has_vectors, stored_width_problems
from matryoshka.config.recipe import created
from matryoshka.config.resolvers import cuda_devices
from matryoshka.config.suite import chosen_sets
from matryoshka.config.widths import cut_problems, listed, width_problems
from matryoshka.processes.launched import ON_GPUS, devices_here, launched, named_devices
from matryoshka.storage.command_words import pasted

Problem = tuple[str, str]
Config = Mapping[str, Any]
PRECISIONS = ("auto", "bf16", "fp32", "bf16-mixed", "32-true", "32", 32)
OVER_DIMS = ("mean", "worst", "retention")  # what the selecting metric may be of all dims together
# Parts that are created without loading torch.
EXAMINED = ("data", "split", "doctor", "mining", "encoder", "adapter", "bm25", "export")
TAKEN = ("dev", "test", "train", "base", "projection", "merged", "loss", "gradient_share")  # names of what is logged

# Arguments of Lightning's Trainer that only work where it takes the optimizer's steps and plans the run itself.
OURS = {
    "accumulate_grad_batches": "accumulation=...",
    "gradient_clip_val": "max_grad_norm=...",
    "overfit_batches": "+trainer.limit_train_batches=...",
    "fast_dev_run": "experiment=debug",
    "barebones": "experiment=debug",
    "enable_checkpointing": "checkpoint.minutes=null",
    "gradient_clip_algorithm": "max_grad_norm=...",
}
STRATEGIES = ("auto", "ddp")


def count_problems(config: Config, wrong: set[str]) -> Iterator[Problem]:
    """Batches, epochs and precision that cannot be trained with; nothing of the keys known to be wrong."""
    if "batch_size" not in wrong and config["batch_size"] == 1:
        yield "batch_size", "with 1 pair there are no in-batch negatives; use at least 2"
    every = not wrong & {"sampler", "negatives"} and str(config["negatives"].get("_target_")).endswith(".EveryOther")
    if every and config["sampler"].get("clashes") == "mask":
        remedy = "use negatives=known_positives, or sampler.clashes=smaller_batch"
        yield "negatives", f"with sampler.clashes=mask a right answer is trained as a wrong one; {remedy}"
    if "trainer" in wrong:
        return
    trainer = config["trainer"]
    if "trainer.precision" not in wrong and trainer.get("precision", "auto") not in PRECISIONS:
        yield "trainer.precision", f"{trainer['precision']} is not supported; use auto, bf16-mixed or 32-true"
    if "trainer.max_epochs" not in wrong and (trainer.get("max_epochs") or 0) < 1:
        yield "trainer.max_epochs", f"{trainer.get('max_epochs')} is not at least 1"
    if "trainer.devices" not in wrong:
        yield from process_problems(trainer, None if "batch_size" in wrong else config["batch_size"])
    for key, ours in OURS.items():
        if key in trainer:
            yield f"trainer.{key}", f"does not go with this training loop; remove it and use {ours}"


def dims_problems(
    dims: Sequence[int], weights: Sequence[float] | None, per_step: int | None = None
) -> Iterator[Problem]:
    """Dims that cannot be trained or measured, and weights that do not go with them."""
    if not dims:
        yield "dims", "is empty; use for example dims=[768,512,256,128,64]"
    for i, dim in enumerate(dims):
        if dim < 1:
            yield f"dims[{i}]", f"{dim} is not at least 1; remove it"
        elif dim in dims[:i]:
            once = sorted({dim for dim in dims if dim > 0}, reverse=True)
            yield f"dims[{i}]", f"{dim} is given twice; use dims={listed(once)}"
    if weights is not None and len(weights) != len(dims):
        message = f"{len(weights)} weights for {len(dims)} dims; give one a dim or dim_weights=null"
        yield "dim_weights", message
    if per_step is not None and not 1 <= per_step <= len(dims):
        yield "dims_per_step", f"{per_step} of {len(dims)} dims cannot be drawn; use 1 to {len(dims)}, or null for all"


def selection_problems(evaluator: Config, dims: Sequence[int] | None) -> Iterator[Problem]:
    """A selecting metric that is not among those measured; a dim that is not, where dims are known."""
    if "select" not in evaluator:
        return
    metric, _, over = str(evaluator["select"]).removeprefix("merged/").partition("/")
    ranks = {key[:-3]: evaluator[key] for key in evaluator if key.endswith("_at")}
    measured = [f"{name}@{k}" for name, ks in ranks.items() for k in ks]
    if metric not in measured:
        yield "evaluator.select", f"{metric!r} is not measured; use one of {', '.join(measured) or 'none'}"
    dim = over.removeprefix("dim_")
    if over and dim == over and over not in OVER_DIMS:
        wanted = ", ".join(f"{metric}/{name}" for name in OVER_DIMS)
        yield "evaluator.select", f"{over!r} is no dim and nothing over dims; use {metric}/dim_..., {wanted}"
    elif over and dim != over and dims and dim not in map(str, dims):
        yield "evaluator.select", f"dim {dim} is not among dims={listed(dims)}"


def part_problems(config: Config, broken: set[str], *, trained: bool) -> Iterator[Problem]:
    """Problems of parts, and dims that do not fit. broken: wrong root keys. trained: whether pairs are needed."""
    parts: dict[str, Any] = {}
    examined = ("data", "split") if has_vectors(config) else EXAMINED
    nodes = {name: config.get(name) for name in examined if name not in broken}
    sets = {} if "sets" in broken else chosen_sets(config)
    sources = {} if "sources" in broken else config.get("sources") or {}
    nodes |= {f"sets.{name}": node for name, node in sets.items()}
    nodes |= {f"sources.{name}": node for name, node in sources.items()}
    for name, node in nodes.items():
        if not node:
            continue
        if name.startswith("sets.") and name[5:] in TAKEN:
            yield name, f"a set cannot be called so, as logged metrics are; use another name than {', '.join(TAKEN)}"
        try:
            parts[name] = created(node)
        except (InstantiationException, OmegaConfBaseException) as error:
            yield name, f"cannot be created: {error.__cause__ or error}"
            continue
        found = list(parts[name].problems()) if hasattr(parts[name], "problems") else []
        if name == "data" and trained and hasattr(parts[name], "training_problems"):
            found += parts[name].training_problems()
        yield from ((f"{name}.{key}", message) for key, message in found)
        if name == "encoder" and any(key == "model" for key, _ in found):
            del parts[name]  # the width it tells is no better
    if has_vectors(config):
        if "data" in parts and "dims" not in broken:
            yield from stored_width_problems(config.get("dims") or [], parts["data"])
        return
    if "baselines" not in broken:
        yield from baseline_problems(config.get("baselines") or [])
    if "negatives" not in broken and (guide := (config.get("negatives") or {}).get("model")):
        yield from (("negatives.model", message) for message in named_problems(guide))
    pooling = config.get("pooling") or {}
    if "export" in parts and "pooling" not in broken and pooling.get("_target_", POOLING) != POOLING:
        yield "export", f"no saved format can describe {pooling['_target_']}; use export=none"
    if "encoder" in parts and "pooling" not in broken:
        yield from first_token_problems(parts["encoder"], pooling)
        yield from width_problems([] if "dims" in broken else config.get("dims") or [], parts["encoder"], pooling)
    if "export" in parts and not broken & {"dims", "export"}:
        yield from cut_problems(config["export"].get("dim"), config["dims"])


def baseline_problems(names: Sequence[str]) -> Iterator[Problem]:
    """Models to compare with that do not exist."""
    for i, name in enumerate(names):
        if name != "bm25":
            for message in named_problems(name):
                yield f"baselines[{i}]", f"{message} (or bm25, the baseline without a model)"


def named_problems(name: str) -> Iterator[str]:
    """Why a model that is given by its name alone, without options, cannot be loaded."""
    from matryoshka.encoder.model_folder import TRUST
    from matryoshka.encoder.pretrained import Pretrained
    from matryoshka.encoder.weight_files import READ_PICKLED

    alone = f"evaluate it: evaluate.py {pasted('model', name)} encoder.{{}}=true; it can be no baseline"
    model = Pretrained.named(name)
    problems = [message for _, message in model.problems()]
    for message in problems or filter(None, [model.pooling_problem()]):
        told = message.replace(TRUST, alone.format("trust_remote_code"))
        yield told.replace(READ_PICKLED, alone.format("pickled_weights"))


def process_problems(trainer: Mapping[str, Any], batch_size: int | None) -> Iterator[tuple[str, str]]:
    """Devices that cannot be used, or not together; batch_size: None where it is known to be wrong."""
    devices, place = trainer.get("devices", 1), launched()
    named = named_devices(devices)
    if named and len(named) > 1:
        several = f"use trainer.devices={len(devices)}, and CUDA_VISIBLE_DEVICES for which of them"
        yield "trainer.devices", f"{devices} names devices; {several}"
        return
    if devices != "auto" and named is None and not str(devices).isdecimal():
        yield "trainer.devices", f"{devices} is no number of devices; use 1, 2, ... or auto"
        return
    count = devices_here(trainer, cuda_devices)
    if count < 1:
        yield "trainer.devices", f"{devices} is not at least 1"
    if place and devices != "auto" and count != place.processes_here:
        started = f"{place.processes_here} processes were started on this machine"
        yield "trainer.devices", f"{devices}, but {started}; use trainer=ddp trainer.devices=auto"
    if not place and (trainer.get("num_nodes") or 1) > 1:
        yield "trainer.num_nodes", "several machines need torchrun or srun on each of them, see docs/several_devices.md"
    here, gpus = place.processes_here if place else count, _gpus(trainer)
    if here > gpus > 0:
        remedy = f"use trainer.devices={gpus}, or trainer.accelerator=cpu"
        yield "trainer.devices", f"{here} processes need a GPU each, and {gpus} can be seen here; {remedy}"
    processes = place.processes if place else count
    if trainer.get("strategy", "auto") not in STRATEGIES:
        yield "trainer.strategy", f"{trainer['strategy']} does not share a batch's rows; use ddp"
    if batch_size is not None and 2 <= batch_size < processes:
        message = f"{batch_size} pairs cannot be shared by {processes} processes; use at least {processes}"
        yield "batch_size", f"{message} (it is what all have together)"


def _gpus(trainer: Mapping[str, Any]) -> int:
    return cuda_devices() if trainer.get("accelerator", "auto") in ON_GPUS else 0
