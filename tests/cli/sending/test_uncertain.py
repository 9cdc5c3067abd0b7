"""`digest uncertain`: its lists, questions, and results."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import select, update
from time_machine import TimeMachineFixture

from digest.cli import digest
from digest.installation.opened_installation import Installation, open_installation
from digest.settings import load_settings
from digest.store.delivery_models import Delivery, DeliveryState, StoredDeliveryEvent
from digest.store.models import AuditEntry, Edition, EditionState
from tests.deliver.postfix_lines import iso_line, log_text, queue_lines
from tests.moments import RELEASE
from tests.web.conftest import store_edition

NAME = "2026-W47"
IDS = ("a" * 26, "b" * 26, "c" * 26)
WHY = ("--because", "by the server's log")


def run(*words: str, said: str = "") -> Result:
    return CliRunner().invoke(digest, list(words), input=said)


@pytest.fixture
def install(initialized_home: Path) -> Iterator[Installation]:
    """Give an installation whose edition is sent, and three of its messages are uncertain."""
    with open_installation(load_settings()) as install:
        store_edition(install, state=EditionState.SENT)
        with install.database.write() as session:
            session.scalars(select(Edition)).one().planned = len(IDS)
            for delivery in IDS:
                row = Delivery(
                    id=delivery,
                    purpose=f"edition:{NAME}",
                    state=DeliveryState.UNCERTAIN,
                    due_at=RELEASE,
                    next_try_at=RELEASE,
                    handed_at=RELEASE,
                    transport="smtp",
                    reply="no answer",
                )
                session.add(row)
        yield install


def states(install: Installation) -> list[str]:
    with install.database.read() as session:
        return [str(row.state) for row in session.scalars(select(Delivery).order_by(Delivery.id))]


def test_it_lists_them_and_status_says_that_they_are_there(install: Installation) -> None:
    listed = run("uncertain", NAME)
    assert listed.exit_code == 0
    assert all(delivery in listed.output for delivery in IDS)
    assert "2026-11-20 11:00:00" in listed.output
    assert "no answer" in listed.output
    as_json = json.loads(run("uncertain", "--json").output)
    assert as_json[0] == {
        "delivery": IDS[0],
        "handed_at": "2026-11-20T11:00:00+00:00",
        "over": "smtp",
        "said": "no answer",
        "silent": False,
    }
    assert f"3 with unknown status. To list and resolve them: digest uncertain {NAME}" in run("status").output
    assert states(install) == ["uncertain"] * 3


def test_it_says_what_may_come_of_it_and_does_nothing_on_a_no(install: Installation) -> None:
    accept = run("uncertain", "--accept", "all", *WHY, said="n\n")
    assert (accept.exit_code, "Subscribers who didn't get the email won't get it" in accept.output) == (1, True)
    again = run("uncertain", "--again", "all", *WHY, said="n\n")
    assert (again.exit_code, "get it twice, unless their mail server recognizes" in again.output) == (1, True)
    assert states(install) == ["uncertain"] * 3


def test_it_says_that_sendgrid_keeps_no_message_id(install: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    assert install.settings.home.is_dir()
    monkeypatch.setenv("DIGEST_MAIL_URL", "sendgrid:")
    again = run("uncertain", "--again", IDS[0], *WHY, said="n\n")
    assert "SendGrid gives each its own Message-ID" in again.output


def test_it_settles_those_that_are_named_and_writes_down_who_and_why(install: Installation) -> None:
    done = run("uncertain", NAME, "--accept", IDS[0], "--accept", IDS[1], *WHY, said="y\n")
    assert (done.exit_code, f"Resolved 2 deliveries of {NAME} (taken as accepted)." in done.output) == (0, True)
    again = run("uncertain", NAME, "--again", "all", *WHY, "--yes", "--json")
    assert json.loads(again.output) == {"edition": NAME, "word": "sent again", "settled": 1, "settled_meanwhile": 0}
    assert states(install) == ["accepted", "accepted", "waiting"]
    with install.database.read() as session:
        acts = {a.act: a for a in session.scalars(select(AuditEntry).where(AuditEntry.act.startswith("uncertain")))}
        assert session.scalars(select(Edition.state)).one() is EditionState.SENDING
    first = acts["uncertain taken as accepted"]
    assert first.detail == {"because": "by the server's log", "deliveries": [IDS[0], IDS[1]]}
    assert first.actor.startswith("terminal:")
    assert acts["uncertain sent again"].detail["deliveries"] == [IDS[2]]
    assert "no messages with unknown status" not in run("status").output
    assert run("uncertain").output == f"{NAME} has no messages with unknown status.\n"


def test_notices_in_doubt_are_listed_and_settled_and_the_doctor_says_where_they_are(install: Installation) -> None:
    notices = {"n" * 26: "ask:1", "o" * 26: "data:2"}
    with install.database.write() as session:
        for delivery, purpose in notices.items():
            due = {"due_at": RELEASE, "next_try_at": RELEASE, "handed_at": RELEASE}
            session.add(Delivery(id=delivery, purpose=purpose, state=DeliveryState.UNCERTAIN, reply="cut", **due))
    assert f"of 5 messages is unknown (3 of {NAME}, 2 of notices)" in run("doctor").output
    listed = run("uncertain", "notices")
    assert all(words in listed.output for words in (*notices, " ask ", " data ", "--lost"))
    assert [row["kind"] for row in json.loads(run("uncertain", "notices", "--json").output)] == ["ask", "data"]
    assert "because their content isn't kept" in run("uncertain", "notices", "--again", "all", *WHY).output
    assert "To send an edition's email again" in run("uncertain", NAME, "--lost", "all", *WHY).output
    assert run("uncertain", "notices", "--accept", IDS[0], *WHY, "--yes").exit_code == 1
    assert (
        "Resolved 1 delivery of notices (taken as accepted)."
        in run("uncertain", "notices", "--accept", "n" * 26, *WHY, "--yes").output
    )
    lost = run("uncertain", "notices", "--lost", "all", *WHY, said="y\n")
    assert "1 message will be marked as lost and not sent again." in lost.output
    assert states(install) == ["uncertain"] * 3 + ["accepted", "expired"]
    assert run("uncertain", "notices").output == "notices has no messages with unknown status.\n"
    assert f"of 3 messages is unknown (3 of {NAME})" in run("doctor").output


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        (("--accept", "d" * 26, *WHY, "--yes"), 1, f"No deliveries were resolved because {'d' * 26} isn't one of"),
        (("--accept", "all", "--again", "all", *WHY), 2, "Use only one of --accept"),
        (("--accept", "all"), 2, "Add --because for the audit log"),
        (("--accept", "all", "--because", "ada@example.org said so"), 2, "contains an address"),
    ],
)
def test_what_cannot_be_is_said_and_settles_nothing(
    install: Installation, words: tuple[str, ...], code: int, why: str
) -> None:
    refused = run("uncertain", NAME, *words)
    assert (refused.exit_code, why in refused.output) == (code, True)
    assert states(install) == ["uncertain"] * 3


@pytest.fixture
def mail_log(install: Installation) -> Path:
    """Give the log of a mail server that delivered the first, still has the second and lacks the third."""
    ids = [f"<{NAME}.{delivery[:20]}@weekly.news.example>" for delivery in IDS]
    with install.database.write() as session:
        for delivery, message_id in zip(session.scalars(select(Delivery).order_by(Delivery.id)), ids, strict=True):
            delivery.message_id = message_id
    lines = [iso_line(RELEASE + timedelta(minutes=n), "anvil", "statistics") for n in range(-30, 90, 30)]
    lines += queue_lines(iso_line, RELEASE, "4Xq1aZ2bY3z", ids[0])
    lines += queue_lines(iso_line, RELEASE, "4Xq1aZ2bY4z", ids[1], "queued")
    path = install.settings.home.parent / "mail.log.1"
    path.write_bytes(log_text([*lines, iso_line(RELEASE + timedelta(minutes=90), "anvil", "statistics")]))
    return path


def test_it_shows_what_a_log_says_and_settles_that_after_one_word(install: Installation, mail_log: Path) -> None:
    shown = run("uncertain", NAME, "--from-log", str(mail_log), said="n\n")
    assert shown.exit_code == 1
    assert "The log covers 2026-11-20 10:30 to 2026-11-20 12:30 (UTC)." in shown.output
    for line in (
        "1 delivered",
        "1 accepted, but still in transit",
        "1 never accepted by the mail server (will be sent again)",
    ):
        assert line in shown.output
    assert "@" not in shown.output
    assert states(install) == ["uncertain"] * 3
    done = run("uncertain", NAME, "--from-log", str(mail_log), said="y\n")
    assert (done.exit_code, f"Resolved 3 deliveries of {NAME}" in done.output) == (0, True)
    assert states(install) == ["accepted", "accepted", "waiting"]


def test_what_a_log_says_as_json_settles_nothing_without_yes(install: Installation, mail_log: Path) -> None:
    words = ("uncertain", NAME, "--from-log", str(mail_log), "--json")
    shown = json.loads(run(*words).output)
    assert (shown["delivered"], shown["in_queue"], shown["not_accepted"], shown["unknown"]) == (1, 1, 1, 0)
    assert shown["settled"] == 0
    assert states(install) == ["uncertain"] * 3
    assert json.loads(run(*words, "--yes").output)["settled"] == 3


def test_a_log_that_cannot_be_used_is_refused(install: Installation, tmp_path: Path, mail_log: Path) -> None:
    (tmp_path / "other.txt").write_text("hello\n")
    assert "no lines that start with a time" in run("uncertain", "--from-log", str(tmp_path / "other.txt")).output
    assert run("uncertain", "--from-log", str(mail_log), "--accept", "all").exit_code == 2
    assert run("uncertain", "--from-log", str(mail_log), "--log-zone", "Atlantis").exit_code == 2
    assert states(install) == ["uncertain"] * 3


def test_what_sendgrid_never_reported_is_proposed_together(
    install: Installation, time_machine: TimeMachineFixture
) -> None:
    time_machine.move_to(RELEASE + timedelta(days=2))
    with install.database.write() as session:
        session.execute(update(Delivery).values(transport="sendgrid"))
        reported = session.get_one(Delivery, IDS[0])
        reported.state = DeliveryState.ACCEPTED
        values = {"at": RELEASE, "received_at": RELEASE, "fingerprint": "f", "detail": {}}
        session.add(StoredDeliveryEvent(delivery=IDS[0], kind="delivered", **values))
    listed = run("uncertain", NAME)
    assert "2 messages were probably not accepted" in " ".join(listed.output.split())
    again = run("uncertain", NAME, "--again", "silent", "--because", "a day of silence", "--yes")
    assert (again.exit_code, f"Resolved 2 deliveries of {NAME} (sent again)." in again.output) == (0, True)
    assert states(install) == ["accepted", "waiting", "waiting"]
