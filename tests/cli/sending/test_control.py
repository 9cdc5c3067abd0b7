"""The commands that control a send: their output, questions, and exit codes."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import select

from digest.cli import digest
from digest.deliver.control import set_aside_domains
from digest.installation.opened_installation import Installation, open_installation
from digest.settings import load_settings
from digest.store.approval_models import Approval, ApprovalState
from digest.store.delivery_models import Delivery, DeliveryState
from digest.store.models import AuditEntry, Edition, EditionState
from subscribers.address import Address
from subscribers.crypto.stored_addresses import make_domain_tag
from tests.web.conftest import store_edition

NAME = "2026-W47"


def _run(*words: str, said: str = "") -> Result:
    return CliRunner().invoke(digest, list(words), input=said)


@pytest.fixture
def approved(initialized_home: Path) -> Iterator[Installation]:
    """Give an installation with an edition that is going out."""
    with open_installation(load_settings()) as install:
        store_edition(install)
        with install.database.write() as session:
            session.scalars(select(Edition)).one().state = EditionState.SENDING
        yield install


def test_an_edition_is_paused_with_a_reason_that_status_shows_and_resumed(approved: Installation) -> None:
    paused = _run("pause", NAME, "--because", "a wrong date")
    assert (paused.exit_code, paused.output) == (0, f"{NAME} is paused. Unsent: 0.\n")
    assert "was already paused" in _run("pause").output
    status = _run("status")
    assert "No. 147 is paused: a wrong date" in " ".join(status.output.split())
    assert "a wrong date" in json.loads(_run("status", "--json").output)["hindrance"]
    assert "a wrong date" in " ".join(_run("doctor").output.split())
    assert _run("resume").output == f"{NAME} has been resumed.\n"
    assert _run("resume").output == f"{NAME} wasn't paused.\n"
    assert json.loads(_run("status", "--json").output)["hindrance"] == ""
    with approved.database.read() as session:
        acts = [a.act for a in session.scalars(select(AuditEntry).order_by(AuditEntry.id)) if a.subject == NAME]
    assert acts[-2:] == ["paused", "resumed"]


def test_cancelling_asks_first_and_cannot_be_undone(approved: Installation) -> None:
    asked = _run("cancel", NAME, said="n\n")
    assert asked.exit_code == 1
    assert "can't be undone" in asked.output
    with approved.database.read() as session:
        assert session.scalars(select(Edition.state)).one() is EditionState.SENDING
    assert _run("cancel", NAME, said="y\n").exit_code == 0
    refused = _run("pause", NAME)
    assert (refused.exit_code, "can't be paused" in refused.output) == (2, True)


def test_a_held_installation_says_so_everywhere_until_it_is_released(approved: Installation) -> None:
    assert approved.settings.home.is_dir()
    held = _run("pause", "--all", "--because", "moving house")
    assert held.exit_code == 0
    assert "run 'digest resume --all'" in held.output
    for command in ("status", "doctor"):
        assert "moving house" in " ".join(_run(command).output.split())
    assert _run("resume", "--all").output == "Sending has resumed.\n"
    assert _run("resume", "--all").output == "Sending wasn't paused.\n"


def test_emails_that_a_stop_rule_set_aside_are_listed_sent_and_dropped(approved: Installation) -> None:
    tags = [make_domain_tag(approved.keys, Address("x", name)) for name in ("gmail.com", "small.example")]
    with approved.database.write() as session:
        moment = session.scalars(select(Edition.release_at)).one()
        set_aside_domains.set_domains_aside(session, NAME, dict.fromkeys(tags, "5 of 20 were refused."), now=moment)
        for number, tag in enumerate((tags[0], tags[0], tags[1])):
            values = {"due_at": moment, "next_try_at": set_aside_domains.PARKED_FROM, "domain_tag": tag}
            session.add(Delivery(id=f"d{number}", purpose=f"edition:{NAME}", state=DeliveryState.WAITING, **values))
    listed = _run("set-aside", NAME)
    assert listed.exit_code == 0
    assert "gmail.com: 2 emails, because 5 of 20 were refused." in listed.output
    assert f"{tags[1][:8]}: 1 email," in listed.output
    assert [row["name"] for row in json.loads(_run("set-aside", NAME, "--json").output)] == [
        "gmail.com",
        tags[1][:8],
    ]
    for command in ("status", "doctor"):
        assert "digest set-aside 2026-W47" in " ".join(_run(command).output.split())
    assert _run("set-aside", NAME, "--send", "yahoo.com").exit_code == 2
    assert _run("set-aside", NAME, "--send", "all", "--drop", "all").exit_code == 2
    asked = _run("set-aside", NAME, "--send", "gmail.com", said="n\n")
    assert (asked.exit_code, "2 emails of 2026-W47 will be sent. Continue?" in asked.output) == (1, True)
    sent = _run("set-aside", NAME, "--send", "gmail.com", "--yes")
    assert (sent.exit_code, "2 emails of 2026-W47 will be sent." in sent.output) == (0, True)
    dropped = _run("set-aside", NAME, "--drop", "all", "--yes", "--json")
    assert json.loads(dropped.output) == {"edition": NAME, "decision": "drop", "emails": 1}
    assert _run("set-aside", NAME).output == f"No emails of {NAME} are set aside.\n"
    assert _run("set-aside", NAME, "--drop", "all").exit_code == 2


def test_no_subscriber_is_named_in_a_reason(approved: Installation) -> None:
    assert approved.settings.home.is_dir()
    refused = _run("pause", NAME, "--because", "ada@example.org complained")
    assert (refused.exit_code, "contains an address" in " ".join(refused.output.split())) == (2, True)


def test_what_does_not_exist_is_said_with_what_does(approved: Installation) -> None:
    assert approved.settings.home.is_dir()
    for command in ("pause", "resume", "cancel"):
        refused = _run(command, "2020-W01")
        assert (refused.exit_code, NAME in refused.output) == (2, True)


def test_what_is_to_be_approved_names_new_sites_and_why_an_approval_no_longer_counts(approved: Installation) -> None:
    with approved.database.write() as session:
        edition = session.scalars(select(Edition)).one()
        edition.state, edition.content = (
            EditionState.DRAFT,
            edition.content | {"intro": "[x](https://elsewhere.example/)"},
        )
        moments = {"made_at": edition.release_at, "stood_at": edition.release_at, "ended_at": edition.release_at}
        because = "the upgrade changed how placeholders work"
        ended = {"state": ApprovalState.REVOKED, "ended_because": because, "edit_seq": 0, "content_hash": "f" * 64}
        statement = {"edition": NAME, "number": 147}
        session.add(
            Approval(edition_id=edition.id, version=1, statement=statement, content=edition.content, **moments, **ended)
        )
    shown = _run("approve", NAME).output
    assert "The approval is no longer valid: the upgrade changed how placeholders work.\n" in shown
    assert "New site linked in the text: elsewhere.example (Intro)\n" in shown


def test_an_edition_that_goes_out_is_not_offered_for_approval(approved: Installation) -> None:
    refused = _run("approve", NAME)
    assert (refused.exit_code, refused.output) == (2, f"Error: {NAME} is being sent. Only drafts can be approved.\n")


@pytest.mark.parametrize("command", ["pause", "resume"])
def test_all_sending_and_one_edition_are_never_meant_at_once(approved: Installation, command: str) -> None:
    refused = _run(command, NAME, "--all")
    assert (refused.exit_code, "EDITION and --all can't be combined" in refused.output) == (2, True)
    assert "All sending is paused" not in _run("status").output
