"""A publisher on loopback, for the tests of fetching."""

from collections.abc import Iterator

import pytest
from pytest_httpserver import HTTPServer


@pytest.fixture(scope="module")
def listening() -> Iterator[HTTPServer]:
    """Run one server for the tests of a module."""
    with HTTPServer("127.0.0.1", 0) as server:
        yield server


@pytest.fixture
def httpserver(listening: HTTPServer) -> HTTPServer:
    """Give the server as if it were new.

    It isn't the plugin's: that one listens on `localhost`, which is ::1 on some machines and 127.0.0.1 on others.
    """
    listening.clear()
    return listening
