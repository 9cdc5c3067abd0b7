"""Malicious forms: a flood doesn't hold anyone else up, and forms can't be aimed at one mailbox."""

import threading
from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import text

from digest.app.upkeep.nightly_steps import run_nightly_steps
from digest.web.app import create_app
from subscribers.signup import rate_limits
from subscribers.store.models import Person, PersonState
from subscribers.store.signup_models import RateLimitCount, SignupRequest
from tests.subscribers.pages.flooded_site import FloodedSite

BO = "bo.peep@county.example"
QUIET = "8.8.8.8"
FLOODING = [f"93.{184 + n // 250}.{n % 250}.7" for n in range(200)]  # a network each


@pytest.fixture
def site(world: Any) -> FloodedSite:
    return FloodedSite(world)


@pytest.fixture
def both_sites(both: Any) -> FloodedSite:
    return FloodedSite(both)


def victims(number: int) -> Iterable[str]:
    return (f"victim@v{n}.example" for n in range(number))


def test_forms_that_are_turned_away_hold_up_nobody(site: FloodedSite) -> None:
    statuses = Counter(site.sign_up(address, FLOODING[0]) for address in victims(130))
    assert statuses == {200: 30, 429: 100}
    site.tick_until_idle()
    assert site.sign_up(BO, QUIET) == 200
    site.tick()
    assert BO in site.handed_over
    with site.world.database.read() as session:
        assert rate_limits.find_open_signup_surge(session) is None


def test_while_20_networks_flood_a_quiet_subscriber_is_emailed_within_a_minute(world: Any) -> None:
    site = FloodedSite(world, {"signups_first": 50, "signups_further": 20})  # a tenth of what 200 networks would meet
    addresses = iter(victims(10_000))
    taken = []

    def flood(forms: int) -> None:
        for _ in range(forms):
            for network in FLOODING[:20]:
                address = next(addresses)
                if site.sign_up(address, network) == 200:
                    taken.append(address)

    flood(2)
    for minute in range(12):
        if minute == 6:
            flood(1)
        site.tick()
        site.clock.now += timedelta(minutes=1)
    asked_at = site.clock.now
    assert site.sign_up(BO, QUIET) == 200
    flood(1)
    for _ in range(4):
        site.clock.now += timedelta(seconds=15)
        site.tick()
    assert site.handed_over.get(BO, []), "the quiet reader was told to check their email"
    assert site.handed_over[BO][0] - asked_at <= timedelta(minutes=1)
    assert not set(taken) <= set(site.handed_over), "the flood waits for its turns"
    for _ in range(18):
        site.clock.now += timedelta(minutes=5)
        site.tick()
    assert set(taken) <= set(site.handed_over), "whoever was told to check their email got one"


def test_the_first_forms_of_networks_are_answered_before_the_further_ones_of_others(site: FloodedSite) -> None:
    for network in FLOODING[:5]:
        for n in range(25):
            site.sign_up(f"v{n}@{network}.example", network)
    site.sign_up(BO, QUIET)
    site.tick()
    assert 0 < len(site.handed_over) < 126
    assert BO in site.handed_over


@pytest.mark.parametrize(
    ("addresses", "most"),
    [
        ([f"Bo+{n}@county.example" for n in range(60)], 5),
        ([f"b{'.' * (n % 2)}o{'.' * (n // 2 % 2)}p+{n}@g{'oogle' * (n % 2)}mail.com" for n in range(60)], 5),
        ([f"bo-{n}@yahoo.com" for n in range(60)], 5),
        ([f"a{n}@small.example" for n in range(200)], 40),
    ],
    ids=["plus", "dots", "hyphen", "catch-all"],
)
def test_many_spellings_of_one_mailbox_share_its_limits(site: FloodedSite, addresses: list[str], most: int) -> None:
    for n, address in enumerate(addresses):
        site.sign_up(address, FLOODING[n])
    site.tick_until_idle(6)
    assert 0 < sum(map(len, site.handed_over.values())) <= most


def test_a_small_domain_that_many_forms_name_is_said_and_a_large_provider_has_room(site: FloodedSite) -> None:
    for n in range(60):
        site.sign_up(f"a{n}@small.example", f"93.{n}.216.34")
    answer = site.post("/subscribe", {"email": "b@small.example", "agree": "yes", "wording": "1"}, QUIET)
    assert answer.status_code == 429
    assert "too many sign-ups from this email domain" in answer.text
    assert [site.sign_up(f"a{n}@gmail.com", FLOODING[n]) for n in range(60)] == [200] * 60
    site.clock.now += timedelta(days=7)
    assert site.sign_up("b@small.example", QUIET) == 200


def test_one_desk_keeps_no_whole_organisation_out_and_lost_links_keep_nobody_out(site: FloodedSite) -> None:
    for n in range(40):
        site.post("/preferences", {"email": f"a{n}@small.example"}, FLOODING[n])
    statuses = Counter(site.sign_up(f"a{n}@small.example", FLOODING[n % 2]) for n in range(50))
    assert statuses == {200: 30, 429: 20}
    assert site.sign_up("b@small.example", QUIET) == 200


def test_a_flood_of_messages_to_the_editors_leaves_room_for_others_and_all_that_were_taken_arrive(both: Any) -> None:
    site = FloodedSite(both, {"contact_first": 21, "contact_further": 5})
    wide_networks = [f"93.{n}.216.34" for n in range(20)]
    statuses = Counter(site.write_to_the_editors(network) for _ in range(4) for network in wide_networks)
    assert statuses == {200: 25, 503: 55}
    assert site.write_to_the_editors(QUIET) == 200
    site.tick()
    assert sum(map(len, site.handed_over.values())) == 26


def test_the_networks_inside_one_allocation_share_the_room_for_first_messages(site: FloodedSite) -> None:
    statuses = Counter(site.write_to_the_editors(f"2a0e:b107:{n:x}::1") for n in range(60))
    assert statuses == {200: 51, 503: 9}
    assert site.write_to_the_editors(QUIET) == 200


def test_messages_that_are_turned_away_hold_up_nobody(site: FloodedSite) -> None:
    assert {site.write_to_the_editors(FLOODING[0]) for _ in range(200)} == {200, 429}
    assert [site.write_to_the_editors(network) for network in FLOODING[1:6]] == [200] * 5


@pytest.mark.parametrize("path", ["/subscribe", "/preferences", "/contact"])
def test_a_form_that_is_turned_away_writes_nothing_and_waits_for_no_writer(site: FloodedSite, path: str) -> None:
    form = {"email": BO, "agree": "yes", "wording": "1", "message": "Hello."}
    while site.post(path, form, QUIET).status_code == 200:
        pass
    before = site.world.dump()
    with site.world.database.engine.connect() as writer:
        writer.execution_options(immediate=True).execute(text("SELECT 1"))  # holds the only write lock
        assert site.post(path, form, QUIET).status_code == 429
    assert site.world.dump() == before


def test_a_flood_leaves_a_bounded_number_of_rows_that_go_in_time(world: Any) -> None:
    site = FloodedSite(world, {"signups_waiting": 15, "contact_first": 10, "contact_further": 5})
    for n in range(3):
        for network in FLOODING[:20]:
            site.sign_up(f"v{n}@{network.replace('.', '-')}.example", network)
            site.write_to_the_editors(network)
    assert site.count(SignupRequest) == 15
    # A row each for a form's network, its domain, and both together; one for a message's network; two for all of each kind.
    assert site.count(RateLimitCount) <= 3 * 15 + 15 + 4
    site.tick_until_idle(3)
    site.clock.now += timedelta(days=9)
    run_nightly_steps(site.install, site.clock.now)
    assert site.count(RateLimitCount) == site.count(SignupRequest) == 0


def test_one_click_leaves_in_the_midst_of_a_flood(both_sites: FloodedSite) -> None:
    site, stop = both_sites, threading.Event()
    posted: list[int] = []

    def flood(client: FlaskClient, network: str) -> None:
        n = 0
        while not stop.is_set():
            form = {"email": f"v{n}@{network}.example", "agree": "yes", "wording": "1"}
            posted.append(client.post("/subscribe", data=form, environ_base={"REMOTE_ADDR": network}).status_code)
            n += 1

    # Clients are made before the threads start: Python 3.11 fails where two threads parse syntax trees, as URL rules are compiled.
    clients = [create_app(site.install, clock=site.clock).test_client() for _ in range(6)]
    threads = [threading.Thread(target=flood, args=each) for each in zip(clients, FLOODING[:6], strict=True)]
    for thread in threads:
        thread.start()
    try:
        while len(posted) < 30:
            stop.wait(0.01)
        answer = site.client.post(f"/u/{site.world.token('leave')}", data={"List-Unsubscribe": "One-Click"})
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert answer.status_code == 200
    with site.world.database.read() as session:
        assert session.get_one(Person, site.world.ada).state is PersonState.WITHDRAWN
    assert set(posted) <= {200, 429, 503}
