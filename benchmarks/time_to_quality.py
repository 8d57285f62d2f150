"""How long until a model is better at every dim than sentence-transformers' recipe makes it: `time_to_quality.py`.

`--data FOLDER`: train.jsonl and eval.jsonl (anchor, positive, id); else the embedded pairs. Theirs: an epoch of the
card's recipe, benchmarks/time_to_quality_theirs.py. Ours: `train.py task=project projection=learned`, with nothing
cached, on all pairs and then on the smallest share of them whose figures are nowhere lower. Each run is a process of
its own, timed from its start: theirs to the end of training, ours to the file of the matrix. Both models are measured
by our evaluator, whose time is counted on neither side.
"""

from __future__ import annotations

import json
import math
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from record import Comparison, Fact, Record
from sides import DIMS, arguments, interleaved, load
from whole_job import Job, run

from matryoshka.data.sources import PairFiles
from matryoshka.embedded.german_help import FOLDER
from matryoshka.encoder import Pretrained
from matryoshka.evaluation.evaluator import Evaluator
from matryoshka.export.sentence_transformers import SentenceTransformersFolder

METRIC = "ndcg@10"
TARGET, TARGET_OF_SHARE = 4.0, 10.0
SHARES = 4  # each twice as large as the one before


@dataclass(frozen=True)
class Outcome:
    """seconds: of the whole program of ours, to the end of training of theirs. ndcg: by dim.

    fitted: seconds until the file of the matrix stood, which nothing is measured for; of theirs, the same as seconds.
    """

    seconds: float
    fitted: float
    ndcg: Mapping[int, float]

    def lower_than(self, other: Outcome) -> list[int]:
        """The dims at which the other one is better."""
        return [dim for dim in DIMS if self.ndcg[dim] < other.ndcg[dim]]

    def said(self) -> str:
        """In a line."""
        return f"{self.seconds:.1f} s, nDCG@10 {', '.join(f'{self.ndcg[dim]:.4f} at {dim}' for dim in DIMS)}"


@dataclass
class Found:
    """Both sides with all pairs, repeat by repeat, and ours with each share of them."""

    ours: list[Outcome] = field(default_factory=list)
    theirs: list[Outcome] = field(default_factory=list)
    shares: dict[int, list[Outcome]] = field(default_factory=dict)


def copied(source: Path, to: Path, rows: int | None) -> int:
    """Copy the first rows of JSON lines, None: all; returns how many."""
    with source.open(encoding="utf-8") as file:
        lines = list(islice((line for line in file if line.strip()), rows))
    to.write_text("".join(line if line.endswith("\n") else line + "\n" for line in lines), encoding="utf-8")
    return len(lines)


def write_data(source: Path | None, folder: Path, pairs: int, queries: int, documents: int) -> tuple[int, str]:
    """train, evaluation and documents as JSON lines; returns how many pairs, and what the data are. 0: all."""
    train = (source or FOLDER) / "train.jsonl"
    evaluation = source / "eval.jsonl" if source else FOLDER / "evaluation.jsonl"
    # Documents that answer no query: the embedded ones, or the first passages that are trained on.
    others = train if source else FOLDER / "documents.jsonl"
    count = copied(train, folder / "train.jsonl", pairs or None)
    asked = copied(evaluation, folder / "evaluation.jsonl", queries or None)
    copied(others, folder / "documents.jsonl", documents or None)
    searched = len(held_out(folder).retrieval_set().corpus)
    name = source.resolve().name if source else "german_help"
    return count, f"{name}, {count:,} pairs, {asked:,} queries over {searched:,} documents"


def held_out(folder: Path) -> PairFiles:
    """The data as both sides' figures are measured on them."""
    files = {name: str(folder / f"{name}.jsonl") for name in ("train", "evaluation", "documents")}
    return PairFiles("time_to_quality", files["train"], files["evaluation"], [files["documents"]], id="id")


def ours(job: Job, folder: Path, pairs: int | None = None) -> Outcome:
    """The command, with empty caches. pairs: so many of them; None: all."""
    precision = {"fp32": "32-true", "bf16": "bf16-mixed"}[job.precision]
    words = ["task=project", "projection=learned", "projections=[]", "loss=ranking_both", f"dims={list(job.dims)}"]
    words += ["data=pairs", f"data.train={job.data}/train.jsonl", f"data.evaluation={job.data}/evaluation.jsonl"]
    words += [f"data.documents=[{job.data}/documents.jsonl]", "data.id=id"]
    words += [f"data.pairs_at_most={pairs or 'null'}", "split=same"]  # one kind of matrix: nothing is chosen
    words += ["encoder=pretrained", f"encoder.model={job.model}", "pooling=saved", f"seed={job.seed}"]
    words += ["trainer=cpu", f"trainer.precision={precision}", "baselines=[]", "logger=none", "export=none"]
    words += ["doctor.languages=0", "doctor.examples=0", f"hydra.run.dir={folder}/run"]
    began, start = time.time(), time.perf_counter()
    run(["train.py", *words], MATRYOSHKA_CACHE=str(folder / "cache"), HF_DATASETS_CACHE=str(folder / "datasets"))
    seconds = time.perf_counter() - start
    fitted = (folder / "run" / "projection.safetensors").stat().st_mtime - began
    results: Any = json.loads((folder / "run" / "results.json").read_text(encoding="utf-8"))
    shutil.rmtree(folder / "cache")
    return Outcome(seconds, fitted, {dim: results["metrics"][str(dim)][METRIC] for dim in job.dims})


def sentence_transformers(job: Job, folder: Path) -> Outcome:
    """Their Trainer, with empty caches; then its model measured by our evaluator."""
    folder.mkdir()
    (folder / "job.json").write_text(json.dumps(asdict(job)), encoding="utf-8")
    start = time.monotonic()  # one clock of the system, which the other process reads as well
    run(["benchmarks/time_to_quality_theirs.py", str(folder / "job.json")], HF_DATASETS_CACHE=str(folder / "datasets"))
    seconds = json.loads((folder / "result.json").read_text(encoding="utf-8"))["ended"] - start
    encoder, data = Pretrained(str(folder / "model")).load(), held_out(Path(job.data)).retrieval_set()
    result = Evaluator().evaluate(encoder, data, job.dims, precision=job.precision)  # type: ignore[arg-type]
    return Outcome(seconds, seconds, {dim: result.metrics[dim][METRIC] for dim in job.dims})


def measured(job: Job, folder: Path, repeats: int, shares: Sequence[int]) -> Found:
    """Run everything, a line a run: all pairs by turns, then shares of them until one is nowhere lower."""
    found = Found()

    def measure_ours(repeat: int) -> None:
        found.ours.append(ours(job, folder / f"ours_{repeat}"))
        print(f"ours       all pairs: {found.ours[-1].said()}", flush=True)

    def measure_theirs(repeat: int) -> None:
        found.theirs.append(sentence_transformers(job, folder / f"theirs_{repeat}"))
        print(f"theirs     all pairs: {found.theirs[-1].said()}", flush=True)

    interleaved(measure_ours, measure_theirs, repeats)
    for pairs in shares:
        outcomes = found.shares[pairs] = [ours(job, folder / f"share_{pairs}_0", pairs)]
        lower = outcomes[0].lower_than(found.theirs[0])
        verdict = f"lower at {lower}" if lower else "nowhere lower than theirs"
        print(f"ours       {pairs:,} pairs: {outcomes[0].said()}: {verdict}", flush=True)
        if not lower:
            outcomes += [ours(job, folder / f"share_{pairs}_{repeat}", pairs) for repeat in range(1, repeats)]
            break
    return found


def compared(what: str, mine: Sequence[Outcome], theirs: Sequence[Outcome], target: float | None) -> Comparison:
    """A row. Where ours is lower at some dim, that quality was never reached: its seconds are infinite."""
    lower = mine[0].lower_than(theirs[0])
    pairs = ", ".join(f"{mine[0].ndcg[dim]:.4f} and {theirs[0].ndcg[dim]:.4f} at {dim}" for dim in DIMS)
    where = ", ".join(map(str, lower))
    said = f"NOT reached: ours is lower at {where} after {mine[0].fitted:.1f} s" if lower else "ours is nowhere lower"
    seconds = [math.inf if lower else outcome.fitted for outcome in mine]
    agreement = f"{said}; nDCG@10, ours and theirs: {pairs}"
    return Comparison(what, "s", seconds, [outcome.fitted for outcome in theirs], False, agreement, target)


def record_of(found: Found, data: str, job: Job, best: bool) -> Record:
    """All of it. best: whether the precision is the one that this machine is fastest at; targets are for that."""
    enough = [pairs for pairs, outcomes in found.shares.items() if not outcomes[0].lower_than(found.theirs[0])]
    share = found.shares[enough[0]] if enough else found.ours
    named = f"the smallest share that is enough, {enough[0]:,} pairs" if enough else "all pairs, as no share is enough"
    quality = f"time to the quality of an epoch at every dim ({data}; {job.precision})"
    record = Record("Time to quality")
    record.comparisons = [
        compared(f"{quality}, all pairs", found.ours, found.theirs, TARGET if best else None),
        compared(f"{quality}, {named}", share, found.theirs, TARGET_OF_SHARE if best else None),
    ]
    for name, outcomes in {"all pairs": found.ours, **({named: share} if enough else {})}.items():
        record.facts.append(Fact(f"the whole command with its report, {name}", outcomes[0].seconds, "s"))
    record.notes = [f"A projection of {n:,} pairs: {share[0].said()}." for n, share in found.shares.items()]
    record.notes.append(
        "Time to quality runs from the start of each program, with nothing cached: theirs to the end of training, ours "
        "to the file of the matrix. What measuring takes is counted on neither side; the whole command has a row."
    )
    return record


def main() -> None:
    """Measure and print."""
    sizes = {"pairs": 0, "queries": 0, "documents": 1500, "smallest": 250, "batch": 32}
    options = arguments(__doc__ or "", repeats=1, files=["data"], **sizes)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        count, data = write_data(options.data, folder, options.pairs, options.queries, options.documents)
        model = SentenceTransformersFolder().save(load()[0], folder / "model")
        job = Job(str(model), str(folder), 1, options.batch, options.precision)
        print(f"job        {data}; an epoch of theirs, a learned projection of ours", flush=True)
        shares = [share for n in range(SHARES) if (share := options.smallest * 2**n) < count]
        found = measured(job, folder, options.repeats, shares)
    record = record_of(found, data, job, options.precision == options.best)
    record.show()
    record.write(options.json)


if __name__ == "__main__":
    main()
