"""`digest refused`: its lists, questions, and results."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import select, update

from digest.app.doctor.attention import list_attention_findings
from digest.cli import digest
from digest.installation.opened_installation import Installation, open_installation
from digest.settings import load_settings
from digest.store.delivery_models import Delivery, DeliveryState, StoredDeliveryEvent
from digest.store.models import AuditEntry, Edition, EditionState
from subscribers.address import Address
from subscribers.crypto.stored_addresses import make_domain_tag
from subscribers.signup.manual_signup import add_subscriber
from tests.moments import RELEASE
from tests.web.conftest import sample_evidence, store_edition

NAME = "2026-W47"
WHY = ("--because", "unblocked")
BLOCKED = ("550 5.7.1 blocked", "policy", "gmail.com")
TOO_BIG = ("552 5.3.4 too big", "ours", "county.example")
NO_MAILBOX = ("550 5.1.1 no such user", "no mailbox", "county.example")


def run(*words: str, said: str = "") -> Result:
    return CliRunner().invoke(digest, list(words), input=said)


@pytest.fixture
def install(initialized_home: Path) -> Iterator[Installation]:
    """Give an installation whose edition was sent to eight, all of whom refused it."""
    with open_installation(load_settings()) as install:
        store_edition(install, state=EditionState.SENT)
        with install.database.write() as session:
            session.execute(update(Edition).values(planned=8, planned_at=RELEASE, sent_at=RELEASE, refusals=7))
            for place, (reply, cause, domain) in enumerate([BLOCKED] * 5 + [TOO_BIG] * 2 + [NO_MAILBOX]):
                evidence = sample_evidence()
                member = add_subscriber(session, install.keys, f"r{place}@{domain}", evidence=evidence, now=RELEASE)
                row = Delivery(id=f"d{place:025d}", purpose=f"edition:{NAME}", state=DeliveryState.REFUSED, reply=reply)
                row.due_at = row.next_try_at = RELEASE
                row.person, row.domain_tag = member.number, make_domain_tag(install.keys, Address("x", domain))
                session.add(row)
                session.flush()
                said = {"kind": "bounced", "cause": cause, "at": RELEASE, "received_at": RELEASE, "detail": {}}
                session.add(StoredDeliveryEvent(delivery=row.id, fingerprint=row.id, **said))
        yield install


def waiting(install: Installation) -> int:
    with install.database.read() as session:
        return len(session.scalars(select(Delivery.id).where(Delivery.state == DeliveryState.WAITING)).all())


def test_it_lists_what_was_refused_by_reason_and_domain_without_an_address(install: Installation) -> None:
    listed = run("refused", NAME)
    assert listed.exit_code == 0
    assert "gmail.com" in listed.output
    assert f"{NAME} was sent with 7 refusals that need a decision." in listed.output
    assert "@" not in listed.output
    as_json = json.loads(run("refused", "--json").output)
    assert (as_json["edition"], as_json["state"]) == (NAME, "sent with refusals")
    groups = [
        (row["group"].partition("-")[0], row["domain"], row["refused"], row["again"]) for row in as_json["groups"]
    ]
    assert groups == [("reputation", "gmail.com", 5, 5), ("message", "", 2, 2), ("no mailbox", "", 1, 0)]
    status = json.loads(run("status", NAME, "--json").output)
    assert (status["state"], status["refusals"]) == ("sent with refusals", 7)


def test_nothing_is_sent_again_before_somebody_said_yes_to_the_number(install: Installation) -> None:
    asked = run("refused", "--again", "reputation", *WHY, said="n\n")
    assert f"5 refused messages of {NAME} will be sent again. Continue?" in asked.output
    assert (asked.exit_code, waiting(install)) == (1, 0)
    done = run("refused", "--again", "reputation", *WHY, said="y\n")
    assert (done.exit_code, waiting(install)) == (0, 5), done.output
    assert f"digest send {NAME}" in done.output
    group = json.loads(run("refused", "--json").output)["groups"][0]["group"]
    again = run("refused", "--again", group, *WHY, "--yes", "--json")
    assert json.loads(again.output) == {"edition": NAME, "again": 2}
    assert waiting(install) == 7
    with install.database.read() as session:
        acts = session.scalars(select(AuditEntry).where(AuditEntry.act == "refused sent again")).all()
    assert [(act.detail["because"], len(act.detail["deliveries"])) for act in acts] == [
        ("unblocked", 5),
        ("unblocked", 2),
    ]


def test_acknowledging_takes_the_state_away_and_is_kept_with_its_reason(install: Installation) -> None:
    done = run("refused", "--acknowledge", "--because", "an old list")
    assert (done.exit_code, done.output) == (0, f"7 refusals of {NAME} acknowledged.\n")
    again = run("refused", "--acknowledge")
    assert (again.exit_code, again.output) == (1, f"{NAME} has no refusals to acknowledge.\n")
    assert json.loads(run("refused", "--json").output)["state"] == "sent"
    with install.database.read() as session:
        act = session.scalars(select(AuditEntry).where(AuditEntry.act == "refusals acknowledged")).one()
    assert act.actor.startswith("terminal:")
    assert act.detail == {"refused": 7, "because": "an old list"}


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--again", "all"), 2, "The reason is missing"),
        (("--again", "all", "--acknowledge", *WHY), 2, "Use either"),
        (("--again", "no mailbox", *WHY), 1, "none in 2026-W47 were refused for this reason"),
        (("--again", "nonsense", *WHY), 1, "none in 2026-W47 were refused for this reason"),
        (("--again", "all", "--because", "ada@example.org"), 2, "contains an address"),
    ],
)
def test_what_cannot_be_done_is_refused_and_changes_nothing(
    install: Installation, words: tuple[str, ...], code: int, said: str
) -> None:
    refused = run("refused", NAME, *words)
    assert (refused.exit_code, said in refused.output) == (code, True), refused.output
    assert waiting(install) == 0


def test_a_canceled_edition_is_not_sent_again(install: Installation) -> None:
    with install.database.write() as session:
        session.execute(update(Edition).values(state=EditionState.CANCELLED))
    refused = run("refused", NAME, "--again", "all", *WHY, "--yes")
    assert (refused.exit_code, "is canceled" in refused.output) == (2, True)


def test_one_refusal_needs_one_decision(install: Installation) -> None:
    with install.database.write() as session:
        row = session.scalars(select(Edition).where(Edition.name == NAME)).one()
        row.refusals = 1
    listed = " ".join(run("refused", NAME).output.split())
    assert f"{NAME} was sent with 1 refusal that needs a decision." in listed
    with install.database.read() as session:
        sentences = [finding.sentence for finding in list_attention_findings(session, RELEASE)]
    assert any(
        "was sent with 1 refusal that needs a decision. To see the reasons" in sentence for sentence in sentences
    )
