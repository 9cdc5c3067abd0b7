"""The whole life of a subscriber, in a real browser, with a served installation that saves emails to files.

And what a scanner does to it: every link of every mail, opened in every way, twice, in any order.
"""

import json
import random
import re
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask import Flask
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import select, text

from digest.app.approval import edition_approval
from digest.app.demo.sample_week import SAMPLE_NOW
from digest.app.editions import drafting as editions
from digest.app.editions.edition_status import read_edition_status
from digest.app.sending import background_tasks
from digest.app.sending import send_control as sending
from digest.collect.fetch.fetcher import FolderFetcher
from digest.collect.visits import collection_run
from digest.deliver.plan.delivery_plan import make_edition_delivery_purpose
from digest.deliver.plan.planning import plan_deliveries
from digest.edition.edition_queries import find_edition
from digest.installation.opened_installation import Installation, open_installation
from digest.settings import load_settings
from digest.store.delivery_models import Delivery, DeliveryState
from digest.web.app import create_app
from digest.web.server import open_page_server
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.crypto.keys import KeyRing
from subscribers.store.models import Base, ConsentEvent, Person, PersonState
from tests.actors import ADMIN
from tests.browser import follow
from tests.run_database import HomeDatabases, read_stored_bytes

BASE = "https://news.example.org"
ADA = "ada.lovelace@analytical.example"
COUNTS = frozenset({"limit_count"})  # what looking may write


@dataclass
class House:
    """An installation with its pages and its mail, at a time that only the test moves."""

    install: Installation
    app: Flask
    address: str
    now: datetime = SAMPLE_NOW
    seen: set[Path] = field(default_factory=set)

    def clock(self) -> datetime:
        """Give the time that it is in this house."""
        return self.now

    def pass_time(self, **by: float) -> None:
        self.now += timedelta(**by)

    def mails(self) -> list[EmailMessage]:
        """Answer forms, hand over what is due, and open the mail files that are new."""
        background_tasks.process_signup_requests(self.install, clock=self.clock)
        background_tasks.send_due_transactional_emails(self.install, clock=self.clock)
        fresh = sorted(set(self.install.settings.outbox_folder.rglob("*.eml")) - self.seen)
        self.seen |= set(fresh)
        return [message_from_bytes(file.read_bytes(), policy=policy.default) for file in fresh]

    def draft(self) -> str:
        getter = FolderFetcher(resources.files("digest").joinpath("sample"))
        collection_run.collect_sources(self.install.database, getter, self.install.settings, now=self.now)
        return editions.draft_next_edition(self.install, now=self.now, actor=ADMIN, fetcher=getter).name

    def publish(self) -> str:
        """Draft from the bundled sample, approve, wait for the release, send."""
        name = self.draft()
        edition_approval.approve_edition(
            self.install,
            name,
            read_edition_status(self.install, name, now=self.now).content_hash,
            actor=ADMIN,
            now=self.now,
        )
        with self.install.database.read() as session:
            self.now = find_edition(session, name).release_at
        sending.send_edition(self.install, name, actor=ADMIN, clock=self.clock)
        return name

    def dump(self) -> dict[str, list[tuple[Any, ...]]]:
        """Give every row of every table but those of counts."""
        with self.install.database.engine.connect() as connection:
            return {
                name: sorted((tuple(r) for r in connection.execute(text(f'SELECT * FROM "{name}"'))), key=repr)
                for name in Base.metadata.tables
                if name not in COUNTS
            }


@contextmanager
def house(home: Path, database_url: str) -> Iterator[House]:
    """Open and serve an installation. Its mail names the public address; what the browser opens is this machine's."""
    with resources.as_file(resources.files("digest").joinpath("sample", "digest.toml")) as file:
        settings = load_settings(file, {})
    settings = settings.model_copy(update={"home": home, "base_url": BASE, "database_url": database_url})
    KeyRing.create(settings.key_file)
    with open_installation(settings) as install:
        found = House(install, Flask("unused"), "")
        found.app = create_app(install, clock=found.clock)
        with open_page_server(found.app, "127.0.0.1", 0) as serving:
            found.address = f"http://127.0.0.1:{serving.port}"
            yield found


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 390, "height": 844})
    yield context.new_page()
    context.close()


def words_of(mail: EmailMessage) -> str:
    part = mail.get_body(("plain",))
    assert part is not None
    return str(part.get_content())


def link_in(mail: EmailMessage, page: str) -> str:
    """Give the path of a link in a mail: the browser asks this machine for it."""
    found = re.search(rf"{re.escape(BASE)}(/{page}/[A-Za-z0-9_-]+)", words_of(mail))
    assert found, f"no link to /{page}/ in the mail"
    return found[1]


def one_click(mail: EmailMessage) -> str:
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    link = str(mail["List-Unsubscribe"]).strip("<>")
    assert link.startswith(f"{BASE}/u/")
    return link.removeprefix(BASE)


def press(page: Page, name: str, *answers: str) -> None:
    """Press a button; the page that it leads to says all of the answers."""
    follow(page.get_by_role("button", name=name))
    for answer in answers:
        expect(page.locator("main")).to_contain_text(answer)


def standing(house: House) -> PersonState:
    with house.install.database.read() as session:
        return PersonState(session.scalars(select(Person.state)).one())


def signs_up(home: House, page: Page) -> None:
    page.goto(f"{home.address}/subscribe")
    page.get_by_label("Your email address").fill(ADA)
    press(page, "Email me the link", "Check your inbox")
    (confirmation,) = home.mails()
    assert confirmation["To"] == ADA
    page.goto(home.address + link_in(confirmation, "confirm"))
    assert standing(home) == PersonState.REQUESTED  # opening the page is not confirming
    press(page, "Yes, email me HLS.Today", "You’re subscribed")
    (welcome,) = home.mails()
    assert "WHAT YOU AGREED TO" in words_of(welcome)


def chooses(home: House, page: Page, edition: EmailMessage) -> None:
    page.goto(home.address + link_in(edition, "preferences"))
    page.get_by_role("checkbox", name="Events").uncheck()
    page.get_by_label("Once a month").check()
    press(page, "Save preferences", "Saved.", "Once a month: the first edition of the month.")
    (named,) = home.mails()
    page.goto(home.address + link_in(named, "restore"))
    press(page, "Restore my preferences", "We’ve restored your preferences")
    follow(page.get_by_role("link", name="Open my preferences"))
    expect(page.get_by_role("checkbox", name="Events")).to_be_checked()


def sees_and_takes_her_data(home: House, page: Page, edition: EmailMessage) -> str:
    press(page, "Email me a link to my data", "Check your inbox")
    (mine,) = home.mails()
    link = link_in(mine, "my-data")
    page.goto(home.address + link)
    for words in ("You confirmed your subscription", "Yes, email me HLS.Today", "To send you No."):
        expect(page.locator("main")).to_contain_text(words)
    assert "ada.lovelace" not in page.content()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download my data").click()
    record = json.loads(Path(download.value.path()).read_text("utf-8"))
    assert record["pii_information"]["email_address"] == ADA
    kinds = [event["event_type"] for event in record["events"]]
    assert kinds == ["requested", "confirmed", "choices changed", "choices changed", "links renewed"]
    assert str(edition["Message-ID"]) in [r["reference"] for r in record["recipient_third_parties"]]
    return link


def leaves_and_takes_it_back(home: House, page: Page, edition: EmailMessage) -> None:
    link = home.address + one_click(edition)
    asked = urllib.request.Request(link, data=b"List-Unsubscribe=One-Click", method="POST")
    with urllib.request.urlopen(asked) as answer:
        assert (answer.status, answer.url) == (200, link)
    assert standing(home) == PersonState.WITHDRAWN
    page.goto(link)
    press(page, "Email me the link", "Check your inbox")
    assert standing(home) == PersonState.WITHDRAWN
    (undo,) = home.mails()
    page.goto(home.address + link_in(undo, "undo"))
    press(page, "Resubscribe", "You’ll get the next edition as before")
    page.goto(link)
    press(page, "Unsubscribe", "You’re unsubscribed")
    press(page, "Resubscribe", "You’ll get the next edition as before")
    assert standing(home) == PersonState.SUBSCRIBED


def erases_herself(home: House, page: Page, mine: str, edition: EmailMessage) -> None:
    page.goto(home.address + mine)
    follow(page.get_by_role("link", name="Erase my data"))
    press(page, "Erase my data", "We’ve erased your data")
    assert standing(home) == PersonState.ERASED
    for link in (one_click(edition), link_in(edition, "preferences"), mine):
        page.goto(home.address + link)
        headings = ("You’re not subscribed", "Your data has been erased", "This link now works only for unsubscribing")
        expect(page.locator("h1")).to_have_text(re.compile("|".join(headings)))


@pytest.mark.chromium
def test_the_whole_life_of_a_subscriber(page: Page, home_databases: HomeDatabases, tmp_path: Path) -> None:
    with house(tmp_path, home_databases.create(tmp_path)) as home:
        signs_up(home, page)
        first = home.publish()
        (edition,) = home.mails()
        assert edition["To"] == ADA
        chooses(home, page, edition)
        mine = sees_and_takes_her_data(home, page, edition)
        leaves_and_takes_it_back(home, page, edition)
        erases_herself(home, page, mine, edition)
        assert page.context.cookies() == []

        home.pass_time(days=6)
        second = home.draft()
        assert second != first
        books = plan_deliveries(home.install.database, second, home.install.keys, home.install.settings, now=home.now)
        assert books.planned == 0
        with home.install.database.read() as session:
            assert (
                session.scalars(select(Delivery).where(Delivery.purpose == make_edition_delivery_purpose(second))).all()
                == []
            )
            sent = session.scalars(
                select(Delivery).where(Delivery.purpose == make_edition_delivery_purpose(first))
            ).one()
            assert (sent.person, sent.state) == (None, DeliveryState.ACCEPTED)  # the count stays, without her
            chain = [str(k) for k in session.scalars(select(ConsentEvent.kind).order_by(ConsentEvent.seq))]
        assert chain[-5:] == ["withdrawn", "undone", "withdrawn", "undone", "erased"]
        journal = UnsubscribeLog(home.install.settings.left_log, home.install.keys)
        assert [d.kind for d in journal.read()] == ["preferences changed", "left", "undone", "left", "undone", "erased"]
        stored = read_stored_bytes(home.install.database.engine).lower()
        assert b"lovelace" not in stored
        assert b"analytical" not in stored


def every_mail(home: House) -> list[EmailMessage]:
    """Have one mail of every kind sent to readers, by the pages."""
    client = home.app.test_client()
    form = {"email": ADA, "agree": "yes", "wording": "1"}
    client.post("/subscribe", data=form)
    mails = home.mails()  # confirm
    home.pass_time(hours=1)
    client.post("/subscribe", data=form)
    mails += home.mails()  # remind
    client.post(link_in(mails[0], "confirm"))
    mails += home.mails()  # welcome
    home.publish()
    mails += home.mails()  # the edition
    client.post("/subscribe", data=form)
    mails += home.mails()  # known
    home.pass_time(days=8)
    client.post("/preferences", data={"email": ADA})
    mails += home.mails()  # link
    preferences = link_in(mails[-1], "preferences")
    client.post(f"{preferences}/my-data")
    mails += home.mails()  # data
    client.post(preferences, data={"section": "featured"})
    mails += home.mails()  # choices
    client.post(f"{link_in(mails[-2], 'my-data')}/address", data={"email": "new@elsewhere.example"})
    mails += home.mails()  # move, and moving
    client.post("/contact", data={"message": "Hello"})
    mails += home.mails()
    leave = one_click(mails[3])
    client.post(leave)
    client.post(f"{leave}/undo")
    return mails + home.mails()  # undo


def own_links(mail: EmailMessage) -> set[str]:
    """Find every link of ours in all parts of a mail and in its headers."""
    said = [str(value) for value in mail.values()]
    said += [str(p.get_content()) for p in mail.walk() if p.get_content_maintype() == "text"]
    found = {link.rstrip(".,;") for one in said for link in re.findall(rf"{re.escape(BASE)}[^\s\"'<>)]*", one)}
    return {urlsplit(link)._replace(scheme="", netloc="", fragment="").geturl() or "/" for link in found}


def test_a_scanner_that_opens_every_link_of_every_mail_twice_changes_no_row(
    home_databases: HomeDatabases, tmp_path: Path
) -> None:
    with house(tmp_path, home_databases.create(tmp_path)) as home:
        mails = every_mail(home)
        assert len(mails) == 12
        links = sorted(set().union(*(own_links(mail) for mail in mails)))
        begin = {link.split("/")[1] for link in links}
        assert begin >= {
            "confirm",
            "u",
            "preferences",
            "my-data",
            "address",
            "undo",
            "restore",
            "privacy",
            "editions",
            "media",
        }
        asked = [(method, link) for link in links for method in ("GET", "HEAD", "OPTIONS")] * 2
        random.Random(8058).shuffle(asked)
        client = home.app.test_client()
        before = home.dump()
        journal = home.install.settings.left_log
        journal_before = journal.read_bytes()
        for method, link in asked:
            answer = client.open(link, method=method, headers={"Sec-Purpose": "prefetch", "User-Agent": "scanner"})
            assert answer.status_code in {200, 410}, (method, link)
            assert "Set-Cookie" not in answer.headers
        assert home.dump() == before
        assert journal.read_bytes() == journal_before
