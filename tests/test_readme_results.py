"""The README's results block shows what a run wrote, and nothing else."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from matryoshka.evaluation.deployment.deployment import Deployment, DeploymentOption
from matryoshka.evaluation.result import EvaluationResult

ROOT = Path(__file__).parents[1]
FACTS = (
    "some/encoder, cls + mean pooling",
    "letters: 2,742 training pairs, 500 queries over 2,000 documents",
    "43 updates of 64 pairs",
    "8e-05 at most",
    "32-true",
    "after update 40, best ndcg@10/dim_768",
    "CPU, 2 cores, 2 threads",
    "10 min 05 s",
    "checkpoint selected on 200 dev queries",
    "To deploy, chosen on the dev queries:",
    "- one index only: 768 x int8: 99.0% of the full nDCG@10 at 1/4 of the bytes (768 B a vector)",
    "- coarse index plus full vectors on disk: 64 x int8, 40 hits rescored: 98.4% at 64 B a vector in memory, 3,072 B",
    "| BM25 | 0.444 ±.050 | 0.333 | 0.333 | 0.333 | 0.333 |",
)


@pytest.fixture
def readme_results() -> Any:
    spec = importlib.util.spec_from_file_location("readme_results", ROOT / "scripts" / "readme_results.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def fabricated_run(folder: Path) -> Path:
    """A run's folder with numbers that are easy to find again."""
    folder.mkdir()
    names = ("ndcg@10", "mrr@10", "map@100", "accuracy@1", "recall@10", "recall@3")
    for file, start in (("base", 0.1), ("results", 0.5)):
        values = {name: start + i / 100 for i, name in enumerate(names)}
        metrics = {dim: {name: value + dim / 1e5 for name, value in values.items()} for dim in (768, 64)}
        result = EvaluationResult(
            "some/encoder", "letters", 500, 2000, 768, metrics, intervals={64: {"ndcg@10": (0.4, 0.52)}}
        )
        (folder / f"{file}.json").write_text(json.dumps(result.as_dict()))
    lexical = {name: 0.444 if name == "ndcg@10" else 0.333 for name in names}
    bm25 = EvaluationResult("BM25", "letters", 500, 2000, 0, {0: lexical}, intervals={0: {"ndcg@10": (0.4, 0.5)}})
    (folder / "baselines.json").write_text(json.dumps([bm25.as_dict()]))
    options = tuple(
        DeploymentOption(dim, precision, rescored, size, value, value / 0.5)
        for dim, precision, rescored, size, value in (
            (768, "float32", False, 3072, 0.5),
            (768, "int8", False, 768, 0.495),
            (64, "int8", True, 64, 0.492),
        )
    )
    deployment = Deployment("ndcg@10", options, 256, 500, 2000, 40, (768, "int8"), (64, "int8"))
    (folder / "deployment.json").write_text(json.dumps(asdict(deployment)))
    config = {"pooling": {"modes": ["cls", "mean"]}, "batch_size": 32, "accumulation": 2}
    config |= {"trainer": {"precision": "32-true"}, "optimizer": {"lr": 8e-5}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    run = {
        "stand_in": ["a stands in for b, because c"],
        "training_pairs": 2742,
        "updates": 43,
        "saved_step": 40,
        "selected": "ndcg@10/dim_768",
        "split": "checkpoint selected on 200 dev queries",
        "seconds": 605.4,
        "environment": {"processor": "CPU, 2 cores", "threads": "2"},
    }
    (folder / "run.json").write_text(json.dumps(run))
    (folder / "metric_against_dim.png").write_bytes(b"figure")
    return folder


def test_the_results_block_is_what_the_run_wrote(readme_results: Any, tmp_path: Path) -> None:
    run = fabricated_run(tmp_path / "run")
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{readme_results.BEGIN}\nold\n{readme_results.END}\nafter\n", encoding="utf-8")

    for _ in range(2):  # the second time changes nothing
        readme_results.main(run, tmp_path)
        text = readme.read_text(encoding="utf-8")
        first = f"before\n{readme_results.BEGIN}\n\n**Stand-in:** a stands in for b, because c."
        assert text.startswith(first)
        assert text.endswith(f"{readme_results.END}\nafter\n")
        assert "| dim | nDCG@10 | MRR@10 | MAP@100 | accuracy@1 | recall@10 |" in text
        assert "| 64 | 0.101 → 0.501 ±.060 | 0.111 → 0.511 | 0.121 → 0.521 | 0.131 → 0.531 |" in text
        for fact in FACTS:
            assert fact in text
        assert "old" not in text
        assert "](docs/images/bmf.png)" in text
    assert (tmp_path / "docs" / "images" / "bmf.png").read_bytes() == b"figure"


def test_an_unfinished_run_changes_nothing(readme_results: Any, tmp_path: Path) -> None:
    run = fabricated_run(tmp_path / "run")
    (run / "results.json").unlink()
    (tmp_path / "README.md").write_text("as it was")

    with pytest.raises(SystemExit, match=r"not a finished run: it has no results\.json"):
        readme_results.main(run, tmp_path)
    with pytest.raises(SystemExit, match=r"README\.md has no <!-- results:begin"):
        readme_results.main(fabricated_run(tmp_path / "other"), tmp_path)
    assert (tmp_path / "README.md").read_text() == "as it was"


def test_the_readme_has_a_place_for_results(readme_results: Any) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert -1 < text.find(readme_results.BEGIN) < text.find(readme_results.END)
    assert len(text.splitlines()) <= 130
