"""Locks that are looked up by key, such as one lock per host."""

import threading


class KeyedLocks:
    """A lock for each key, created on first use and kept for the lifetime of this object."""

    def __init__(self) -> None:
        self._creation_lock = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}

    def lock_for(self, key: str) -> threading.Lock:
        """Return the lock for `key`. Use it in a `with` statement."""
        with self._creation_lock:
            return self._locks.setdefault(key, threading.Lock())
