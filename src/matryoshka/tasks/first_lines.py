"""The first lines of a run: what will run, what is wrong with the data, what memory and disk it needs."""

from __future__ import annotations

from pathlib import Path

import torch

from matryoshka.config.recipe import TrainingRecipe
from matryoshka.data.doctor.diagnosis import Diagnosis
from matryoshka.data.mixture import MixedSplit
from matryoshka.data.mixture_sampler import MixtureSampler
from matryoshka.data.split import Split
from matryoshka.memory.available import available
from matryoshka.memory.estimate import MemorySettings, RunMemory, measure_memory
from matryoshka.memory.limits import MemoryLimits
from matryoshka.memory.peak import peak_memory
from matryoshka.processes.launched import processes_of
from matryoshka.report.terminal import lines
from matryoshka.report.terminal.batch_lines import show_batches, show_sources
from matryoshka.report.terminal.doctor import show_diagnosis
from matryoshka.tasks.data_lines import show_read_as
from matryoshka.tasks.loading import TrainingData
from matryoshka.tasks.make_loss import make_loss
from matryoshka.tasks.measuring import Measuring
from matryoshka.tasks.vocabulary import Vocabulary
from matryoshka.training.checkpoints.disk import bytes_on_disk, require_room
from matryoshka.training.plan import TrainingPlan

STAYS = "none: the encoder stays as it is"


def announce(
    folder: Path,
    recipe: TrainingRecipe,
    data: TrainingData,
    limits: MemoryLimits,
    plan: TrainingPlan,
    precision_reason: str,
) -> Diagnosis:
    """Say all of it; returns what the doctor found. Raises UserError where the disk is too small."""
    diagnosis = data.examine(recipe.doctor)
    lines.announce(recipe, data.encoder, data.pairs, data.split, plan, precision_reason)
    show_read_as(recipe, data.split)
    if isinstance(data.batches.sampler, MixtureSampler) and isinstance(data.split, MixedSplit):
        show_sources(data.split.sizes, data.batches.sampler.shares())
    show_diagnosis(diagnosis, brief=True)
    show_batches(data.batch_summary, data.masked)
    needed = limits.needed()
    lines.show_memory(needed, limits.available, recipe)
    whole = sum(p.numel() * p.element_size() for p in data.encoder.parameters()) if recipe.export else 0
    room = bytes_on_disk(needed.gradients, needed.optimizer, whole, start=recipe.blend is not None)
    lines.say("disk", require_room(folder, *room))
    return diagnosis


def announce_vectors(recipe: TrainingRecipe, split: Split) -> None:
    """The first lines of a task on vectors without texts."""
    lines.show_stand_in(recipe.stand_in)
    said = f"{recipe.data.name}: {len(split.pairs):,} pairs of stored vectors"
    lines.say("data", f"{said}; {split.test.described('test queries')}")
    lines.say("split", split.label)


def announce_frozen(recipe: TrainingRecipe, data: TrainingData, precision_reason: str, no_updates: str = STAYS) -> None:
    """The first lines of a task on texts that trains no encoder. no_updates: why there are none."""
    lines.announce(recipe, data.encoder, data.pairs, data.split, no_updates, precision_reason)
    show_read_as(recipe, data.split)
    show_diagnosis(data.examine(recipe.doctor), brief=True)


def memory_limits(
    recipe: TrainingRecipe, data: TrainingData, measuring: Measuring, vocabulary: Vocabulary
) -> MemoryLimits:
    """What the run needs, and what there is before it starts."""
    budget, longest = measuring.token_budget, data.encoder.max_seq_length
    settings = MemorySettings(recipe.pairs_at_once, recipe.batch_size, longest, budget)
    memory, device = run_memory(recipe, data, vocabulary, measuring.device), measuring.device
    there_is, to_disk = available(device, data.encoder), measuring.may_go_to_disk
    return MemoryLimits(settings, device, memory, there_is, peak_memory(device), to_disk)


def run_memory(recipe: TrainingRecipe, data: TrainingData, vocabulary: Vocabulary, device: torch.device) -> RunMemory:
    """What the run's memory goes by, with the micro-batches of its first epoch."""
    counts = list(data.batches.token_counts().values())
    return measure_memory(
        data.encoder,
        make_loss(recipe),
        recipe.optimizer,
        [[column[rows].tolist() for column in counts] for rows in data.batches.sampler.batches()],
        texts=max(len(texts.queries) + len(texts.documents) for texts in data.held_out.values()),
        device=device,
        bf16="bf16" in recipe.precision,
        accumulation=recipe.accumulation,
        rows_trained=vocabulary.rows,
        masked=data.masked,
        adapter=recipe.adapter.size(data.encoder.backbone) if recipe.adapter else None,
        processes=processes_of(recipe.config["trainer"], torch.cuda.device_count),
    )
