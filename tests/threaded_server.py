"""A test server that runs in its own thread for the length of a block."""

import socketserver
import threading
from typing import Self


class ServedInThread(socketserver.BaseServer):
    """Comes before a class of `socketserver` or `http.server`: entering the block begins to serve, leaving it ends and closes."""

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()
