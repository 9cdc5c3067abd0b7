"""Which addresses of a file came by already, in constant memory however long the file is."""

import sqlite3
from collections.abc import Sequence
from typing import Self

_HASH_DIGITS = 15  # hex digits of the keyed hash: 60 bits, which fit SQLite's row id


class SeenAddresses:
    """Keyed hashes in a file of their own that has no name and vanishes when it is closed. Use it in one thread.

    Among a million addresses two share 60 bits with a chance of one in two million.
    """

    def __init__(self) -> None:
        self._connection = sqlite3.connect("", isolation_level=None)  # "" is SQLite's word for a private file
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-4000"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._connection.execute("CREATE TABLE seen (hash INTEGER PRIMARY KEY, departed INTEGER NOT NULL)")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def remember(self, addresses: Sequence[tuple[str, bool]]) -> list[bool | None]:
        """Remember addresses, each a keyed hash in hex and whether its row says that they left.

        Returns:
            For each, in order: None the first time, else whether an earlier row said that they left.
        """
        hashes = [int(lookup[:_HASH_DIGITS], 16) for lookup, _ in addresses]
        places = ",".join("?" * len(hashes))
        rows = self._connection.execute(f"SELECT hash, departed FROM seen WHERE hash IN ({places})", hashes)  # noqa: S608 (question marks only)
        departed_by_hash: dict[int, bool] = {number: bool(departed) for number, departed in rows}
        earlier, changed = [], {}
        for number, (_, departed) in zip(hashes, addresses, strict=True):
            before = departed_by_hash.get(number)
            earlier.append(before)
            if before is None or (departed and not before):
                departed_by_hash[number] = changed[number] = departed
        self._connection.execute("BEGIN")
        self._connection.executemany("INSERT OR REPLACE INTO seen VALUES (?, ?)", changed.items())
        self._connection.execute("COMMIT")
        return earlier
