"""The names under which processes claim deliveries and slots, and a check for dead processes."""

import os
import secrets
import socket
from dataclasses import dataclass, field
from functools import cache


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """A process on a machine. The nonce distinguishes it from an earlier process with the same ID."""

    host: str = field(default_factory=lambda: socket.gethostname()[:40])
    pid: int = field(default_factory=os.getpid)
    nonce: str = field(default_factory=lambda: secrets.token_hex(4))

    def __str__(self) -> str:
        """Return the name in its stored form."""
        return f"{self.host}/{self.pid}/{self.nonce}"

    def knows_dead(self, other: str) -> bool:
        """Return True if `other` was a process on this machine and has ended.

        Return False for processes on other machines. A fourth part of the name, which identifies a
        run within the process, is ignored.
        """
        host, pid, nonce = (*other.split("/"), "", "")[:3]
        if host != self.host or not pid.isdigit():
            return False
        if int(pid) == self.pid:
            return nonce != self.nonce
        try:
            os.kill(int(pid), 0)  # signal 0 only checks for existence
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False


def identify_current_process() -> ProcessIdentity:
    """Return the identity of this process. A forked child has a different one."""
    return _identify_process(os.getpid())


@cache
def _identify_process(pid: int) -> ProcessIdentity:
    return ProcessIdentity(pid=pid)
