"""The process between the one that serves and the children that parse: it holds the pool, and no key.

It is started with an empty environment, so the fork server and the children that come from it never saw one. What
comes from a child as a pickle (that is how the pool speaks) ends here; the serving process gets plain bytes.
"""

import multiprocessing
import os
import select
import signal
import threading
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from io import FileIO

from pebble import ProcessExpired, ProcessPool

from digest.collect.sandbox.child import (
    MEMORY_EXIT_CODE,
    PRELOADED_MODULES,
    DocumentLimits,
    document_limits,
    prepare_child,
    run_operation,
)
from digest.collect.sandbox.wire import pack_message, read_frame, write_frame

_NICENESS = 5  # pages and sending come first
IDLE_SECONDS = 30.0  # without a request it ends, and all its children with it
MAX_CHILDREN = 4
_DOCUMENTS_PER_CHILD = 500  # then another takes its place: what leaks in a parser does not add up


def serve_requests() -> None:
    """Take requests from standard input until it ends, and write the replies to standard output."""
    for number in (signal.SIGINT, signal.SIGTERM):  # a service's stop goes to all its processes: ours is the pipe's end
        signal.signal(number, signal.SIG_IGN)
    os.nice(_NICENESS)
    requests, replies = _take_over_pipes()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED_MODULES)
    children = min(MAX_CHILDREN, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2)
    pool = ProcessPool(children, _DOCUMENTS_PER_CHILD, prepare_child, context=context)
    try:
        _Broker(pool, requests, replies).run()
    finally:
        for child in multiprocessing.active_children():
            child.kill()
        pool.stop()  # type: ignore[no-untyped-call]  # half of pebble has annotations
        pool.join()


def _take_over_pipes() -> tuple[FileIO, FileIO]:
    """Take both pipes away from the standard streams, which children inherit and libraries print to."""
    requests, replies = FileIO(os.dup(0), "rb"), FileIO(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1):
        os.dup2(nowhere, number)
    os.close(nowhere)
    return requests, replies


class _Broker:
    """Hands requests to the pool and replies back, as they come."""

    def __init__(self, pool: ProcessPool, requests: FileIO, replies: FileIO) -> None:
        self._pool = pool
        self._requests = requests
        self._replies = replies
        self._writing = threading.Lock()
        self._pending = 0

    def run(self) -> None:
        """Serve until the requests end, none has come for a while, or the pool is broken."""
        while self._wait_for_request():
            frame = read_frame(self._requests)
            if frame is None:
                return
            number, message = frame
            limits = document_limits(len(message))
            try:
                future = self._pool.schedule(run_operation, args=(message,), timeout=limits.wall_seconds)
            except RuntimeError:  # the pool is broken: somebody killed a child that had nothing to do
                return
            with self._writing:
                self._pending += 1
            future.add_done_callback(partial(self._send_reply, number, limits))

    def _wait_for_request(self) -> bool:
        while not select.select([self._requests], [], [], IDLE_SECONDS)[0]:
            with self._writing:
                if not self._pending:
                    return False
        return True

    def _send_reply(self, number: int, limits: DocumentLimits, future: "Future[bytes]") -> None:
        try:
            with self._writing:
                write_frame(self._replies, number, _reply_message(future, limits))
                self._pending -= 1
        except OSError:  # nobody reads any more: the requests have ended too
            return


def _reply_message(future: "Future[bytes]", limits: DocumentLimits) -> bytes:
    """Give the child's reply, or say which limit its document ran into."""
    try:
        return future.result()
    except TimeoutError:
        reason = f"it took more than {limits.wall_seconds:.0f} s"
    except ProcessExpired as death:
        if death.exitcode in {signal.SIGTERM, -signal.SIGTERM}:  # by no limit of ours: somebody stops the service
            return pack_message({"again": True})
        reason = describe_death(death.exitcode, limits)
    except BrokenProcessPool:  # the next request finds it, and ends the broker
        return pack_message({"again": True})
    return pack_message({"limit": reason})


def describe_death(exit_code: int, limits: DocumentLimits) -> str:
    """Say why a child ended before its document was read."""
    if exit_code == -signal.SIGXCPU:
        return f"it took more than {limits.cpu_seconds} s of computing"
    if exit_code == MEMORY_EXIT_CODE:
        return f"it took more than {limits.memory_bytes // 1_000_000} MB of memory"
    return f"the reader broke off ({f'signal {-exit_code}' if exit_code < 0 else f'exit code {exit_code}'})"
