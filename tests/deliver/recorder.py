"""A mail server in a process of its own that writes down what it accepts: `python recorder.py PORT FOLDER DELAY`.

A line of `FOLDER/accepted` (recipient, return path, a hash of the bytes) is on the disk before the answer goes out.
"""

import asyncio
import hashlib
import os
import sys
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP


class Recorder:
    """Accepts every message, after a while."""

    def __init__(self, folder: Path, delay: float) -> None:
        self._file = (folder / "accepted").open("ab", buffering=0)
        self._delay = delay

    async def handle_DATA(self, _server: SMTP, _session: Any, envelope: Any) -> str:  # noqa: N802 - its name
        await asyncio.sleep(self._delay)
        assert isinstance(envelope.original_content, bytes)
        digest = hashlib.sha256(envelope.original_content).hexdigest()
        self._file.write(f"{' '.join(envelope.rcpt_tos)}\t{envelope.mail_from}\t{digest}\n".encode())
        os.fsync(self._file.fileno())
        await asyncio.sleep(self._delay)
        return "250 2.0.0 written down"


async def main(port: int, folder: Path, delay: float) -> None:
    """Serve until killed; `FOLDER/ready` is there once it listens."""
    recorder = Recorder(folder, delay)
    server = await asyncio.get_running_loop().create_server(
        lambda: SMTP(recorder, hostname="recorder"), "127.0.0.1", port
    )
    (folder / "ready").touch()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])))
