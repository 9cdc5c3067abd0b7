"""Postfix's two test programs: `smtp-sink` takes mail and throws it away, `smtp-source` sends as fast as it can.

Both come with Postfix, and nothing has to be installed or run for them:
    apt-get download postfix && dpkg -x postfix_*.deb FOLDER && POSTFIX_TOOLS=FOLDER make bench
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

INSTALL_HINT = f"On Debian: {__doc__.split(chr(10))[3].strip()}"


class PostfixTools:
    """The programs, wherever they are."""

    def __init__(self) -> None:
        folder = Path(os.environ.get("POSTFIX_TOOLS", "/"))
        places = os.pathsep.join([*(str(folder / p) for p in ("usr/sbin", "sbin")), os.environ.get("PATH", "")])
        self._sink, self._source = (shutil.which(name, path=places) for name in ("smtp-sink", "smtp-source"))
        self._env = os.environ | {"LD_LIBRARY_PATH": str(folder / "usr/lib/postfix")}

    @property
    def missing_tools(self) -> str:
        """Empty, or what is not here and how to get it."""
        named = {"smtp-sink": self._sink, "smtp-source": self._source}
        absent = [name for name, found in named.items() if not found]
        return f"{' and '.join(absent)} of Postfix is not here. {INSTALL_HINT}" if absent else ""

    @contextmanager
    def run_sink(self) -> Iterator[int]:
        """Run a sink; lend its port."""
        assert self._sink is not None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = int(free.getsockname()[1])
        other = ["-u", "nobody"] if os.geteuid() == 0 else []  # it refuses to run as root
        process = subprocess.Popen([self._sink, *other, f"127.0.0.1:{port}", "100"], env=self._env)
        try:
            _wait_for_port(port)
            yield port
        finally:
            process.terminate()
            process.wait()

    def run_source(self, port: int, messages: int, size: int, sessions: int) -> float:
        """Let the source send so many messages of so many bytes over so many sessions; give the seconds."""
        assert self._source is not None
        command = [self._source, "-d", "-s", str(sessions), "-m", str(messages), "-l", str(size)]
        began = time.perf_counter()
        subprocess.run([*command, "-f", "a@x.test", "-t", "b@x.test", f"127.0.0.1:{port}"], env=self._env, check=True)
        return time.perf_counter() - began


def _wait_for_port(port: int) -> None:
    for _ in range(100):
        with socket.socket() as tried:
            if tried.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit("smtp-sink does not start")
