"""A training record in which every part is there, with texts that try to break a page."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from datasets import Dataset

from matryoshka.data.doctor.diagnosis import Diagnosis
from matryoshka.data.doctor.doctor import Doctor
from matryoshka.data.retrieval_set import RetrievalSet
from matryoshka.evaluation.deployment.deployment import Deployment, DeploymentOption
from matryoshka.evaluation.deployment.quantisation import PRECISIONS, bytes_per_vector
from matryoshka.evaluation.failures import Failure, Failures, Lost
from matryoshka.evaluation.result import NO_DIM, EvaluationResult
from matryoshka.report.record import TrainingRecord
from matryoshka.training.explanation.batches import BatchMeasures
from matryoshka.training.explanation.drift import Drift
from matryoshka.training.explanation.explanation import Explanation
from matryoshka.training.explanation.findings import findings
from matryoshka.training.explanation.margins import Margin
from tests.report.records import DIMS, record, result

NASTY = "</pre><script>document.title = 'ran'</script><img src=x onerror=\"document.title='ran'\"> & 'x' $a_{ <b"
LONG = "Donaudampfschifffahrtsgesellschaft" * 30  # without a space


def measured(shift: float, copies: int = 40) -> EvaluationResult:
    """Everything that an evaluation can carry, each value another one."""
    plain = result(shift)
    dims = {dim: dict(values) for dim, values in plain.metrics.items()}
    return replace(
        plain,
        merged={dim: {name: value + 0.3 for name, value in of.items()} for dim, of in dims.items()},
        expected={dim: {name: value - 0.05 for name, value in of.items()} for dim, of in dims.items()},
        intervals={dim: {name: (value - 0.02, value + 0.03) for name, value in of.items()} for dim, of in dims.items()},
        ceiling=dict.fromkeys(dims[DIMS[0]], 0.111),
        merged_ceiling=dict.fromkeys(dims[DIMS[0]], 0.999),
        copies=copies,
        clusters=55,
    )


def whole_record() -> TrainingRecord:
    """A run of which everything is shown."""
    base, tuned = measured(0.1), measured(0.2)
    bm25 = replace(base, model="BM25", metrics={NO_DIM: {"ndcg@10": 0.271}}, merged={}, intervals={})
    other = replace(measured(0.15), model=f"other {NASTY}", metrics={16: {"ndcg@10": 0.272}})
    rows = [{**row, "train/gradient_norm": 1.5} if "train/loss" in row else row for row in record().history]
    return record(
        stand_in=(f"another encoder {NASTY}",),
        split=f"chosen on dev {NASTY}",
        base=base,
        tuned=tuned,
        dev_base=measured(0.12),
        baselines=(bm25, other),
        history=tuple(rows),
        diagnosis=_diagnosis(),
        deployment=_deployment(),
        failures=_failures(),
        explanation=explanation(),
        environment={"python": NASTY, "processor": "an abacus"},
        config={**record().config, "note": f"{NASTY} {LONG}"},
    )


def explanation() -> Explanation:
    """All measures, with something to do for most, of sets whose names try to break a page."""
    drift = {"test": Drift(0.8, 0.9), NASTY: Drift(0.91, 0.93), LONG: Drift(0.99, 0.98)}
    before = {dim: Margin(0.05 + dim / 500, 0.4 - dim / 100) for dim in DIMS}
    after = {dim: Margin(0.02 + dim / 300, 0.45 - dim / 90) for dim in DIMS}
    cosines = {dim: {other: 1 - abs(dim - other) / 20 for other in DIMS} for dim in DIMS}
    batches = BatchMeasures(31, 1984, 0.0213, 0.1, 0.613, cosines)
    return Explanation(drift, before, after, batches, findings(drift, [NASTY, LONG], before, after, batches))


def _diagnosis() -> Diagnosis:
    texts = [NASTY, LONG, "Wer zahlt?", "…"]
    data = RetrievalSet(NASTY, {"q": NASTY}, {"d": LONG, "e": LONG}, {"q": frozenset(["d"])})
    counts = {"anchor": np.array([9, 9, 3, 1]), "positive": np.array([9, 9, 9, 9])}
    pairs = Dataset.from_dict({"anchor": texts, "positive": texts})
    return Doctor(languages=0).examine(pairs, counts, 9, {NASTY: data, "dev": data})


def _deployment() -> Deployment:
    options = [
        DeploymentOption(dim, precision, rescored, bytes_per_vector(dim, precision), dim / 64, dim / 32)
        for dim in DIMS
        for precision in PRECISIONS
        for rescored in (False, True)
        if (dim, precision, rescored) != (DIMS[0], "float32", True)
    ]
    return Deployment("ndcg@10", tuple(options), 256, 551, 5508, 40)


def _failures() -> Failures:
    failure = Failure("q", NASTY, LONG, 7, ((NASTY, 0.9), (LONG, 0.8)), 0.7)
    lost = Lost("q", LONG, NASTY, {32: 1, 16: 20, 8: None}, NASTY)
    hardest = {dim: (failure, replace(failure, rank=None, answer_similarity=None)) for dim in DIMS}
    return Failures(551, 10, hardest, (lost,), 300, {16: 17, 8: 18}, {16: 7, 8: 8})
