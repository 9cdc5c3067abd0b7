"""What a child process does with one document, and within which limits. It is imported by the broker too, so it imports no parser at first."""

import math
import os
import resource
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from digest.collect.sandbox.wire import pack_message, unpack_message
from subscribers.errors import ApplicationError

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


PRELOADED_MODULES = ["digest.collect.sandbox.operations"]
MAX_REPLY_BYTES = 60_000_000


def prepare_child() -> None:
    """Give up, when the process starts, what no parser needs."""
    os.environ.clear()
    restrict_process()


def run_operation(message: bytes) -> bytes:
    """Run the operation that the message's head names, within the limits of its size; give the reply's message.

    What a parser refuses, and an error of ours, come back in the head. A document that needs too much memory ends
    the process, which may be left with little.
    """
    from digest.collect.sandbox.operations import OPERATIONS  # the parsers: loaded in children only

    head, body = unpack_message(message)
    try:
        with hold_limits(document_limits(len(message))):
            try:
                reply = pack_message(*OPERATIONS[head.pop("operation")](body, **head))
            except ApplicationError as refusal:
                if _ran_out_of_memory(refusal):
                    raise MemoryError from refusal
                return pack_message({"refused": str(refusal)})
    except MemoryError:
        os._exit(MEMORY_EXIT_CODE)
    except Exception:  # noqa: BLE001  the parent reports it, with its trace
        return pack_message({"surprise": traceback.format_exc(limit=-8)[-4_000:]})
    if len(reply) > MAX_REPLY_BYTES:
        return pack_message({"limit": f"what it holds comes to more than {MAX_REPLY_BYTES // 1_000_000} MB"})
    return reply


def _ran_out_of_memory(error: BaseException | None) -> bool:
    """Say whether an error comes from a lack of memory: parsers wrap whatever their libraries raise."""
    while error is not None:
        if isinstance(error, MemoryError):
            return True
        error = error.__cause__ or error.__context__
    return False
