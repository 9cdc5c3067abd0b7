"""The terminal: a progress bar for what runs long, and tables."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_PIPE_WIDTH = 160  # columns, where the output is no terminal and so has no width


class ProgressUpdate(Protocol):
    """What is called with how many are done, of how many, and what was the last, if that has a name."""

    def __call__(self, done: int, total: int, last: str = "") -> None:
        """Move the bar."""


@contextmanager
def show_progress(label: str, *, is_wanted: bool = True) -> Iterator[ProgressUpdate]:
    """Lend a function that is called with (done, total) or (done, total, last); the bar goes to standard error and vanishes at the end."""
    console = Console(stderr=True)
    columns = (
        *(TextColumn(label), BarColumn(), MofNCompleteColumn()),
        *(TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[last]}")),
    )
    is_shown = is_wanted and console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=not is_shown) as bar:
        task = bar.add_task(label, total=None, last="")

        def count(done: int, total: int, last: str = "") -> None:
            bar.update(task, completed=done, total=total, last=last)

        yield count


def make_table_console() -> Console:
    """Return a console for tables: as wide as the terminal, and wide enough to read where there is none."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_PIPE_WIDTH)
