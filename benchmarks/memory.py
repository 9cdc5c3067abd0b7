"""How much memory a send takes, whatever the size of the list: the peak of a process that plans and sends."""

import json
import resource
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.people import KEYS, NAME, prepare, settings_in
from digest.db import open_database
from digest.deliver.handing import Handed, Outcome, Outgoing, Result
from digest.deliver.sending import send
from digest.deliver.transports.several import Several

FEW, MANY = 20_000, 200_000
MILLION = (100_000, 1_000_000)  # with --million; takes some minutes
MORE = 1.1  # the bar: of the peak at a tenth of the readers
MOST = 250.0  # MB


class Nowhere:
    """Makes every message of 40 KB and throws it away."""

    name = "nowhere"
    batch = 25
    patience = 60.0

    def hand_all(self, messages: Sequence[Outgoing]) -> Handed:
        """Make them."""
        for message in messages:
            message.message()
        return Handed(tuple(Outcome(Result.ACCEPTED, "250 ok") for _ in messages))

    def close(self) -> None:
        """Nothing is held open."""


def peak(readers: int) -> float:
    """Plan and send an edition in a process of its own; give the most memory that it held, in MB."""
    with TemporaryDirectory(prefix="digest-bench-") as home:
        prepare(settings_in(Path(home)), readers).close()
        command = [sys.executable, "-m", "benchmarks.memory", "--child", home]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    report = json.loads(told.splitlines()[-1])
    assert report["accepted"] == readers, f"{report}"
    return float(report["megabytes"])


def _child(home: Path) -> None:
    settings = settings_in(home)
    database = open_database(settings.database)
    transport = Several([Nowhere(), Nowhere()])
    report = send(database, NAME, transport, KEYS, settings, now_fn=lambda: datetime.now(UTC))
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"accepted": report.results[Result.ACCEPTED], "megabytes": held}))


def main(line: Callable[..., None], *, million: bool = False) -> None:
    """Measure, and print the peaks beside their bar with `line`."""
    few, many = MILLION if million else (FEW, MANY)
    little, much = peak(few), peak(many)
    held = much <= little * MORE and much < MOST
    what = f"memory of a send to {many:,} readers, against {few:,}"
    line(what, f"{much:.0f} / {little:.0f} MB", f"<= {MORE} times, < {MOST:.0f} MB", held=held)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        _child(Path(sys.argv[2]))
    else:
        from benchmarks.bench import line as _line

        main(_line, million="--million" in sys.argv)
