"""The question before approving or sending an edition: its recipients, its time, and how many people don't get it."""

from datetime import timedelta

import pytest
from sqlalchemy import update

from digest.app.editions.edition_status import read_edition_status
from digest.app.sending.send_control import describe_upcoming_send
from digest.app.subscribers.subscriber_views import count_edition_recipients
from digest.edition.edition_queries import find_edition
from digest.installation.opened_installation import Installation
from digest.store.models import EditionState
from subscribers.consent.preferences import Preferences
from subscribers.store.models import Person
from tests.app.approval.test_approvals import LATER, install, install_on_both
from tests.app.sending.test_breaking_news import add_list
from tests.moments import RELEASE

__all__ = ["install", "install_on_both"]

PAUSED, SKIPPED = Preferences(pause_until=RELEASE.date() + timedelta(days=9)), Preferences(omit=frozenset({"featured"}))


def write(install: Installation) -> str:
    return describe_upcoming_send(install, read_edition_status(install, "current", now=LATER), now=LATER)


@pytest.mark.parametrize(
    ("lists", "words"),
    [
        (([], 3), "to 3 subscribers on Friday, November 20, 2026, 06:00 EST."),
        (([PAUSED], 1), "to 1 subscriber on Friday, November 20, 2026, 06:00 EST. 1 is paused."),
        (
            ([PAUSED, PAUSED, SKIPPED], 0),
            "to 0 subscribers on Friday, November 20, 2026, 06:00 EST. 2 are paused, and 1 chose other sections or fewer editions.",
        ),
    ],
)  # fmt: skip
def test_it_counts_those_who_will_get_it(
    install_on_both: Installation, lists: tuple[list[Preferences], int], words: str
) -> None:
    others, recipients = lists
    add_list(install_on_both, [*others, *[Preferences()] * recipients])
    assert write(install_on_both) == f"No. 1 will be sent {words}"
    with install_on_both.read() as session:
        edition = find_edition(session, "current")
    assert count_edition_recipients(install_on_both, edition, now=LATER).recipients == recipients


def test_thousands_are_written_with_a_comma(install: Installation) -> None:
    numbers = add_list(install, [Preferences()] * 1201)
    with install.database.write() as session:  # a change of preferences for each would take seconds
        session.execute(update(Person).where(Person.number != numbers[0]).values(choices=SKIPPED.as_json()))
    words = "to 1 subscriber on Friday, November 20, 2026, 06:00 EST. 1,200 chose other sections or fewer editions."
    assert write(install) == f"No. 1 will be sent {words}"


def test_once_it_is_being_sent_it_counts_who_has_not_got_it_yet(install_on_both: Installation) -> None:
    add_list(install_on_both, [Preferences()] * 3)
    with install_on_both.database.write() as session:
        edition = find_edition(session, "current")
        edition.state, edition.planned_at = EditionState.SENDING, LATER
    assert write(install_on_both).startswith("No. 1 will be sent to 0 more subscribers immediately")
