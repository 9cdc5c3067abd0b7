"""Who takes deliveries and slots: this process, by a name that tells whether its owner can still be alive."""

import os
import secrets
import socket
from dataclasses import dataclass, field
from functools import cache


@dataclass(frozen=True, slots=True)
class ProcessOwner:
    """One process of one machine. The nonce tells it from an earlier process with the same number."""

    host: str = field(default_factory=lambda: socket.gethostname()[:40])
    pid: int = field(default_factory=os.getpid)
    nonce: str = field(default_factory=lambda: secrets.token_hex(4))

    def __str__(self) -> str:
        """Write the name as it stands in a row."""
        return f"{self.host}/{self.pid}/{self.nonce}"

    def knows_dead(self, other: str) -> bool:
        """Say whether `other` was a process of this machine that is gone; of other machines nobody can tell."""
        host, _, rest = other.rpartition("/")[0].rpartition("/")
        if host != self.host or not rest.isdigit():
            return False
        if int(rest) == self.pid:
            return not other.endswith(f"/{self.nonce}")
        try:
            os.kill(int(rest), 0)  # signal 0 only asks
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False


def this_process_owner() -> ProcessOwner:
    """Name this process; after a fork the child has a name of its own."""
    return _owner_of_pid(os.getpid())


@cache
def _owner_of_pid(pid: int) -> ProcessOwner:
    return ProcessOwner(pid=pid)
