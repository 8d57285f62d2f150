"""What a person reads in the terminal besides tables: what will run, how long, and where everything was written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rich import box
from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from matryoshka.durations import in_words
from matryoshka.evaluation.result import EvaluationResult
from matryoshka.processes.launched import launched
from matryoshka.report.record import PairsSummary
from matryoshka.report.terminal.encoder_line import encoder_line
from matryoshka.storage.credentials import visible

if TYPE_CHECKING:
    from matryoshka.data.split import Split
    from matryoshka.encoder.encoder import Encoder
    from matryoshka.evaluation.tokenized_set import TokenizedSet
    from matryoshka.memory.estimate import MemoryEstimate
    from matryoshka.training.plan import TrainingPlan


class Announced(Protocol):
    """A recipe, of which the first lines say what is configured and what stands in for what."""

    @property
    def config(self) -> Mapping[str, Any]:
        """As plain values."""

    @property
    def stand_in(self) -> Sequence[str]:
        """A sentence for each part that is replaced."""


class _Visible:
    """What is printed, with a sign for each character of its texts that a terminal would obey; colours are ours."""

    def __init__(self, content: ConsoleRenderable) -> None:
        self.content = content

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        for segment in console.render(self.content, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)


class VisibleTexts(RenderHook):
    """Keeps a console's texts from steering the terminal."""

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """What is printed instead."""
        return [_Visible(content) for content in renderables]


console = Console(highlight=False)
console.push_render_hook(VisibleTexts())


def announce(
    recipe: Announced,
    encoder: Encoder,
    pairs: PairsSummary,
    split: Split,
    plan: TrainingPlan | str,
    why_precision: str,
) -> None:
    """The first lines of a run. plan: in words where no encoder is trained."""
    config = recipe.config
    lengths = ", ".join(f"{column} {mean:.0f}" for column, (_, mean, _) in pairs.lengths.items())
    batch, windows, optimizer = config["batch_size"], config["accumulation"], config["optimizer"]
    lines = {
        "encoder": encoder_line(encoder),
        "data": f"{pairs.name}: {pairs.rows:,} training pairs (mean tokens: {lengths}); "
        f"{split.test.described('test queries')}",
        "split": split.label,
        "dims": ", ".join(map(str, config["dims"])),
        "updates": plan
        if isinstance(plan, str)
        else f"{plan.updates:,} of {batch} x {windows} pairs in {len(plan.micro_batches)} epochs, "
        f"{optimizer['_target_'].rpartition('.')[2]} at {optimizer.get('lr')}, "
        f"{config['scheduler']['_target_'].rpartition('.')[2]} schedule",
        "device": f"{config['trainer'].get('accelerator', 'auto')} -> {_device(config)}, "
        f"{config['trainer']['precision']} ({why_precision})",
    }
    show_stand_in(recipe.stand_in)
    for label, line in lines.items():
        say(label, line)


def say(label: str, line: str) -> None:
    """A line as the first ones of a run: a label and what there is to say."""
    console.print(Text.assemble((f"{label:>8}  ", "bold"), line), soft_wrap=True)


def plain_table(title: str = "", **options: Any) -> Table:
    """A table of columns alone, a line below its header; title and caption stand at the left."""
    look: dict[str, Any] = {
        "title_justify": "left",
        "title_style": "bold",
        "caption_justify": "left",
        "caption_style": "dim",
    }
    return Table(box=box.SIMPLE_HEAD, title=Text(title) if title else None, **{**look, "pad_edge": False, **options})


def show_memory(estimate: MemoryEstimate, available: float | None, recipe: Announced) -> None:
    """What the run needs at its peak and what there is; with what helps, where it does not fit."""
    room = "" if available is None else f", of {available / 1e9:.1f} GB available"
    each = " of each process" if launched() else ""
    say("memory", f"about {estimate.peak / 1e9:.1f} GB at the peak{each}{room}")
    if available is None or estimate.peak <= available:
        return
    config = recipe.config
    helps = {
        "pairs_at_once=8 (the same batch, in parts)": config["pairs_at_once"] is None,
        "encoder.gradient_checkpointing=true": not config["encoder"].get("gradient_checkpointing"),
        "compact_vocabulary=true": not config["compact_vocabulary"],
        "a smaller evaluator.token_budget": estimate.evaluation > estimate.activations,
        "a smaller batch_size or encoder.max_seq_length": True,
    }
    remedies = ", ".join(name for name, open_yet in helps.items() if open_yet)
    console.print(Text(f"the run may not fit the memory; what helps: {remedies}", style="bold yellow"), soft_wrap=True)


def _device(config: Mapping[str, Any]) -> str:
    if place := launched():
        return f"{place.processes} processes, {_one_device(config)} each"
    return _one_device(config)


def _one_device(config: Mapping[str, Any]) -> str:
    import torch

    if config["trainer"].get("accelerator") != "cpu" and torch.cuda.is_available():
        return torch.cuda.get_device_name()
    if config["trainer"].get("accelerator") in ("gpu", "cuda"):
        return "a CUDA GPU, which is not here"
    return f"CPU, {torch.get_num_threads()} threads"


def show_estimate(
    base: EvaluationResult, selecting: TokenizedSet, pairs: PairsSummary, plan: TrainingPlan, batch_size: int
) -> None:
    """How long the run will take, from the speed just measured: a training token costs about four evaluated ones.

    selecting: what is evaluated after every epoch; what was measured for the base is, once more, at the end.
    """
    rate = base.tokens / base.seconds
    per_pair = sum(mean for _, mean, _ in pairs.lengths.values())
    used = sum(min(count * batch_size, pairs.rows) for count in plan.micro_batches)
    seconds = (4 * used * per_pair + len(plan.micro_batches) * selecting.tokens) / rate + base.seconds
    console.print(f"about {in_words(seconds)} to go, by the speed of the base evaluation ({rate:,.0f} tokens/s)")


def show_duration(seconds: float) -> None:
    """How long the run took."""
    console.print(f"done in {in_words(seconds)}")


def show_stand_in(stand_in: Sequence[str]) -> None:
    """What stands in for what, which nobody may miss."""
    for sentence in stand_in:
        console.print(Text(f"stand-in: {sentence}", style="bold yellow"), soft_wrap=True)


def show_paths(written: Mapping[str, Path]) -> None:
    """Every path written, one a line."""
    for what, path in written.items():
        console.print(Text.assemble((f"{what:>18}  ", "bold"), str(as_typed(path))), soft_wrap=True)


def as_typed(path: Path) -> Path:
    """A path as someone in the present directory types it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
