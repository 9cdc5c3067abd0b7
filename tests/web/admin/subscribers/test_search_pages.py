"""A search for part of an address: numbers first, then addresses, whose owners can see it. It can be stopped, and is forgotten."""

import re
import time
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update
from structlog.testing import capture_logs

from digest.app.accounts.sign_in import SignedInStaff
from digest.app.subscribers.address_searches import (
    MAX_FOUND,
    AddressSearches,
    SearchBusyError,
    SearchStage,
    SearchTextError,
    parse_search_text,
    search_addresses,
)
from digest.installation.audited_actions import Role
from digest.store.models import AuditEntry
from subscribers.consent import disclosures
from subscribers.signup.manual_signup import add_subscriber
from subscribers.store.models import Person
from tests.moments import DRAFTING as NOW
from tests.web.admin.subscribers.waiting_search import wait_for_go_on
from tests.web.conftest import ADA_ADDRESS, sample_evidence
from tests.web.forms import post_form

GWEN = "Gwen.Oduya@hospital.example"
PATIENCE = 60  # seconds


def add(world: Any, *addresses: str) -> list[int]:
    with world.database.write() as session:
        return [
            add_subscriber(session, world.install.keys, address, evidence=sample_evidence(), now=NOW).number
            for address in addresses
        ]


def searches_of(world: Any) -> AddressSearches:
    searches: AddressSearches = world.app.extensions["digest"].searches
    return searches


def await_end(world: Any, location: str) -> None:
    """Wait until the thread of a search has ended."""
    thread = searches_of(world)._searches[location.rpartition("/")[2]].thread
    assert thread is not None
    thread.join(PATIENCE)
    assert not thread.is_alive()


def begin(world: Any, client: Any, part: str) -> str:
    answer = post_form(client, "/admin/readers/search", part=part, why="The subscriber asked")
    assert answer.status_code == 303
    location: str = answer.headers["Location"]
    await_end(world, location)
    return location


def test_a_missing_reason_is_asked_for_at_the_choices_alone(world: Any) -> None:
    answer = post_form(world.signed_in_client("admin"), "/admin/readers/search", part="county")
    assert answer.status_code == 400
    assert answer.text.count("Choose a reason.") == 1
    assert 'aria-invalid="true"' not in answer.text, "no empty field is at fault"
    assert re.search(r'<fieldset class="fld" aria-describedby="why-said">', answer.text)


def test_an_address_that_is_not_on_the_list_leads_back_to_its_field(world: Any) -> None:
    answer = post_form(world.signed_in_client("admin"), "/admin/readers/find", address="no-one@county.example")
    assert answer.status_code == 404
    assert "<title>Problem: Subscribers" in answer.text
    (field,) = re.findall(r"<input[^>]*autofocus[^>]*>", answer.text)
    assert 'name="address"' in field


def test_a_part_finds_numbers_and_a_click_shows_addresses_that_their_owners_know_of(both: Any) -> None:
    gwen, night = add(both, GWEN, "night.desk@HOSPITAL.example")
    admin = both.signed_in_client("admin")
    location = begin(both, admin, " Hospital ")
    assert "hospital" not in location.lower()
    page = admin.get(location)
    assert "Refresh" not in page.headers
    assert "Searched 3 of 3 addresses. 2 matches." in page.text
    assert "<h2>2 of 3 addresses</h2>" in page.text
    assert set(re.findall(r'<a href="/admin/readers/(\d+)">', page.text)) == {str(gwen), str(night)}
    assert "oduya" not in page.text.lower()
    assert post_form(admin, f"{location}/addresses").status_code == 303
    shown = admin.get(location).text
    assert "Gwen.Oduya@<mark>hospital</mark>.example" in shown
    assert "night.desk@<mark>" in shown
    assert "lovelace" not in shown
    with both.database.read() as session:
        for number in (gwen, night):
            (seen,) = disclosures.list_disclosures(session, number)
            assert (seen.to_whom, seen.why) == ("our staff", "The subscriber asked")
        assert disclosures.list_disclosures(session, both.ada) == []
        audit = session.scalars(select(AuditEntry).order_by(AuditEntry.id)).all()
    assert [(row.act, row.subject) for row in audit] == [
        ("addresses searched", "the list"),
        ("subscriber address shown", f"person {gwen}"),
        ("subscriber address shown", f"person {night}"),
    ]
    assert "hospital" not in repr([row.detail for row in audit]).lower()
    assert f'viewed <a href="/admin/readers/{night}' in re.sub(
        r"</b> ", "", admin.get(f"/admin/audit?what=addresses&about=reader+{night}").text
    ).replace("<b>", "")


def test_nobody_else_sees_a_search_and_nobody_sees_it_later(world: Any) -> None:
    admin = world.signed_in_client("admin")
    location = begin(world, admin, "lovelace")
    assert admin.get(location).status_code == 200
    assert world.signed_in_client("admin").get(location).status_code == 404
    assert world.desk.get(location).status_code == 403
    searches = searches_of(world)
    assert searches.find(location.rpartition("/")[2], _staff(1), now=NOW + timedelta(minutes=15)) is None


def test_a_session_number_that_is_given_again_shows_no_search_of_another_member(world: Any) -> None:
    searches = searches_of(world)
    name = searches.begin(world.install, _staff(1), "lovelace", "asked", now=NOW)
    assert searches.find(name, _staff(1), now=NOW) is not None
    assert searches.find(name, replace(_staff(1), member_id=2), now=NOW) is None
    await_end(world, name)


def test_a_search_without_a_match_says_so(world: Any) -> None:
    admin = world.signed_in_client("admin")
    page = admin.get(begin(world, admin, "hopsital")).text
    assert "No address contains “hopsital”" in page
    kept = [
        rf'name="{name}"[^>]* value="{text}"'
        for name, text in (("part", "hopsital"), ("other", "The subscriber asked"))
    ]
    assert all(re.search(field, page) for field in kept), "searching again begins with both"
    assert "Reason: The subscriber asked." in page


@pytest.mark.parametrize("part", ["", "abc", "x" * 101, "spitäler", "ho\nsp"])
def test_what_cannot_be_searched_for_is_refused(world: Any, part: str) -> None:
    answer = post_form(world.signed_in_client("admin"), "/admin/readers/search", part=part, why="The subscriber asked")
    assert (answer.status_code, "Enter 4 to 100" in answer.text) == (400, True)
    assert re.search(r'value="The subscriber asked" checked', answer.text)


def test_a_search_asks_why_and_says_what_the_reason_is_for(world: Any) -> None:
    assert (
        "so the audit log records your name and reason." in world.signed_in_client("admin").get("/admin/readers").text
    )
    answer = post_form(world.signed_in_client("admin"), "/admin/readers/search", part="hospital")
    assert (answer.status_code, "Choose a reason." in answer.text) == (400, True)
    empty = post_form(world.signed_in_client("admin"), "/admin/readers/search", part="hospital", why="other", other=" ")
    assert "The reason is missing." in empty.text
    assert re.search(r'name="part"[^>]* value="hospital"', answer.text), "what was typed stays"


def test_more_than_a_hundred_found_asks_for_a_longer_part(world: Any) -> None:
    add(world, *(f"r{n}@many.example" for n in range(MAX_FOUND + 1)))
    admin = world.signed_in_client("admin")
    page = admin.get(begin(world, admin, "many.example")).text
    assert "There are more matches. Enter more of the address below." in page
    assert re.search(r'name="other" value="[^"]+"', page), "the reason is kept"
    assert len(set(re.findall(r'<a href="/admin/readers/(\d+)">', page))) == MAX_FOUND


def test_a_running_search_shows_how_far_it_is_and_can_be_stopped(world: Any) -> None:
    add(world, GWEN)
    searches = AddressSearches(work=wait_for_go_on)
    name = searches.begin(world.install, _staff(1), "hospital", "asked", now=NOW)
    search = searches.find(name, _staff(1), now=NOW)
    assert search is not None
    deadline = time.monotonic() + PATIENCE
    while not search.searched_count:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert (search.stage, search.searched_count, search.total) == (SearchStage.RUNNING, 1, 2)
    search.stop_asked.set()
    assert search.thread is not None
    search.thread.join(PATIENCE)
    assert search.stage is SearchStage.STOPPED


@pytest.mark.parametrize(
    ("stage", "says"),
    [
        (SearchStage.STOPPED, "You stopped the search."),
        (SearchStage.REPLACED, "The search stopped because you started another."),
    ],
)
def test_a_search_that_ended_early_does_not_say_that_nobody_matches(world: Any, stage: SearchStage, says: str) -> None:
    admin = world.signed_in_client("admin")
    location = begin(world, admin, "hopsital")
    # As it ends where it is stopped in the middle, which `wait_for_go_on` proves of the search itself.
    search = searches_of(world)._searches[location.rpartition("/")[2]]
    search.stage, search.total = stage, search.searched_count + 1000
    page = admin.get(location).text
    assert (says in page, "No matches so far" in page, "No address contains" in page) == (True, True, False)
    assert "You stopped the search." not in page or stage is SearchStage.STOPPED


def test_a_new_search_stops_the_earlier_one_and_two_colleagues_are_enough(world: Any) -> None:
    add(world, GWEN)
    searches = AddressSearches(work=wait_for_go_on)
    names = [searches.begin(world.install, _staff(number), "hospital", "asked", now=NOW) for number in (1, 2)]
    with pytest.raises(SearchBusyError):
        searches.begin(world.install, _staff(3), "hospital", "asked", now=NOW)
    again = searches.begin(world.install, _staff(2), "lovelace", "asked", now=NOW)

    def stage_at_end(name: str, number: int) -> SearchStage:
        search = searches.find(name, _staff(number), now=NOW)
        assert search is not None
        assert search.thread is not None
        search.thread.join(PATIENCE)
        return search.stage

    assert stage_at_end(names[1], 2) is SearchStage.REPLACED
    (world.install.settings.home / "go-on").touch()
    assert (stage_at_end(names[0], 1), stage_at_end(again, 2)) == (SearchStage.DONE, SearchStage.DONE)


def test_a_search_goes_on_after_an_address_of_another_row(both: Any) -> None:
    damaged, gwen = add(both, "bo@hospital.example", GWEN)
    with both.database.write() as session:
        hers = session.execute(select(Person.ciphertext, Person.key_id).where(Person.number == gwen)).one()
        session.execute(update(Person).where(Person.number == damaged).values(ciphertext=hers.ciphertext))
    with capture_logs() as logs:
        steps = [*search_addresses(both.database, both.install.keys, "hospital")]
    assert [number for step in steps for number in step.matching_numbers] == [gwen]
    assert [(each["event"], each["person"]) for each in logs] == [("an address can't be decrypted", damaged)]


def test_a_search_part_is_read_in_lower_case() -> None:
    assert parse_search_text(" Hospital.Example ") == "hospital.example"
    with pytest.raises(SearchTextError) as caught:
        parse_search_text("ada")
    assert "ada" not in str(caught.value).split()


def _staff(session_id: int) -> SignedInStaff:
    return SignedInStaff(session_id, session_id, ADA_ADDRESS, "", Role.ADMIN, NOW)
