"""A crowd of networks that floods the sign-up form, with people on quiet networks among it. The soak runs a larger one."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain, zip_longest

from subscribers.signup.mailbox_identity import LARGE_PROVIDERS, find_registrable_domain
from tests.subscribers.pages.flooded_site import FloodedSite

QUIET_NETWORKS = [
    "8.8.8.8",
    "1.1.1.1",
    "9.9.9.9",
    "2a00:1450:4001::1",
    "2606:4700::1",
    "193.99.144.80",
    "91.198.174.192",
]
_FORMS_PER_SECOND = 20
_WIDE_IPV6 = 5  # allocations that the crowd's IPv6 networks are in
_IPV4_PER_WIDE = 20  # networks of the crowd in one /16


@dataclass(frozen=True, slots=True)
class CrowdResult:
    """What came of the crowd: its networks and forms, the quiet people and how long they waited, and the emails sent."""

    networks: int
    statuses: Counter[int]
    people: int
    emailed_people: int
    longest_wait: timedelta
    emails: int
    most_emails_to_a_domain: int

    def describe(self, template: str) -> str:
        """Fill in a text about it."""
        statuses = ", ".join(f"{count:,} with status {status}" for status, count in sorted(self.statuses.items()))
        return template.format(
            networks=self.networks,
            people=self.people,
            statuses=statuses,
            wait=self.longest_wait.total_seconds(),
            emails=self.emails,
            most=self.most_emails_to_a_domain,
        )


def list_crowd_networks(number: int) -> list[str]:
    """Return IP addresses, each in a network of its own: half in a few IPv6 allocations, half in many IPv4 /16s."""
    half = number // 2
    ipv6 = [f"2a0e:b{n % _WIDE_IPV6:03x}:{n // _WIDE_IPV6:x}::1" for n in range(half)]
    ipv4 = []
    for n in range(number - half):
        wide, narrow = divmod(n, _IPV4_PER_WIDE)
        ipv4.append(f"{60 + wide // 250}.{wide % 250}.{narrow}.7")
    mixed = chain.from_iterable(zip_longest(ipv6, ipv4))
    return [network for network in mixed if network is not None]


def send_in_a_crowd(site: FloodedSite, networks: list[str]) -> CrowdResult:
    """Send a form from each network, 20 a second, and 14 people among them and after them; return what came of it.

    The crowd names subdomains of one domain, a large mailbox provider, and victims at domains of their own.
    """
    statuses: Counter[int] = Counter()
    asked: dict[str, datetime] = {}
    step = max(1, len(networks) // len(QUIET_NETWORKS))
    for n, network in enumerate(networks):
        victim = (f"me@x{n}.smallhost.example", f"victim{n}@gmail.com", f"victim@v{n}.example")[n % 3]
        statuses[site.sign_up_through_proxy(victim, network)] += 1
        if n % step == step - 1 and n // step < len(QUIET_NETWORKS):
            _sign_up_person(site, f"reader@quiet{n}.example", QUIET_NETWORKS[n // step], asked)
        if n % _FORMS_PER_SECOND == 0:
            site.tick()
            site.clock.now += timedelta(seconds=1)
    site.tick_until_idle(60)
    site.clock.now += timedelta(hours=1)  # a network is quiet again after an hour without a form
    for n, network in enumerate(QUIET_NETWORKS):
        _sign_up_person(site, f"late@quiet{n}.example", network, asked)
    site.tick_until_idle(60)
    waits = [site.handed_over[address][0] - at for address, at in asked.items() if address in site.handed_over]
    emails = Counter[str]()
    for address, times in site.handed_over.items():
        domain = address.rpartition("@")[2]
        if domain not in LARGE_PROVIDERS:
            emails[find_registrable_domain(domain)] += len(times)
    return CrowdResult(
        networks=len(networks),
        statuses=statuses,
        people=len(asked),
        emailed_people=len(waits),
        longest_wait=max(waits, default=timedelta.max),
        emails=sum(map(len, site.handed_over.values())),
        most_emails_to_a_domain=max(emails.values()),
    )


def _sign_up_person(site: FloodedSite, address: str, network: str, asked: dict[str, datetime]) -> None:
    asked[address] = site.clock.now
    site.sign_up_through_proxy(address, network)
