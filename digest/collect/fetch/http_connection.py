"""HTTP requests, each over its own connection to a checked IP address and within a time limit.

httpcore doesn't resolve names itself, but asks its network backend to connect. The check and the
connection therefore use the same DNS response, and no second lookup can change the address in
between (DNS rebinding). TLS and the Host header use the name.
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
    """Raised when the TLS handshake fails.

    Possible causes are a wrong certificate, an old protocol, or a server without TLS.
    """


class ServerWithoutTlsError(TlsHandshakeError):
    """Raised when a server responds to the TLS handshake without TLS."""


class TimeBudget:
    """The seconds that one fetch may spend on the network, not counting the wait for the host's turn.

    Each connect, read, and write gets the remaining time instead of a timeout of its own, so that a
    server sending one byte per second is cut off, too. Not thread-safe.
    """

    def __init__(self, seconds: float) -> None:
        self._remaining = seconds
        self._deadline = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Subtract the time spent inside the block from the budget."""
        self._deadline = time.monotonic() + self._remaining
        try:
            yield
        finally:
            self._remaining = self._deadline - time.monotonic()

    def remaining(self) -> float:
        """Return the remaining seconds. Call this inside `running`.

        Raises:
            httpcore.ReadTimeout: no time is left.
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
    """Send a GET request, or a POST request with a body, and yield the response.

    Read the compressed body with `iter_stream`. The connection is closed at the end of the block,
    whether or not the body was read. Connections aren't reused: each feed is usually on a different
    host, and separate connections don't have to be shared by threads.

    Raises:
        AddressRefusedError, UnknownHostError: see `guard`.
        TlsHandshakeError: the TLS handshake for the requested name failed.
        httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError: the network
        failed.
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
    """A network backend that connects only to IP addresses approved by the guard."""

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
        """Try the approved addresses in turn, giving each a share of the remaining time."""
        del timeout  # the budget serves as the timeout
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
    """A connection whose operations are limited by the fetch's remaining time."""

    def __init__(self, stream: httpcore.NetworkStream, budget: TimeBudget) -> None:
        self._stream = stream
        self._budget = budget

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Return the available bytes, but at most `max_bytes`."""
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
        """Start TLS, using the name rather than the IP address as `server_hostname`."""
        del timeout
        try:
            stream = self._stream.start_tls(ssl_context, server_hostname, self._budget.remaining())
        except httpcore.ConnectError as exc:
            is_plain = getattr(exc.__cause__, "reason", "") == "WRONG_VERSION_NUMBER"
            raise (ServerWithoutTlsError if is_plain else TlsHandshakeError)(str(exc)) from exc
        return _TimedStream(stream, self._budget)

    def get_extra_info(self, info: str) -> Any:
        """Return information about the underlying stream."""
        return self._stream.get_extra_info(info)
