"""What the checks ask outside the machine: name servers, and servers over TLS. Every question ends in a set time."""

import ssl
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import dns.exception
import dns.rdatatype
import dns.resolver
import dns.reversename

from subscribers.errors import ApplicationError

ANSWER_TIMEOUT = 8.0  # seconds for one answer of the DNS, with every name server that is asked
FORWARDED_COUNT_HEADER = "X-Forwarded-Count"  # of /healthz: the entries of X-Forwarded-For that arrived
STEP_TIMEOUT = 10.0  # seconds for connecting to a server, and for each of its answers


class LookupFailedError(ApplicationError):
    """The DNS gives no answer: neither that there is something nor that there is nothing."""


@dataclass(frozen=True)
class NetworkAccess:
    """Whom to ask and whom to trust: the system's name server and authorities, unless others are named.

    `name_server` is the number and port of one; `authorities` is a PEM file of those to trust in place of the system's.
    """

    name_server: tuple[str, int] | None = None
    authorities: Path | None = None
    timeout: float = STEP_TIMEOUT
    answer_timeout: float = ANSWER_TIMEOUT

    @cached_property
    def names(self) -> "DnsLookup":
        """The DNS; what was asked once is remembered."""
        return DnsLookup(self.name_server, self.answer_timeout)

    @cached_property
    def tls(self) -> ssl.SSLContext:
        """What TLS trusts."""
        return ssl.create_default_context(cafile=self.authorities)


class DnsLookup:
    """Questions to the DNS. What does not exist is an empty answer; many threads may ask.

    Every method raises `LookupFailedError` where there is no answer.
    """

    def __init__(self, name_server: tuple[str, int] | None = None, timeout: float = ANSWER_TIMEOUT) -> None:
        try:
            self._resolver = dns.resolver.Resolver(configure=name_server is None)
        except dns.resolver.NoResolverConfiguration:
            raise LookupFailedError("No name server is configured on this machine (/etc/resolv.conf).") from None
        if name_server is not None:
            self._resolver.nameservers, self._resolver.port = [name_server[0]], name_server[1]
        self._resolver.lifetime = timeout
        self._resolver.cache = dns.resolver.LRUCache()

    def find_texts(self, name: str) -> list[str]:
        """Find the TXT records of a name, each with its strings joined."""
        return [b"".join(record.strings).decode("utf-8", "replace") for record in self._ask(name, "TXT")]

    def find_addresses(self, name: str) -> list[str]:
        """Find the numbers of a host, IPv4 first."""
        return [record.address for kind in ("A", "AAAA") for record in self._ask(name, kind)]

    def find_exchangers(self, name: str) -> list[str]:
        """Find the hosts that take mail for a domain, the preferred first; of one that takes none `.` (RFC 7505, section 3).

        Those that are equally preferred come in the order of their names.
        """
        records = sorted(self._ask(name, "MX"), key=lambda record: (record.preference, record.exchange))
        return [_plain_name(record.exchange) for record in records]

    def find_names(self, address: str) -> list[str]:
        """Find the names that the owner of a number gives it (PTR)."""
        return [_plain_name(record.target) for record in self._ask(dns.reversename.from_address(address), "PTR")]

    def _ask(self, name: Any, kind: str) -> list[Any]:
        try:
            return list(self._resolver.resolve(name, kind, search=False))
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return []
        except dns.exception.DNSException as exc:
            reason = "no response in time" if isinstance(exc, dns.exception.Timeout) else type(exc).__name__
            raise LookupFailedError(f"The DNS lookup of {kind} for {name} failed ({reason}).") from exc


def _plain_name(name: Any) -> str:
    return str(name).rstrip(".").lower() or "."
