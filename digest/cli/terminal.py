"""Progress bars and tables for the terminal."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_PIPE_WIDTH = 160  # columns, if the output isn't a terminal


class ProgressUpdate(Protocol):
    """The type of progress callbacks.

    They're called with the number of completed items, the total, and the last item's name, if any.
    """

    def __call__(self, done: int, total: int, last: str = "") -> None:
        """Update the progress bar."""


@contextmanager
def show_progress(label: str, *, is_wanted: bool = True) -> Iterator[ProgressUpdate]:
    """Yield a function that updates a progress bar on standard error.

    It's called with (done, total) or (done, total, last). The bar disappears at the end.
    """
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
    """Return a console for tables, which is as wide as the terminal.

    If the output isn't a terminal, it's 160 columns wide.
    """
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_PIPE_WIDTH)
