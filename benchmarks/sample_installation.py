"""A list of readers and an approved edition for the benchmarks, written straight into the tables."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from shutil import copytree
from tempfile import TemporaryDirectory

from pydantic import SecretStr
from sqlalchemy import insert, text

from digest.edition.approval import approved_versions as approval
from digest.edition.content.edition_content import EditionContent, RenderedFragment
from digest.edition.content.slotted_text import LEAVE_SLOT, PREFERENCES_SLOT, SIGNUP_SLOT, SlottedText
from digest.edition.drafting.drafts import replace_fragments
from digest.settings import AlertSettings, ScheduleSettings, SenderSettings, Settings, SettingsFileContent
from digest.store.engine import Database, migrate_schema, open_database
from digest.store.models import Edition, EditionState
from subscribers.address import Address
from subscribers.crypto import key_file
from subscribers.crypto.keys import KeyRing
from subscribers.crypto.stored_addresses import (
    encrypt_address,
    generate_address_salt,
    make_domain_tag,
    make_lookup_hash,
)
from subscribers.store.models import Person, PersonState, table_of

KEYS = KeyRing.from_seed(b"benchmarks")
EDITION_NAME = "2026-W47"
RELEASE = datetime(2026, 11, 20, 11, tzinfo=UTC)
_PEOPLE_PER_INSERT = 1000
_EMPTY_CONTENT = EditionContent(EDITION_NAME, 1, "", "", "", 1, "", "", (), released_on=date(2026, 11, 20))


def loopback_mail_url(port: int, connections: int) -> SecretStr:
    """Return where mail goes to a server on loopback, over so many connections, none of which ends while a benchmark runs."""
    return SecretStr(f"smtp://127.0.0.1:{port}?starttls=off&connections={connections}&messages=10000")


def benchmark_settings(home: Path) -> Settings:
    """Give settings for an installation in a folder, where nobody goes ahead of a large edition, and no article is looked at again."""
    sender = SenderSettings(postal_address="1 Main St, Springfield", bounce_domain="bounce.example.org")
    return Settings(
        home=home,
        base_url="https://news.example.org",
        file=SettingsFileContent(
            sender=sender,
            alerts=AlertSettings(canary_minutes=0),
            schedule=ScheduleSettings(final_check_minutes=0),  # `digest work` looks at no article before it sends
        ),
    )


def create_ready_database(
    settings: Settings, subscribers: int, *, kilobytes: int = 40, now: datetime = RELEASE
) -> Database:
    """Open a new database with so many readers and an approved edition whose messages have so many KB."""
    database = create_populated_database(settings, subscribers)
    store_approved_edition(database, settings, kilobytes=kilobytes, now=now)
    return database


def create_populated_database(settings: Settings, subscribers: int, *, domains: int = 97) -> Database:
    """Open a new database with so many readers, numbered from 1, at so many domains, and put the keys beside it."""
    if not settings.key_file.exists():
        key_file.create_file(settings.key_file, KEYS.to_json())
    database = open_database(settings.effective_database_url)
    migrate_schema(database)
    for first in range(1, subscribers + 1, _PEOPLE_PER_INSERT):
        rows = list(_person_rows(range(first, min(first + _PEOPLE_PER_INSERT, subscribers + 1)), domains))
        with database.write() as session:
            session.execute(insert(table_of(Person)), rows)
    with database.write() as session:
        if subscribers and session.get_bind().dialect.name == "postgresql":  # who comes later gets a later number
            query = "SELECT setval(pg_get_serial_sequence('person', 'number'), :last)"
            session.execute(text(query), {"last": subscribers})
    return database


@contextmanager
def copied_installation(subscribers: int) -> Iterator[Path]:
    """Lend a home folder with so many readers and an approved edition. It is made once in a run, and copied."""
    with TemporaryDirectory(prefix="digest-bench-") as name:
        home = Path(name)
        copytree(_cached_installation(subscribers).name, home, dirs_exist_ok=True)
        yield home


@cache
def _cached_installation(subscribers: int) -> TemporaryDirectory[str]:
    folder = TemporaryDirectory(prefix="digest-bench-")
    create_ready_database(benchmark_settings(Path(folder.name)), subscribers).close()
    return folder


def _person_rows(numbers: range, domains: int) -> Iterator[dict[str, object]]:
    for number in numbers:
        address = Address(f"reader{number}", f"domain{number % domains}.example.org")
        ciphertext, key_id = encrypt_address(KEYS, address, number)
        yield {
            "number": number,
            "lookup": make_lookup_hash(KEYS, address),
            "lookup_key": KEYS.current("lookup").id,
            "domain_tag": make_domain_tag(KEYS, address),
            "ciphertext": ciphertext,
            "key_id": key_id,
            "salt": generate_address_salt(),
            "state": PersonState.SUBSCRIBED,
            "choices": {},
            "chain_head": "",
            "asked_at": RELEASE - timedelta(days=100),
            "asked_where": "hls.today",
        }


def edition_bodies(kilobytes: int = 40) -> dict[str, str]:
    """Write the text and the HTML of an edition whose messages have so many KB."""
    row = '<td style="padding:0 0 12px;font:16px/1.5 Georgia,serif">A story in a few words: \u00e9.</td>\n'
    return {"text": "A story, told in a few words.\n" * (5 * kilobytes), "html": row * (8 * kilobytes + 16)}


def store_approved_edition(
    database: Database,
    settings: Settings,
    *,
    kilobytes: int,
    now: datetime,
    name: str = EDITION_NAME,
    opens_at: datetime | None = None,
) -> None:
    """Store an edition that is released at `now` and approved; it covers what came since `opens_at`, else a week."""
    foot = SlottedText.from_parts(
        ["Asked for on ", SIGNUP_SLOT, ": https://news.example.org/u/", LEAVE_SLOT, " ", PREFERENCES_SLOT, "\n"]
    )
    with database.write() as session:
        edition = Edition(
            slot=now.isoformat(),
            name=name,
            number=1,
            state=EditionState.DRAFT,
            opens_at=opens_at or now - timedelta(days=7),
            cut_off=now,
            release_at=now,
            drafted_at=now,
            subject="Ports reopen, and six more stories",
            preheader="",
            content=_EMPTY_CONTENT.as_json(),
        )
        session.add(edition)
        session.flush()
        replace_fragments(
            session,
            edition,
            [
                RenderedFragment(kind, name, said.text, said.slots)
                for kind, body in edition_bodies(kilobytes).items()
                for name, said in (("section:featured", SlottedText(body)), ("foot", foot))
            ],
        )
        session.flush()
        mark = approval.read_current_content_hash(session, edition, settings)
        approval.sign_approval(session, edition, mark, settings=settings, keys=KEYS, actor="bench", now=now)
