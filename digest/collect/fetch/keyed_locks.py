"""One at a time for each name: a host is asked one thing at a time, whatever the number of threads."""

import threading


class KeyedLocks:
    """A lock for each key, made when it is first asked for. Lives as long as its owner, as do the locks."""

    def __init__(self) -> None:
        self._creation_lock = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}

    def lock_for(self, key: str) -> threading.Lock:
        """Return the lock of `key`, to be held with `with`."""
        with self._creation_lock:
            return self._locks.setdefault(key, threading.Lock())
