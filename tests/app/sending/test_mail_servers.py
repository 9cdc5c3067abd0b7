"""Domains that share mail servers: looked up apart from sending, stored by keyed tags, and renewed."""

from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import select

from digest.app.doctor.network_access import DnsLookup, LookupFailedError
from digest.app.sending.mail_servers import look_up_mail_servers
from digest.deliver.control import installation_hold
from digest.installation.opened_installation import Installation
from digest.settings import UsageLimitSettings
from digest.store.delivery_models import DomainGroupMember
from digest.store.engine import Database
from subscribers.address import Address
from subscribers.crypto.stored_addresses import make_domain_tag
from tests.app.doctor.fake_name_server import FakeNameServer
from tests.deliver.many_subscribers import add_many_subscribers
from tests.moments import DRAFTING as NOW
from tests.moments import Clock
from tests.run_database import read_stored_bytes
from tests.web.conftest import build_web_setup, sample_evidence

RECORDS = {
    ("gmail.com", "MX"): ["5 gmail-smtp-in.l.google.com.", "10 alt1.gmail-smtp-in.l.google.com."],
    ("company.example", "MX"): ["1 smtp.google.com."],
    ("agency.example", "MX"): ["10 backup.elsewhere.example.", "0 agency-example.mail.protection.outlook.com."],
    ("alone.example", "MX"): ["10 mail.alone.example."],
    ("bare.example", "A"): ["192.0.2.1"],
    ("closed.example", "MX"): ["0 ."],
}
DOMAINS = ("company.example", "agency.example", "alone.example", "bare.example", "closed.example", "broken.example")


@pytest.fixture
def install(database: Database, tmp_path: Path) -> Installation:
    """Give an installation that sends over SMTP, with two subscribers at each of the domains."""
    install = build_web_setup(database, tmp_path).install
    file = install.settings.file.model_copy(update={"limits": UsageLimitSettings(domains_per_hour={"gmail.com": 60})})
    update = {"mail_url": SecretStr("smtp://127.0.0.1:1?starttls=off"), "file": file}
    install = Installation(install.settings.model_copy(update=update), database)
    addresses = [f"r{number}@{domain}" for number in range(2) for domain in DOMAINS]
    with database.write() as session:
        add_many_subscribers(session, install.keys, addresses, evidence=sample_evidence(), now=NOW)
    return install


def _groups(install: Installation) -> dict[str, str]:
    """Return the group of each domain by the names that are known here."""
    names = ("google.com", "outlook.com", "gmail.com", *DOMAINS)
    by_tag = {make_domain_tag(install.keys, Address("x", name)): name for name in names}
    with install.read() as session:
        rows = session.execute(select(DomainGroupMember.domain_tag, DomainGroupMember.group_tag)).all()
    return {by_tag[row.domain_tag]: by_tag[row.group_tag] for row in rows if row.domain_tag in by_tag}


def test_domains_are_grouped_by_their_preferred_mail_server_without_a_name_in_the_database(
    install: Installation,
) -> None:
    with FakeNameServer(RECORDS) as server:
        server.failing.add("broken.example")
        names = DnsLookup(("127.0.0.1", server.server_address[1]), 0.5)
        looked_up = look_up_mail_servers(install, clock=Clock(NOW), find_exchangers=names.find_exchangers)
    assert looked_up == len(DOMAINS) + 2  # with gmail.com, which has a limit, and the domain of the first subscriber
    assert _groups(install) == {
        "gmail.com": "google.com",
        "company.example": "google.com",
        "agency.example": "outlook.com",
        **{name: name for name in ("alone.example", "bare.example", "closed.example", "broken.example")},
    }
    stored = read_stored_bytes(install.database.engine).lower()
    assert not [name for name in (*DOMAINS, "google.com", "outlook.com") if name.encode() in stored]


def test_a_group_is_renewed_after_a_week_and_stays_while_there_is_no_answer(install: Installation) -> None:
    clock, asked, answering = Clock(NOW), list[str](), True

    def find_exchangers(domain: str) -> list[str]:
        asked.append(domain)
        if not answering:
            raise LookupFailedError("no answer")
        return ["mx.google.com"]

    def look_up(later: timedelta) -> int:
        clock.now += later
        asked.clear()
        look_up_mail_servers(install, clock=clock, find_exchangers=find_exchangers)
        return len(asked)

    assert look_up(timedelta()) == 8
    assert look_up(timedelta(minutes=59)) == 0
    assert look_up(timedelta(days=6)) == 0
    answering = False
    assert look_up(timedelta(days=1)) == 8
    assert set(_groups(install).values()) == {"google.com"}
    assert look_up(timedelta(hours=2)) == 0
    answering = True
    assert look_up(timedelta(days=1)) == 8


@pytest.mark.takes_turns
def test_nothing_is_asked_while_all_sending_is_paused_or_emails_are_files(install: Installation) -> None:
    def find_exchangers(domain: str) -> list[str]:
        raise AssertionError(domain)

    files = install.settings.model_copy(update={"mail_url": SecretStr("outbox:")})
    as_files = Installation(files, install.database)
    assert look_up_mail_servers(as_files, clock=Clock(NOW), find_exchangers=find_exchangers) == 0
    with install.write() as session:
        installation_hold.pause_all_sending(session, "moving", actor="eve", now=NOW)
    assert look_up_mail_servers(install, clock=Clock(NOW), find_exchangers=find_exchangers) == 0
