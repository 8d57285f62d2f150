"""Which means make a tuned model better, and what they cost elsewhere: `what_helps.py --laws FOLDER --other FILE`.

FOLDER has train.jsonl and eval.jsonl of statutes, each row with its law as `source`; FILE has pairs of another domain.
Whole laws are held out to choose by and to test on. Every row of the table is a run a seed, in a process of its own and
kept in --runs: what is finished there is not run again, and `--page` only writes docs/what_helps.md from it.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sides import load
from what_helps_data import Sizes, data_words, test_words, write_data
from what_helps_page import write_page
from whole_job import Job, run

from matryoshka.export.sentence_transformers import SentenceTransformersFolder

ROOT = Path(__file__).resolve().parents[1]
SEEDS = (42, 43, 44)
DIMS = "dims=[768,512,256,128,64]"
QUIET = ("evaluator=quick", "baselines=[]", "logger=none", "export=none", "doctor.languages=0", DIMS)
# Ours without any of the means: a projection to begin with, and one epoch at a low rate.
PLAIN = (
    *("projection=learned", "loss=ranking_both", "optimizer.lr=2e-5", "batch_size=32", "trainer.max_epochs=1"),
    "blend=none",
)


@dataclass(frozen=True)
class Row:
    """A line of the table. words: what its runs are told besides data and seed. against: the row that it is tested
    against. task: train, project, mine (whose pairs are then trained on) or their recipe, at the rate `lr`."""

    title: str
    words: Sequence[str] = ()
    against: str = "training"
    task: str = "train"
    lr: float = 0.0


ROWS: Mapping[str, Row] = {
    "theirs_8e-5": Row("sentence-transformers' recipe, 8e-5", against="untrained", task="theirs", lr=8e-5),
    "theirs_2e-5": Row("sentence-transformers' recipe, 2e-5", against="untrained", task="theirs", lr=2e-5),
    "projection": Row("projection alone", ("projection=learned", "loss=ranking_both"), "untrained", "project"),
    "training": Row("training from the projection, 2e-5", PLAIN, "projection"),
    "blend": Row("+ blend", (*PLAIN, "blend=start", "blend.shares=[0.3,0.5,0.7]", "blend.at_most=null")),
    "high_rate_blend": Row(
        "at 8e-5 + blend",
        (*PLAIN, "optimizer.lr=8e-5", "blend=start", "blend.shares=[0.3,0.5,0.7]", "blend.at_most=null"),
    ),
    "moving_average": Row("+ moving average", (*PLAIN, "callbacks=[default,moving_average]")),
    "guide": Row("+ guide", (*PLAIN, "negatives=guide")),
    "distillation": Row("+ distillation over dims", (*PLAIN, "loss=distilled", "loss.direction=both")),
    "mined": Row("+ a mined negative each", (*PLAIN, "mining.per_row=1", "sampler.clashes=mask"), task="mine"),
    "larger_batch": Row("+ batches of 128", (*PLAIN, "batch_size=128", "pairs_at_once=32", "optimizer.lr=4e-5")),
    "best": Row("experiment=best", ("experiment=best",), "theirs_8e-5"),
}


def ours(row: Row, data: Path, folder: Path, seed: int) -> None:
    """A run of train.py; of mined negatives the mining first, whose time counts."""
    own = [*_last_ones(row.words), *QUIET, f"seed={seed}"]
    words = [*data_words(data), *own]
    if row.task == "mine":
        mining = folder.with_name(f"{folder.name}_mining")
        run(["train.py", "task=mine", *words, f"hydra.run.dir={mining}"])
        negatives = [key for key in _first_row(mining / "train.jsonl") if re.fullmatch(r"negative_\d+", key)]
        words = [*data_words(data, mining / "train.jsonl"), *own, f"data.negatives=[{','.join(negatives)}]"]
    if row.task == "project":
        words += ["task=project", "projections=[]"]
    run(["train.py", *words, f"hydra.run.dir={folder}"])


def theirs(row: Row, data: Path, folder: Path, seed: int) -> None:
    """Their Trainer; then its model measured by evaluate.py. The seconds are those until the training ended."""
    model = folder.parents[1] / "encoder"
    if not model.is_dir():
        SentenceTransformersFolder().save(load()[0], model)
    training = folder.with_name(f"{folder.name}_training")
    training.mkdir(parents=True, exist_ok=True)
    job = Job(str(model), str(data), 1, 32, "bf16", lr=row.lr, seed=seed)
    (training / "job.json").write_text(json.dumps(asdict(job)), encoding="utf-8")
    start = time.monotonic()
    run(["benchmarks/time_to_quality_theirs.py", str(training / "job.json")])
    seconds = json.loads((training / "result.json").read_text(encoding="utf-8"))["ended"] - start
    sets = [word for word in data_words(data) if word.startswith("+sets")]
    words = [f"model={training}/model", "data=pairs", "data.train=null", *test_words(data), *sets, DIMS]
    run(["evaluate.py", *words, "evaluator=quick", "baselines=[]", f"hydra.run.dir={folder}"])
    (folder / "run.json").write_text(json.dumps({"seconds": seconds}), encoding="utf-8")


def run_all(rows: Sequence[str], seeds: Sequence[int], runs: Path) -> None:
    """Every run that is not finished, a line each."""
    for seed in seeds:
        for name in rows:
            row, folder = ROWS[name], runs / name / str(seed)
            if (folder / "run.json").is_file():
                continue
            start = time.perf_counter()
            folder.parent.mkdir(parents=True, exist_ok=True)
            (theirs if row.task == "theirs" else ours)(row, runs / "data", folder, seed)
            print(f"{name}, seed {seed}: {time.perf_counter() - start:.0f} s", flush=True)


def main() -> None:
    """Run what is missing, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--laws", type=Path)
    parser.add_argument("--other", type=Path)
    parser.add_argument("--runs", type=Path, default=ROOT / "outputs" / "what_helps")
    parser.add_argument("--rows", nargs="*", default=list(ROWS), choices=list(ROWS))
    parser.add_argument("--seeds", nargs="*", type=int, default=list(SEEDS))
    parser.add_argument("--test-laws", nargs="*", default=None)
    parser.add_argument("--page", action="store_true", help="run nothing")
    parser.add_argument(
        "--note", default="", help="what a reader must know of these runs, such as what ran beside them"
    )
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "what_helps.md")
    options = parser.parse_args()
    runs: Path = options.runs.resolve()
    if not options.page:
        if options.laws is None or options.other is None:
            parser.error("--laws and --other are needed to run anything; --page only writes the page")
        more: dict[str, Any] = {"test_laws": options.test_laws} if options.test_laws else {}
        said = write_data(options.laws, options.other, runs / "data", Sizes(), **more)
        (runs / "data" / "about.txt").write_text(said, encoding="utf-8")
        print(said, flush=True)
        run_all(options.rows, options.seeds, runs)
    against = {name: row.against for name, row in ROWS.items()}
    titles = {name: row.title for name, row in ROWS.items()}
    print(write_page(runs, titles, against, options.output, options.note))


def _last_ones(words: Sequence[str]) -> list[str]:
    """Of words for the same key the last one."""
    return list({word.partition("=")[0]: word for word in words}.values())


def _first_row(path: Path) -> dict[str, Any]:
    with path.open(encoding="utf-8") as file:
        found: dict[str, Any] = json.loads(file.readline())
    return found


if __name__ == "__main__":
    main()
