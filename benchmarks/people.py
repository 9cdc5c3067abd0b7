"""A list of readers and an approved edition for the benchmarks, written straight into the tables."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import insert

from digest.db import Database, Edition, EditionState, Fragment, migrate, open_database
from digest.edition import approval, marks
from digest.settings import Alerts, File, Sender, Settings
from subscribers.addresses import read_address
from subscribers.db import Person, PersonState
from subscribers.vault import Keys, domain_tag, lookup, seal

KEYS = Keys.fixed(b"benchmarks")
NAME = "2026-W47"
RELEASE = datetime(2026, 11, 20, 11, tzinfo=UTC)
_PAGE = 1000


def settings_in(home: Path) -> Settings:
    """Give settings for an installation in a folder, where nobody goes ahead of a large edition."""
    sender = Sender(postal_address="1 Main St, Springfield", bounce_domain="bounce.example.org")
    return Settings(
        home=home,
        base_url="https://news.example.org",
        file=File(sender=sender, alerts=Alerts(canary_minutes=0)),
    )


def prepare(settings: Settings, readers: int, *, kilobytes: int = 40) -> Database:
    """Open a new database with so many readers and an approved edition whose messages have so many KB."""
    database = open_database(settings.database)
    migrate(database)
    for first in range(1, readers + 1, _PAGE):
        rows = list(_people(range(first, min(first + _PAGE, readers + 1))))
        with database.write() as session:
            session.execute(insert(Person), rows)
    _approve(database, settings, kilobytes)
    return database


def _people(numbers: range) -> Iterator[dict[str, object]]:
    for number in numbers:
        address = read_address(f"reader{number}@domain{number % 97}.example.org")
        ciphertext, key_id = seal(KEYS, address, number)
        yield {
            "number": number,
            "lookup": lookup(KEYS, address),
            "lookup_key": KEYS.current("lookup").id,
            "domain_tag": domain_tag(KEYS, address),
            "ciphertext": ciphertext,
            "key_id": key_id,
            "state": PersonState.SUBSCRIBED,
            "choices": {},
            "chain_head": "",
            "asked_at": RELEASE - timedelta(days=100),
            "asked_where": "hls.today",
        }


def _approve(database: Database, settings: Settings, kilobytes: int) -> None:
    row = '<td style="padding:0 0 12px;font:16px/1.5 Georgia,serif">A story in a few words: \u00e9.</td>\n'
    foot = f"Asked for on {marks.ASKED}: https://news.example.org/u/{marks.LEAVE} {marks.PREFERENCES}\n"
    bodies = {"text": "A story, told in a few words.\n" * (5 * kilobytes), "html": row * (8 * kilobytes + 16)}
    with database.write() as session:
        edition = Edition(
            slot=RELEASE.isoformat(),
            name=NAME,
            number=1,
            state=EditionState.DRAFT,
            opens_at=RELEASE - timedelta(days=7),
            cut_off=RELEASE,
            release_at=RELEASE,
            drafted_at=RELEASE,
            subject="Ports reopen, and six more stories",
            preheader="",
            content={"sections": []},
        )
        session.add(edition)
        session.flush()
        for kind, body in bodies.items():
            for place, (name, said) in enumerate({"section:featured": body, "foot": foot}.items()):
                fragment = {"kind": kind, "name": name, "position": place, "body": said}
                session.add(Fragment(edition_id=edition.id, hash=approval.fingerprint(said), **fragment))
        session.flush()
        mark = approval.current_mark(session, edition, settings)
        approval.approve(session, edition, mark, settings=settings, keys=KEYS, actor="bench", now=RELEASE)
