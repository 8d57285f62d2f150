"""A bar on the terminal. It counts what takes the time: an encoder's work is in tokens, not in texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[int], object]  # called with how many were done since the last call


@contextmanager
def progress_bar(what: str, total: int, unit: str = "tokens", *, show: bool = True) -> Iterator[Advance]:
    """Give a function to call with how many of all are done; draws a bar with rate and time left on a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not (show and console.is_terminal):
        yield lambda _: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TaskProgressColumn(),
        TextColumn(f"{{task.fields[rate]:>7,.0f}} {unit}/s"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, expand=True) as progress:
        task = progress.add_task(what, total=total, rate=0.0)

        def advance(done: int) -> None:
            progress.update(task, advance=done, rate=progress.tasks[0].speed or 0.0)

        yield advance
