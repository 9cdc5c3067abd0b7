"""What reading one document may cost, and the process limits that hold it to that."""

import math
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MEMORY_EXIT_CODE = 77  # of a child that ran out of memory
_MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class DocumentLimits:
    """The most that one document may take: seconds of computing, seconds by the clock, and bytes of memory."""

    cpu_seconds: int
    wall_seconds: float
    memory_bytes: int


def document_limits(size: int) -> DocumentLimits:
    """Give the limits of a document of `size` bytes.

    A large feed of 20,000 items (10 MB) takes about 25 s of computing and 200 MB on a slow machine. The clock runs
    on where the machine is busy with something else, so it has three times as long.
    """
    cpu = 10 + size // 200_000
    return DocumentLimits(cpu, 20.0 + 3 * cpu, 400 * _MEGABYTE + 15 * size)


def restrict_process() -> None:
    """Let this process write no file and no core dump, for good."""
    for kind in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE):
        resource.setrlimit(kind, (0, 0))


@contextmanager
def hold_limits(limits: DocumentLimits) -> Iterator[None]:
    """Hold this process to the limits meanwhile. Computing too long ends it by SIGXCPU; memory raises MemoryError.

    Both are soft limits, put back afterwards: a process that ended while it holds the pool's lock would stop all.
    """
    usage = resource.getrusage(resource.RUSAGE_SELF)
    used = math.ceil(usage.ru_utime + usage.ru_stime)
    limits_by_resource = {resource.RLIMIT_CPU: used + limits.cpu_seconds}
    if occupied := _occupied_bytes():
        limits_by_resource[resource.RLIMIT_AS] = occupied + limits.memory_bytes
    before = {kind: resource.getrlimit(kind) for kind in limits_by_resource}
    for kind, most in limits_by_resource.items():
        hard = before[kind][1]
        resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
    try:
        yield
    finally:
        for kind, both in before.items():
            resource.setrlimit(kind, both)


def _occupied_bytes() -> int | None:
    """Give the size of this process' address space; None where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text("ascii").split()[0]) * resource.getpagesize()
    except OSError:
        return None
