"""A person's record, as JSON and on paper."""

import json
import re
from dataclasses import astuple
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import func, select

from digest.catalogs import load_language
from digest.cli import digest
from digest.store.engine import Database
from digest.templating import create_jinja_environment
from subscribers.consent import disclosures, ledger, readable_record
from subscribers.consent.preferences import Preferences, change_preferences
from subscribers.consent.readable_record import PublicationFacts
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.crypto.keys import KeyRing
from subscribers.lifecycle.erasure import erase_person
from subscribers.lifecycle.unsubscribe import unsubscribe_person
from subscribers.signup import manual_signup
from subscribers.signup.manual_signup import ConsentEvidence
from subscribers.store.models import ConsentKind, Disclosure, DisclosureTotal, ListExport, ListExportPart, Person
from subscribers.transfer.exports import DataController, build_person_record
from tests.conftest import forget_nowhere_else
from tests.moments import AFTER_RELEASE as NOW
from tests.pseudo_language import find_untranslated, read_visible_texts, write_pseudo_catalogue

KEYS = KeyRing.from_seed(b"records")
YES = ConsentEvidence(
    wording="Yes, send me <b>the digest</b> & nothing else.",
    wording_version="3",
    language="en",
    page="hls.today",
    method="signed list",
    actor="terminal:eve",
    agreed_at=NOW - timedelta(days=9),
)
SECTIONS = [("featured", "Featured"), ("events", "Events")]
FACTS = PublicationFacts(SECTIONS, NOW.date())
DESK = DataController("HLS.Today", "editors@news.example.org", "1 Main St, Springfield", "https://hls.today/")


@pytest.fixture
def unsubscribe_log(tmp_path: Path) -> UnsubscribeLog:
    return UnsubscribeLog(tmp_path / "left.log", KEYS)


@pytest.fixture
def ada(database: Database) -> int:
    with database.write() as session:
        number = manual_signup.add_subscriber(session, KEYS, "ada@example.org", evidence=YES, now=NOW).number
        change_preferences(session, number, Preferences(omit=frozenset({"events"})), NOW)
    return number


def _record(database: Database, number: int) -> dict[str, Any]:
    with database.read() as session:
        record = build_person_record(session, KEYS, number, controller=DESK, now=NOW)
    assert record is not None
    read: dict[str, Any] = json.loads(json.dumps(record))
    return read


def _page(record: dict[str, Any]) -> str:
    page = create_jinja_environment().get_template("web/record.html")
    return page.render(readable_record.build_record_context(record, FACTS))


def test_a_day_that_was_imported_without_an_hour_gets_none(database: Database, ada: int) -> None:
    record = _record(database, ada)
    days = ("2024-03-02T12:00:00.000+00:00", "2024-03-03T12:00:00.000+00:00", "2024-03-04T12:00:01.000+00:00")
    record["asked_at"] = days[0]
    record["events"][0]["details"] |= dict(zip(("agreed_at", "requested_at", "left_at"), days, strict=True))
    assert "<dd>2024-03-02 12:00:00 UTC</dd>" in _page(record), "someone entered this time"
    record["events"][0]["details"]["batch"] = 1
    page = _page(record)
    for shown in ("2024-03-02, ", "<dd>2024-03-02</dd>", "<dd>2024-03-03</dd>", "<dd>2024-03-04 12:00:01 UTC</dd>"):
        assert shown in page


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_data(self, data: str) -> None:
        self.said.append(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


@pytest.mark.takes_turns
def test_the_page_says_all_that_an_auditor_asks_for(
    database: Database, ada: int, unsubscribe_log: UnsubscribeLog
) -> None:
    with database.write() as session:
        disclosures.record_disclosures(session, [ada], to_whom="our staff", why="a question", reference="r-7", now=NOW)
        unsubscribe_person(session, unsubscribe_log, ada, method="one-click", now=NOW + timedelta(hours=1))
    text = _Text()
    text.feed(_page(_record(database, ada)))
    page_text = "".join(text.said)
    for words in (
        "ada@example.org",
        YES.wording,
        "Version of the text",
        YES.as_json()["wording_hash"],
        "signed list",
        "terminal:eve",
        "attested (consent)",
        "2026-11-11 12:00:00 UTC",
        "withdrawn",
        "2026-11-20 13:00:00 UTC",
        "Featured. Every edition. Sent as soon as it’s out.",
        "our staff",
        "r-7",
        "1 Main St, Springfield",
        "ISO/IEC TS 27560:2023",
    ):
        assert words in page_text, words


@pytest.mark.takes_turns
@pytest.mark.parametrize(("ends_in", "receipt"), [(30, "no, paused until December 20, 2026"), (0, "yes")])
def test_an_answer_gives_the_original_collection_method_and_a_pause(
    database: Database, ada: int, unsubscribe_log: UnsubscribeLog, ends_in: int, receipt: str
) -> None:
    paused = Preferences(pause_until=NOW.date() + timedelta(days=ends_in))
    with database.write() as session:
        change_preferences(session, ada, paused, NOW)
        unsubscribe_person(session, unsubscribe_log, ada, method="staff (a request)", now=NOW)
        restored = {"actor": "eve", "method": f"{ledger.ADMIN_METHOD}my mistake", "undoes": 3}
        ledger.append_event(session, session.get_one(Person, ada), ConsentKind.RESTORED, restored, NOW)
    page = _page(_record(database, ada))
    assert "<dt>Collection method</dt>\n<dd>signed list</dd>" in page
    assert f"<dt>Receives email</dt>\n<dd>{receipt}</dd>" in page


@pytest.mark.takes_turns
def test_a_sign_up_is_told_in_the_words_of_the_other_pages(database: Database, ada: int) -> None:
    record = _record(database, ada)
    sign_up = record["events"][0]
    sign_up["details"] |= {"method": "double opt-in", "actor": "reader", "address_sealed_again": False}
    record["pii_processing"]["purposes"][0]["collection_method"] = "double opt-in"
    page = _page(record)
    assert page.count("<dd>link in the confirmation email</dd>") == 2
    assert "<dt>By</dt>\n<dd>the subscriber</dd>" in page
    assert "<dd>email address, preferences</dd>" in page
    assert "<dt>Before</dt>\n<dd>All sections. Every edition. Sent as soon as it’s out.</dd>" in page
    assert "<dt>After</dt>\n<dd>Featured. Every edition. Sent as soon as it’s out.</dd>" in page
    assert "<dd>the unsubscribe link in every edition</dd>" in page
    assert "Address stored again" not in page
    for raw in ("double opt-in", "sealed again", "omit", "email_address"):
        assert raw not in page, raw
    sign_up["details"]["address_sealed_again"] = True
    assert "<dt>Address stored again</dt>\n<dd>yes</dd>" in _page(record)


@pytest.mark.takes_turns
def test_the_page_stands_alone_and_runs_nothing(database: Database, ada: int) -> None:
    text = _Text()
    text.feed(_page(_record(database, ada)))
    assert not {tag for tag, _ in text.tags} & {"script", "link", "img", "iframe", "form", "a", "b"}
    assert not [name for _, attrs in text.tags for name in attrs if name in {"src", "href"} or name.startswith("on")]


@pytest.mark.takes_turns
def test_processing_names_the_ground_and_the_language_of_the_last_consent(database: Database, ada: int) -> None:
    with database.read() as session:
        record = build_person_record(session, KEYS, ada, controller=DESK, now=NOW)
    assert record is not None
    use = record["pii_processing"]
    assert (use["language"], use["privacy_notice"]) == ("en", "hls.today")
    assert use["purposes"][0]["lawful_basis"] == "consent"
    assert use["purposes"][0]["collection_method"] == "signed list"


@pytest.mark.takes_turns
def test_preferences_never_chosen_are_shown_as_the_defaults(database: Database, ada: int) -> None:
    record = _record(database, ada)
    assert "<dt>Preferences</dt>\n<dd>Featured. Every edition. Sent as soon as it’s out.</dd>" in _page(record)
    record["pii_information"]["choices"] = None
    page = _page(record)
    assert "<dt>Preferences</dt>\n<dd>The defaults. All sections. Every edition. Sent as soon as it’s out.</dd>" in page
    record["pii_information"]["email_address"] = None
    assert "<dt>Preferences</dt>" not in _page(record)


@pytest.mark.takes_turns
def test_the_record_of_somebody_erased_has_no_address_and_keeps_the_chain(
    database: Database, ada: int, unsubscribe_log: UnsubscribeLog
) -> None:
    with database.write() as session:
        erase_person(session, KEYS, unsubscribe_log, ada, method="page", forget_elsewhere=forget_nowhere_else, now=NOW)
    page = _page(_record(database, ada))
    assert "<dt>Address</dt>\n<dd>erased or no longer stored</dd>" in page
    assert re.findall("<h3>.*: (.+)</h3>", page)[-1] == "erased"
    assert "ada@" not in page


@pytest.mark.takes_turns
def test_passages_are_listed_the_latest_first_with_the_exports_that_held_the_person(
    database: Database, ada: int
) -> None:
    with database.write() as session:
        bo = manual_signup.add_subscriber(session, KEYS, "bo@example.org", evidence=YES, now=NOW).number
        disclosures.record_disclosures(session, [ada, bo], to_whom="our staff", why="a question", reference="", now=NOW)
        for days, holders in ((1, [ada]), (2, [bo])):
            export = ListExport(at=NOW + timedelta(days=days), to_whom="an auditor", why="audit", reference=f"e{days}")
            session.add(export)
            session.flush()
            bits = sum(1 << holder for holder in holders).to_bytes(8, "little")
            session.add(ListExportPart(export=export.id, first=0, bits=bits))
    with database.read() as session:
        assert [(p.to_whom, p.reference) for p in disclosures.list_disclosures(session, ada)] == [
            ("an auditor", "e1"),
            ("our staff", ""),
        ]
        assert [p.reference for p in disclosures.list_disclosures(session, bo)] == ["e2", ""]
        assert disclosures.list_disclosures(session, 4711) == []


@pytest.mark.takes_turns
def test_the_answer_never_says_that_nobody_else_has_the_address_beside_those_who_received_it(
    database: Database, ada: int
) -> None:
    with database.write() as session:
        disclosures.record_disclosures(session, [ada], to_whom="our new server", why="moving", reference="", now=NOW)
    page = _page(_record(database, ada))
    assert "our new server" in page
    assert "no one else" not in page
    heading = re.search(r"is listed at the end, under “(.*?)[.]”", page)
    assert heading
    assert f"<h2>{heading[1]}</h2>" in page


def test_after_400_days_a_passage_counts_in_a_total(database: Database, ada: int) -> None:
    with database.write() as session:
        for days in (0, 1, 500):
            disclosures.record_disclosures(
                session, [ada], to_whom="our staff", why="a look", reference="r", now=NOW + timedelta(days=days)
            )
        disclosures.record_disclosures(session, [ada], to_whom="an auditor", why="audit", reference="r", now=NOW)
    with database.write() as session:
        assert disclosures.aggregate_disclosures(session, KEYS, NOW + timedelta(days=402)) == 3
    with database.write() as session:
        assert disclosures.aggregate_disclosures(session, KEYS, NOW + timedelta(days=402)) == 0
    with database.read() as session:
        listed = disclosures.list_disclosures(session, ada)
    assert [(p.at - NOW, p.to_whom, p.times) for p in listed] == [
        (timedelta(days=500), "our staff", 1),
        (timedelta(days=1), "our staff", 2),
        (timedelta(0), "an auditor", 1),
    ]


def test_erasing_keeps_the_totals_and_names_nobody(
    database: Database, ada: int, unsubscribe_log: UnsubscribeLog
) -> None:
    with database.write() as session:
        disclosures.record_disclosures(session, [ada], to_whom="our staff", why="a look", reference="r", now=NOW)
        disclosures.aggregate_disclosures(session, KEYS, NOW + timedelta(days=401))
        disclosures.record_disclosures(session, [ada], to_whom="our staff", why="a look", reference="r", now=NOW)
        erase_person(session, KEYS, unsubscribe_log, ada, method="page", forget_elsewhere=forget_nowhere_else, now=NOW)
        disclosures.aggregate_disclosures(session, KEYS, NOW + timedelta(days=401))
    with database.read() as session:
        totals = session.scalars(select(DisclosureTotal)).all()
        assert [(total.person, total.times) for total in totals] == [(None, 1), (None, 1)]
        assert session.scalar(select(func.count()).select_from(Disclosure)) == 0


def test_the_command_prints_the_page(new_home: Path) -> None:
    KeyRing.create(new_home / "keys.json")
    run = CliRunner()
    words = ["--where", "hls.today", "--on", "2026-03-04", "--method", "signed list", "--consent-text", "Yes."]
    assert run.invoke(digest, ["subscribers", "add", "ada@example.org", *words]).exit_code == 0
    result = run.invoke(digest, ["subscribers", "show", "-", "--form", "html"], input="ada@example.org\n")
    assert result.exit_code == 0
    assert result.output.startswith("<!DOCTYPE html>")
    assert "ada@example.org" in result.output
    assert "record viewed" in result.output


@pytest.mark.takes_turns
def test_the_page_speaks_the_subscribers_language(database: Database, ada: int, tmp_path: Path) -> None:
    """In a made-up language, what stands without brackets is what was recorded: never a word of ours."""
    write_pseudo_catalogue(tmp_path, "he")
    language = load_language("he", tmp_path)
    with database.write() as session:
        disclosures.record_disclosures(session, [ada], to_whom="Kim", why="a question", reference="r-7", now=NOW)
    with database.read() as session:
        record = build_person_record(session, KEYS, ada, controller=DESK, now=NOW)
    assert record is not None
    values = readable_record.build_record_context(json.loads(json.dumps(record)), FACTS, language)
    page = create_jinja_environment(language=language).get_template("web/record.html").render(values)
    recorded = (YES.wording, *YES.as_json().values(), "Kim", "a question", "r-7", "ada@example.org", "person-1", "UTC")
    recorded += astuple(DESK)
    hashes = [event["hash"] for event in record["events"]] + [event["previous_hash"] for event in record["events"]]
    changes = ("Featured", "signed list", "pii", "1.0", "en")
    left = find_untranslated(read_visible_texts(page), [*recorded, *filter(None, hashes), *changes])
    assert left == ""
    assert '<html lang="he" dir="rtl">' in page


@pytest.mark.takes_turns
def test_a_reason_for_unsubscribing_is_in_the_persons_words(
    database: Database, ada: int, unsubscribe_log: UnsubscribeLog
) -> None:
    with database.write() as session:
        unsubscribe_person(session, unsubscribe_log, ada, method="page", now=NOW, reason="never")
    record = _record(database, ada)
    english, french = (
        readable_record.build_record_context(record, FACTS, load_language(code))["record"]["events"][-1]["details"]
        for code in ("en", "fr")
    )
    assert english["reason"] == "I didn’t sign up"
    assert french["reason"] == load_language("fr").gettext("I didn’t sign up") != english["reason"]
