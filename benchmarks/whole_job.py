"""The whole job against sentence-transformers' own Trainer: `python benchmarks/whole_job.py [--repeats 2]`.

From the start of the program to the saved model: imports, loading, tokenizing, three epochs, an evaluation at five
dims after each, the best epoch's weights saved. On a slice of the embedded data. Ours: `train.py` with nothing cached,
which evaluates before training as well and writes card, figure and tables.
sentence-transformers: benchmarks/whole_job_theirs.py. Each run is a process of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from evaluation import part
from record import Comparison, Record
from sides import DIMS, arguments, interleaved, load

from matryoshka.data.sources import PairFiles
from matryoshka.embedded.german_help import FOLDER
from matryoshka.export.sentence_transformers import SentenceTransformersFolder

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Job:
    """What both sides are told. model, data: folders; precision: fp32 or bf16."""

    model: str
    data: str
    epochs: int
    batch: int
    precision: str
    dims: tuple[int, ...] = DIMS
    lr: float = 8e-5
    warmup: float = 0.1
    seed: int = 42


@dataclass(frozen=True)
class Outcome:
    """What a run reached: its updates, and nDCG@10 of the kept weights by dim."""

    updates: int
    ndcg: dict[int, float]


def write_slice(folder: Path, pairs: int, queries: int, documents: int) -> str:
    """train, evaluation and documents as JSON lines, and the same retrieval set as held_out.json; says what it is."""
    whole = part(queries, documents)
    with (FOLDER / "train.jsonl").open(encoding="utf-8") as file:
        (folder / "train.jsonl").write_text("".join(islice(file, pairs)), encoding="utf-8")
    rows = [
        {"id": query, "anchor": text, "positive": whole.corpus[sorted(whole.relevant[query])[0]]}
        for query, text in whole.queries.items()
    ]
    wanted = set().union(*whole.relevant.values())
    others = [{"id": id_, "positive": text} for id_, text in whole.corpus.items() if id_ not in wanted]
    for name, content in (("evaluation", rows), ("documents", others)):
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in content)
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    files = {name: str(folder / f"{name}.jsonl") for name in ("train", "evaluation", "documents")}
    held = PairFiles("slice", files["train"], files["evaluation"], [files["documents"]], id="id").retrieval_set()
    relevant = {query: sorted(ids) for query, ids in held.relevant.items()}
    plain = {"queries": dict(held.queries), "corpus": dict(held.corpus), "relevant": relevant}
    (folder / "held_out.json").write_text(json.dumps(plain), encoding="utf-8")
    return f"{pairs} pairs, {len(held.queries)} queries over {len(held.corpus)} documents"


def run(command: list[str], **environment: str) -> None:
    """Run a program of either side, quietly. Raises SystemExit with its last lines if it fails."""
    quiet = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    words = [sys.executable, *command]
    done = subprocess.run(words, cwd=ROOT, env={**os.environ, **quiet, **environment}, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")


def ours(job: Job, folder: Path) -> Outcome:
    """The job through train.py, with an empty cache."""
    precision = {"fp32": "32-true", "bf16": "bf16-mixed"}[job.precision]
    words = ["data=pairs", f"data.train={job.data}/train.jsonl", f"data.evaluation={job.data}/evaluation.jsonl"]
    words += [f"data.documents=[{job.data}/documents.jsonl]", "data.id=id"]
    words += ["encoder=pretrained", f"encoder.model={job.model}", "pooling=saved", "loss=ranking", "logger=none"]
    words += [f"dims={list(job.dims)}", f"batch_size={job.batch}", f"seed={job.seed}", f"optimizer.lr={job.lr}"]
    words += ["scheduler=cosine", f"scheduler.warmup={job.warmup}", "trainer=cpu", f"trainer.precision={precision}"]
    words += [f"trainer.max_epochs={job.epochs}", f"hydra.run.dir={folder}/run"]
    run(["train.py", *words], MATRYOSHKA_CACHE=str(folder / "cache"), HF_DATASETS_CACHE=str(folder / "datasets"))
    read: Any = {name: json.loads((folder / "run" / f"{name}.json").read_text()) for name in ("results", "run")}
    metrics = read["results"]["metrics"]
    return Outcome(read["run"]["updates"], {dim: metrics[str(dim)]["ndcg@10"] for dim in job.dims})


def sentence_transformers(job: Job, folder: Path) -> Outcome:
    """The job through their Trainer."""
    folder.mkdir()
    (folder / "job.json").write_text(json.dumps(asdict(job)), encoding="utf-8")
    run(["benchmarks/whole_job_theirs.py", str(folder / "job.json")], HF_DATASETS_CACHE=str(folder / "datasets"))
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return Outcome(result["updates"], {dim: result["ndcg@10"][str(dim)] for dim in job.dims})


def agreement(mine: Outcome, theirs: Outcome) -> str:
    """Updates, which must be the same, and what was reached; dropout is drawn differently, so that is not equal."""
    same = "the same number of updates" if mine.updates == theirs.updates else "updates DO NOT AGREE"
    reached = ", ".join(f"{mine.ndcg[dim]:.3f} and {theirs.ndcg[dim]:.3f} at {dim}" for dim in mine.ndcg)
    return f"{same} ({mine.updates} and {theirs.updates}); nDCG@10 reached, ours and theirs: {reached}"


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__ or "", repeats=2, pairs=96, queries=18, documents=70, epochs=3, batch=32)
    reached: dict[str, Outcome] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = write_slice(folder, options.pairs, options.queries, options.documents)
        model = SentenceTransformersFolder().save(load()[0], folder / "model")
        job = Job(str(model), str(folder), options.epochs, options.batch, options.precision)
        what = f"the whole job: {options.epochs} epochs of {data}, five dims, {options.precision}"
        print(f"job        {what}", flush=True)

        def measure_ours(repeat: int) -> None:
            reached["ours"] = ours(job, folder / f"ours_{repeat}")

        def measure_theirs(repeat: int) -> None:
            reached["theirs"] = sentence_transformers(job, folder / f"theirs_{repeat}")

        fast, slow = interleaved(measure_ours, measure_theirs, options.repeats)
    target = 5.0 if options.precision == options.best else None
    record = Record("Whole job")
    record.comparisons.append(
        Comparison(what, "s", fast, slow, False, agreement(reached["ours"], reached["theirs"]), target)
    )
    record.notes.append(
        "The whole job runs from the start of each program to its saved model: imports and loading are included, "
        "nothing is cached, and ours evaluates before training as well."
    )
    record.show()
    record.write(options.json)


if __name__ == "__main__":
    main()
