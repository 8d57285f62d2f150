"""What a person sees: what will run, a table after every evaluation, and where everything was written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from matryoshka.report.record import PairsSummary, TrainingRecord
from matryoshka.retrieval.result import EvaluationResult

if TYPE_CHECKING:
    from matryoshka.data.retrieval_set import RetrievalSet
    from matryoshka.data.samplers import BatchSummary
    from matryoshka.encoder.encoder import Encoder
    from matryoshka.memory.estimate import MemoryEstimate
    from matryoshka.plan import TrainingPlan

console = Console(highlight=False)
ESSENTIAL = ("ndcg@10", "mrr@10", "map@100", "accuracy@1", "recall@10")
LABELS = {"ndcg": "nDCG", "mrr": "MRR", "map": "MAP", "accuracy": "acc", "precision": "prec", "recall": "rec"}


def announce(
    config: Mapping[str, Any],
    encoder: Encoder,
    pairs: PairsSummary,
    held_out: RetrievalSet,
    plan: TrainingPlan,
    precision_reason: str,
    stand_in: tuple[str, ...],
) -> None:
    """The first lines of a run."""
    parameters = sum(p.numel() for p in encoder.parameters()) / 1e6
    lengths = ", ".join(f"{column} {mean:.0f}" for column, (_, mean, _) in pairs.lengths.items())
    batch, windows = config["batch_size"], config["accumulation"]
    optimizer = config["optimizer"]
    lines = {
        "encoder": f"{encoder.name}, {parameters:.0f}M parameters, {' + '.join(encoder.pooling.modes)} pooling, "
        f"{encoder.width} wide, {encoder.max_seq_length} tokens at most",
        "data": f"{pairs.name}: {pairs.rows:,} training pairs (mean tokens: {lengths}); "
        f"{len(held_out.queries):,} queries over {len(held_out.corpus):,} documents held out",
        "dims": ", ".join(map(str, config["dims"])),
        "updates": f"{plan.updates:,} of {batch} x {windows} pairs in {len(plan.micro_batches)} epochs, "
        f"{optimizer['_target_'].rpartition('.')[2]} at {optimizer.get('lr')}, "
        f"{config['scheduler']['_target_'].rpartition('.')[2]} schedule",
        "device": f"{config['trainer'].get('accelerator', 'auto')} -> {_device(config)}, "
        f"{config['trainer']['precision']} ({precision_reason})",
    }
    for sentence in stand_in:
        console.print(Text(f"stand-in: {sentence}", style="bold yellow"), soft_wrap=True)
    for label, line in lines.items():
        say(label, line)


def say(label: str, line: str) -> None:
    """A line as the first ones of a run: a label and what there is to say."""
    console.print(Text.assemble((f"{label:>8}  ", "bold"), line), soft_wrap=True)


def show_batches(batches: BatchSummary, masked: bool) -> None:
    """What copies of texts do to an epoch's batches; nothing if they do nothing."""
    said = f"{batches.sharing:,} rows have a text that others have too: "
    if batches.extra:
        said += f"{batches.batches:,} batches an epoch where {batches.batches - batches.extra:,} would hold all rows"
        if batches.of_one_row:
            said += f", {batches.of_one_row:,} of them of one row, which learns nothing"
        said += "; sampler.clashes=mask keeps them full"
    elif batches.clashing and masked:
        said += f"{batches.clashing:,} meet it in their batch, and the loss leaves out what is no negative"
    elif batches.clashing:
        said += f"{batches.clashing:,} meet it in their batch, where a right answer is trained as a wrong one; "
        said += "sampler=no_duplicates keeps them apart"
    else:
        return
    console.print(Text.assemble(("batches  ", "bold"), (said, "yellow")), soft_wrap=True)


def show_memory(estimate: MemoryEstimate, available: float | None, config: Mapping[str, Any]) -> None:
    """What the run needs at its peak and what there is; with what helps, where it does not fit."""
    room = "" if available is None else f", of {available / 1e9:.1f} GB available"
    say("memory", f"about {estimate.peak / 1e9:.1f} GB at the peak{room}")
    if available is None or estimate.peak <= available:
        return
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
    import torch

    if config["trainer"].get("accelerator") != "cpu" and torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"CPU, {torch.get_num_threads()} threads"


def show_result(result: EvaluationResult, base: EvaluationResult | None, title: str) -> None:
    """One table row a dim, the essential metrics; with a base, each value beside it."""
    measured = list(result.metrics[result.dims[0]])
    names = [name for name in ESSENTIAL if name in measured] or measured[:5]
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", pad_edge=False)
    table.add_column("dim", justify="right", style="bold")
    for name in names:
        table.add_column(_label(name), justify="right", no_wrap=True)
    for dim in result.dims:
        before = base.metrics[dim] if base else {}
        table.add_row(str(dim), *(_cell(before.get(name), result.metrics[dim][name]) for name in names))
    console.print(table)


def _cell(before: float | None, after: float) -> Text:
    if before is None:
        return Text(f"{after:.4f}")
    style = "green" if after > before else "red" if after < before else ""
    return Text.assemble((f"{before:.3f} → ".removeprefix("0"), "dim"), (f"{after:.3f}".removeprefix("0"), style))


def _label(metric: str) -> str:
    name, _, k = metric.partition("@")
    return f"{LABELS.get(name, name)}@{k}"


def show_epoch(result: EvaluationResult, epoch: float, update: int) -> None:
    """The table after an epoch."""
    show_result(result, None, title=f"epoch {epoch:.2f}, update {update}")


def show_estimate(base: EvaluationResult, pairs: PairsSummary, plan: TrainingPlan, batch_size: int) -> None:
    """How long the run will take, from the speed just measured: a training token costs about four evaluated ones."""
    rate = base.tokens / base.seconds
    per_pair = sum(mean for _, mean, _ in pairs.lengths.values())
    used = sum(min(count * batch_size, pairs.rows) for count in plan.micro_batches)
    seconds = 4 * used * per_pair / rate + (len(plan.micro_batches) + 1) * base.seconds
    console.print(f"about {_duration(seconds)} to go, by the speed of the base evaluation ({rate:,.0f} tokens/s)")


def show_training(record: TrainingRecord, written: Mapping[str, Path]) -> None:
    """The end of a run: base and tuned side by side, and where everything is."""
    for sentence in record.stand_in:
        console.print(Text(f"stand-in: {sentence}", style="bold yellow"), soft_wrap=True)
    saved = f"update {record.saved_step} of {record.updates}, best {record.selected}"
    show_result(record.tuned, record.base, title=f"base -> tuned ({saved}, evaluated again)")
    console.print(f"done in {_duration(record.seconds)}")
    show_paths(written)


def show_paths(written: Mapping[str, Path]) -> None:
    """Every path written, one a line."""
    for what, path in written.items():
        console.print(Text.assemble((f"{what:>18}  ", "bold"), str(_relative(path))), soft_wrap=True)


def _relative(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
