"""An epoch of the card's recipe as a user of sentence-transformers writes it: `time_to_quality_theirs.py JOB.json`.

benchmarks/time_to_quality.py runs it; JOB.json is its Job. Writes the trained model, and result.json beside it: when
training ended, by the system's monotonic clock.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from datasets import load_dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
)
from sentence_transformers.sentence_transformer.losses import MatryoshkaLoss, MultipleNegativesRankingLoss
from their_arguments import recipe_arguments


def main(path: Path) -> None:
    """Train with the symmetric loss, the mean of both directions; note the time; save."""
    job = json.loads(path.read_text(encoding="utf-8"))
    folder, train = path.parent, Path(job["data"]) / "train.jsonl"
    pairs = load_dataset("json", data_files=str(train), split="train").select_columns(["anchor", "positive"])
    model = SentenceTransformer(job["model"], device="cpu", local_files_only=True)
    ranking = MultipleNegativesRankingLoss(
        model, scale=20.0, directions=("query_to_doc", "doc_to_query"), partition_mode="per_direction"
    )
    trainer = SentenceTransformerTrainer(
        model=model,
        args=recipe_arguments(job, folder, model.prompts, save_strategy="no"),
        train_dataset=pairs,
        loss=MatryoshkaLoss(model, ranking, job["dims"]),
    )
    trainer.train()
    ended = time.monotonic()
    model.save_pretrained(str(folder / "model"))
    result = {"ended": ended, "updates": trainer.state.global_step}
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
