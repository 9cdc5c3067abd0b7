"""The count of an edition's recipients before it's planned."""

from datetime import timedelta

import pytest
from sqlalchemy import select

from digest.deliver.plan.planning import PAUSED_REPLY, count_recipients, plan_deliveries
from digest.edition.edition_queries import find_edition
from digest.store.delivery_models import Delivery, DeliveryState
from digest.store.models import BREAKING_NEWS_NUMBER, Edition, EditionState
from subscribers.consent.preferences import Preferences
from subscribers.store.models import Person
from tests.deliver.conftest import EDITION_NAME, SECTIONS, DeliverySetup
from tests.moments import RELEASE

DAY = RELEASE.date()
CHOICES = {
    "all": (3, Preferences()),
    "paused": (4, Preferences(pause_until=DAY + timedelta(days=1))),
    "back": (2, Preferences(pause_until=DAY)),
    "nothing": (1, Preferences(omit=frozenset(SECTIONS))),
    "some": (2, Preferences(omit=frozenset(SECTIONS[:1]), short=True)),
    "this-week": (2, Preferences(frequency="fortnightly", start=DAY - timedelta(days=14))),
    "other-week": (3, Preferences(frequency="fortnightly", start=DAY - timedelta(days=7))),
    "monthly": (5, Preferences(frequency="monthly")),
}


@pytest.mark.parametrize("has_earlier", [False, True, "breaking news"])
def test_the_counts_are_those_of_the_plan(world: DeliverySetup, *, has_earlier: bool | str) -> None:
    for name, (many, chosen) in CHOICES.items():
        world.add_subscribers(*(f"{name}{n}@example.org" for n in range(many)), choices=chosen)
    (damaged,) = world.add_subscribers("damaged@example.org")
    with world.database.write() as session:
        session.get_one(Person, damaged).choices = {"omit": 3}
    if has_earlier:
        week_before = RELEASE - timedelta(days=7)
        with world.database.write() as session:
            this = find_edition(session, EDITION_NAME)
            values = {c.name: getattr(this, c.name) for c in Edition.__table__.columns if c.name != "id"}
            row = values | {"name": "2026-W46", "slot": "before", "release_at": week_before}
            if has_earlier == "breaking news":
                row["number"] = BREAKING_NEWS_NUMBER
            session.add(Edition(**row | {"state": EditionState.SENT}))
        plan_deliveries(world.database, "2026-W46", world.keys, world.settings, now=week_before)
    with world.database.read() as session:
        edition = find_edition(session, EDITION_NAME)
        counts = count_recipients(session, edition, world.settings, now=RELEASE - timedelta(hours=9))
    planned = plan_deliveries(world.database, EDITION_NAME, world.keys, world.settings, now=RELEASE)
    monthly = 0 if has_earlier is True else 5
    assert (counts.recipients, counts.paused, counts.skipped) == (9 + monthly, 5, 4 + 5 - monthly)
    assert planned[DeliveryState.WAITING] == counts.recipients
    assert planned.planned == counts.total == 23
    assert planned[DeliveryState.SKIPPED] == counts.paused + counts.skipped
    with world.database.read() as session:
        replies = session.scalars(select(Delivery.reply).where(Delivery.purpose == f"edition:{EDITION_NAME}")).all()
    assert replies.count(PAUSED_REPLY) == counts.paused
