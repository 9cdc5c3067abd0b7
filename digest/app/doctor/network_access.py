"""Network access for the checks: DNS lookups and TLS connections. Every request has a timeout."""

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

ANSWER_TIMEOUT = 8.0  # seconds for a DNS answer, across all name servers
# In responses of /healthz: the number of X-Forwarded-For entries that arrived.
FORWARDED_COUNT_HEADER = "X-Forwarded-Count"
STEP_TIMEOUT = 10.0  # seconds for connecting to a server, and for each of its responses


class LookupFailedError(ApplicationError):
    """Raised when a DNS lookup fails, so it's unknown whether the record exists."""


@dataclass(frozen=True)
class NetworkAccess:
    """The name server and the certificate authorities to use.

    `name_server` is an IP address and a port, and `authorities` a PEM file. The defaults are the
    system's.
    """

    name_server: tuple[str, int] | None = None
    authorities: Path | None = None
    timeout: float = STEP_TIMEOUT
    answer_timeout: float = ANSWER_TIMEOUT

    @cached_property
    def dns(self) -> "DnsLookup":
        """A DNS resolver that caches answers."""
        return DnsLookup(self.name_server, self.answer_timeout)

    @cached_property
    def tls(self) -> ssl.SSLContext:
        """The TLS context with the trusted authorities."""
        return ssl.create_default_context(cafile=self.authorities)


class DnsLookup:
    """DNS lookups that can be made from many threads.

    If a record doesn't exist, the result is empty. Every method raises `LookupFailedError` if
    there's no answer.
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
        """Return a name's TXT records, each with its strings joined."""
        return [b"".join(record.strings).decode("utf-8", "replace") for record in self._ask(name, "TXT")]

    def find_addresses(self, name: str) -> list[str]:
        """Return a host's IP addresses, IPv4 first."""
        return [record.address for kind in ("A", "AAAA") for record in self._ask(name, kind)]

    def find_exchangers(self, name: str) -> list[str]:
        """Return a domain's mail servers, most preferred first.

        Servers with the same preference are sorted by name. If the domain doesn't accept email, the
        only server is `.` (RFC 7505, section 3).
        """
        records = sorted(self._ask(name, "MX"), key=lambda record: (record.preference, record.exchange))
        return [_plain_name(record.exchange) for record in records]

    def find_names(self, address: str) -> list[str]:
        """Return the names in an IP address's PTR records."""
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
