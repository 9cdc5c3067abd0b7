"""The keys that tests' own sessions seal rows with (`subscribers.store.row_seals`), before an installation lends its own."""

from functools import cache
from pathlib import Path

from digest.store.engine import Database
from subscribers.crypto.keys import KeyRing


def lend_row_keys(database: Database, home: Path) -> Database:
    """Give a database the keys of the key file in a folder, as soon as there is one, and made-up keys until then."""
    file = home / "keys.json"
    database.row_keys.find = lambda: KeyRing.load(file) if file.exists() else _made_up_keys()
    return database


@cache
def _made_up_keys() -> KeyRing:
    return KeyRing.from_seed(b"rows that tests write")
