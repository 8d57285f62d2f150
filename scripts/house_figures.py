"""Count the house before and after its redesign: `python -m scripts.house_figures` writes the tables of decision 0021.

BEFORE is read with git; after is the tree that this script stands in.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from matryoshka.report.markdown import table

PROJECT = Path(__file__).parents[1]
PAGE = PROJECT / "docs" / "decisions" / "0021_one_recipe_and_parts.md"
BEGIN, END = "<!-- figures:begin -->", "<!-- figures:end -->"
BEFORE = "58b6e42"
# The line of calls from the command to the optimizer's step, before and after.
MAIN_JOB = (
    "train.py cli.py job.py tasks/train.py tasks/trainer.py module.py losses/matryoshka.py losses/ranking.py",
    "train.py cli/app.py cli/job.py tasks/train.py training/module.py losses/matryoshka.py losses/ranking.py",
)
# step -> all files to read to know what becomes of a batch.
BATCH = {
    "command": ("train.py cli.py job.py", "train.py cli/app.py cli/job.py"),
    "check": ("config/validation.py config/schema.py", "config/validation.py config/groups.py"),
    "parts": ("tasks/setup.py", "config/recipe.py"),
    "task": (
        "tasks/train.py tasks/processes.py tasks/beginning.py tasks/trainer.py",
        "tasks/train.py tasks/run.py tasks/start_point.py tasks/trainer.py",
    ),
    "source": (
        "tasks/loading.py data/sources.py data/reading.py data/files.py data/split.py",
        "tasks/loading.py data/sources.py data/reading/rows.py data/reading/files.py data/split.py data/pairs.py",
    ),
    "token ids": ("data/tokens.py data/equal_texts.py", "data/tokens.py data/equal_texts.py"),
    "batch": (
        "data/samplers.py data/first_fit.py data/clashes.py data/packing.py datamodule.py",
        "data/samplers.py data/first_fit.py data/negatives.py data/packing.py training/datamodule.py",
    ),
    "encoder": (
        "shared_encoding.py encoder/encoder.py encoder/packed_attention.py encoder/pooling.py",
        "training/window.py training/accumulation.py encoder/encoder.py encoder/packed_layer.py "
        "encoder/packed_attention.py encoder/pooling.py",
    ),
    "loss": (
        "losses/matryoshka.py losses/ranking.py",
        "losses/matryoshka.py losses/similarities.py losses/nested_loss.py losses/ranking.py",
    ),
    "update": (
        "module.py plan.py finite.py since_last_row.py",
        "training/module.py training/measured_module.py training/plan.py training/nonfinite.py training/log_rows.py "
        "training/clipping.py",
    ),
}
# The same of a text that is measured.
TEXT = {
    "set": (
        "data/retrieval_set.py retrieval/tokenized_set.py retrieval/stable_batches.py retrieval/judgements.py",
        "data/retrieval_set.py evaluation/tokenized_set.py data/tokens.py data/packing.py evaluation/judgements.py",
    ),
    "embeddings": (
        "tasks/measuring.py retrieval/evaluation.py retrieval/embeddings.py retrieval/embedding_file.py "
        "retrieval/mapped_rows.py",
        "tasks/measuring.py evaluation/evaluator.py evaluation/embeddings.py evaluation/mapped_rows.py",
    ),
    "search": (
        "retrieval/search.py retrieval/coarse_hits.py retrieval/top.py",
        "evaluation/nearest.py",
    ),
    "metrics": (
        "retrieval/measurement.py retrieval/metrics.py retrieval/protocols.py retrieval/ties.py "
        "retrieval/uncertainty.py retrieval/rankings.py",
        "evaluation/measurement.py evaluation/metrics.py evaluation/protocols.py evaluation/ties.py "
        "evaluation/uncertainty.py",
    ),
    "result": ("retrieval/result.py", "evaluation/result.py"),
}
GRAPH = """
import json, grimp
graph = grimp.build_graph("matryoshka", cache_dir=None)
parts = graph.find_children("matryoshka")
for part in parts:
    graph.squash_module(part)
print(json.dumps([(a, b) for a in parts for b in graph.find_modules_directly_imported_by(a) if b in parts]))
"""


def lines(file: Path) -> int:
    """Lines of a file."""
    return len(file.read_text(encoding="utf-8").splitlines())


def packages(root: Path) -> dict[str, list[int]]:
    """The lengths of the Python files in each package; of those in none under ''."""
    found: dict[str, list[int]] = {}
    source = root / "src" / "matryoshka"
    for file in sorted(source.rglob("*.py")):
        name = file.relative_to(source).parts[0]
        found.setdefault("" if name == file.name else name, []).append(lines(file))
    return found


def on_the_way(root: Path, files: str) -> list[int]:
    """The lengths of files, named from the root or from src/matryoshka."""
    places = (root / name if name == "train.py" else root / "src" / "matryoshka" / name for name in files.split())
    return [lines(place) for place in places]


def edges(root: Path) -> list[tuple[str, str]]:
    """Which package or loose module imports which, by import-linter's graph."""
    command = [sys.executable, "-c", GRAPH]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=root, env={"PYTHONPATH": str(root / "src")}
    )
    return [(one, other) for one, other in json.loads(done.stdout)]


def cycles(pairs: Sequence[tuple[str, str]]) -> int:
    """Groups of two and more that import each other round about."""
    import networkx

    return sum(len(group) > 1 for group in networkx.strongly_connected_components(networkx.DiGraph(pairs)))


def size(counts: Sequence[int]) -> list[str]:
    """Files and lines as cells; empty where there are none."""
    return [f"{len(counts):,}", f"{sum(counts):,}"] if counts else ["", ""]


def way(name: str, steps: Mapping[str, tuple[str, str]], roots: tuple[Path, Path]) -> list[list[str]]:
    """A row for each step of a way, and their sum."""
    whole = " ".join(before for before, _ in steps.values()), " ".join(after for _, after in steps.values())
    named = {**{f"{name}: {step}": sides for step, sides in steps.items()}, f"**{name}: all**": whole}
    return [
        [title, *(cell for root, files in zip(roots, sides, strict=True) for cell in size(on_the_way(root, files)))]
        for title, sides in named.items()
    ]


def figures(before: Path, after: Path) -> Iterator[str]:
    """The tables of packages, of ways and of imports."""
    headers = ["files before", "lines before", "files after", "lines after"]
    roots, one, other = (before, after), packages(before), packages(after)
    rows = [
        [f"`{name}`" if name else "loose modules", *size(one.get(name, [])), *size(other.get(name, []))]
        for name in sorted(one.keys() | other.keys(), key=lambda name: (not name, name))
    ]
    both = [[count for counts in found.values() for count in counts] for found in (one, other)]
    yield table(["package", *headers], [*rows, ["**all**", *size(both[0]), *size(both[1])]], "left")

    main_job = way("", {"": MAIN_JOB}, roots)[0][1:]
    ways = [*way("batch", BATCH, roots), *way("text", TEXT, roots)]
    yield table(["on the way", *headers], [["main job", *main_job], *ways], "left")

    graphs = edges(before), edges(after)
    rows = [
        ["packages and loose modules", *(str(len({name for edge in graph for name in edge})) for graph in graphs)],
        ["imports from one to another", *(str(len(graph)) for graph in graphs)],
        ["cycles among them", *(str(cycles(graph)) for graph in graphs)],
    ]
    yield table(["imports", "before", "after"], rows, "left")


def unpacked(commit: str, folder: Path) -> Path:
    """The source of a commit, in a folder."""
    command = ["git", "archive", commit, "src", "train.py"]
    content = subprocess.run(command, capture_output=True, check=True, cwd=PROJECT).stdout
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def main() -> None:
    """Rewrite what stands between the markers of the page."""
    text, begin, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        sys.exit(f"{PAGE} has no {BEGIN} ... {END}")
    with tempfile.TemporaryDirectory() as folder:
        shown = "\n\n".join(figures(unpacked(BEFORE, Path(folder)), PROJECT))
    PAGE.write_text(f"{text}{BEGIN}\n\n{shown}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
