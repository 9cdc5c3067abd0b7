"""A crowd of networks sends forms: people on quiet networks still get their email within a minute."""

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from tests.subscribers.pages.flooded_site import FloodedSite
from tests.subscribers.pages.signup_crowd import QUIET_NETWORKS, list_crowd_networks, send_in_a_crowd

# A tenth of the usual ones: a tenth of the forms does the same. The soak has the usual ones.
TENTH = {"signups_first": 50, "signups_further": 20, "signups_waiting": 500}


@pytest.fixture
def crowded_site(both: Any) -> FloodedSite:
    return FloodedSite(both, TENTH | {"proxies": 1})


@pytest.fixture
def site(world: Any) -> FloodedSite:
    return FloodedSite(world, TENTH)


def test_one_ipv6_allocation_keeps_nobody_out(crowded_site: FloodedSite) -> None:
    site = crowded_site
    for n in range(52):
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


def test_a_network_that_keeps_coming_locks_no_organization_out(crowded_site: FloodedSite) -> None:
    site = crowded_site
    statuses = [site.sign_up_through_proxy(f"u{n}@small.example", "93.184.216.34") for n in range(30)]
    for n in range(24):  # the first form of its hour each, over three days
        site.clock.now += timedelta(hours=3)
        statuses.append(site.sign_up_through_proxy(f"v{n}@small.example", f"93.184.{n}.34"))
    assert Counter(statuses) == {200: 30, 429: 24}
    assert [site.sign_up_through_proxy(f"w{n}@small.example", QUIET_NETWORKS[n]) for n in range(3)] == [200] * 3
    site.clock.now += timedelta(days=7)
    assert site.sign_up_through_proxy("x@small.example", "93.184.216.34") == 200


def test_the_answer_is_the_same_whether_a_form_waits_or_not(site: FloodedSite) -> None:
    at_once = site.post("/subscribe", {"email": "a@first.example"}, QUIET_NETWORKS[0])
    for n in range(30):
        site.sign_up(f"victim@v{n}.example", f"93.184.{n}.7")
    site.tick_until_idle()
    waiting = site.post("/subscribe", {"email": "victim@waits.example"}, "93.184.251.7")
    site.tick()
    assert "victim@waits.example" not in site.handed_over
    assert (waiting.status_code, waiting.data) == (at_once.status_code, at_once.data)


def test_a_flood_that_finds_the_queue_full_writes_nothing(world: Any) -> None:
    site = FloodedSite(world, {"signups_waiting": 20})
    statuses = Counter(site.sign_up(f"victim@v{n}.example", f"93.184.{n}.7") for n in range(25))
    assert statuses == {200: 20, 503: 5}
    before = world.dump()
    assert site.sign_up("victim@more.example", "93.184.250.7") == 503
    assert world.dump() == before
    assert site.sign_up("reader@quiet.example", QUIET_NETWORKS[0]) == 200
    site.tick()
    assert "reader@quiet.example" in site.handed_over


@pytest.mark.soak
def test_people_on_quiet_networks_are_emailed_within_a_minute_under_a_crowd(world: Any) -> None:
    """The soak has 10,000 networks and the usual limits; here both are a twentieth."""
    limits = {name: limit // 2 for name, limit in TENTH.items()}
    result = send_in_a_crowd(FloodedSite(world, limits | {"proxies": 1}), list_crowd_networks(500))
    assert result.statuses[503] > 0, "the queue was full"
    assert result.people == result.emailed_people == 14
    assert result.longest_wait <= timedelta(minutes=1)
    assert 0 < result.most_emails_to_a_domain <= 40
