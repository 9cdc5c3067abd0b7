"""Firefox as tests drive it, through its own protocol, Marionette, because Playwright needs a Firefox that isn't in Debian.

Each command is an array of its kind (0), its number, its name, and its parameters, as JSON after its length; so is the answer to it.
"""

import base64
import json
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from tests.conftest import WAIT_TIMEOUT, reserve_port

KEYS = {
    "Tab": "\ue004",
    "Enter": "\ue007",
    "Control": "\ue009",
    "Alt": "\ue00a",
    "ArrowUp": "\ue013",
    "ArrowDown": "\ue015",
}


class FirefoxError(Exception):
    """Firefox refused a command; the message is its own."""


class Firefox:
    """A window of a running Firefox."""

    def __init__(self, connection: socket.socket, reader: BinaryIO) -> None:
        self._connection, self._reader = connection, reader
        self._number = 0
        self._read()  # it says who it is
        self.version = str(self._send("WebDriver:NewSession", capabilities={})["capabilities"]["browserVersion"])

    def _read(self) -> Any:
        length = b""
        while (digit := self._reader.read(1)) != b":":
            if not digit:
                raise FirefoxError("Firefox ended")
            length += digit
        return json.loads(self._reader.read(int(length)))

    def _send(self, name: str, **parameters: Any) -> Any:
        self._number += 1
        command = json.dumps([0, self._number, name, parameters]).encode()
        self._connection.sendall(b"%d:%s" % (len(command), command))
        _, _, error, result = self._read()
        if error:
            raise FirefoxError(f"{error['error']}: {error['message']}")
        return result

    def resize(self, width: int, height: int) -> None:
        """Give the window a size, in pixels."""
        self._send("WebDriver:SetWindowRect", width=width, height=height)

    def open(self, url: str) -> None:
        """Open a page, and wait until it has loaded."""
        self._send("WebDriver:Navigate", url=url)

    def set_cookie(self, name: str, value: str) -> None:
        """Give the page's site a cookie, in place of all that it has."""
        self._send("WebDriver:DeleteAllCookies")
        self._send("WebDriver:AddCookie", cookie={"name": name, "value": value, "path": "/", "secure": True})

    def look(self, expression: str) -> Any:
        """Return the value of an expression in the page."""
        return self._send("WebDriver:ExecuteScript", script=f"return {expression}", args=[])["value"]

    def expect(self, expression: str, value: object) -> None:
        """Wait until an expression in the page has a value."""
        ends = time.monotonic() + WAIT_TIMEOUT
        while (seen := self._look_safely(expression)) != value:
            assert time.monotonic() < ends, f"{expression} is {seen!r}, not {value!r}"
            time.sleep(0.05)

    def _look_safely(self, expression: str) -> Any:
        try:
            return self.look(expression)
        except FirefoxError as error:  # between two pages there's nothing to look at
            return str(error)

    def click(self, selector: str) -> None:
        """Click the first element that matches, once it's there."""
        self.expect(f"Boolean(document.querySelector({json.dumps(selector)}))", value=True)
        element = self._send("WebDriver:FindElement", using="css selector", value=selector)["value"]
        self._send("WebDriver:ElementClick", id=next(iter(element.values())))

    def save_picture(self, file: Path) -> None:
        """Save a picture of the whole page."""
        picture = self._send("WebDriver:TakeScreenshot", full=True, hash=False)["value"]
        file.write_bytes(base64.b64decode(picture))

    def press(self, *keys: str) -> None:
        """Press keys together where the focus is, the last one after the others."""
        codes = [KEYS.get(key, key) for key in keys]
        strokes = [{"type": "keyDown", "value": code} for code in codes]
        strokes += [{"type": "keyUp", "value": code} for code in reversed(codes)]
        self._send("WebDriver:PerformActions", actions=[{"type": "key", "id": "keyboard", "actions": strokes}])

    def type(self, text: str) -> None:
        """Type a text where the focus is."""
        for letter in text:
            self.press(letter)


@contextmanager
def open_firefox(path: str, *, is_dark: bool = False) -> Iterator[Firefox]:
    """Start the Firefox at `path` without a window on the screen, with a profile of its own; it ends with the block."""
    with reserve_port() as port, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        preferences = {"marionette.port": port, "ui.systemUsesDarkTheme": int(is_dark)}
        lines = (f'user_pref("{name}", {value});\n' for name, value in preferences.items())
        Path(profile, "user.js").write_text("".join(lines), "utf-8")
        command = [path, "--headless", "--marionette", "--no-remote", "--profile", profile]
        said = Path(profile, "said.txt")
        # Another user's folder in the environment (that of a database server) would make it end at once.
        environment = os.environ | {"XDG_RUNTIME_DIR": profile}
        with said.open("wb") as file:
            process = subprocess.Popen(command, stdout=file, stderr=file, env=environment)
        try:
            with _connect(port, process, said) as connection, connection.makefile("rb") as reader:
                yield Firefox(connection, reader)
        finally:
            process.terminate()
            process.wait(WAIT_TIMEOUT)


def _connect(port: int, process: "subprocess.Popen[bytes]", said: Path) -> socket.socket:
    ends = time.monotonic() + WAIT_TIMEOUT
    while True:
        try:
            connection = socket.create_connection(("127.0.0.1", port))
        except OSError:
            assert process.poll() is None, (
                f"Firefox ended with {process.returncode}: {said.read_text('utf-8', 'replace')}"
            )
            assert time.monotonic() < ends, "Firefox doesn't listen"
            time.sleep(0.1)
        else:
            connection.settimeout(WAIT_TIMEOUT)
            return connection
