"""The doctor's findings in a page: a button starts the checks in the background, and viewing the page starts nothing."""

from dataclasses import replace
from typing import Any

from digest.app.doctor.examination import list_checks
from digest.app.doctor.health_reports import DoctorRunner
from digest.app.doctor.network_access import NetworkAccess
from digest.store.models import AuditEntry
from tests.app.doctor.fake_name_server import FakeNameServer
from tests.conftest import WAIT_TIMEOUT
from tests.web.forms import post_form

PAGE = "/admin/health"


def wait_for_end(health: DoctorRunner) -> None:
    assert health.latest is not None
    assert health.latest.thread is not None
    health.latest.thread.join(WAIT_TIMEOUT)
    assert not health.latest.thread.is_alive()


def test_an_admin_has_the_machine_and_the_world_looked_at(world: Any) -> None:
    assert world.desk.get(PAGE).status_code == 403
    client = world.signed_in_client("admin")
    context = world.app.extensions["digest"]
    assert "No checks have run" in client.get(PAGE).text
    assert context.health.latest is None, "a look at the page begins nothing"
    answer = post_form(client, PAGE)
    assert (answer.status_code, answer.location) == (303, PAGE)
    wait_for_end(context.health)
    page = client.get(PAGE)
    assert "Local checks only" in page.text
    assert "Refresh" not in page.headers
    for words in ("Problems", "Warnings", "Passed", ">sources</code>", "digest sources add"):
        assert words in page.text
    assert ">dmarc</code>" not in page.text
    with world.database.read() as session:
        assert session.query(AuditEntry).filter_by(act="installation examined").one().detail == {"online": False}


def test_while_it_asks_outside_the_page_says_how_far_it_is_and_begins_no_second(world: Any) -> None:
    client = world.signed_in_client("admin")
    with FakeNameServer({}) as names:
        names.answering.clear()
        health = DoctorRunner(NetworkAccess(("127.0.0.1", int(names.server_address[1])), answer_timeout=WAIT_TIMEOUT))
        world.app.extensions["digest"] = replace(world.app.extensions["digest"], health=health)
        post_form(client, PAGE, online="yes")
        running = health.latest
        page = client.get(PAGE)
        assert f"of {len(list_checks())} done" in page.text
        assert page.headers["Refresh"] == "1"
        post_form(client, PAGE, online="yes")
        assert health.latest is running
        names.answering.set()
        wait_for_end(health)
    page = client.get(PAGE)
    assert "Online and local checks" in page.text
    assert ">dmarc</code>" in page.text
    assert "has a DMARC policy" in page.text
