"""A configuration in the terms of transformers' TrainingArguments, in which model cards are compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DEFAULTS: dict[str, Any] = {  # of transformers 4.44, which wrote the cards to compare with
    "eval_strategy": "no",
    "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 1,
    "learning_rate": 5e-5,
    "weight_decay": 0.0,
    "adam_beta1": 0.9,
    "adam_beta2": 0.999,
    "adam_epsilon": 1e-8,
    "max_grad_norm": 1.0,
    "num_train_epochs": 3,
    "lr_scheduler_type": "linear",
    "warmup_ratio": 0.0,
    "warmup_steps": 0,
    "seed": 42,
    "bf16": False,
    "load_best_model_at_end": False,
    "optim": "adamw_torch",
    "batch_sampler": "batch_sampler",
}
SCHEDULERS = {
    "constant": "constant_with_warmup",
    "inverse_square_root": "inverse_sqrt",
    "reduce_on_plateau": "reduce_lr_on_plateau",
}
SAMPLERS = {"NoDuplicatesSampler": "no_duplicates", "ShuffledSampler": "batch_sampler"}


def training_arguments(config: Mapping[str, Any]) -> dict[str, Any]:
    """A training configuration in TrainingArguments' terms, as far as there are such terms."""
    optimizer, scheduler, trainer = config["optimizer"], config["scheduler"], config["trainer"]
    beta1, beta2 = optimizer.get("betas", (None, None))
    adamw = "adamw_torch_fused" if optimizer.get("fused") else "adamw_torch"
    schedule, sampler = _class(scheduler), _class(config["sampler"])
    warmup = scheduler.get("warmup", 0)
    arguments = {
        "eval_strategy": "epoch",
        "per_device_train_batch_size": config["batch_size"],
        "gradient_accumulation_steps": config["accumulation"],
        "learning_rate": optimizer.get("lr"),
        "weight_decay": optimizer.get("weight_decay"),
        "adam_beta1": beta1,
        "adam_beta2": beta2,
        "adam_epsilon": optimizer.get("eps"),
        "max_grad_norm": config["max_grad_norm"],
        "num_train_epochs": trainer.get("max_epochs"),
        "lr_scheduler_type": SCHEDULERS.get(schedule, schedule),
        "warmup_ratio" if warmup < 1 else "warmup_steps": warmup,
        "seed": config["seed"],
        "bf16": "bf16" in str(trainer.get("precision")),
        "load_best_model_at_end": True,
        "optim": adamw if _class(optimizer) == "AdamW" else _class(optimizer).lower(),
        "batch_sampler": SAMPLERS.get(sampler, sampler),
    }
    return {term: value for term, value in arguments.items() if value is not None}


def non_default(config: Mapping[str, Any]) -> dict[str, Any]:
    """The training arguments that differ from transformers' defaults."""
    return {term: value for term, value in training_arguments(config).items() if value != DEFAULTS[term]}


def trained_adapter(config: Mapping[str, Any]) -> dict[str, Any]:
    """The kind and the values of the recipe's adapter, empty without one."""
    group = dict(config.get("adapter") or {})
    return (
        {"kind": _class(group), **{name: value for name, value in group.items() if name != "_target_"}} if group else {}
    )


def _class(group: Mapping[str, Any]) -> str:
    return str(group["_target_"]).rpartition(".")[2]
