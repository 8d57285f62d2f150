"""What a run settles before it starts: dims in order, precision, what stands in for what."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from hydra.utils import instantiate

from matryoshka.data.tokens import TokenIds, kept_token_ids, token_counts
from matryoshka.encoder.compact_vocabulary import is_exact_with
from matryoshka.evaluation.tokenized_set import TokenizedSet
from matryoshka.memory.estimate import RunMemory, measure_memory
from matryoshka.report.record import PairsSummary
from matryoshka.tasks.processes import processes_of
from matryoshka.training.precision import choose_precision

if TYPE_CHECKING:
    from datasets import Dataset

    from matryoshka.data.retrieval_set import RetrievalSet
    from matryoshka.encoder.encoder import Encoder, Prompt
    from matryoshka.losses.matryoshka import MatryoshkaLoss
    from matryoshka.tasks.loading import Loaded

Config = Mapping[str, Any]


def nested_dims(config: Config) -> dict[str, Any]:
    """Dims from wide to narrow, their weights with them."""
    dims, weights = config["dims"], config.get("dim_weights")
    order = sorted(range(len(dims)), key=lambda i: -dims[i])
    return {"dims": [dims[i] for i in order], "dim_weights": None if weights is None else [weights[i] for i in order]}


def load_encoder(config: Config) -> Encoder:
    """The configured encoder with the configured pooling; without one, with the pooling saved with the model."""
    pooling = instantiate(config["pooling"], _convert_="all") if config.get("pooling") else None
    encoder: Encoder = instantiate(config["encoder"], _convert_="all").load(pooling)
    return encoder


def tokenized_set(encoder: Encoder, held_out: RetrievalSet) -> TokenizedSet:
    """What is measured, tokenized once and kept for later runs."""

    def tokenize(texts: list[str], prompt: Prompt) -> TokenIds:
        return kept_token_ids(encoder.tokenizer, texts, encoder.max_seq_length, encoder.prompts[prompt])

    return TokenizedSet.of(held_out, tokenize)


def compact_vocabulary(config: Config, encoder: Encoder, used: set[int]) -> str:
    """Set aside the rows of the word-embedding table of tokens that are not used; returns what was done, and why.

    Nothing is set aside where training would not come to the same: with another optimizer, or another kind of model.
    """
    if not config["compact_vocabulary"]:
        return "every row of the word-embedding table is trained, as configured"
    if not is_exact_with(instantiate(config["optimizer"], _convert_="all")):
        name = config["optimizer"]["_target_"].rpartition(".")[2]
        return f"every row of the word-embedding table is trained: {name} as configured changes rows that no text uses"
    try:
        vocabulary = encoder.compact_vocabulary(used)
    except ValueError as error:
        return f"every row of the word-embedding table is trained: {error}"
    kept, whole = vocabulary.rows
    return (
        f"{kept:,} of {whole:,} rows of the word-embedding table occur and are trained, "
        f"which saves {vocabulary.bytes_saved / 1e6:,.0f} MB and changes nothing"
    )


def run_memory(config: Config, room: Loaded, loss: MatryoshkaLoss) -> RunMemory:
    """What the run's memory goes by, with the micro-batches of its first epoch."""
    encoder, batches = room.encoder, room.batches
    make_optimizer = instantiate(config["optimizer"], _convert_="all")
    compact = config["compact_vocabulary"] and encoder.packed and is_exact_with(make_optimizer)
    counts = list(token_counts(batches.pairs).values())
    return measure_memory(
        encoder,
        loss,
        make_optimizer,
        [[column[rows].tolist() for column in counts] for rows in batches.sampler.batches()],
        texts=max(len(held_out.queries) + len(held_out.documents) for held_out in (room.selecting, room.test)),
        device=device_of(config["trainer"].get("accelerator", "auto")),
        bf16="bf16" in config["trainer"]["precision"],
        accumulation=config["accumulation"],
        rows_trained=len(room.used_tokens) if compact else None,
        masked=batches.sampler.mask_clashes,
        processes=processes_of(config["trainer"]),
    )


def device_of(accelerator: str) -> torch.device:
    """The device that Lightning's accelerator name leads to."""
    if accelerator in ("gpu", "cuda") or (accelerator == "auto" and torch.cuda.is_available()):
        return torch.device("cuda")
    if accelerator == "mps" or (accelerator == "auto" and torch.backends.mps.is_available()):
        return torch.device("mps")
    return torch.device("cpu")


def with_precision(config: Config, before: str | None = None) -> tuple[dict[str, Any], str]:
    """The configuration with `auto` precision decided, and why it was decided so. before: of a run that goes on."""
    trainer = dict(config["trainer"])
    reason = "as configured"
    if trainer.get("precision") == "auto" and before is not None:
        trainer["precision"], reason = before, "as this run began"
    elif trainer.get("precision") == "auto":
        choice = choose_precision(device_of(trainer.get("accelerator", "auto")))
        trainer["precision"], reason = choice.precision, choice.reason
    return {**config, "trainer": trainer}, reason


def stand_in(config: Config) -> tuple[str, ...]:
    """One sentence for each part of the recipe's reference that this run replaces; empty if it is the real one."""
    reference = config["reference"]
    used = {"encoder": config["encoder"].get("model"), "data": config["data"].get("name")}
    sentences = []
    for part in ("encoder", "data"):
        wanted = reference.get(part)
        if wanted and used[part] != wanted:
            why = reference.get(f"{part}_missing") or "it was chosen so"
            what = wanted if part == "encoder" else "the card's pairs"
            sentences.append(f"{used[part]} is a stand-in for {what}, because {why}")
    if reference.get("encoder_missing") and used["encoder"] == reference.get("encoder"):
        why = reference["encoder_missing"]
        sentences.append(f"batch, rate, epochs and pooling are a stand-in for the card's, because {why}")
    return tuple(sentences)


def pairs_summary(name: str, pairs: Dataset, tokens: Dataset) -> PairsSummary:
    """The training pairs in numbers: rows, columns, token lengths, the first three rows."""
    lengths = {}
    for column, counts in token_counts(tokens).items():
        lengths[column] = (int(counts.min()), float(counts.mean()), int(counts.max()))
    samples = tuple(dict(row) for row in pairs.select(range(min(3, len(pairs)))))
    return PairsSummary(name, len(pairs), tuple(pairs.column_names), lengths, samples)


def quiet_libraries() -> None:
    """Keep the terminal for what a reader needs: Lightning's tips and loading bars are not."""
    import huggingface_hub.utils
    import transformers
    from datasets.utils.logging import disable_progress_bar

    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    huggingface_hub.utils.disable_progress_bars()  # type: ignore[attr-defined]
    disable_progress_bar()
    # Lightning advises on loader workers, on loggers of its own kind, on srun where there is one, and on metrics that
    # differ between processes; none of it applies here.
    for advice in (
        "does not have many workers",
        "`isinstance\\(treespec, LeafSpec\\)`",
        "Checkpoint directory",
        "`srun` command",
        "It is recommended to use `self.log",
    ):
        warnings.filterwarnings("ignore", message=f".*{advice}.*")
