"""What a command costs until it has done next to nothing: the CPU of its process, from Python's start to its end."""

import os
import subprocess
import sys
from statistics import median

from benchmarks.page_server import command_environment
from benchmarks.results import ResultSheet
from benchmarks.sample_installation import EDITION_NAME, benchmark_settings, copied_installation
from benchmarks.sizes import FULL, BenchmarkSize
from digest.settings import Settings

SUBSCRIBERS = 100
COMMANDS = {  # what follows, and the most CPU seconds
    "--version": ((), 0.35),
    "pause --all": (("--because", "a benchmark"), 0.8),
    "status": ((EDITION_NAME,), 0.8),
}


def measure_command(settings: Settings, words: tuple[str, ...]) -> float:
    """Run a command as an installed one runs, its modules compiled; give the CPU seconds of its process.

    Raise `SystemExit` where the command fails.
    """
    command = [sys.executable, "-m", "digest", *words]
    with subprocess.Popen(
        command, env=command_environment(settings), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        assert process.stderr is not None
        said = process.stderr.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"'digest {words[0]}' ends with {process.returncode}: {said.decode()}")
    return used.ru_utime + used.ru_stime


def main(sheet: ResultSheet, size: BenchmarkSize) -> None:
    """Measure each command several times, and put its median beside its bar."""
    with copied_installation(SUBSCRIBERS) as home:
        settings = benchmark_settings(home)
        for name, (arguments, bar) in COMMANDS.items():
            words = (*name.split(), *arguments)
            if size.command_starts > 1:
                measure_command(settings, words)  # its modules may have to be compiled
            spent = median(measure_command(settings, words) for _ in range(size.command_starts))
            sheet.add_result(
                f"start of a command: `digest {name}`", f"{spent:.2f} s CPU", f"< {bar} s", bar_met=spent < bar
            )


if __name__ == "__main__":
    main(ResultSheet(), FULL)
