"""A broker whose children can be told to misbehave, with limits small enough for a test.

Children are forks of it, so they know these operations too.
"""

import ctypes
import os
import platform
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from digest.collect.sandbox import broker, child
from digest.collect.sandbox.child import DocumentLimits
from digest.collect.sandbox.child_operations import OPERATIONS, Reply
from digest.collect.sandbox.wire import pack_frame

LIMITS = DocumentLimits(cpu_seconds=1, wall_seconds=200.0, memory_bytes=200_000_000)  # the clock runs on a busy machine


def burn(_body: bytes, **_head: Any) -> Reply:
    """Compute for ever, in one call that no signal handler of Python's interrupts."""
    return {"sum": sum(iter(int, 1))}, b""


def sleep(_body: bytes, **_head: Any) -> Reply:
    threading.Event().wait()
    return {}, b""


def rest(_body: bytes, **head: Any) -> Reply:
    """Go on once there is a file of that name: a child may look whether there is one, and open none."""
    while not Path(head["until"]).exists():
        time.sleep(0.02)
    return {"process": os.getpid()}, b""


def take_memory(_body: bytes, **head: Any) -> Reply:
    return {"taken": len(bytearray(head.get("bytes", 10**9)))}, b""


def die(_body: bytes, **_head: Any) -> Reply:
    return {"there": ctypes.string_at(0).hex()}, b""


def answer_at_length(_body: bytes, **head: Any) -> Reply:
    return {}, bytes(head["bytes"])


def fail(_body: bytes, **_head: Any) -> Reply:
    raise KeyError("internal error")


def look_around(_body: bytes, **_head: Any) -> Reply:
    return {"environ": dict(os.environ), "process": os.getpid(), "modules": sorted(sys.modules)}, b""


def attack(_body: bytes, **head: Any) -> Reply:
    """Try all that a hostile child may not do; tell the error's number of each, 0 where it was done."""
    return {name: _error_number(partial(attempt, **head)) for name, attempt in ATTACKS.items()}, b""


def _error_number(attempt: Callable[[], object]) -> int:
    try:
        attempt()
    except OSError as error:
        return error.errno or -1
    return 0


def _call(number: int, *arguments: int) -> None:
    """Make a system call that Python has no function for."""
    if ctypes.CDLL(None, use_errno=True).syscall(number, *arguments) < 0:
        raise OSError(ctypes.get_errno(), "refused")


def _connect(family: int, kind: int, address: Any) -> None:
    with socket.socket(family, kind) as attempt:
        attempt.connect(address)
        attempt.send(b"taken over")


def _fork() -> None:
    if os.fork() == 0:
        os._exit(0)


def _execute() -> None:
    os.execv("/bin/true", ["/bin/true"])


ATTACKS: dict[str, Callable[..., object]] = {
    "open the key file": lambda *, secret, **_: Path(secret).read_bytes(),
    "list its folder": lambda *, secret, **_: list(Path(secret).parent.iterdir()),
    "open it for others": lambda *, secret, **_: Path(secret).chmod(0o666),
    "replace it": lambda *, secret, **_: Path(secret).write_bytes(b""),
    "remove it": lambda *, secret, **_: Path(secret).unlink(),
    "move it": lambda *, secret, **_: Path(secret).rename(f"{secret}.moved"),
    "link to it": lambda *, secret, **_: os.link(secret, f"{secret}.linked"),
    "read passwords": lambda **_: Path("/etc/passwd").read_bytes(),
    "read another's environment": lambda *, parent, **_: Path(f"/proc/{parent}/environ").read_bytes(),
    "read another's memory": lambda *, parent, **_: os.close(os.open(f"/proc/{parent}/mem", os.O_RDONLY)),
    "connect by TCP": lambda *, port, **_: _connect(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", port)),
    "send by UDP over IPv6": lambda *, port, **_: _connect(socket.AF_INET6, socket.SOCK_DGRAM, ("::1", port)),
    "send by UDP": lambda *, port, **_: _connect(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", port)),
    "connect to a socket of the system": lambda *, unix, **_: _connect(socket.AF_UNIX, socket.SOCK_STREAM, unix),
    "ask the kernel": lambda **_: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
    "make a pair of sockets": lambda **_: socket.socketpair(),
    "fork": lambda **_: _fork(),
    "start a program": lambda **_: os.posix_spawn("/bin/true", ["/bin/true"], {}),
    "become a program": lambda **_: _execute(),
    "end its broker": lambda **_: os.kill(os.getppid(), signal.SIGKILL),
    "end the process that serves": lambda *, parent, **_: os.kill(parent, signal.SIGKILL),
    "take memory from another": lambda *, parent, **_: resource.prlimit(parent, resource.RLIMIT_NOFILE, (0, 0)),
    "trace another": lambda *, parent, **_: _call(
        {"x86_64": 101, "aarch64": 117}[platform.machine()], 16, parent, 0, 0
    ),
    "hold another by a descriptor": lambda *, parent, **_: _call(434, parent, 0),
    "use a ring": lambda **_: _call(425, 1, 0),
    "make a namespace": lambda **_: _call({"x86_64": 272, "aarch64": 97}[platform.machine()], 0x1000_0000),
}


def reply_by_itself(body: bytes) -> Reply:
    """Write what the body says in place of a reply: after "raw " as its message, after "unframed " without even a number."""
    frame: Any = sys._getframe()
    while "answers" not in frame.f_locals:
        frame = frame.f_back
    kind, _, content = body.partition(b" ")
    number = frame.f_locals["number"] + (kind == b"misnumbered")
    frame.f_locals["answers"].write(content if kind == b"unframed" else pack_frame(number, content))
    threading.Event().wait()
    return {}, b""


def read_or_burn(body: bytes, **head: Any) -> Reply:
    """Read a document, but for one that says how it misbehaves."""
    if body.startswith((b"raw ", b"misnumbered ", b"unframed ")):
        return reply_by_itself(body)
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
    "attack": attack,
}


def limits_of(size: int) -> DocumentLimits:
    """Give a document of a megabyte three seconds, so that a test can see them pass."""
    return replace(LIMITS, wall_seconds=3.0) if 1_000_000 <= size < 1_001_000 else LIMITS


broker.compute_document_limits = child.compute_document_limits = limits_of  # type: ignore[attr-defined]

if __name__ == "__main__":
    OPERATIONS |= _MISBEHAVIOUR
    broker.serve_requests()
