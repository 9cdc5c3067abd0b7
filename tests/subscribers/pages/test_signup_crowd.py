"""A crowd of networks sends forms: people on quiet networks still get their email within a minute."""

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

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


@pytest.fixture
def crowded_site(both: Any) -> FloodedSite:
    return FloodedSite(both, {"proxies": 1})


def test_one_ipv6_allocation_keeps_nobody_out(crowded_site: FloodedSite) -> None:
    site = crowded_site
    for n in range(520):
        site.sign_up_through_proxy(f"victim@v{n}.example", f"2a0e:b107:{n:x}::1")
    site.tick_until_idle(20)
    asked_at = site.clock.now
    people = {f"reader@quiet{n}.example": network for n, network in enumerate(QUIET_NETWORKS)}
    statuses = [site.sign_up_through_proxy(address, network) for address, network in people.items()]
    assert statuses == [200] * len(QUIET_NETWORKS)
    site.tick_until_idle(60)
    assert people.keys() <= site.handed_over.keys()
    assert all(site.handed_over[address][0] - asked_at <= timedelta(minutes=1) for address in people)


def test_subdomains_share_the_limit_of_the_domain_that_was_registered(crowded_site: FloodedSite) -> None:
    site = crowded_site
    statuses = Counter(site.sign_up_through_proxy(f"me@x{n}.smallhost.example", f"93.{n}.216.34") for n in range(120))
    assert statuses == {200: 40, 429: 80}
    site.tick_until_idle()
    assert sum(map(len, site.handed_over.values())) == 40
