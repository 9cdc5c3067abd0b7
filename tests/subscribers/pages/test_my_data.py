"""A subscriber's data: its link, contents, and download, a change of address, erasure, and messages to the editors."""

import csv
import io
import json
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from email.message import EmailMessage
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from lxml import html as lxml_html
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from digest.app.sending import background_tasks
from digest.app.subscribers import subscriber_actions
from digest.catalogs import load_language
from digest.store.delivery_models import Delivery, DeliveryState, ProviderErasure, QueuedNoticeEmail
from digest.store.models import EditionState
from digest.web.app import create_app
from subscribers.address import Address, read_address
from subscribers.consent import disclosures, ledger, suppression
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.lifecycle.expiry import expire_unconfirmed_requests
from subscribers.lifecycle.my_data import list_consent_history
from subscribers.signup.manual_signup import ConsentEvidence, add_subscriber
from subscribers.store import one_time_tokens
from subscribers.store.models import ConsentEvent, ConsentKind, Person, PersonState
from subscribers.store.signup_models import OneTimeToken, StoredAddressChange
from subscribers.transfer.exports import EXPORT_COLUMNS
from tests.actors import ADMIN
from tests.conftest import ROOT
from tests.moments import DRAFTING as NOW
from tests.row_keys import change_rows
from tests.sent_emails import plain_text, read_email
from tests.web.conftest import build_web_setup, sample_evidence

ADA = "ada.lovelace@analytical.example"
BO = "bo@elsewhere.example"
SECRET = re.compile(r"https://news\.example\.org/(my-data|address)/([A-Za-z0-9_-]{22})\b")


PROMISE = re.compile(r"link to (?:their|your|my) data[^.]*\bonce\b")


class Inbox:
    """What an installation has handed over, one message at a time."""

    def __init__(self, world: Any) -> None:
        self.world = world
        self.seen: set[str] = set()

    def new(self, at: datetime = NOW) -> list[EmailMessage]:
        """Send what is due, and give what arrived since the last look."""
        background_tasks.send_due_transactional_emails(self.world.install, clock=lambda: at)
        files = sorted((self.world.install.settings.outbox_folder / "notice").glob("*.eml"))
        fresh = [file for file in files if file.name not in self.seen]
        self.seen |= {file.name for file in fresh}
        return [read_email(file.read_bytes()) for file in fresh]


def secret_of(message: EmailMessage) -> str:
    match = SECRET.search(plain_text(message))
    assert match
    return match[2]


def at(world: Any, moment: datetime) -> Any:
    app = create_app(world.install, clock=lambda: moment)
    app.testing = True
    return app.test_client()


def ask(world: Any, client: Any = None) -> Any:
    return (client or world.client).post(f"/preferences/{world.token('preferences')}/my-data")


@pytest.fixture
def opened(world: Any) -> tuple[Any, str]:
    """Give a world and the secret of Ada's link to her data."""
    ask(world)
    (mail,) = Inbox(world).new()
    return world, secret_of(mail)


def complained(world: Any, session: Session, address: Address) -> None:
    keys = world.install.keys
    unsubscribe_log = UnsubscribeLog(world.install.settings.left_log, keys)
    suppression.suppress_address(
        session, keys, address, reason="complained", actor="p", now=NOW, unsubscribe_log=unsubscribe_log
    )


def person(world: Any) -> Person:
    with world.database.read() as session:
        row: Person = session.get_one(Person, world.ada)
        return row


def test_the_button_mails_one_link_a_day_to_the_owner_and_says_the_same_always(both: Any) -> None:
    inbox = Inbox(both)
    first, second = ask(both), ask(both)
    (mail,) = inbox.new()
    assert mail["To"] == ADA
    assert mail["List-Unsubscribe"] is None
    assert mail["Subject"] == "Your data at HLS.Today"
    too_soon = ask(both, at(both, NOW + timedelta(hours=23)))
    assert inbox.new(NOW + timedelta(hours=23)) == []
    later = ask(both, at(both, NOW + timedelta(hours=24)))
    (another,) = inbox.new(NOW + timedelta(hours=24))
    assert secret_of(another) != secret_of(mail)
    nobody = both.client.post(f"/preferences/{both.token('preferences', 99_999)}/my-data")
    answers = [first, second, too_soon, later, nobody]
    assert {a.status_code for a in answers} == {200}
    assert len({a.data for a in answers}) == 1
    assert not any("Set-Cookie" in a.headers for a in answers)
    assert inbox.new(NOW + timedelta(hours=25)) == []
    with both.database.read() as session:
        assert all(secret_of(mail) != row.hash for row in session.scalars(select(OneTimeToken)))
        assert session.scalars(select(QueuedNoticeEmail)).all() == []


def test_the_button_mails_three_links_in_any_seven_days(world: Any) -> None:
    inbox, mailed_on = Inbox(world), []
    for day in range(16):
        ask(world, at(world, NOW + timedelta(days=day)))
        mailed_on += [day for _ in inbox.new(NOW + timedelta(days=day))]
    assert mailed_on == [0, 1, 2, 7, 8, 9, 14, 15]


def test_the_page_shows_consent_with_its_words_and_every_passage(both: Any) -> None:
    both.edition(state=EditionState.SENT)
    with both.database.write() as session:
        for name, state in (("2026-W47", DeliveryState.ACCEPTED), ("2026-W46", DeliveryState.WAITING)):
            session.add(
                Delivery(
                    id=f"d{name}",
                    purpose=f"edition:{name}",
                    person=both.ada,
                    state=state,
                    due_at=NOW,
                    next_try_at=NOW,
                    handed_at=NOW if state is DeliveryState.ACCEPTED else None,
                    message_id=f"<{name}@news.example.org>",
                    transport="sendgrid" if state is DeliveryState.ACCEPTED else "",
                )
            )
        disclosures.record_disclosures(
            session, [both.ada], to_whom="our staff", why="a question", reference="t-1", now=NOW
        )
    ask(both)
    (mail,) = Inbox(both).new()
    page = both.client.get(f"/my-data/{secret_of(mail)}")
    assert page.status_code == 200
    for words in (
        "a•••@analytical.example",
        "Send me the weekly mail.",
        "Our team vouched for your consent",
        "Twilio SendGrid (api.sendgrid.com), which delivers our emails",
        "To send you No. 147",
        "&lt;2026-W47@news.example.org&gt;",
        "Our staff",
        "A question",
        "To send you the link to your data",
        "A file on our own server",
    ):
        assert words in page.text, words
    assert "2026-W46" not in page.text  # it has not left yet
    assert ("ada.lovelace" in page.text, "t-1" in page.text) == (False, False)


def test_the_download_holds_it_all_and_looking_changes_nothing(opened: tuple[Any, str]) -> None:
    world, secret = opened
    before = world.dump()
    for method in ("GET", "HEAD", "OPTIONS"):
        for path in (f"/my-data/{secret}", f"/my-data/{secret}/erase"):
            assert world.client.open(path, method=method).status_code == 200
    answer = world.client.post(f"/my-data/{secret}/download")
    assert answer.mimetype == "application/json"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="my-data.json"'
    assert answer.headers["Cache-Control"] == "no-store"
    fields = json.loads(answer.data)
    assert fields["schema_version"] == "ISO/IEC TS 27560:2023"
    assert fields["pii_information"]["email_address"] == ADA
    assert fields["events"][0]["details"]["wording"] == "Send me the weekly mail."
    assert [r["purpose"] for r in fields["recipient_third_parties"]] == ["To send you the link to your data"]
    assert world.dump() == before


def test_the_record_to_print_needs_the_owners_link_and_its_button(opened: tuple[Any, str]) -> None:
    world, secret = opened
    assert f'formaction="/my-data/{secret}/record"' in world.client.get(f"/my-data/{secret}").text
    before = world.dump()
    assert world.client.get(f"/my-data/{secret}/record").status_code == 405
    for token in (secret[::-1], world.token("preferences"), world.token("leave")):
        assert world.client.post(f"/my-data/{token}/record").status_code == 404
    over = at(world, NOW + timedelta(hours=25)).post(f"/my-data/{secret}/record")
    assert over.status_code == 410
    assert ADA not in over.text
    answer = world.client.post(f"/my-data/{secret}/record")
    assert answer.status_code == 200
    for words in (ADA, "Send me the weekly mail.", "ISO/IEC TS 27560:2023", "To send you the link to your data"):
        assert words in answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert world.dump() == before


ARTICLE_15 = (
    *(
        "Article 15(3)",
        "Article 15(1), point a",
        "Article 15(1), points b and d",
        "Article 15(1), point c",
        "Article 15(1), points e and f",
    ),
    *("Article 15(1), point g", "Article 15(1), point h", "Article 20"),
)


def answer_data_request(world: Any, secret: str) -> str:
    """Return the text of the page that answers a person's request for their data."""
    page = world.client.post(f"/my-data/{secret}/record").text
    return " ".join(lxml_html.fromstring(page).text_content().split())


def test_the_answer_has_everything_that_the_person_is_entitled_to_know_under_its_article(
    opened: tuple[Any, str],
) -> None:
    world, secret = opened
    world.client.post(f"/preferences/{world.token('preferences')}", data={"section": ["featured"]})
    subscriber_actions.unsubscribe_by_admin(world.install, ADMIN, world.ada, "asked by phone", now=NOW)
    page = world.client.post(f"/my-data/{secret}/record").text
    headings = [heading.text_content() for heading in lxml_html.fromstring(page).xpath("//h2")]
    assert [article for article in ARTICLE_15 if not any(article in heading for heading in headings)] == []
    text, evidence_days = answer_data_request(world, secret), world.install.settings.file.retention.evidence_days
    for words in (
        "to send the newsletter by email",  # purpose
        "consent",  # legal basis
        "The IP address and browser you signed up and confirmed with",  # categories
        f"We keep them encrypted for {evidence_days} days, then only as hashes.",  # retention
        "At present, this installation saves emails to files on our server",  # recipients
        "to another installation that sends our emails",
        "Complain to a data protection authority",
        "Withdraw your consent at any time",
        "From our team, which added you based on evidence that you agreed: hls.today",  # source
        "editors@news.example.org",  # the controller's contact
        "200 Example Street, Washington, DC 20001",
        "our team (asked by phone)",
    ):
        assert words in text, words
    for raw in ("omit", "choices", "admin:", "pii", "one_click", "wording_"):
        assert raw not in text, raw


def test_the_answer_is_in_the_subscribers_language(one_database: Any, tmp_path: Path) -> None:
    world = build_web_setup(one_database, tmp_path, language="fr")
    ask(world)
    (mail,) = Inbox(world).new()
    text = answer_data_request(world, secret_of(mail))
    for words in (
        "Qui les reçoit (article 15, paragraphe 1, point c)",
        "Introduire une réclamation auprès d’une autorité de protection des données",
        "Pour vous envoyer le lien vers vos données",
        "à une autre installation qui envoie nos e-mails",
    ):
        assert words in unescape(text).replace("\xa0", " ").replace("\u202f", " "), words


def test_the_portable_copy_is_a_file_of_its_own_that_an_import_reads(opened: tuple[Any, str]) -> None:
    world, secret = opened
    world.client.post(
        f"/preferences/{world.token('preferences')}", data={"section": ["featured"], "frequency": "monthly"}
    )
    before = world.dump()
    as_csv, as_json = (world.client.post(f"/my-data/{secret}/copy.{form}") for form in ("csv", "json"))
    assert (as_csv.mimetype, as_json.mimetype) == ("text/csv", "application/json")
    assert as_csv.headers["Content-Disposition"] == 'attachment; filename="my-copy.csv"'
    assert as_csv.headers["Cache-Control"] == "no-store"
    (row,) = csv.DictReader(io.StringIO(as_csv.text.removeprefix("\ufeff")))
    assert row == json.loads(as_json.text)
    assert tuple(row) == EXPORT_COLUMNS
    assert (row["email"], row["status"], row["consent_text"]) == (ADA, "subscribed", "Send me the weekly mail.")
    assert (row["frequency"], "events" in row["sections_left_out"]) == ("monthly", True)
    assert world.client.get(f"/my-data/{secret}/copy.csv").status_code == 405
    assert world.client.post(f"/my-data/{secret}/copy.xml").status_code == 404
    assert world.dump() == before


def test_the_link_to_data_keeps_its_promise_everywhere(opened: tuple[Any, str]) -> None:
    """It works for 24 hours, as often as the owner likes: they read on a phone, and download on a computer."""
    world, secret = opened
    for hours in (0, 1, 23):
        client = at(world, NOW + timedelta(hours=hours))
        assert client.get(f"/my-data/{secret}").status_code == 200
        assert client.post(f"/my-data/{secret}/download").status_code == 200
    assert at(world, NOW + timedelta(hours=24)).get(f"/my-data/{secret}").status_code == 410
    admin = world.signed_in_client("admin")
    with admin.session_transaction() as session:
        session["_flashes"] = [(str(world.ada), "queued")]
    record = admin.get(f"/admin/readers/{world.ada}").text
    asked, preferences = ask(world).text, world.client.get(f"/preferences/{world.token('preferences')}").text
    for text in (record, asked, preferences):
        assert "It works for 24 hours." in text
    guides = [(ROOT / "docs" / name).read_text("utf-8") for name in ("admins.md", "importing.md")]
    assert not [
        line for text in (record, asked, preferences, *guides) for line in text.split(".") if PROMISE.search(line)
    ]


def test_erasing_takes_its_own_button_and_afterwards_every_page_answers(both: Any) -> None:
    inbox = Inbox(both)
    ask(both)
    (mail,) = inbox.new()
    secret = secret_of(mail)
    both.client.post(f"/my-data/{secret}/address", data={"email": BO})
    both.client.post(f"/preferences/{both.token('preferences')}", data={"section": ["featured"]})
    page = both.client.get(f"/my-data/{secret}/erase")
    assert page.text.count("<button") == 1
    assert person(both).state == PersonState.SUBSCRIBED
    answer = both.client.post(f"/my-data/{secret}/erase")
    assert "We’ve erased your data" in answer.text
    erased = person(both)
    assert (erased.state, erased.ciphertext, erased.lookup, erased.choices) == (PersonState.ERASED, None, None, {})
    with both.database.read() as session:
        assert session.scalars(select(Delivery).where(Delivery.person == both.ada)).all() == []
        assert session.scalars(select(StoredAddressChange)).all() == []
    assert [d.kind for d in UnsubscribeLog(both.install.settings.left_log, both.install.keys).read()] == ["erased"]
    assert inbox.new() == []  # what still waited for them goes nowhere
    before = both.dump()
    for path, status in {
        f"/my-data/{secret}": 410,
        f"/my-data/{secret}/erase": 410,
        f"/u/{both.token('leave')}": 200,
        f"/u/{both.token('leave')}/pause": 200,
        f"/u/{both.token('leave')}/undo": 200,
        f"/preferences/{both.token('preferences')}": 200,
        f"/preferences/{both.token('preferences')}/my-data": 200,
    }.items():
        assert both.client.get(path).status_code == status, path
    for path, status in {
        f"/my-data/{secret}/erase": 410,
        f"/my-data/{secret}/download": 410,
        f"/my-data/{secret}/address": 410,
        f"/u/{both.token('leave')}": 200,
        f"/u/{both.token('leave')}/undo": 410,
        f"/preferences/{both.token('preferences')}/my-data": 200,
    }.items():
        assert both.client.post(path).status_code == status, path
    assert both.dump() == before


def test_a_link_to_data_runs_out_after_a_day(opened: tuple[Any, str]) -> None:
    world, secret = opened
    assert at(world, NOW + timedelta(hours=23)).get(f"/my-data/{secret}").status_code == 200
    for path in ("", "/erase"):
        over = at(world, NOW + timedelta(hours=25)).get(f"/my-data/{secret}{path}")
        assert over.status_code == 410
        assert "This link has expired" in over.text
        assert "expire after 24 hours, or when an address change is confirmed or stopped" in over.text


def test_who_left_may_still_see_and_erase_their_data(world: Any) -> None:
    world.client.post(f"/u/{world.token('leave')}")
    assert "Email me a link to my data" in world.client.get(f"/preferences/{world.token('preferences')}").text
    ask(world)
    (mail,) = Inbox(world).new()
    page = world.client.get(f"/my-data/{secret_of(mail)}").text
    assert "You unsubscribed" in page
    assert "We’ll delete your address after December 19, 2026." in page
    assert 'id="email"' not in page
    world.client.post(f"/my-data/{secret_of(mail)}/erase")
    assert person(world).state == PersonState.ERASED


def test_an_erasure_by_the_subscribers_own_hand_is_queued_for_sendgrid_where_it_knew_them(both: Any) -> None:
    ask(both)
    (mail,) = Inbox(both).new()
    with both.database.write() as session:  # the mail with the link went over SendGrid
        session.execute(update(Delivery).where(Delivery.person == both.ada).values(transport="sendgrid"))
    both.client.post(f"/my-data/{secret_of(mail)}/erase")
    with both.database.read() as session:
        assert len(session.scalars(select(ProviderErasure)).all()) == 1


def test_who_complained_gets_no_mail_not_even_by_pressing_the_button(world: Any) -> None:
    with world.database.write() as session:
        complained(world, session, read_address(ADA))
    assert ask(world).status_code == 200
    assert Inbox(world).new() == []


def moved(world: Any, secret: str, address: str = BO) -> list[EmailMessage]:
    answer = world.client.post(f"/my-data/{secret}/address", data={"email": address})
    assert answer.status_code == 200
    assert "Check your new inbox" in answer.text
    inbox = Inbox(world)
    inbox.seen = {f.name for f in (world.install.settings.outbox_folder / "notice").glob("*.eml")}
    return inbox.new()


def test_a_likely_typo_in_a_new_address_is_asked_about_once(opened: tuple[Any, str]) -> None:
    world, secret = opened
    asked = world.client.post(f"/my-data/{secret}/address", data={"email": "bo@gmial.com"})
    assert (asked.status_code, "Did you mean gmail.com?" in asked.text) == (400, True)
    assert 'value="bo@gmial.com"' in asked.text
    sure = world.client.post(f"/my-data/{secret}/address", data={"email": "bo@gmial.com", "kept": "gmial.com"})
    assert "Check your new inbox" in sure.text


def test_a_new_address_counts_once_its_owner_confirms_and_the_old_one_is_told(opened: tuple[Any, str]) -> None:
    world, secret = opened
    mails = {str(m["To"]): m for m in moved(world, secret)}
    assert set(mails) == {ADA, BO}
    assert "b•••@elsewhere.example" in plain_text(mails[ADA])
    assert "a•••@analytical.example" in plain_text(mails[BO])
    assert ADA not in plain_text(mails[BO])
    assert SECRET.search(plain_text(mails[ADA])) is None
    link = f"/address/{secret_of(mails[BO])}"
    before = world.dump()
    page = world.client.get(link)
    assert "sent to your old address, a•••@analytical.example." in page.text
    assert "to your new address, b•••@elsewhere.example," in page.text
    assert "a new address, b•••@elsewhere.example," in " ".join(plain_text(mails[ADA]).split())
    assert "the old one, a•••@analytical.example." in " ".join(plain_text(mails[BO]).split())
    assert page.text.count("<button") == 1
    assert world.dump() == before
    preferences_of_old, leave_of_old = f"/preferences/{world.token('preferences')}", f"/u/{world.token('leave')}"
    changed, again = world.client.post(link).text, world.client.post(link).text  # twice is once
    (new_link,) = re.findall(r'href="(/preferences/[\w-]+)"', changed)
    assert "b•••@elsewhere.example" in world.client.get(new_link).text
    assert "/preferences/" not in again, "the email may have been forwarded"
    assert "request a new link" in again
    for page in (changed, again):
        assert "Your address has changed" in page
        assert "Other links in emails sent there now work only for unsubscribing." in page
        assert "still work" not in page
    assert "Future editions" in changed
    assert "Future editions" not in again, "the subscriber may have unsubscribed or moved on"
    assert "b•••@elsewhere.example" in world.client.get(f"/preferences/{world.token('preferences')}").text
    older = world.client.get(preferences_of_old)
    assert (older.status_code, "elsewhere.example" in older.text) == (410, False), (
        "the old mailbox may be another's now"
    )
    assert "Pause instead" not in world.client.get(leave_of_old).text
    assert "<button" in world.client.get(leave_of_old).text, "it unsubscribes"
    assert world.client.get(f"/my-data/{secret}").status_code == 410
    with world.database.read() as session:
        kinds = [str(k) for k in session.scalars(select(ConsentEvent.kind).order_by(ConsentEvent.seq))]
        assert kinds == ["attested", "address changed"]
        (kept,) = session.scalars(select(StoredAddressChange))
        assert (kept.changed_at, kept.until) == (NOW, NOW + timedelta(days=7)), "the old address can undo it"
        bodies = "".join(session.scalars(select(ConsentEvent.body)))
    assert "elsewhere" not in bodies
    unsubscribe_log = UnsubscribeLog(world.install.settings.left_log, world.install.keys)
    assert [d.kind for d in unsubscribe_log.read()] == ["left", "undone"]  # the old address, and the new one


@pytest.mark.parametrize("method_before", ["GET", "POST"])
def test_after_an_erasure_the_link_to_a_new_address_says_so(both: Any, method_before: str) -> None:
    ask(both)
    (mail,) = Inbox(both).new()
    (link,) = [f"/address/{secret_of(m)}" for m in moved(both, secret_of(mail)) if m["To"] == BO]
    both.client.open(link, method=method_before)
    with both.database.write() as session:
        tomorrow = NOW + timedelta(days=1)
        secret = one_time_tokens.issue_token(session, "my data", both.ada, now=NOW, expires_at=tomorrow)
    assert "We’ve erased your data" in both.client.post(f"/my-data/{secret}/erase").text
    before = both.dump()
    for method in ("GET", "POST"):
        answer = both.client.open(link, method=method)
        assert answer.status_code == 410
        assert "Your data has been erased" in answer.text
        assert "this link no longer works" in answer.text
        assert "next edition" not in answer.text
    assert both.dump() == before


def test_an_address_that_cannot_be_moved_to_gets_no_mail_and_the_answer_is_the_same(opened: tuple[Any, str]) -> None:
    world, secret = opened
    barred = "barred@example.org"
    with world.database.write() as session:
        complained(world, session, read_address(barred))
    assert [str(m["To"]) for m in moved(world, secret, barred) if str(m["To"]) != ADA] == []


def subscribe(world: Any) -> None:
    evidence = ConsentEvidence(
        wording="Yes.",
        wording_version="1",
        language="en",
        page="hls.today",
        method="form",
        actor="test",
        agreed_at=NOW - timedelta(days=1),
    )
    with world.database.write() as session:
        add_subscriber(session, world.install.keys, BO, evidence=evidence, now=NOW)


def leave(world: Any) -> None:
    world.client.post(f"/u/{world.token('leave')}")


def ask_again(world: Any) -> None:
    with world.database.write() as session:
        change_rows(session, OneTimeToken, OneTimeToken.purpose == "change address", ended_at=NOW)


@pytest.mark.parametrize(
    ("meanwhile", "status", "words"),
    [
        (subscribe, 409, "already subscribed or was in the past"),
        (leave, 410, "has expired"),
        (ask_again, 410, "has expired"),
    ],
)
def test_a_move_that_has_become_impossible_is_explained_and_changes_nothing(
    opened: tuple[Any, str], meanwhile: Callable[[Any], None], status: int, words: str
) -> None:
    world, secret = opened
    (link,) = [f"/address/{secret_of(m)}" for m in moved(world, secret) if m["To"] == BO]
    meanwhile(world)
    before = world.dump()
    for method in ("GET", "POST"):
        answer = world.client.open(link, method=method)
        assert answer.status_code == status
        assert words in answer.text
    assert world.dump() == before


def test_a_fourth_move_in_a_week_mails_nobody_and_the_newest_link_alone_works(world: Any) -> None:
    with world.database.write() as session:
        week = NOW + timedelta(days=7)
        secret = one_time_tokens.issue_token(session, "my data", world.ada, now=NOW, expires_at=week)
    inbox = Inbox(world)
    links: dict[str, str] = {}
    for number in range(4):
        now = NOW + timedelta(days=number)
        at(world, now).post(f"/my-data/{secret}/address", data={"email": f"new{number}@elsewhere.example"})
        links |= {str(m["To"]): secret_of(m) for m in inbox.new(now) if "elsewhere" in str(m["To"])}
    assert sorted(links) == [f"new{n}@elsewhere.example" for n in range(3)]
    assert world.client.get(f"/address/{links['new0@elsewhere.example']}").status_code == 410
    assert world.client.get(f"/address/{links['new2@elsewhere.example']}").status_code == 200


def test_a_link_that_a_newer_one_replaced_before_its_mail_went_out_is_not_mailed(opened: tuple[Any, str]) -> None:
    world, secret = opened
    for seconds, name in enumerate(("first", "second")):
        clock = at(world, NOW + timedelta(seconds=seconds))
        clock.post(f"/my-data/{secret}/address", data={"email": f"{name}@elsewhere.example"})
    sent = Inbox(world).new(NOW + timedelta(minutes=1))
    receivers = [str(mail["To"]) for mail in sent if "elsewhere" in str(mail["To"])]
    assert receivers == ["second@elsewhere.example"]


def test_moves_of_many_subscribers_and_forms_together_mail_one_mailbox_a_few_times(both: Any) -> None:
    world = both
    subscribers = [world.ada]
    with world.database.write() as session:
        for n in range(5):
            subscriber = add_subscriber(
                session, world.install.keys, f"r{n}@q.example", evidence=sample_evidence(), now=NOW
            )
            subscribers.append(subscriber.number)
        until = NOW + timedelta(days=1)
        secrets = [
            one_time_tokens.issue_token(session, "my data", number, now=NOW, expires_at=until) for number in subscribers
        ]
    answers = {
        world.client.post(f"/my-data/{secret}/address", data={"email": f"victim+{n}@elsewhere.example"}).status_code
        for n, secret in enumerate(secrets)
    }
    world.client.post("/subscribe", data={"email": "victim@elsewhere.example", "agree": "yes", "wording": "1"})
    background_tasks.process_signup_requests(world.install, clock=lambda: NOW)
    mailed = [str(mail["To"]) for mail in Inbox(world).new()]
    assert answers == {200}
    assert sum("elsewhere" in address for address in mailed) == 4


@pytest.mark.parametrize(
    ("kind", "body", "language", "sentence"),
    [
        (ConsentKind.EXPIRED, {"batch": 1, "method": "import undone"}, "en", "The import of your address was undone"),
        (
            ConsentKind.EXPIRED,
            {"batch": 1, "method": "import abandoned"},
            "en",
            "The import of your address was undone",
        ),
        (ConsentKind.EXPIRED, {"request": 1}, "en", "A request expired without confirmation"),
        (ConsentKind.ADDRESS_CHANGED, {"method": "link to the old address"}, "en", "Your address changed"),
        (ConsentKind.WITHDRAWN_AGAIN, {}, "en", "You unsubscribed (our team had already unsubscribed you)"),
        (ConsentKind.EXPIRED, {"batch": 1}, "fr", "L’importation de votre adresse a été annulée"),
        (ConsentKind.ADDRESS_CHANGED, {}, "fr", "Votre adresse a changé"),
    ],
)
def test_what_happened_to_a_consent_is_said_as_it_was(
    world: Any, kind: ConsentKind, body: dict[str, Any], language: str, sentence: str
) -> None:
    with world.database.write() as session:
        person = ledger.lock_person(session, world.ada)
        assert person is not None
        ledger.append_event(session, person, kind, body, NOW)
        assert list_consent_history(session, world.ada, load_language(language))[-1].what == sentence


def test_an_address_that_nobody_confirms_is_forgotten(opened: tuple[Any, str]) -> None:
    world, secret = opened
    moved(world, secret)
    expire_unconfirmed_requests(world.database, now=NOW + timedelta(days=8))
    with world.database.read() as session:
        assert session.scalars(select(StoredAddressChange)).all() == []


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("", "Enter your email address."),
        ("no at", "Check the address."),
        ("x" * 300 + "@example.org", "too long for an email address"),
        ("\u00e9@example.org", "Check the address."),
        (ADA.upper(), "We already use this address for you."),
    ],
)
def test_what_is_no_address_is_explained_and_stays_in_its_field(
    opened: tuple[Any, str], typed: str, words: str
) -> None:
    world, secret = opened
    before = world.dump()
    answer = world.client.post(f"/my-data/{secret}/address", data={"email": typed})
    assert answer.status_code == 400
    assert words in answer.text
    assert (f'name="email" value="{typed}"' in answer.text) == bool(typed)
    assert answer.headers["Cache-Control"] == "no-store"
    assert '<a href="#email">' in answer.text, "the field is far below the message"
    assert world.dump() == before


def test_tokens_that_are_not_ours_or_for_another_page_get_one_and_the_same_404(opened: tuple[Any, str]) -> None:
    world, secret = opened
    (move,) = [secret_of(m) for m in moved(world, secret) if m["To"] == BO]
    with world.database.read() as session:
        assert session.query(OneTimeToken).count() == 3  # its stop link, too
    bad = [secret[:-1], secret + "A", secret.swapcase(), "A" * 22, "x", "\u20ac" * 22, world.token("leave")]
    paths = {
        "/my-data/{}": ("GET",),
        "/my-data/{}/download": ("POST",),
        "/my-data/{}/copy.csv": ("POST",),
        "/my-data/{}/erase": ("GET", "POST"),
        "/my-data/{}/address": ("POST",),
        "/address/{}": ("GET", "POST"),
        "/confirm/{}": ("GET", "POST"),
    }
    before = world.dump()
    answers = [
        world.client.open(path.format(token), method=method, data={"email": BO} if method == "POST" else None)
        for path, methods in paths.items()
        for token in [*bad, *([move] if "my-data" in path else [secret])]
        for method in methods
    ]
    answers.append(world.client.get("/u/unknown"))
    assert {a.status_code for a in answers} == {404}
    assert len({a.data for a in answers}) == 1
    assert len({tuple(sorted((k, v) for k, v in a.headers.items())) for a in answers}) == 1
    assert world.dump() == before


def write(world: Any, client: Any = None, **form: str) -> Any:
    return (client or world.client).post("/contact", data=form, environ_base={"REMOTE_ADDR": "8.8.8.8"})


def test_a_line_to_the_editors_arrives_and_an_answer_goes_to_its_writer(both: Any) -> None:
    message = "Your piece on cranes\nmissed the ~leave-token~ part.\n\n<b>Bold</b> & =3D"
    answer = write(both, message=message, email=BO)
    assert answer.status_code == 200
    assert "If we reply, we’ll write to the address you entered" in answer.text
    with both.database.read() as session:
        (sealed,) = session.scalars(select(QueuedNoticeEmail.ciphertext))
        assert b"cranes" not in sealed
    (mail,) = Inbox(both).new()
    assert mail["To"] == both.install.settings.file.sender.reply_to
    assert mail["Reply-To"] == BO
    assert mail["List-Unsubscribe"] is None
    assert "missed the ~leave-token~ part." in plain_text(mail)
    assert "<b>Bold</b> & =3D" in plain_text(mail)
    html = mail.get_body(("html",))
    assert html is not None
    assert "&lt;b&gt;Bold" in html.get_content()
    with both.database.read() as session:
        assert session.scalars(select(QueuedNoticeEmail)).all() == []
        (row,) = session.scalars(select(Delivery))
        assert (row.person, row.state) == (None, DeliveryState.ACCEPTED)


def test_a_line_without_an_address_says_so(world: Any) -> None:
    assert "so we can’t reply" in write(world, message="Well done.").text
    (mail,) = Inbox(world).new()
    assert mail["Reply-To"] == world.install.settings.file.sender.reply_to
    assert "didn’t enter an address" in plain_text(mail)


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({}, "Enter a message."),
        ({"message": " \r\n "}, "Enter a message."),
        ({"message": "x" * 5001}, "1 character over the limit"),
        ({"message": "Hello", "email": "no at"}, "The address has no @"),
        ({"message": "Hello", "email": "a@b.example\r\nBcc: x@y.example"}, "Check it, or leave it blank"),
    ],
)
def test_a_line_that_cannot_be_sent_is_explained_and_kept_in_the_form(
    world: Any, form: dict[str, str], words: str
) -> None:
    answer = write(world, **form)
    assert answer.status_code == 400
    assert words in answer.text.replace("There", "there")
    if form.get("message") == "Hello":
        assert ">\nHello</textarea>" in answer.text
    assert Inbox(world).new() == []


def test_a_message_with_every_field_filled_in_is_not_taken_before_it_is_sent_again(world: Any) -> None:
    before = world.dump()
    answer = write(world, message="Buy", website="https://spam.example")
    assert answer.status_code == 200
    assert "We haven’t received your form yet." in answer.text
    assert world.dump() == before


def test_too_many_lines_from_one_network_are_turned_away(world: Any) -> None:
    most = world.install.settings.file.limits.contact_per_network
    statuses = [write(world, message="Hello").status_code for _ in range(most + 1)]
    assert statuses == [200] * most + [429]
    assert (
        world.client.post("/contact", data={"message": "x"}, environ_base={"REMOTE_ADDR": "9.9.9.9"}).status_code == 200
    )
