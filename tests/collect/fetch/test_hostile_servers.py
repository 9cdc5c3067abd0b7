"""Servers that break the rules: each is cut off within the limits, with a reason."""

import gzip
import socket
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from digest.collect.fetch.fetcher import HttpFetcher
from digest.collect.fetch.result import FetchError, FetchErrorReason
from digest.settings import UsageLimitSettings
from tests.conftest import WAIT_TIMEOUT

Behaviour = Callable[[socket.socket], None]
AGENT = "hls-digest/1 (+https://hls.example/)"


@contextmanager
def serving(behave: Behaviour) -> Iterator[str]:
    """Run a server that reads a request and then behaves as it likes; gives its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_serve, args=(listener, behave))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/feed"
        finally:
            with suppress(OSError):  # where it hangs in accept already, this ends it
                listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def _serve(listener: socket.socket, behave: Behaviour) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection, suppress(OSError):  # the client may leave at any time: that is what is tested
            request = b""
            while b"\r\n\r\n" not in request:
                request += connection.recv(65536) or b"\r\n\r\n"
            behave(connection)


def says(answer: bytes) -> Behaviour:
    return lambda connection: connection.sendall(answer)


def failure(behave: Behaviour, **limits: float) -> FetchError:
    bounds = UsageLimitSettings(allow_networks=["127.0.0.0/8"], **({"fetch_timeout": WAIT_TIMEOUT} | limits))  # type: ignore[arg-type]
    with serving(behave) as url, HttpFetcher(bounds, AGENT) as fetcher, pytest.raises(FetchError) as caught:
        fetcher.get(url)
    return caught.value


def body_of(behave: Behaviour) -> bytes:
    with serving(behave) as url, HttpFetcher(UsageLimitSettings(allow_networks=["127.0.0.0/8"]), AGENT) as fetcher:
        return fetcher.get(url).body


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"220 mail.example ESMTP\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n<rss>",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n<rss/>",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n<rss/>",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n<rss/>",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n<rss>\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n<rss>\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n<rss/>",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\n\r\n<rss/>",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(b"<rss/>")[:-4],
        b"HTTP/1.1 200 OK\r\n" + b"X-Long: " + b"x" * 200_000 + b"\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://[::1/\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
        b"HTTP/1.1 999 Go away\r\n\r\n",
    ],
    ids=range(16),
)
def test_an_answer_that_is_broken_gives_a_reason(answer: bytes) -> None:
    error = failure(says(answer))
    assert error.reason in {FetchErrorReason.BAD_ANSWER, FetchErrorReason.BAD_URL}
    assert error.message


def test_a_body_longer_than_it_says_ends_where_it_says() -> None:
    assert body_of(says(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<rss/>HTTP/1.1 200 OK\r\n\r\nmore")) == b"<rss/>"


def test_a_body_without_a_length_ends_with_the_connection() -> None:
    assert body_of(says(b"HTTP/1.0 200 OK\r\n\r\n<rss/>")) == b"<rss/>"


def test_a_packed_body_is_unpacked() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n"
    assert body_of(says(head + gzip.compress(b"<rss/>" * 1000))) == b"<rss/>" * 1000


def test_a_body_that_declares_too_much_is_not_read() -> None:
    error = failure(says(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n"))
    assert error.reason is FetchErrorReason.TOO_BIG
    assert "10,000,000 bytes" in error.message


def test_a_hundred_megabytes_are_cut_at_the_limit() -> None:
    sent = 0

    def pour(connection: socket.socket) -> None:
        nonlocal sent
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(100):
            sent += connection.send(b"x" * 1_000_000)

    tracemalloc.start()
    try:
        assert failure(pour, fetch_bytes=1_000_000).reason is FetchErrorReason.TOO_BIG
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sent < 50_000_000  # what the sockets hold, and no more
    assert peak < 10_000_000


def test_a_gzip_bomb_is_cut_at_the_limit() -> None:
    packer = zlib.compressobj(wbits=31)
    bomb = b"".join(packer.compress(b"\0" * 1_000_000) for _ in range(100)) + packer.flush()
    answer = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb) + bomb
    tracemalloc.start()
    try:
        assert failure(says(answer), fetch_bytes=1_000_000).reason is FetchErrorReason.TOO_BIG
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10_000_000


@pytest.mark.parametrize(
    "start",
    [
        b"HTTP/1.1 200 OK\r\nX: ",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffff\r\n",
        b"",
    ],
    ids=["in the headers", "in the body", "in a chunk", "before anything"],
)
def test_a_slow_drip_is_cut_when_the_time_is_up(start: bytes) -> None:
    # Each byte comes well within any time-out between two reads; only the whole is too slow.
    def drip(connection: socket.socket) -> None:
        connection.sendall(start)
        while True:
            connection.sendall(b"x")
            time.sleep(0.02)

    assert failure(drip, fetch_timeout=0.3).reason is FetchErrorReason.TIMEOUT


def test_a_server_that_says_nothing_is_cut_when_the_time_is_up() -> None:
    def silent(connection: socket.socket) -> None:
        connection.recv(1)

    assert failure(silent, fetch_timeout=0.2).reason is FetchErrorReason.TIMEOUT


def test_slow_redirects_share_one_time() -> None:
    turns = iter(range(1000))

    def lead_on(connection: socket.socket) -> None:
        time.sleep(0.05)
        connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: /%d\r\nContent-Length: 0\r\n\r\n" % next(turns))

    assert failure(lead_on, fetch_timeout=0.3, fetch_redirects=20).reason is FetchErrorReason.TIMEOUT


def test_a_flood_of_interim_answers_is_cut_when_the_time_is_up() -> None:
    def hint(connection: socket.socket) -> None:
        while True:
            connection.sendall(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100)

    assert failure(hint, fetch_timeout=0.3).reason is FetchErrorReason.TIMEOUT


def test_a_handshake_that_hangs_is_cut_when_the_time_is_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        bounds = UsageLimitSettings(allow_networks=["127.0.0.0/8"], fetch_timeout=0.2)
        with HttpFetcher(bounds, AGENT) as fetcher, pytest.raises(FetchError) as caught:
            fetcher.get(f"https://127.0.0.1:{listener.getsockname()[1]}/feed")
    assert caught.value.reason is FetchErrorReason.TIMEOUT
