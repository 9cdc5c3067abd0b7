"""What was measured beside its bar: printed as it comes, and once more as a table."""

import os
import platform
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from digest import __version__


@dataclass(frozen=True, slots=True)
class ResultLine:
    """One result. `bar_met` is None where there is no bar, `peer` is what others reach at the same work."""

    subject: str
    measured: str
    bar: str
    bar_met: bool | None
    peer: str

    @property
    def verdict(self) -> str:
        """In one word."""
        return {True: "held", False: "MISSED", None: "-"}[self.bar_met]


@dataclass(slots=True)
class ResultSheet:
    """The results of one run, in their order. Not `judges_bars`, it says of no bar whether it was held."""

    judges_bars: bool = True
    lines: list[ResultLine] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def add_result(
        self, subject: str, measured: str, bar: str = "", *, bar_met: bool | None = None, peer: str = ""
    ) -> None:
        """Take down one result, and print it beside its bar and its peer."""
        line = ResultLine(subject, measured, bar, bar_met if self.judges_bars else None, peer)
        self.lines.append(line)
        print(f"{line.verdict:6}  {subject}: {measured}" + (f"   (bar: {bar})" if bar else ""), flush=True)
        if peer:
            self.print_note(f"peer: {peer}")

    def print_note(self, text: str) -> None:
        """Print what helps to read the results and is none itself."""
        print(f"        {text}", flush=True)

    def add_left_out(self, subject: str, reason: str) -> None:
        """Take down what could not be measured."""
        self.missing.append(f"{subject}: {reason}")
        print(f"left out  {subject}: {reason}", flush=True)

    @property
    def all_bars_met(self) -> bool:
        """Whether no bar was missed."""
        return all(line.bar_met is not False for line in self.lines)

    def as_markdown(self) -> str:
        """Give all results as a table in Markdown, with the machine and the commit on top."""
        rows = ["| what | measured | bar | | peer |", "|---|---|---|---|---|"]
        rows += [f"| {x.subject} | {x.measured} | {x.bar} | {x.verdict} | {x.peer} |" for x in self.lines]
        rows += [f"\nLeft out: {one}" for one in self.missing]
        return "\n".join([f"{describe_circumstances()}\n", *rows])


def describe_circumstances() -> str:
    """Say on what and of which commit this was measured."""
    load = os.getloadavg()[2]
    system = f"{os.cpu_count()} processors, load {load:.1f}, Python {platform.python_version()}"
    return f"hls-digest {__version__}, {_commit_label() or 'no commit'}; {system}."


def _commit_label() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "log", "-1", "--format=commit %h of %cs"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:  # no git here
        return ""
