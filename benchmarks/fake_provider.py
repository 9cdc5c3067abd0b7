"""A provider on loopback for the benchmarks: takes SendGrid's posts and counts their readers. See `receiver_process`.

python -m benchmarks.fake_provider SECONDS        answers each request after so many seconds
"""

import socketserver
import sys
import threading
import time

from benchmarks.receiver_process import answer_counts


class _CountingHandler(socketserver.StreamRequestHandler):
    """Reads one request and says 202: no more than a provider's front door does, so that what is measured is us."""

    disable_nagle_algorithm = True
    answer_seconds = 0.0
    subscribers = 0
    counting = threading.Lock()

    def handle(self) -> None:
        length = 0
        while (line := self.rfile.readline().strip()) != b"":
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        body = self.rfile.read(length)
        if self.answer_seconds:
            time.sleep(self.answer_seconds)
        with self.counting:
            _CountingHandler.subscribers += body.count(b'"delivery_id"')
        self.wfile.write(
            b"HTTP/1.1 202 Accepted\r\nX-Message-Id: bench\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )


class _ProviderServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 64


def main() -> None:
    """Serve until standard input ends."""
    _CountingHandler.answer_seconds = float(sys.argv[1])
    with _ProviderServer(("127.0.0.1", 0), _CountingHandler) as front:
        threading.Thread(target=front.serve_forever, daemon=True).start()
        answer_counts(front.server_address[1], lambda _: _CountingHandler.subscribers)
        front.shutdown()


if __name__ == "__main__":
    main()
