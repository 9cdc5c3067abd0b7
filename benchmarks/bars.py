"""What was measured beside its bar: printed as it comes, and once more as a table."""

import os
import platform
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from digest import __version__


@dataclass(frozen=True, slots=True)
class Line:
    """One result. `held` is None where there is no bar, `peer` is what others reach at the same work."""

    what: str
    measured: str
    bar: str
    held: bool | None
    peer: str

    @property
    def verdict(self) -> str:
        """In one word."""
        return {True: "held", False: "MISSED", None: "-"}[self.held]


@dataclass(slots=True)
class Sheet:
    """The results of one run, in their order. Not `judging`, it says of no bar whether it was held."""

    judging: bool = True
    lines: list[Line] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def line(
        self, what: str, measured: str, bar: str = "", *, held: bool | None = None, peer: str = ""
    ) -> None:
        """Take down one result, and print it beside its bar and its peer."""
        found = Line(what, measured, bar, held if self.judging else None, peer)
        self.lines.append(found)
        print(f"{found.verdict:6}  {what}: {measured}" + (f"   (bar: {bar})" if bar else ""), flush=True)
        if peer:
            self.note(f"peer: {peer}")

    def note(self, text: str) -> None:
        """Print what helps to read the results and is none itself."""
        print(f"        {text}", flush=True)

    def left_out(self, what: str, why: str) -> None:
        """Take down what could not be measured."""
        self.missing.append(f"{what}: {why}")
        print(f"left out  {what}: {why}", flush=True)

    @property
    def held(self) -> bool:
        """Whether no bar was missed."""
        return all(line.held is not False for line in self.lines)

    def table(self) -> str:
        """Give all results as a table in Markdown, with the machine and the commit on top."""
        rows = ["| what | measured | bar | | peer |", "|---|---|---|---|---|"]
        rows += [f"| {x.what} | {x.measured} | {x.bar} | {x.verdict} | {x.peer} |" for x in self.lines]
        rows += [f"\nLeft out: {one}" for one in self.missing]
        return "\n".join([f"{circumstances()}\n", *rows])


def circumstances() -> str:
    """Say on what and of which commit this was measured."""
    load = os.getloadavg()[2]
    system = f"{os.cpu_count()} processors, load {load:.1f}, Python {platform.python_version()}"
    return f"hls-digest {__version__}, {_commit() or 'no commit'}; {system}."


def _commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "log", "-1", "--format=commit %h of %cs"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:  # no git here
        return ""
