"""A broker whose children can also be asked to misbehave, within limits small enough for a test.

Children import it as their main module, so they know these operations too.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from digest.collect.sandbox import broker, child
from digest.collect.sandbox.child import DocumentLimits
from digest.collect.sandbox.operations import OPERATIONS, Reply

LIMITS = DocumentLimits(cpu_seconds=1, wall_seconds=200.0, memory_bytes=200_000_000)  # the clock runs on a busy machine


def burn(_body: bytes, **_head: Any) -> Reply:
    """Compute for ever, in one call that no signal handler of Python's interrupts."""
    return {"sum": sum(iter(int, 1))}, b""


def sleep(_body: bytes, **_head: Any) -> Reply:
    threading.Event().wait()
    return {}, b""


def rest(_body: bytes, **head: Any) -> Reply:
    """Tell by a file's name which process has begun (it may write nothing into one), and go on once there is another."""
    (Path(head["folder"]) / f"begun.{os.getpid()}").touch()
    while not (Path(head["folder"]) / "go on").exists():
        time.sleep(0.02)
    return {"process": os.getpid()}, b""


def take_memory(_body: bytes, **head: Any) -> Reply:
    return {"taken": len(bytearray(head.get("bytes", 10**9)))}, b""


def die(_body: bytes, **_head: Any) -> Reply:
    os.kill(os.getpid(), signal.SIGSEGV)
    time.sleep(60)
    return {}, b""


def answer_at_length(_body: bytes, **head: Any) -> Reply:
    return {}, bytes(head["bytes"])


def fail(_body: bytes, **_head: Any) -> Reply:
    raise KeyError("our own fault")


def look_around(_body: bytes, **_head: Any) -> Reply:
    environments = {
        process: Path(f"/proc/{process}/environ").read_bytes().decode() for process in (os.getpid(), os.getppid())
    }
    return {
        "environ": dict(os.environ),
        "process": os.getpid(),
        "first environments": list(environments.values()),
        "modules": sorted(sys.modules),
        "files": sorted(str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.exists()),
    }, b""


def read_or_burn(body: bytes, **head: Any) -> Reply:
    """Read a document, but for one that says how it misbehaves."""
    misbehave: dict[bytes, Callable[..., Reply]] = {b"burn": burn, b"die": die, b"take memory": take_memory}
    return misbehave.get(body, _parse)(body, **head)


_parse = OPERATIONS["document"]
_MISBEHAVIOUR: dict[str, Callable[..., Reply]] = {
    "document": read_or_burn,
    "burn": burn,
    "sleep": sleep,
    "rest": rest,
    "take memory": take_memory,
    "die": die,
    "answer at length": answer_at_length,
    "fail": fail,
    "look around": look_around,
}
OPERATIONS |= _MISBEHAVIOUR


def limits_of(size: int) -> DocumentLimits:
    """Give a document of a megabyte three seconds, so that a test can see them pass."""
    return replace(LIMITS, wall_seconds=3.0) if size >= 1_000_000 else LIMITS


broker.document_limits = child.document_limits = limits_of  # type: ignore[attr-defined]

if __name__ == "__main__":
    broker.serve_requests()
