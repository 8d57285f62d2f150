"""An evaluation that was made before, of equal weights on equal texts with equal settings, is not made again."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

import matryoshka
from matryoshka.atomic import write_atomically
from matryoshka.cache import cache_folder
from matryoshka.data.retrieval_set import RetrievalSet
from matryoshka.data.tokens import tokenizer_fingerprint
from matryoshka.encoder.encoder import Encoder, Precision
from matryoshka.retrieval.evaluation import Evaluator
from matryoshka.retrieval.result import EvaluationResult

log = logging.getLogger(__name__)


def cached_evaluation(
    encoder: Encoder,
    data: RetrievalSet,
    dims: Sequence[int],
    evaluator: Evaluator,
    precision: Precision,
    measure: Callable[[], EvaluationResult],
) -> EvaluationResult:
    """The result kept under a key of all that decides it, else measured now and kept."""
    key = _key(encoder, data, dims, evaluator, precision)
    path = cache_folder() / "evaluations" / f"{key}.json"
    if path.is_file():
        log.info("base evaluation: these weights were measured on these texts before")
        found = EvaluationResult.from_dict(json.loads(path.read_text(encoding="utf-8")))
        return replace(found, seconds=0.0)  # it took no time now: no speed can be told from it
    result = measure()
    write_atomically(path, json.dumps(result.as_dict(), indent=1))
    return result


def _key(encoder: Encoder, data: RetrievalSet, dims: Sequence[int], evaluator: Evaluator, precision: Precision) -> str:
    digest = hashlib.sha256()
    settings = [
        matryoshka.__version__,
        torch.__version__,
        str(encoder.device.type),
        encoder.name,
        type(encoder.pooling).__qualname__,
        encoder.pooling.modes,
        encoder.prompts,
        encoder.max_seq_length,
        tokenizer_fingerprint(encoder.tokenizer),
        data.name,
        data.fingerprint,
        list(dims),
        list(evaluator.metrics),
        precision,
    ]
    digest.update(repr(settings).encode())
    for name, weights in encoder.state_dict().items():
        digest.update(name.encode())
        digest.update(weights.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
