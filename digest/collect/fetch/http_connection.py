"""One HTTP request on one connection, to an address that was checked, within a time that was set.

httpcore resolves nothing itself: it asks its network backend to connect. So the check and the connection
happen in one place, on one DNS answer, and no second look-up can change the address in between (DNS
rebinding). TLS and the Host header keep the name.
"""

import ssl
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpcore
import httpx

from digest.collect.fetch.address_guard import AddressGuard
from subscribers.errors import ApplicationError

_MAX_ADDRESSES = 4


class TlsHandshakeError(ApplicationError):
    """The TLS handshake failed: a wrong certificate, an old protocol, or no TLS at all."""


class TimeBudget:
    """The seconds that one fetch may spend on the network. Waiting for a turn at a host costs none.

    Every connect, read and write gets what is left, not a time-out of its own: a server that drips one byte
    a second is cut off all the same. Used by one thread.
    """

    def __init__(self, seconds: float) -> None:
        self._remaining = seconds
        self._deadline = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Let the time run inside the block."""
        self._deadline = time.monotonic() + self._remaining
        try:
            yield
        finally:
            self._remaining = self._deadline - time.monotonic()

    def remaining(self) -> float:
        """Return the seconds that are left, inside `running`.

        Raises:
            httpcore.ReadTimeout: none are.
        """
        seconds = self._deadline - time.monotonic()
        if seconds <= 0:
            raise httpcore.ReadTimeout("the fetch timed out")
        return seconds


@contextmanager
def open_response(
    url: httpx.URL,
    headers: Mapping[str, str],
    *,
    guard: AddressGuard,
    tls: ssl.SSLContext,
    budget: TimeBudget,
    body: bytes | None = None,
) -> Iterator[httpcore.Response]:
    """Send one GET, or a POST of a body, and lend the answer; its body is read, still packed, with `iter_stream`.

    The connection is closed at the end of the block, read to the end or not. Connections are not kept for a
    next request: feeds are on as many hosts, and one connection a fetch leaves nothing to share between
    threads.

    Raises:
        AddressRefusedError, UnknownHostError: see `guard`.
        TlsHandshakeError: no TLS with the name that was asked for.
        httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError: the network's own.
    """
    backend = _GuardedBackend(guard, budget)
    target = httpcore.URL(
        scheme=url.raw_scheme,
        host=url.raw_host,
        port=url.port,
        target=url.raw_path,
    )
    method, fields = "GET" if body is None else "POST", list(headers.items())
    with (
        httpcore.ConnectionPool(
            ssl_context=tls, network_backend=backend, max_connections=1, max_keepalive_connections=0
        ) as pool,
        pool.stream(method, target, headers=fields, content=body) as response,
    ):
        yield response


class _GuardedBackend(httpcore.NetworkBackend):
    """Connects to the very addresses that the guard has passed."""

    def __init__(self, guard: AddressGuard, budget: TimeBudget) -> None:
        self._guard = guard
        self._budget = budget
        self._backend = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Try the checked addresses in turn, each with its share of the time."""
        del timeout  # the allowance is the time-out
        addresses = self._guard.resolve(host, port, timeout=self._budget.remaining())
        waiting = [str(address) for address in addresses[:_MAX_ADDRESSES]]
        while True:
            share = self._budget.remaining() / len(waiting)
            try:
                stream = self._backend.connect_tcp(waiting.pop(0), port, share, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if not waiting:
                    raise
            else:
                return _TimedStream(stream, self._budget)


class _TimedStream(httpcore.NetworkStream):
    """A connection whose every step is bounded by what is left of the fetch's time."""

    def __init__(self, stream: httpcore.NetworkStream, budget: TimeBudget) -> None:
        self._stream = stream
        self._budget = budget

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read what is there, at most `max_bytes`."""
        del timeout
        return self._stream.read(max_bytes, self._budget.remaining())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write all of `buffer`."""
        del timeout
        self._stream.write(buffer, self._budget.remaining())

    def close(self) -> None:
        """Close the connection."""
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        """Shake hands with the name, not the address, as `server_hostname`."""
        del timeout
        try:
            stream = self._stream.start_tls(ssl_context, server_hostname, self._budget.remaining())
        except httpcore.ConnectError as exc:
            raise TlsHandshakeError(str(exc)) from exc
        return _TimedStream(stream, self._budget)

    def get_extra_info(self, info: str) -> Any:
        """Pass questions on to the stream below."""
        return self._stream.get_extra_info(info)
