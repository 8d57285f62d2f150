"""Draw how a batch and a text travel for docs/architecture.md: `python scripts/architecture_figure.py`."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path

PROJECT = Path(__file__).parents[1]
PICTURE = PROJECT / "docs" / "images" / "architecture.svg"
WIDTH, MARGIN, BOX, HEIGHT, GAP, TOP = 800, 20, 370, 62, 20, 52
RIGHT = WIDTH - MARGIN - BOX

# (title, its files under src/matryoshka, what comes out). None: nothing stands beside the step of the other column.
Step = tuple[str, str, str] | None
COMMAND = (
    "Command → recipe → task",
    "cli/app.py, cli/job.py, config/recipe.py, tasks/train.py, tasks/evaluate.py",
    "a checked configuration becomes parts; the task says what is done with them, in which order",
)
BEFORE: list[tuple[Step, Step]] = [
    (
        ("Source", "data/sources.py, data/hub.py, data/beir.py", "rows of anchor, positive, negative_1 ..."),
        ("Retrieval set", "data/retrieval_set.py", "queries, corpus, graded answers"),
    ),
    (
        ("Split", "data/split.py", "pairs to train on; dev and test queries"),
        ("Token ids", "evaluation/tokenized_set.py, data/tokens.py", "each distinct text once"),
    ),
    (
        ("Texts and numbers", "data/pairs.py", "columns of texts, columns of scores"),
        ("Batches by tokens", "data/tokens.py", "longest first, at most token_budget tokens"),
    ),
    (("Token ids", "data/tokens.py", "Arrow files, found again by content"), None),
    (
        ("Sampler and negatives", "data/samplers.py, data/negatives.py", "rows of a batch; what is no negative"),
        None,
    ),
    (("Packed batch", "data/packing.py, training/datamodule.py", "input_ids_T, mask_BN, numbers"), None),
]
ENCODER = (
    "Encoder",
    "encoder/encoder.py, encoder/packed_attention.py, encoder/pooling.py",
    "sequences end to end in one row, without padding → embeddings_SD",
)
AFTER: list[tuple[Step, Step]] = [
    (
        ("Nested similarities", "losses/similarities.py", "similarity_BN at every dim"),
        ("Embeddings, once", "evaluation/embeddings.py", "equal weights: found again, not computed"),
    ),
    (
        ("A loss at every dim", "losses/ranking.py, losses/matryoshka.py", "the sum over dims, by weight"),
        ("Search at every dim", "evaluation/nearest.py", "a dim is a slice: exact top k"),
    ),
    (
        ("Update", "training/module.py", "backward, clip, optimizer.step()"),
        ("Metrics", "evaluation/metrics.py, evaluation/measurement.py", "as is, merged, with intervals"),
    ),
    (
        ("Checkpoint of parts", "training/checkpoints/parts.py", "whatever must survive a stop"),
        ("EvaluationResult", "evaluation/result.py", "one frozen result feeds every surface"),
    ),
    (
        ("Best weights", "training/checkpoints/kept.py", "saved as they were measured"),
        ("Surfaces", "report/terminal/, report/page/, report/files.py", "table, page, card, W&B, files: no own number"),
    ),
]
STYLE = """
  .paper { fill: #fcfcfb; } .box { fill: #ffffff; stroke: #b9c2cc; } .shared { fill: #e8f0fb; stroke: #3d72b8; }
  text { font-family: "DejaVu Sans", Verdana, sans-serif; font-size: 12px; } .out { fill: #55616d; }
  .title, .head { fill: #14202b; font-size: 15px; font-weight: bold; }
  .file { fill: #1f5fa8; font-family: "DejaVu Sans Mono", Menlo, Consolas, monospace; font-size: 11.5px; }
  .line { stroke: #71808f; stroke-width: 1.5; fill: none; } .tip { fill: #71808f; }
  @media (prefers-color-scheme: dark) {
    .paper { fill: #0f151b; } .box { fill: #18212a; stroke: #3c4a57; } .shared { fill: #162a42; stroke: #5b93d8; }
    .title, .head { fill: #eef3f8; } .file { fill: #8dbdf5; } .out { fill: #a9b6c3; }
  }
"""


def steps() -> Iterator[tuple[str, str, str]]:
    """All steps of the picture."""
    yield from (COMMAND, ENCODER)
    yield from (step for row in [*BEFORE, *AFTER] for step in row if step)


def box(x: int, y: int, width: int, step: tuple[str, str, str], kind: str = "box") -> str:
    """A step with its files and what comes out."""
    lines = zip(("title", "file", "out"), (20, 37, 53), step, strict=True)
    texts = (f'<text class="{name}" x="{x + 12}" y="{y + down}">{escape(text)}</text>' for name, down, text in lines)
    return f'<rect class="{kind}" x="{x}" y="{y}" width="{width}" height="{HEIGHT}" rx="7"/>{"".join(texts)}'


def arrow(x: int, y: int, end: int) -> str:
    """Downwards from y to end."""
    tip = f'<path class="tip" d="M{x - 5} {end - 8} L{x + 5} {end - 8} L{x} {end} Z"/>'
    return f'<path class="line" d="M{x} {y} V{end - 7}"/>{tip}'


def columns(rows: list[tuple[Step, Step]], top: int, bottom: int | None) -> Iterator[str]:
    """Two columns of steps, each with an arrow to the next, and to what stands at the bottom."""
    for side, x in enumerate((MARGIN, RIGHT)):
        column = [(top + i * (HEIGHT + GAP), row[side]) for i, row in enumerate(rows)]
        there = [(y, step) for y, step in column if step]
        yield from (box(x, y, BOX, step) for y, step in there)
        ends = [y for y, _ in there[1:]] + ([bottom] if bottom else [])
        yield from (arrow(x + BOX // 2, y + HEIGHT, end) for (y, _), end in zip(there, ends, strict=False))


def picture() -> str:
    """The whole drawing as SVG."""
    pitch, wide = HEIGHT + GAP, WIDTH - 2 * MARGIN
    first = MARGIN + pitch + TOP - GAP
    encoder = first + len(BEFORE) * pitch
    after = encoder + pitch
    split = first + pitch - GAP // 2  # between a split and the retrieval sets that it makes
    middle = (MARGIN + BOX, RIGHT)
    drawn = [
        box(MARGIN, MARGIN, wide, COMMAND, "shared"),
        f'<text class="head" x="{MARGIN}" y="{first - 10}">Training: a batch</text>',
        f'<text class="head" x="{RIGHT}" y="{first - 10}">Evaluation: a text</text>',
        *columns(BEFORE, first, encoder),
        f'<path class="line" d="M{middle[0]} {split + 40} H{WIDTH // 2} V{first + HEIGHT // 2} H{middle[1] - 7}"/>',
        f'<path class="tip" d="M{middle[1] - 8} {first + HEIGHT // 2 - 5} v10 L{middle[1]} {first + HEIGHT // 2} Z"/>',
        box(MARGIN, encoder, wide, ENCODER, "shared"),
        *(arrow(x + BOX // 2, encoder + HEIGHT, after) for x in (MARGIN, RIGHT)),
        *columns(AFTER, after, None),
    ]
    height = after + len(AFTER) * pitch - GAP + MARGIN
    shown = "\n".join(drawn)
    size = f'width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
    title = "How a batch and a text travel through src/matryoshka"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">\n<title>{title}</title>\n<style>{STYLE}</style>\n'
        f'<rect class="paper" width="{WIDTH}" height="{height}"/>\n{shown}\n</svg>\n'
    )


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8")
