"""The whole job as a user of sentence-transformers writes it: `python benchmarks/whole_job_theirs.py JOB.json`.

benchmarks/whole_job.py runs it; JOB.json is its Job. Writes result.json beside the trained model.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from datasets import load_dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator, SequentialEvaluator
from sentence_transformers.sentence_transformer.losses import MatryoshkaLoss, MultipleNegativesRankingLoss
from their_arguments import recipe_arguments


def evaluator_of(held_out: dict[str, Any], dims: list[int]) -> SequentialEvaluator:
    """One evaluator a dim."""
    relevant = {query: set(documents) for query, documents in held_out["relevant"].items()}
    evaluators = [
        InformationRetrievalEvaluator(
            held_out["queries"],
            held_out["corpus"],
            relevant,
            name=f"dim_{dim}",
            truncate_dim=dim,
            query_prompt_name="query",
            corpus_prompt_name="document",
        )
        for dim in dims
    ]
    return SequentialEvaluator(evaluators, main_score_function=lambda scores: scores[0])


def arguments_of(job: dict[str, Any], folder: Path, prompts: dict[str, str]) -> SentenceTransformerTrainingArguments:
    """Training arguments; the best epoch's weights are kept."""
    return recipe_arguments(
        job,
        folder,
        prompts,
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=1,
        save_only_model=True,
        load_best_model_at_end=True,
        metric_for_best_model=f"eval_dim_{job['dims'][0]}_cosine_ndcg@10",
    )


def main(path: Path) -> None:
    """Train, evaluate after each epoch, save."""
    job = json.loads(path.read_text(encoding="utf-8"))
    data, folder, dims = Path(job["data"]), path.parent, job["dims"]
    pairs = load_dataset("json", data_files=str(data / "train.jsonl"), split="train")
    held_out = json.loads((data / "held_out.json").read_text(encoding="utf-8"))
    model = SentenceTransformer(job["model"], device="cpu", local_files_only=True)
    loss = MatryoshkaLoss(model, MultipleNegativesRankingLoss(model, scale=20.0), dims)
    trainer = SentenceTransformerTrainer(
        model=model,
        args=arguments_of(job, folder, model.prompts),
        train_dataset=pairs.select_columns(["anchor", "positive"]),
        loss=loss,
        evaluator=evaluator_of(held_out, dims),
    )
    trainer.train()
    model.save_pretrained(str(folder / "model"))
    evaluations = [row for row in trainer.state.log_history if trainer.args.metric_for_best_model in row]
    best = max(evaluations, key=lambda row: row[trainer.args.metric_for_best_model])
    ndcg = {str(dim): best[f"eval_dim_{dim}_cosine_ndcg@10"] for dim in dims}
    result = {"updates": trainer.state.global_step, "evaluations": len(evaluations), "ndcg@10": ndcg}
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
