"""IP address checks: only the public internet and networks allowed in the settings are reachable.

The tables are those of the IANA special-purpose registries (RFC 6890, section 2.2, and its successors).
They're copied here because the meaning of `ipaddress.is_private` depends on the Python version.
"""

import re
import socket
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, wait
from functools import partial
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from subscribers.errors import ApplicationError

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network
# Maps a host's name and a port to the host's IP addresses. Raises OSError if there are none.
HostResolver = Callable[[str, int], Iterable[str]]

# 168.63.129.16 only looks public, but belongs to Azure. Link-local addresses include most clouds'
# metadata services. 2001::/23 includes Teredo, which embeds an IPv4 address, as does 6to4 (RFC
# 3056, section 2).
_BLOCKED_TABLE = """
0.0.0.0/8         unspecified
10.0.0.0/8        private
100.64.0.0/10     carrier-grade NAT
127.0.0.0/8       loopback
168.63.129.16/32  a cloud's own service
169.254.0.0/16    link-local
172.16.0.0/12     private
192.0.0.0/24      reserved
192.0.2.0/24      for documentation
192.88.99.0/24    reserved
192.168.0.0/16    private
198.18.0.0/15     for benchmarks
198.51.100.0/24   for documentation
203.0.113.0/24    for documentation
224.0.0.0/4       multicast
240.0.0.0/4       reserved
::/128            unspecified
::1/128           loopback
fc00::/7          private
fe80::/10         link-local
ff00::/8          multicast
2001::/23         reserved
2001:db8::/32     for documentation
2002::/16         6to4
3fff::/20         for documentation
"""
_BLOCKED_ROWS = (row.split(maxsplit=1) for row in _BLOCKED_TABLE.strip().splitlines())
_BLOCKED_NETWORKS = {ip_network(network): why for network, why in _BLOCKED_ROWS}
_GLOBAL_V6 = IPv6Network("2000::/3")  # all addresses that IANA has allocated to the public internet
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052, section 2.2: the last 32 bits are the IPv4 address
_ENDS_IN_NUMBER = re.compile(r"(?:.*\.)?(?:0x[0-9a-f]*|[0-9]+)")  # WHATWG URL 3.5: such a host isn't a name


class UnreachableHostError(ApplicationError):
    """Raised for a host that may not be fetched from.

    The message is the same for every lookup result, because editors see it and must not learn which
    names exist in a private network, or where they lead. `detail` has the result, for the log.
    """

    def __init__(self, host: str, detail: str) -> None:
        super().__init__(
            f"{host} can't be reached from here. Check the spelling, and the DNS and network of this server. If it's on "
            "a private network, list that network under limits.allow_networks in digest.toml."
        )
        self.detail = detail


class AddressRefusedError(UnreachableHostError):
    """Raised for an IP address that may not be reached."""


class UnknownHostError(UnreachableHostError):
    """Raised for a name that has no IP address or couldn't be looked up."""


class AddressGuard:
    """A check of which IP addresses may be connected to. Stateless and thread-safe."""

    def __init__(self, allow_networks: Iterable[str], resolver: HostResolver | None = None) -> None:
        """Allow `allow_networks` in addition to the public internet.

        By default, `resolver` is the system's.
        """
        self._allowed_networks = tuple(ip_network(network) for network in allow_networks)
        self._resolver = resolver or resolve_host

    def resolve(self, host: str, port: int, *, timeout: float) -> list[IPAddress]:
        """Return the IP addresses to connect to, best first, from one lookup of `host`.

        The lookup may take up to `timeout` seconds. A single forbidden address rejects the whole
        host: a name with both public and private addresses is an attack or a mistake, and choosing
        the public one would hide it.

        Raises:
            AddressRefusedError: the host is, or resolves to, a forbidden address.
            UnknownHostError: the name doesn't exist, the lookup timed out, or a result
                isn't an IP address.
        """
        literal = parse_ip_literal(host)
        answers = [literal] if literal else self._look_up_host(host, port, timeout)
        for answer in answers:
            if why := find_block_reason(answer, self._allowed_networks):
                raise AddressRefusedError(host, f"points to {answer}, which isn't on the public internet ({why})")
        return list(dict.fromkeys(unmap_ipv4(answer) for answer in answers))

    def _look_up_host(self, host: str, port: int, timeout: float) -> list[IPAddress]:
        look_up = partial(self._resolver, host, port)
        try:
            answers = list(map(ip_address, _run_with_timeout(look_up, timeout)))
        except (OSError, ValueError) as exc:
            raise UnknownHostError(host, f"has no IP address ({exc})") from exc
        if not answers:
            raise UnknownHostError(host, "has no IP address")
        return answers


def find_block_reason(address: IPAddress, allowed_networks: Iterable[IPNetwork] = ()) -> str | None:
    """Return why `address` may not be reached ("private", "loopback", …), or None if it may."""
    inner = unmap_ipv4(address)
    if any(candidate in network for network in allowed_networks for candidate in (address, inner)):
        return None
    for network, why in _BLOCKED_NETWORKS.items():
        if inner in network:
            return why
    if inner in _NAT64:
        return find_block_reason(IPv4Address(inner.packed[-4:]))
    return "reserved" if inner.version == 6 and inner not in _GLOBAL_V6 else None


def unmap_ipv4(address: IPAddress) -> IPAddress:
    """Return the IPv4 address that packets sent to `::ffff:a.b.c.d` would reach.

    Other addresses are returned unchanged.
    """
    return getattr(address, "ipv4_mapped", None) or address


def parse_ip_literal(host: str) -> IPAddress | None:
    """Return the IP address that a host denotes, in any form that resolvers accept, or None for a name.

    Like the C library (inet_aton), this function interprets 127.1, 2130706433, and 0x7f000001 as
    127.0.0.1, so that the result doesn't depend on the library in use.

    Raises:
        UnknownHostError: the host ends in a number, as names don't, but isn't an IP address
            (1.2.3.4.5, 999.1.1.1).
    """
    bare = host.removeprefix("[").removesuffix("]").rstrip(".").lower()
    try:
        return ip_address(bare)
    except ValueError:
        pass
    if not _ENDS_IN_NUMBER.fullmatch(bare):
        return None
    try:
        return IPv4Address(socket.inet_aton(bare))
    except OSError as exc:
        raise UnknownHostError(host, "isn't a name or IP address") from exc


def resolve_host(host: str, port: int) -> list[str]:
    """Return a host's IP addresses from the system's resolver, in one lookup for all families."""
    answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(sockaddr[0]) for *_, sockaddr in answers]


def _run_with_timeout(
    look_up: Callable[[], Iterable[str]],
    timeout: float,
) -> list[str]:
    """Run a lookup in a separate thread, because `getaddrinfo` has no timeout and may take a minute."""
    answers: Future[list[str]] = Future()

    def run() -> None:
        try:
            answers.set_result(list(look_up()))
        except (OSError, ValueError) as exc:  # ValueError: a label that IDNA can't encode
            answers.set_exception(exc)

    threading.Thread(target=run, name="look-up", daemon=True).start()
    if not wait([answers], timeout).done:
        raise TimeoutError(f"no DNS response within {timeout:.0f} s")
    return answers.result()
