"""Progress bars and tables in the terminal."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_PIPE_WIDTH = 160  # columns, if the output isn't a terminal


class ProgressUpdate(Protocol):
    """The type of progress callbacks, called with the completed items, the total, and the last item's name, if any."""

    def __call__(self, done: int, total: int, last: str = "") -> None:
        """Update the progress bar."""


@contextmanager
def show_progress(label: str, *, is_wanted: bool = True) -> Iterator[ProgressUpdate]:
    """Yield a function to call with (done, total) or (done, total, last), which updates a bar on standard error.

    The bar disappears at the end.
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
    """Return a console for tables, as wide as the terminal, or 160 columns wide if the output isn't one."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_PIPE_WIDTH)
