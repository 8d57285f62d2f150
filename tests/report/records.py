"""A training record to show, and what a reader sees of a card."""

from __future__ import annotations

import dataclasses
import html
import re
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from markdown_it import MarkdownIt
from markdown_it.token import Token

from matryoshka.data.samplers import BatchSummary
from matryoshka.evaluation.result import EvaluationResult, SetResults
from matryoshka.report.encoder_summary import EncoderSummary
from matryoshka.report.record import PairsSummary, TrainingRecord
from tests.evaluation.planted import planted_result

DIMS = (32, 16, 8)
METRICS = ("accuracy@1", "ndcg@10", "map@100")
CONFIG: dict[str, Any] = {
    "data": {"_target_": "matryoshka.data.sources.PairFiles", "name": "letters"},
    "loss": {
        "_target_": "matryoshka.losses.ranking.RankingLoss",
        "scale": 20.0,
        "direction": "positive_to_anchor",
    },
    "sampler": {"_target_": "matryoshka.data.samplers.NoDuplicatesSampler", "batch_size": 16, "seed": 42},
    "optimizer": {
        "_target_": "torch.optim.AdamW",
        "_partial_": True,
        "lr": 2e-5,
        "betas": [0.9, 0.999],
        "eps": 1e-8,
        "weight_decay": 0.0,
        "fused": True,
    },
    "scheduler": {"_target_": "matryoshka.training.schedulers.cosine", "_partial_": True, "warmup": 0.1},
    "trainer": {"_target_": "pytorch_lightning.Trainer", "max_epochs": 10, "precision": "bf16-mixed"},
    "dims": list(DIMS),
    "dim_weights": None,
    "batch_size": 16,
    "accumulation": 16,
    "max_grad_norm": 1.0,
    "seed": 42,
}


def result(shift: float) -> EvaluationResult:
    metrics = {dim: {name: shift + dim / 1000 + i / 7 for i, name in enumerate(METRICS)} for dim in DIMS}
    return EvaluationResult("BAAI/bge-m3", "letters", 551, 5508, 32, metrics, precision="bf16")


def further_sets() -> dict[str, SetResults]:
    """Two sets besides the test set, base and tuned; the second has graded judgements, intervals and copies."""
    base, tuned = (planted_result(30, 160, DIMS, copies=40, seed=seed, graded=True) for seed in (1, 2))
    return {"words": SetResults(result(0.05), result(0.25)), "graded": SetResults(base, tuned)}


def history(*evaluated: int) -> tuple[dict[str, float], ...]:
    rows: list[dict[str, float]] = [{"step": 0, "epoch": 0.0, **result(0.0).flat()}]
    for step in range(10, 41, 10):
        rows.append({"step": step, "epoch": step / 19, "train/loss": 3 / step, "train/learning_rate": 1e-5})
    rows += [{"step": step, "epoch": step / 19, **result(step / 100).flat()} for step in evaluated]
    return tuple(rows)


def record(*samples: tuple[str, str], **changes: Any) -> TrainingRecord:
    rows = samples or (("Wer zahlt?", "Die Kasse zahlt."), ("Wann?", "Am Ersten."), ("Wo?", "Hier."))
    lengths = {"anchor": (3, 20.25, 60), "positive": (12, 180.5, 1024)}
    pairs = [{"anchor": anchor, "positive": positive} for anchor, positive in rows]
    whole = TrainingRecord(
        name="bmf",
        base_model="BAAI/bge-m3",
        stand_in=(),
        encoder=EncoderSummary("XLMRobertaModel", 32, ("cls",), 1024, {"query": "query: ", "document": ""}),
        pairs=PairsSummary("letters", 4957, ("anchor", "positive"), lengths, tuple(pairs)),
        batches=BatchSummary(310),
        base=result(0.1),
        tuned=result(0.2),
        selected="map@100/dim_16",
        history=history(19, 38, 40),
        saved_step=19,
        updates=40,
        config=CONFIG,
        environment={"python": "3.11.4", "torch": "2.9.0"},
        seconds=1234.4,
    )
    return dataclasses.replace(whole, **changes)


def tables(card: str) -> list[list[list[str]]]:
    """Every table of the rendered page, as rows of cells of plain text."""
    page = MarkdownIt("commonmark").enable("table").render(ModelCard(card).text)
    found = []
    for table in re.findall(r"<table>.*?</table>", page, flags=re.S):
        rows = re.findall(r"<tr>(.*?)</tr>", table, flags=re.S)
        cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, flags=re.S) for row in rows]
        found.append([[html.unescape(re.sub(r"</?strong>", "**", cell)) for cell in row] for row in cells])
    return found


def page_tokens(card: str) -> list[Token]:
    """The page below the metadata, as Markdown reads it."""
    return MarkdownIt("commonmark").enable("table").parse(ModelCard(card).text)


def metadata_of(card: str) -> dict[str, Any]:
    """The metadata, as the Hub reads it."""
    data: dict[str, Any] = ModelCard(card).data.to_dict()  # type: ignore[no-untyped-call]
    return data


def eval_results_of(card: str) -> list[EvalResult] | None:
    """The results of the model-index, as the Hub reads it."""
    data = ModelCard(card).data
    assert isinstance(data, ModelCardData)
    return data.eval_results
