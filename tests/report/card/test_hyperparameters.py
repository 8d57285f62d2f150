"""Our configuration in the terms of other people's cards."""

from __future__ import annotations

from transformers import SchedulerType

from matryoshka.report.card.hyperparameters import non_default, training_arguments
from tests.report.records import CONFIG
from tests.training.test_schedulers import FORMULAS


def test_the_cards_recipe_reads_as_in_the_card() -> None:
    assert non_default(CONFIG) == {
        "eval_strategy": "epoch",
        "per_device_train_batch_size": 16,
        "gradient_accumulation_steps": 16,
        "learning_rate": 2e-5,
        "num_train_epochs": 10,
        "lr_scheduler_type": "cosine",
        "warmup_ratio": 0.1,
        "bf16": True,
        "load_best_model_at_end": True,
        "optim": "adamw_torch_fused",
        "batch_sampler": "no_duplicates",
    }


def test_other_recipes() -> None:
    other = {
        **CONFIG,
        "optimizer": {"_target_": "torch.optim.SGD", "lr": 0.1},
        "scheduler": {"_target_": "matryoshka.training.schedulers.constant", "warmup": 30},
        "sampler": {"_target_": "matryoshka.data.samplers.ShuffledSampler"},
    }
    arguments = training_arguments(other)
    assert arguments["optim"] == "sgd"
    assert arguments["lr_scheduler_type"] == "constant_with_warmup"
    assert arguments["warmup_steps"] == 30
    assert not {"warmup_ratio", "adam_beta1"} & set(arguments)
    assert "batch_sampler" not in non_default(other)


def test_every_schedule_has_transformers_name() -> None:
    for schedule in FORMULAS:
        config = {**CONFIG, "scheduler": {"_target_": f"matryoshka.training.schedulers.{schedule}"}}
        assert SchedulerType(training_arguments(config)["lr_scheduler_type"])
