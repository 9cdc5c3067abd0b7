"""Inactive subscribers, for admins: counted, then asked as the admin chooses."""

from datetime import timedelta
from typing import Any

from sqlalchemy import select

from digest.store.delivery_models import Delivery
from digest.store.models import AuditEntry
from subscribers.store.models import ConsentEvent, Person
from tests.moments import DRAFTING as NOW
from tests.web.forms import post_form

PATH = "/admin/readers/silent"


def post(client: Any, action: str, **fields: str) -> Any:
    """Send a form of the page to one of its goals."""
    return post_form(client, PATH + action, token_page=PATH, **fields)


def test_inactive_subscribers_are_counted_and_asked_as_the_admin_says(world: Any) -> None:
    with world.database.write() as session:
        session.get_one(Person, world.ada).asked_at = NOW - timedelta(days=1200)
        session.query(ConsentEvent).update({"at": NOW - timedelta(days=1200)})
    client = world.signed_in_client("admin")
    assert "Ask inactive subscribers…" in client.get("/admin/readers").text
    nobody = client.get(PATH).text
    assert "Send emails" not in nobody, "first they are counted"
    counted = post(client, "/count", years="3")
    assert "<b>1 subscriber has</b> been inactive for 3 years or longer" in counted.text
    assert (
        "There are no subscribers who have been inactive for 5 years or longer"
        in post(client, "/count", years="5").text
    )
    for wrong in ({"years": "0"}, {"years": "two"}, {}):
        assert post(client, "/count", **wrong).status_code == 400
    refused = post(client, "", years="3", most="lots")
    assert (refused.status_code, "Must be a whole number." in refused.text) == (400, True)
    answer = post(client, "", years="3", most="50", unanswered="taken off")
    assert "1 email is queued. Subscribers have 30 days to answer." in client.get(answer.headers["Location"]).text
    with world.database.read() as session:
        assert session.scalars(select(Delivery.purpose).where(Delivery.purpose.startswith("stay:"))).all()
        row = session.scalars(select(AuditEntry).order_by(AuditEntry.id.desc()).limit(1)).one()
    assert (row.act, row.detail) == ("silent readers asked", {"asked": 1, "years": 3, "takes off": True})
    assert "asked inactive subscribers whether to stay" in client.get("/admin/audit").text
    assert world.signed_in_client("editor").get(PATH).status_code == 403
