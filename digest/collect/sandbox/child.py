"""The work of a child process on its documents, and its limits."""

import math
import os
import resource
import signal
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from typing import NoReturn

from digest.collect.sandbox.confinement import confine_child
from digest.collect.sandbox.wire import pack_message, read_frame, unpack_message, write_frame
from subscribers.errors import ApplicationError

MEMORY_EXIT_CODE = 77  # exit code of a child that ran out of memory
_FAILURE_EXIT_CODE = 70
MAX_REPLY_BYTES = 60_000_000
_MOST_FILES = 4096  # more than the broker opens
_MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class DocumentLimits:
    """The limits for one document: CPU seconds, wall-clock seconds, and bytes of memory."""

    cpu_seconds: int
    wall_seconds: float
    memory_bytes: int


def compute_document_limits(size: int) -> DocumentLimits:
    """Return the limits for a document of `size` bytes.

    A large feed of 20,000 items (10 MB) takes about 25 s of CPU time and 200 MB on a slow machine.
    The wall-clock time is three times as long, because the machine may be busy.
    """
    cpu = 10 + size // 200_000
    return DocumentLimits(cpu, 20.0 + 3 * cpu, 400 * _MEGABYTE + 15 * size)


@contextmanager
def apply_limits(limits: DocumentLimits, occupied: int | None) -> Iterator[None]:
    """Limit this process within the block.

    If it exceeds its CPU time, it's ended by SIGXCPU. If it exceeds its memory, MemoryError is
    raised. Both soft limits are restored afterward, so that the reply can be written and the next
    document read. `occupied` is the process's initial memory in bytes. If it's None (unknown),
    memory isn't limited.
    """
    usage = resource.getrusage(resource.RUSAGE_SELF)
    lowered = {resource.RLIMIT_CPU: math.ceil(usage.ru_utime + usage.ru_stime) + limits.cpu_seconds}
    if occupied:
        lowered[resource.RLIMIT_AS] = occupied + limits.memory_bytes
    before = {kind: resource.getrlimit(kind) for kind in lowered}
    for kind, most in lowered.items():
        hard = before[kind][1]
        resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
    try:
        yield
    finally:
        for kind, both in before.items():
            resource.setrlimit(kind, both)


def serve_as_child(requests: int, replies: int, occupied: int | None) -> NoReturn:
    """Read documents from one pipe and write replies to the other, then exit.

    This fork of the broker first gives up what parsers don't need: the environment, all files
    except the two pipes, writing, and everything that `confine_child` takes away.
    """
    exit_code = _FAILURE_EXIT_CODE
    try:
        _give_up_everything(requests, replies)
        with FileIO(requests, "rb") as messages, FileIO(replies, "wb") as answers:
            while frame := read_frame(messages):
                number, message = frame
                write_frame(answers, number, run_operation(message, occupied))
        exit_code = 0
    finally:
        os._exit(exit_code)


def _give_up_everything(requests: int, replies: int) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    os.environ.clear()
    os.dup2(0, 2)  # use the null device, because only the service writes to its log
    start = 3
    for end in (*sorted((requests, replies)), _MOST_FILES):
        os.closerange(start, end)
        start = end + 1
    for kind in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE):
        resource.setrlimit(kind, (0, 0))
    confine_child()


def run_operation(message: bytes, occupied: int | None) -> bytes:
    """Run the operation named in a message's head, and return the reply as a message.

    The limits depend on the size of the message. Parsers' rejections and our own errors are returned
    in the head. If a document needs too much memory, the process exits, because little may be left.
    """
    from digest.collect.sandbox.child_operations import OPERATIONS  # already imported by the broker

    head, body = unpack_message(message)
    try:
        with apply_limits(compute_document_limits(len(message)), occupied):
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
        return pack_message({"limit": f"the content is over {MAX_REPLY_BYTES // 1_000_000} MB"})
    return reply


def _ran_out_of_memory(error: BaseException | None) -> bool:
    """Return True if an error was caused by a lack of memory.

    Parsers wrap the errors of their libraries.
    """
    while error is not None:
        if isinstance(error, MemoryError):
            return True
        error = error.__cause__ or error.__context__
    return False
