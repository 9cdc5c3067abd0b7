"""The most memory that this process has held."""

import re
import resource
from pathlib import Path


def peak_memory_mb() -> float:
    """Give it in MB.

    Linux's own `ru_maxrss` also counts what the process that started this one held, up to `exec`: VmHWM does not.
    """
    status = Path("/proc/self/status")
    match = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
    return int(match[1] if match else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) / 1024
