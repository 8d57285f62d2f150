"""The step that could not be made, written down for study: what went in, and what came out."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from matryoshka.encoder.encoder import Encoder
from matryoshka.encoder.low_rank import merge_adapter
from matryoshka.export.sentence_transformers import SentenceTransformersFolder
from matryoshka.storage.atomic import write_atomically, write_json
from matryoshka.training.nonfinite import Evidence

Row = Mapping[str, object]


def write_step(folder: Path, evidence: Evidence, batches: Sequence[Sequence[Row]], encoder: Encoder) -> Path:
    """The folder of the step, with its facts, its rows, each gradient's norm, and the model.

    batches: of every micro-batch its rows, number and texts. The encoder's weights are those before the update; it is
    on the CPU with its whole vocabulary afterwards.
    """
    facts = {
        "update": evidence.update,
        "epoch": evidence.epoch,
        "found": evidence.sentences(),
        "first_parameter": evidence.first_parameter,
        "weights_not_finite": list(evidence.weights),
        "micro_batches": [
            {
                "rows": list(micro.rows),
                "divisor": micro.divisor,
                "loss": _number(micro.total),
                "loss_by_dim": {str(dim): _number(loss) for dim, loss in micro.per_dim.items()},
            }
            for micro in evidence.window
        ],
    }
    write_json(folder / "step.json", facts)
    lines = [{"micro_batch": i, **row} for i, rows in enumerate(batches) for row in rows]
    write_atomically(folder / "rows.jsonl", "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    write_json(folder / "gradient_norms.json", {name: _number(norm) for name, norm in evidence.gradient_norms.items()})
    encoder.whole_vocabulary()
    merge_adapter(encoder.backbone)
    SentenceTransformersFolder().save(encoder.cpu(), folder / "model", trial=False)  # it may be what gives no numbers
    return folder


def _number(value: object) -> float | str:
    """A number, or its name: JSON has no NaN."""
    number = float(value)  # type: ignore[arg-type]
    return number if math.isfinite(number) else str(number)
