"""A provider on loopback for the benchmarks: takes SendGrid's posts and counts their readers. A process of its own.

python -m benchmarks.fake_provider        prints its port; ends when its standard input does
"""

import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class _CountingHandler(socketserver.StreamRequestHandler):
    """Reads one request and says 202: no more than a provider's front door does, so that what is measured is us."""

    disable_nagle_algorithm = True

    def handle(self) -> None:
        length = 0
        while (line := self.rfile.readline().strip()) != b"":
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        body = self.rfile.read(length)
        _CountingHandler.readers += body.count(b'"delivery_id"')
        self.wfile.write(
            b"HTTP/1.1 202 Accepted\r\nX-Message-Id: bench\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )

    readers = 0


class _ProviderServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 64


@contextmanager
def run_fake_provider() -> Iterator[tuple[str, list[int]]]:
    """Run one; lend its address, and a list that holds after the block how many readers it took."""
    taken: list[int] = []
    command = [sys.executable, "-m", "benchmarks.fake_provider"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        try:
            yield f"http://127.0.0.1:{port}", taken
        finally:
            taken.append(int(process.communicate()[0]))


def main() -> None:
    """Serve until standard input ends, and say then how many readers came."""
    with _ProviderServer(("127.0.0.1", 0), _CountingHandler) as front:
        print(front.server_address[1], flush=True)
        threading.Thread(target=front.serve_forever, daemon=True).start()
        sys.stdin.read()
        front.shutdown()
        print(_CountingHandler.readers)


if __name__ == "__main__":
    main()
