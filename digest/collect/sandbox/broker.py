"""The broker between the serving process and the child processes that parse documents.

It has no keys. It starts with an empty environment, imports the parsers, and confines itself before
it creates children. From a child's reply, it reads only the number and the length. The other bytes
are passed on, marked as a child's, and never unpickled.
"""

import fcntl
import gc
import os
import resource
import select
import signal
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import Any

from digest.collect.sandbox.child import (
    MAX_REPLY_BYTES,
    MEMORY_EXIT_CODE,
    DocumentLimits,
    compute_document_limits,
    serve_as_child,
)
from digest.collect.sandbox.confinement import confine_sandbox_broker
from digest.collect.sandbox.wire import (
    FROM_BROKER,
    FROM_CHILD,
    FrameReader,
    OversizedMessageError,
    pack_frame,
    pack_message,
    read_frame,
    write_frame,
)

_NICENESS = 5  # serving pages and sending take precedence
IDLE_SECONDS = 30.0  # if it's idle for this long, the broker exits with all its children
MAX_CHILDREN = 4
# Number of documents before a child is replaced, which limits leaks and takeovers. A new child costs 10 ms.
_DOCUMENTS_PER_CHILD = 20
# Size in bytes after which a child is also replaced, because its memory may not be freed completely.
_LARGE_DOCUMENT = 1_000_000
_PIPE_PART = 1 << 20


def serve_requests() -> None:
    """Take requests from standard input, and reply on standard output.

    Return when the input ends or no request came for 30 seconds. The command-line arguments are
    paths that no process here may open.
    """
    # These signals are sent to all of a service's processes. This one exits when its pipe ends.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    os.nice(_NICENESS)
    requests, replies = _take_over_pipes()
    import digest.collect.sandbox.child_operations  # noqa: F401  the parsers, once for all children

    occupied = _open_memory_count()
    confine_sandbox_broker(map(Path, sys.argv[1:]))
    gc.freeze()  # children share the existing objects
    _Broker(requests, replies, occupied).run()


def _take_over_pipes() -> tuple[FileIO, FileIO]:
    """Return duplicates of both pipes, and redirect the standard streams to the null device.

    Children inherit the standard streams, and libraries use them.
    """
    requests = FileIO(os.dup(0), "rb")
    replies = FileIO(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1):
        os.dup2(nowhere, number)
    os.close(nowhere)
    return requests, replies


def _open_memory_count() -> int | None:
    """Open the file that contains this process's memory size, or return None if there's no such file.

    It can't be opened after confinement.
    """
    try:
        return os.open("/proc/self/statm", os.O_RDONLY)
    except OSError:
        return None


@dataclass(frozen=True, slots=True)
class _Document:
    number: int
    message: bytes
    limits: DocumentLimits


@dataclass(slots=True)
class _Child:
    """A child process, its pipes, and its progress. `messages_read` counts the documents given to it."""

    process: int
    requests: int
    replies: int
    document: _Document | None = None
    deadline: float = 0.0
    messages_read: int = 0
    unwritten: memoryview = field(default_factory=lambda: memoryview(b""))
    reply: FrameReader = field(default_factory=lambda: FrameReader(MAX_REPLY_BYTES))

    @property
    def is_used_up(self) -> bool:
        """True if the next document needs a new child."""
        is_large = self.document is not None and len(self.document.message) > _LARGE_DOCUMENT
        return is_large or self.messages_read >= _DOCUMENTS_PER_CHILD

    def take(self, document: _Document) -> None:
        """Give the child a document to read, and start its time limit."""
        self.document = document
        self.deadline = time.monotonic() + document.limits.wall_seconds
        self.unwritten = memoryview(pack_frame(document.number, document.message))
        self.messages_read += 1

    def write_part(self) -> None:
        """Write as much of the document as the pipe accepts.

        If the child has exited, this is noticed when its replies are read.
        """
        try:
            written = os.write(self.requests, self.unwritten[:_PIPE_PART])
            self.unwritten = self.unwritten[written:]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self.unwritten = memoryview(b"")

    def end(self) -> int:
        """Kill the process if it's alive, and return its exit code, which is negative for a signal."""
        os.close(self.requests)
        os.close(self.replies)
        os.kill(self.process, signal.SIGKILL)  # a process that's already exiting keeps its own code
        return os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])


class _Broker:
    """A distributor of documents to child processes. It's single-threaded so that it can fork."""

    def __init__(self, requests: FileIO, replies: FileIO, memory_count: int | None) -> None:
        self._requests = requests
        self._replies = replies
        self._memory_count = memory_count
        self._waiting: deque[_Document] = deque()
        self._children: list[_Child] = []
        processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2
        self._max_children = min(MAX_CHILDREN, processors)

    def run(self) -> None:
        """Serve until the requests end or the idle time has passed."""
        try:
            while self._serve_round():
                pass
        except BrokenPipeError:  # no one reads the replies anymore, so the requests have also ended
            return
        finally:
            for child in self._children:
                child.end()

    def _serve_round(self) -> bool:
        """Wait for events and handle all of them. Return False if it's time to stop."""
        while self._waiting and (idle := self._find_idle_child()):
            idle.take(self._waiting.popleft())
        is_busy = any(child.document for child in self._children)
        ready = self._wait()
        for child in tuple(self._children):
            self._serve_child(child, ready)
        if self._requests.fileno() in ready:
            frame = read_frame(self._requests)
            if frame is None:
                return False
            number, message = frame
            self._waiting.append(_Document(number, message, compute_document_limits(len(message))))
        return bool(ready) or is_busy

    def _serve_child(self, child: _Child, ready: set[int]) -> None:
        if child.requests in ready:
            child.write_part()
        if child.replies in ready:
            self._read_reply(child)
        elif child.document and time.monotonic() >= child.deadline:
            self._give_up(child, f"reading took more than {child.document.limits.wall_seconds:.0f} s")

    def _wait(self) -> set[int]:
        """Return the pipe ends that are ready.

        The result is empty if the first deadline or the idle time passes.
        """
        poll = select.poll()
        poll.register(self._requests, select.POLLIN)
        for child in self._children:
            poll.register(child.replies, select.POLLIN)
            if child.unwritten:
                poll.register(child.requests, select.POLLOUT)
        deadlines = [child.deadline for child in self._children if child.document]
        wait = max(0.0, min(deadlines) - time.monotonic()) if deadlines else IDLE_SECONDS
        return {number for number, _ in poll.poll(wait * 1000 + 1)}

    def _find_idle_child(self) -> _Child | None:
        idle = next((child for child in self._children if child.document is None), None)
        if idle is None and len(self._children) < self._max_children:
            return self._start_child()
        return idle

    def _start_child(self) -> _Child:
        (child_requests, requests), (replies, child_replies) = os.pipe(), os.pipe()
        occupied = self._occupied_bytes()
        process = os.fork()
        if process == 0:
            serve_as_child(child_requests, child_replies, occupied)
        os.close(child_requests)
        os.close(child_replies)
        # A child that doesn't read must not block the others.
        flags = fcntl.fcntl(requests, fcntl.F_GETFL)
        fcntl.fcntl(
            requests, fcntl.F_SETFL, flags | os.O_NONBLOCK
        )  # `os.set_blocking` uses a system call that isn't allowed here
        child = _Child(process, requests, replies)
        self._children.append(child)
        return child

    def _occupied_bytes(self) -> int | None:
        if self._memory_count is None:
            return None
        pages = os.pread(self._memory_count, 100, 0).split()[0]
        return int(pages) * resource.getpagesize()

    def _read_reply(self, child: _Child) -> None:
        part = os.read(child.replies, _PIPE_PART)
        document = child.document
        if document is None:  # the child exited while idle, or sent an unrequested reply
            self._remove(child)
        elif not part:
            exit_code = self._remove(child)
            if exit_code == -signal.SIGTERM:  # not one of our limits: the service is being stopped
                self._answer(document, {"again": True})
            else:
                self._answer(document, {"limit": describe_child_exit(exit_code, document.limits)})
        else:
            self._take_part(child, document, part)

    def _take_part(self, child: _Child, document: _Document, part: bytes) -> None:
        try:
            frame = child.reply.take(part)
        except OversizedMessageError:
            self._give_up(child, "the parser's response was too long")
            return
        if frame is None:
            return
        number, message = frame
        if number != document.number or child.unwritten:
            self._give_up(child, "the parser sent an unexpected response")
            return
        if child.is_used_up:
            self._remove(child)
        child.document = None
        write_frame(self._replies, number, FROM_CHILD + message)

    def _give_up(self, child: _Child, reason: str) -> None:
        self._remove(child)
        if child.document:
            self._answer(child.document, {"limit": reason})

    def _remove(self, child: _Child) -> int:
        self._children.remove(child)
        return child.end()

    def _answer(self, document: _Document, head: dict[str, Any]) -> None:
        write_frame(self._replies, document.number, FROM_BROKER + pack_message(head))


def describe_child_exit(exit_code: int, limits: DocumentLimits) -> str:
    """Return a phrase explaining why a child exited before it had read its document."""
    if exit_code == -signal.SIGXCPU:
        return f"reading took more than {limits.cpu_seconds} s of CPU time"
    if exit_code == MEMORY_EXIT_CODE:
        return f"reading took more than {limits.memory_bytes // 1_000_000} MB of memory"
    detail = f"signal {-exit_code}" if exit_code < 0 else f"exit code {exit_code}"
    return f"the parser crashed ({detail})"
