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

from digest.collect.guard import Guard

_ADDRESSES_TRIED = 4


class NoSafeConnection(Exception):  # noqa: N818 -- the name of a reason
    """The TLS handshake failed: a wrong certificate, an old protocol, or no TLS at all."""


class Allowance:
    """The seconds that one fetch may spend on the network. Waiting for a turn at a host costs none.

    Every connect, read and write gets what is left, not a time-out of its own: a server that drips one byte
    a second is cut off all the same. Used by one thread.
    """

    def __init__(self, seconds: float) -> None:
        self._left = seconds
        self._ends = 0.0

    @contextmanager
    def spending(self) -> Iterator[None]:
        """Let the time run inside the block."""
        self._ends = time.monotonic() + self._left
        try:
            yield
        finally:
            self._left = self._ends - time.monotonic()

    def left(self) -> float:
        """Give the seconds that are left, inside `spending`.

        Raises:
            httpcore.ReadTimeout: none are.
        """
        seconds = self._ends - time.monotonic()
        if seconds <= 0:
            raise httpcore.ReadTimeout("the time for this fetch is used up")
        return seconds


@contextmanager
def request(
    url: httpx.URL, headers: Mapping[str, str], *, guard: Guard, tls: ssl.SSLContext, allowance: Allowance
) -> Iterator[httpcore.Response]:
    """Send one GET and lend the answer; its body is read, still packed, with `iter_stream`.

    The connection is closed at the end of the block, read to the end or not. Connections are not kept for a
    next request: feeds are on as many hosts, and one connection a fetch leaves nothing to share between
    threads.

    Raises:
        RefusedAddress, UnknownHost: see `guard`.
        NoSafeConnection: no TLS with the name that was asked for.
        httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError: the network's own.
    """
    backend = _GuardedBackend(guard, allowance)
    with (
        httpcore.ConnectionPool(
            ssl_context=tls, network_backend=backend, max_connections=1, max_keepalive_connections=0
        ) as pool,
        pool.stream("GET", _core(url), headers=list(headers.items())) as response,
    ):
        yield response


def _core(url: httpx.URL) -> httpcore.URL:
    return httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)


class _GuardedBackend(httpcore.NetworkBackend):
    """Connects to the very addresses that the guard has passed."""

    def __init__(self, guard: Guard, allowance: Allowance) -> None:
        self._guard = guard
        self._allowance = allowance
        self._plain = httpcore.SyncBackend()

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
        addresses = self._guard.addresses(host, port, within=self._allowance.left())[:_ADDRESSES_TRIED]
        for still_to_try, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
            share = self._allowance.left() / still_to_try
            try:
                stream = self._plain.connect_tcp(str(address), port, share, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if still_to_try == 1:
                    raise
            else:
                return _BoundedStream(stream, self._allowance)
        raise AssertionError("the guard never gives an empty list")


class _BoundedStream(httpcore.NetworkStream):
    """A connection whose every step is bounded by what is left of the fetch's time."""

    def __init__(self, stream: httpcore.NetworkStream, allowance: Allowance) -> None:
        self._stream = stream
        self._allowance = allowance

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read what is there, at most `max_bytes`."""
        del timeout
        return self._stream.read(max_bytes, self._allowance.left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write all of `buffer`."""
        del timeout
        self._stream.write(buffer, self._allowance.left())

    def close(self) -> None:
        """Close the connection."""
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        """Shake hands with the name, not the address, as `server_hostname`."""
        del timeout
        try:
            stream = self._stream.start_tls(ssl_context, server_hostname, self._allowance.left())
        except httpcore.ConnectError as exc:
            raise NoSafeConnection(str(exc)) from exc
        return _BoundedStream(stream, self._allowance)

    def get_extra_info(self, info: str) -> Any:
        """Pass questions on to the stream below."""
        return self._stream.get_extra_info(info)
