"""The name under which a process claims deliveries and slots; it tells whether the process can still be alive."""

import os
import secrets
import socket
from dataclasses import dataclass, field
from functools import cache


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """One process of one machine. The nonce tells it from an earlier process with the same number."""

    host: str = field(default_factory=lambda: socket.gethostname()[:40])
    pid: int = field(default_factory=os.getpid)
    nonce: str = field(default_factory=lambda: secrets.token_hex(4))

    def __str__(self) -> str:
        """Return the name as rows store it."""
        return f"{self.host}/{self.pid}/{self.nonce}"

    def knows_dead(self, other: str) -> bool:
        """Return whether `other` was a process of this machine that is gone; of other machines nobody can tell.

        A fourth part, by which a process tells its runs apart, is ignored.
        """
        host, pid, nonce = (*other.split("/"), "", "")[:3]
        if host != self.host or not pid.isdigit():
            return False
        if int(pid) == self.pid:
            return nonce != self.nonce
        try:
            os.kill(int(pid), 0)  # signal 0 only asks
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False


def identify_current_process() -> ProcessIdentity:
    """Return the name of this process; after a fork the child has its own."""
    return _identify_process(os.getpid())


@cache
def _identify_process(pid: int) -> ProcessIdentity:
    return ProcessIdentity(pid=pid)
