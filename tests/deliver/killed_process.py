"""Send an edition of any installation in a process that dies at the first commit at which no other has died.

It imports what the server that processes are forked from has imported already (`warm_sender`).
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from digest.deliver.providers.base import BatchOutcome, HandoverStatus, OutgoingMessage
from digest.deliver.send.run.edition_sending import run_edition
from digest.settings import Settings
from digest.store.engine import open_database
from subscribers.crypto.keys import KeyRing
from tests.deliver.commit_faults import ProcessKiller, watch_commits
from tests.deliver.scripted_provider import ScriptedProvider, same_outcome_for_all
from tests.shared_statements import share_compiled_statements

accept = same_outcome_for_all(HandoverStatus.ACCEPTED)


def send_until_killed(database_url: str, settings: Settings, name: str, folder: Path, now: datetime) -> None:
    """Send to a provider that accepts everything, and writes the addresses down in `folder/received`."""

    def write_down(messages: Sequence[OutgoingMessage]) -> BatchOutcome:
        with (folder / "received").open("a") as file:
            file.writelines(f"{message.address}\n" for message in messages)
        return accept(messages)

    database = open_database(database_url)
    watch_commits(database.engine, ProcessKiller(boundary_file=folder / "boundaries"))
    keys = KeyRing.load(settings.key_file)
    database.row_keys.find = lambda: keys
    share_compiled_statements(database)
    provider = ScriptedProvider(write_down, batch_size=1, name="outbox")
    run_edition(database, name, provider, keys, settings, clock=lambda: now)
