"""A subscriber's path from the home page to the erasure, in a phone's browser without scripts, over real SMTP, in English and French."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from importlib import resources
from pathlib import Path

import lxml.html
import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect
from pydantic import SecretStr
from sqlalchemy import select

import scheduler
from digest.app.approval.edition_approval import approve_edition
from digest.app.demo.sample_week import DEMO_ACTOR, SAMPLE_NOW
from digest.app.editions.drafting import draft_next_edition
from digest.app.editions.edition_status import read_edition_status
from digest.app.jobs import JobContext
from digest.app.sending.background_tasks import process_signup_requests, send_due_transactional_emails
from digest.collect.fetch.fetcher import FolderFetcher
from digest.installation.opened_installation import Installation
from digest.store.engine import open_database
from digest.web.app import create_app
from digest.web.server import open_page_server
from subscribers.store.models import Person, PersonState
from tests.actors import EDITOR
from tests.browser import follow
from tests.deliver.smtp_servers import RecordingHandler, run_smtp_server
from tests.moments import RELEASE, Clock
from tests.run_database import HomeDatabases
from tests.web.desk.sample_week import SampleWeek

pytestmark = pytest.mark.chromium

SUBSCRIBER = "nora.quist@harbor.example"
PHONE = ViewportSize(width=390, height=844)
CHOICES = {"omit": ["events"], "short": True}
# What the reader is told at each step: English words, and French ones. Spaces of any kind count as one, and letters of any case.
WORDS = {
    "home": ("Every Friday, by email", "Chaque vendredi, par e-mail"),
    "asked": ("Check your inbox", "Consultez votre messagerie"),
    "mail to confirm": ("You’re not subscribed yet", "n’est pas encore actif"),
    "confirm": ("You’re not subscribed yet", "n’est pas encore actif"),
    "confirmed": ("No. 147 arrives on Friday, November 20, 2026", "Le nº 147 paraît le vendredi 20 novembre 2026"),
    "welcome": ("What you agreed to", "Ce que vous avez accepté"),
    "lead": ("Why it leads: Our editors featured it", "Pourquoi en tête : la rédaction"),
    "dates": ("Deadlines and events to December 4", "au 4 décembre"),
    "asked for": ("November 19, 2026, at news.example.org", "19 novembre 2026, sur news.example.org"),
    "choices": ("Pause emails until", "Mettre les e-mails en pause"),
    "choices changed": ("Your preferences changed", "Vos préférences ont changé"),
    "leave": ("Unsubscribe from HLS.Today?", "Se désabonner de HLS.Today ?"),
    "left": ("You’re unsubscribed", "Votre désabonnement est effectif"),
    "back": ("You’ll get the next edition as before", "Votre abonnement a repris"),
    "mail with my data": (
        "the data that HLS.Today stores about you",
        "les données que HLS.Today conserve à votre sujet",
    ),
    "my data": ("Who has received your address", "Qui a reçu votre adresse"),
    "delivered": ("To send you No. 147", "Pour vous envoyer le nº 147"),
    "erase": ("Erase all your data?", "Effacer toutes vos données ?"),
    "erased": ("Your data has been erased", "Vos données ont été effacées"),
}


@dataclass
class SubscribersTown:
    """The sample's publication as it is served in a language, and what a mail server got of it."""

    installation: Installation
    edition: str
    address: str
    clock: Clock
    mail: RecordingHandler
    language: str

    def next_mail(self, *, minutes: int = 1) -> EmailMessage:
        """Let minutes pass, and do what the timetable does; return the one mail that the reader got meanwhile."""
        before = len(self.mail.messages)
        self.clock.now += timedelta(minutes=minutes)
        process_signup_requests(self.installation, clock=self.clock)
        send_due_transactional_emails(self.installation, clock=self.clock)
        scheduler.send_due_editions(JobContext(self.installation, self.clock), scheduler.EditionSendBackoff())
        ((_, recipients, _),) = self.mail.messages[before:]
        assert recipients == [SUBSCRIBER]
        return self.messages()[-1]

    def messages(self) -> list[EmailMessage]:
        """Return all that the reader got."""
        return [message_from_bytes(octets, policy=policy.default) for _, _, octets in self.mail.messages]

    def show(self, page: Page, step: str) -> None:
        """Expect a page that is in the publication's language and tells a step in its words."""
        expect(page.locator("html")).to_have_attribute("lang", self.language)
        expect(page.locator("main")).to_contain_text(WORDS[step][self.language == "fr"], ignore_case=True)

    def tell(self, message: EmailMessage, *steps: str) -> None:
        """Expect a mail that tells steps in the words of the publication's language, as HTML and as text, and in no other's."""
        html, plain = (message.get_body((kind,)) for kind in ("html", "plain"))
        assert html is not None
        assert plain is not None
        page = lxml.html.document_fromstring(html.get_content())
        assert page.get("lang") == self.language
        for text in (page.text_content(), plain.get_content()):
            said = " ".join(text.split()).casefold()
            for english, french in (WORDS[step] for step in steps):
                found = {language for language, words in (("en", english), ("fr", french)) if words.casefold() in said}
                assert found == {self.language}, (english, french)

    def person(self) -> Person:
        with self.installation.database.read() as session:
            return session.scalars(select(Person)).one()


@pytest.fixture(params=["en", "fr"])
def town(
    request: pytest.FixtureRequest,
    drafted_week: tuple[SampleWeek, Path],
    home_databases: HomeDatabases,
    tmp_path: Path,
    clock: Clock,
) -> Iterator[SubscribersTown]:
    """Serve the sample's publication in a language; Dana has approved its week."""
    drafted, prepared = drafted_week
    home = tmp_path / "week"
    shutil.copytree(prepared, home)
    database = open_database(home_databases.copy(prepared, home))
    mail = RecordingHandler()
    clock.now = SAMPLE_NOW
    with run_smtp_server(mail) as port:
        old = drafted.installation.settings
        publication = old.file.publication.model_copy(update={"language": request.param})
        schedule = old.file.schedule.model_copy(update={"final_check_minutes": 0})
        file = old.file.model_copy(update={"publication": publication, "schedule": schedule})
        url = SecretStr(f"smtp://127.0.0.1:{port}?connections=1&starttls=off")
        installation = Installation(old.model_copy(update={"home": home, "file": file, "mail_url": url}), database)
        if request.param != "en":
            fetcher = FolderFetcher(resources.files("digest").joinpath("sample"))
            draft_next_edition(installation, actor=DEMO_ACTOR, now=SAMPLE_NOW, fetcher=fetcher)
        mark = read_edition_status(installation, drafted.name, now=SAMPLE_NOW).content_hash
        approve_edition(installation, drafted.name, mark, actor=EDITOR, now=SAMPLE_NOW)
        with open_page_server(create_app(installation, clock=clock), "127.0.0.1", 0) as serving:
            address = f"http://127.0.0.1:{serving.port}"
            yield SubscribersTown(installation, drafted.name, address, clock, mail, request.param)
    database.close()


def link_to(message: EmailMessage, path: str) -> str:
    """Return the path of the mail's link that leads below a path of ours."""
    part = message.get_body(("html",))
    assert part is not None
    match = re.search(rf'href="[^"]*?(/{path}/[\w-]{{22}}[^"]*)"', part.get_content())
    assert match, path
    return match[1]


def test_a_subscriber_signs_up_chooses_forwards_leaves_comes_back_and_is_erased(
    browser: Browser, town: SubscribersTown
) -> None:
    context = browser.new_context(java_script_enabled=False, viewport=PHONE)
    page = context.new_page()
    sign_up(page, town)
    edition = get_the_edition(town)
    choose_sections(page, town, edition)
    forward_to_a_stranger(browser, town, edition)
    leave_and_undo(page, town, edition)
    see_the_record_and_erase(page, town, edition)
    assert context.cookies() == []
    context.close()


def sign_up(page: Page, town: SubscribersTown) -> None:
    """From the home page by its field, the mailed link and the button of its page onto the list."""
    page.goto(town.address)
    town.show(page, "home")
    page.locator("form.get-form input[type=email]").first.fill(SUBSCRIBER)
    follow(page.locator("form.get-form button").first)
    expect(page.get_by_role("status")).to_be_visible()
    town.show(page, "asked")
    request = town.next_mail()
    town.tell(request, "mail to confirm")
    page.goto(town.address + link_to(request, "confirm"))
    town.show(page, "confirm")
    assert town.person().state == PersonState.REQUESTED, "a link that is opened changes nothing"
    follow(page.locator("form .btn.go"))
    expect(page.get_by_role("status")).to_be_visible()
    town.show(page, "confirmed")
    assert town.person().state == PersonState.SUBSCRIBED
    welcome = town.next_mail()
    town.tell(welcome, "welcome")
    assert link_to(welcome, "preferences"), "the welcome leads to the choices"


def get_the_edition(town: SubscribersTown) -> EmailMessage:
    """Let the hour of release come; return the edition as the reader got it."""
    town.clock.now = RELEASE
    edition = town.next_mail()
    town.tell(edition, "lead", "dates", "asked for")
    assert edition["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    return edition


def choose_sections(page: Page, town: SubscribersTown, edition: EmailMessage) -> None:
    """By the link in the edition to the choices: one section less, and the short edition."""
    page.goto(town.address + link_to(edition, "preferences"))
    town.show(page, "choices")
    page.locator("input[name=section][value=events]").uncheck()
    page.locator("input[name=short]").check()
    follow(page.locator("form .btn.go").first)
    expect(page.get_by_role("status")).to_be_visible()
    assert town.person().choices == CHOICES
    town.tell(town.next_mail(), "choices changed")


def forward_to_a_stranger(browser: Browser, town: SubscribersTown, edition: EmailMessage) -> None:
    """Whoever has the forwarded mail looks at its links: nothing changes, and no page of theirs shows the address."""
    context = browser.new_context(java_script_enabled=False, viewport=PHONE)
    page = context.new_page()
    for path, step in (("preferences", "choices"), ("u", "leave")):
        page.goto(town.address + link_to(edition, path))
        town.show(page, step)
        expect(page.locator("main")).not_to_contain_text(SUBSCRIBER)
    context.close()
    assert (town.person().state, town.person().choices) == (PersonState.SUBSCRIBED, CHOICES)


def leave_and_undo(page: Page, town: SubscribersTown, edition: EmailMessage) -> None:
    """Off the list by the link and one button, and on it again by the button that is offered there."""
    page.goto(town.address + link_to(edition, "u"))
    follow(page.locator("form .btn.go"))
    expect(page.get_by_role("status")).to_be_visible()
    town.show(page, "left")
    assert town.person().state == PersonState.WITHDRAWN
    follow(page.locator("form .btn"))
    expect(page.get_by_role("status")).to_be_visible()
    town.show(page, "back")
    assert (town.person().state, town.person().choices) == (PersonState.SUBSCRIBED, CHOICES)


def see_the_record_and_erase(page: Page, town: SubscribersTown, edition: EmailMessage) -> None:
    """By a link that only the owner of the address gets: where it has been, and everything erased."""
    page.goto(town.address + link_to(edition, "preferences"))
    follow(page.locator("form[action$='/my-data'] button"))
    expect(page.get_by_role("status")).to_be_visible()
    mail = town.next_mail()
    town.tell(mail, "mail with my data")
    page.goto(town.address + link_to(mail, "my-data"))
    town.show(page, "my data")
    town.show(page, "delivered")
    handed_over = {message["Message-ID"].strip("<>") for message in town.messages()}
    expect(page.locator("table.log small")).to_have_count(len(handed_over))
    follow(page.locator("a[href$='/erase']"))
    town.show(page, "erase")
    follow(page.locator("form .btn.go"))
    expect(page.get_by_role("status")).to_be_visible()
    town.show(page, "erased")
    person = town.person()
    assert (person.ciphertext, person.lookup, person.choices) == (None, None, {})
    page.goto(town.address + link_to(edition, "preferences"))
    expect(page.locator("form input[name=section]")).to_have_count(0)
