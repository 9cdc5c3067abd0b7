"""Seconds and memory of `digest migrate` from SQLite to PostgreSQL: `python -m benchmarks.database_move --rows 1000000`.

The list is imported with evidence first, so that each reader has a chain. The move runs in a process of its own.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.databases import fresh_database
from benchmarks.list_import import import_in_subprocess, write_list
from benchmarks.peak_memory import peak_memory_mb
from benchmarks.sample_installation import KEYS, benchmark_settings, create_populated_database
from digest.backups.migration import move_database, parse_target_url


def measure_move(rows: int) -> dict[str, float]:
    """Import so many readers into SQLite and move them; return counts, seconds and the peak of memory in MB."""
    with (
        tempfile.TemporaryDirectory(prefix="digest-bench-") as name,
        fresh_database("postgresql", Path(name)) as target,
    ):
        home = Path(name)
        settings = benchmark_settings(home)
        create_populated_database(settings, 0).close()
        write_list(home / "list.csv", rows)
        import_in_subprocess(settings.effective_database_url, home)
        command = [sys.executable, "-m", "benchmarks.database_move", "--move", settings.effective_database_url, target]
        process = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        result: dict[str, float] = json.loads(process.stdout)
        return result | {"sqlite_mb": (home / "digest.db").stat().st_size / 2**20}


def _move(source: str, target: str) -> dict[str, float]:
    start, cpu = time.perf_counter(), time.process_time()
    now = datetime.now(UTC)
    moved = move_database(source, parse_target_url(target), KEYS, actor="terminal:bench", now=now)
    return {
        "rows": moved.rows,
        "people": moved.proof.people,
        "links": moved.proof.links,
        "sound": moved.proof.sound,
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - cpu,
        "peak_mb": peak_memory_mb(),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--move", nargs=2, metavar=("SOURCE", "TARGET"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    print(json.dumps(_move(*given.move) if given.move else measure_move(given.rows), indent=1))
