"""Sends the tests' edition, in a process that a test may kill: `python -m tests.deliver.send_process HOME DATABASE MAIL`."""

import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from digest.db import open_database
from digest.deliver.sending import send
from digest.deliver.transports import open_transport
from tests.deliver.conftest import KEYS, NAME, settings_of


def main(home: Path, database_url: str, mail_url: str) -> None:
    """Send until nothing is due."""
    settings = settings_of(home, mail_url=mail_url)
    database = open_database(database_url)
    with closing(open_transport(settings)) as transport:
        send(database, NAME, transport, KEYS, settings, now_fn=lambda: datetime.now(UTC))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
