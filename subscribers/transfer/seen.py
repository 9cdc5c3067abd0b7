"""Which addresses of a file came by already, in constant memory however long the file is."""

import sqlite3
from collections.abc import Sequence
from typing import Self

_DIGITS = 15  # hex digits of the keyed hash: 60 bits, which fit SQLite's row id


class Seen:
    """Keyed hashes in a file of their own that has no name and vanishes when it is closed. Use it in one thread.

    Among a million addresses two share 60 bits with a chance of one in two million.
    """

    def __init__(self) -> None:
        self._store = sqlite3.connect("", isolation_level=None)  # "" is SQLite's word for a private file
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-4000"):
            self._store.execute(f"PRAGMA {pragma}")
        self._store.execute("CREATE TABLE seen (hash INTEGER PRIMARY KEY, departed INTEGER NOT NULL)")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._store.close()

    def mark(self, several: Sequence[tuple[str, bool]]) -> list[bool | None]:
        """Remember addresses, each a keyed hash in hex and whether its row says that they left.

        Returns:
            For each, in order: None the first time, else whether an earlier row said that they left.
        """
        hashes = [int(lookup[:_DIGITS], 16) for lookup, _ in several]
        places = ",".join("?" * len(hashes))
        rows = self._store.execute(f"SELECT hash, departed FROM seen WHERE hash IN ({places})", hashes)  # noqa: S608 (question marks only)
        known: dict[int, bool] = {number: bool(departed) for number, departed in rows}
        earlier, changed = [], {}
        for number, (_, departed) in zip(hashes, several, strict=True):
            before = known.get(number)
            earlier.append(before)
            if before is None or (departed and not before):
                known[number] = changed[number] = departed
        self._store.execute("BEGIN")
        self._store.executemany("INSERT OR REPLACE INTO seen VALUES (?, ?)", changed.items())
        self._store.execute("COMMIT")
        return earlier
