"""An installation with people and editions, and its pages."""

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from PIL import Image
from sqlalchemy import delete, text
from sqlalchemy.orm import Session

from digest.edition.approval import approved_versions
from digest.edition.approval.approvers import ApproverRule
from digest.edition.archive.story_archive import archive_edition_stories
from digest.edition.content.edition_content import (
    EditionContent,
    EditionImage,
    EditionLink,
    EditionSection,
    EntryDate,
    RenderedFragment,
    SectionEntry,
)
from digest.edition.drafting.drafts import replace_fragments
from digest.edition.edition_queries import PUBLIC_STATES, make_release_slot_key
from digest.edition.rendering.fragments import (
    PublicationContext,
    build_publication_context,
    create_mail_environment,
    render_edition,
)
from digest.installation.opened_installation import Installation
from digest.settings import BrandingSettings, PublicationSettings, SenderSettings, Settings, SettingsFileContent
from digest.store import staff, staff_sessions
from digest.store.approval_models import Approval, ApprovalSignature, ApprovalState
from digest.store.delivery_models import StaffMember
from digest.store.engine import Database
from digest.store.models import Edition, EditionState, EditionStory, MediaFile
from digest.web.app import create_app
from digest.web.auth.cookies import CookieScope
from subscribers.crypto import link_tokens
from subscribers.crypto.keys import KeyRing
from subscribers.signup.manual_signup import ConsentEvidence, add_subscriber
from subscribers.store.models import Base, Person
from subscribers.store.people import decrypt_person_address
from tests.moments import DRAFTING as NOW
from tests.moments import RELEASE

BASE_URL = "https://news.example.org"
ADA_ADDRESS = "ada.lovelace@analytical.example"
MEMBERS: dict[staff.StaffRole, str] = {"editor": "eve@newsroom.example", "admin": "ann@newsroom.example"}
SCORE_TERMS = [
    {"name": "coverage", "points": 31.4, "note": "seven sources carried it"},
    {"name": "readership", "points": 18.2, "note": "2,310 reads"},
    {"name": "freshness", "points": 8.5, "note": "a day old"},
    {"name": "penalty", "points": -2.0, "note": "no picture"},
]


@dataclass(frozen=True)
class WebSetup:
    """One installation, its application, and Ada, who is subscribed."""

    install: Installation
    app: Flask
    ada: int

    @property
    def database(self) -> Database:
        return self.install.database

    @property
    def client(self) -> FlaskClient:
        return self.app.test_client()

    def signed_in_client(self, role: staff.StaffRole = "editor") -> FlaskClient:
        """Give a client that is signed in as the member with a role: Eve the editor, or Ann the admin."""
        client = self.client
        name, value = self.session_cookie(role)
        client.set_cookie(name, value, domain="localhost")
        return client

    @property
    def desk(self) -> FlaskClient:
        """A client that is signed in as an editor."""
        return self.signed_in_client()

    def session_cookie(self, role: staff.StaffRole = "editor", *, fresh_at: datetime = NOW) -> tuple[str, str]:
        """Begin a session of the member with a role; give the cookie's name and value."""
        email = MEMBERS[role]
        with self.database.write() as session:
            member = staff.find_staff_member(session, email)
            if member is None:
                member = StaffMember(email=email, role=role, added_at=NOW, added_by="terminal:eve", proven_at=NOW)
                session.add(member)
                session.flush()
            token = staff_sessions.begin_session(
                session, member, network="this machine", browser="Firefox on Linux", now=fresh_at
            )
        return CookieScope.from_settings(self.install.settings).session, token

    def name_member(self, email: str) -> str:
        """Name a member as the audit log does."""
        with self.database.read() as session:
            return staff.staff_actor(staff.require_staff_member(session, email))

    def token(self, purpose: link_tokens.LinkPurpose, number: int | None = None) -> str:
        number = number or self.ada
        with self.database.read() as session:
            row = session.get(Person, number)
            address = decrypt_person_address(self.install.keys, row) if row else None
        mailbox = address.mailbox if address else ""
        return link_tokens.make_link_token(self.install.keys, number, purpose, address=mailbox)

    def edition(self, **wanted: Any) -> str:
        return store_edition(self.install, **wanted)

    def dump(self) -> dict[str, list[tuple[Any, ...]]]:
        """Give every row of every table."""
        with self.database.engine.connect() as connection:
            return {
                name: sorted((tuple(row) for row in connection.execute(text(f'SELECT * FROM "{name}"'))), key=repr)
                for name in Base.metadata.tables
            }


def web_settings(home: Path, language: str = "en", templates: Path | None = None) -> Settings:
    return Settings(
        file=SettingsFileContent(
            publication=PublicationSettings(
                intro="Two notices this week ask for the same plain thing: know what is plugged in.", language=language
            ),
            sender=SenderSettings(postal_address="200 Example Street, Washington, DC 20001"),
        ),
        home=home,
        base_url=BASE_URL,
        templates=templates,
    )


@pytest.fixture
def both(database: Database, tmp_path: Path) -> WebSetup:
    """Give an installation, once on SQLite and once on PostgreSQL."""
    return build_web_setup(database, tmp_path)


@pytest.fixture
def world(one_database: Database, tmp_path: Path) -> WebSetup:
    """Give an installation on SQLite alone: for what a database has no say in."""
    return build_web_setup(one_database, tmp_path)


@pytest.fixture(scope="session")
def build_world() -> Callable[[Database, Path], WebSetup]:
    """Give the function that builds an installation, for tests that share one."""
    return build_web_setup


def build_web_setup(
    database: Database,
    home: Path,
    language: str = "en",
    templates: Path | None = None,
    *,
    name: str = "",
    branding: BrandingSettings | None = None,
) -> WebSetup:
    url = database.engine.url.render_as_string(hide_password=False)
    settings = web_settings(home, language, templates)
    publication = settings.file.publication.model_copy(update={"name": name} if name else {})
    file = settings.file.model_copy(update={"publication": publication, "branding": branding or BrandingSettings()})
    settings = settings.model_copy(update={"database_url": url, "file": file})
    KeyRing.create(settings.key_file)
    install = Installation(settings, database)
    with database.write() as session:
        ada = add_subscriber(
            session, install.keys, ADA_ADDRESS, evidence=sample_evidence(), now=NOW - timedelta(days=200)
        ).number
    app = create_app(install, clock=lambda: NOW)
    app.testing = True
    return WebSetup(install, app, ada)


def sample_evidence() -> ConsentEvidence:
    return ConsentEvidence(
        wording="Send me the weekly mail.",
        wording_version="1",
        language="en",
        page="hls.today",
        method="signed list",
        actor="Eve",
        agreed_at=NOW - timedelta(days=201),
    )


def store_edition(
    install: Installation,
    *,
    name: str = "2026-W47",
    number: int = 147,
    state: EditionState = EditionState.DRAFT,
    release_at: datetime = RELEASE,
    subject: str = "Ports get ten days to check their crane links",
    without_sections: bool = False,
    content: EditionContent | None = None,
) -> str:
    """Store an edition as drafting does, with the sample's content or another, and give its name."""
    content = content or sample_content(store_image(install.database), name, number, subject)
    content = replace(content, sections=()) if without_sections else content
    pieces = render_once(content, install.settings)
    with install.database.write() as session:
        edition = Edition(
            slot=make_release_slot_key(release_at),
            name=name,
            number=number,
            state=state,
            opens_at=release_at - timedelta(days=7, hours=12),
            cut_off=release_at - timedelta(hours=12),
            release_at=release_at,
            drafted_at=release_at - timedelta(hours=12),
            subject=content.subject,
            preheader=content.preheader,
            content=content.as_json(),
            sent_at=release_at + timedelta(minutes=4) if state == EditionState.SENT else None,
        )
        session.add(edition)
        session.flush()
        session.add_all(sample_stories(edition, content))
        replace_fragments(session, edition, pieces)
        if state in PUBLIC_STATES:
            archive_edition_stories(session, edition)
            sign_as_sent(session, edition, install, release_at - timedelta(hours=6))
    return name


def sign_as_sent(session: Session, edition: Edition, install: Installation, at: datetime = NOW) -> None:
    """Approve an edition as it is, whatever its state, in place of what was approved before."""
    session.execute(delete(Approval).where(Approval.edition_id == edition.id))
    draft = approved_versions.read_draft_version(session, edition, install.settings)
    statement = approved_versions.build_approval_statement(draft, edition, ApproverRule(1, (), (), ()))
    version = approved_versions._freeze_version(session, edition, statement, at)
    payload = approved_versions.build_signature_payload(version.content_hash, version.version, "staff 1", at)
    signature = approved_versions.sign_payload(install.keys.current("approval"), payload)
    version.signatures.append(ApprovalSignature(actor="staff 1", at=at, signature=signature))
    version.state, version.stood_at = ApprovalState.VALID, at


_rendered_pieces: list[tuple[EditionContent, PublicationContext, tuple[RenderedFragment, ...]]] = []


def render_once(content: EditionContent, settings: Settings) -> tuple[RenderedFragment, ...]:
    """Render an edition; tests that store the same one by the shipped templates share what it gives."""
    frame = build_publication_context(settings)
    shared = _rendered_pieces if settings.templates is None else []
    pieces = next((known for rendered, by, known in shared if (rendered, by) == (content, frame)), None)
    if pieces is None:
        pieces = render_edition(content, frame, create_mail_environment(settings))
        shared.append((content, frame, pieces))
    return pieces


def sample_stories(edition: Edition, content: EditionContent) -> list[EditionStory]:
    placed = [
        EditionStory(
            edition_id=edition.id,
            section=section.key,
            position=position,
            title=entry.headline,
            url=entry.url,
            score=56.1 - position,
            terms=SCORE_TERMS,
            reason="",
            members=[entry.url, f"{entry.url}/again"],
        )
        for section in content.sections
        for position, entry in enumerate(section.entries)
    ]
    out = EditionStory(
        edition_id=edition.id,
        section=None,
        position=0,
        title="A rerun of last week's rail bulletin",
        url="https://rail.example/bulletin",
        score=51.0,
        terms=SCORE_TERMS,
        reason="It was in 2026-W46.",
        members=["https://rail.example/bulletin"],
    )
    return [*placed, out]


@cache
def draw_image(height: int = 630) -> bytes:
    """Draw the small picture, a JPEG that is 1120 pixels wide."""
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((1120, height)).convert("RGB").save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def store_image(database: Database) -> EditionImage:
    """Keep a small picture of ours, once."""
    body = draw_image()
    name = hashlib.sha256(body).hexdigest()
    with database.write() as session:
        if session.get(MediaFile, name) is None:
            session.add(
                MediaFile(
                    hash=name,
                    source_url="https://hls.example/cranes.jpg",
                    content_type="image/jpeg",
                    width=1120,
                    height=630,
                    size=len(body),
                    body=body,
                    made_at=NOW,
                )
            )
    return EditionImage(name, 560, 315, "Cranes over a container ship at dusk", "Illustration: HLS.Today")


ALSO_REPORTED_BY = ("Reuters", "AP", "PortWatch", "Dockside", "Gantry")


def sample_content(picture: EditionImage, name: str, number: int, subject: str) -> EditionContent:
    """Write an edition; its links carry the edition's name, so that no two editions repeat each other."""
    lead = SectionEntry(
        headline="Ports get ten days to check the remote links on their cranes",
        url=f"https://cisa.example/{name}/cranes",
        kicker="Maritime",
        summary="A joint notice asks terminal operators to list every cellular modem on their cranes.",
        source="CISA",
        date="Nov 18",
        why="seven sources carried it in two days, and its deadline is close.",
        also=tuple(
            EditionLink(source, f"https://{source.lower()}.example/{name}/cranes") for source in ALSO_REPORTED_BY
        ),
        picture=picture,
    )
    rows = [
        SectionEntry(
            headline=headline,
            url=f"https://{host}/{name}",
            kicker=kicker,
            summary="The change is small, and it will be felt at every counter by spring.",
            source=source,
            date="Nov 17",
        )
        for headline, host, kicker, source in (
            ("New flood maps move 41,000 homes into the high-risk zone", "fema.example", "Disaster response", "FEMA"),
            ("Two land crossings open a second face-matching lane", "cbp.example", "Borders", "CBP"),
            ("What a hospital learned from a week without its network", "aspr.example", "Health sector", "ASPR"),
        )
    ]
    event = SectionEntry(
        headline="Port resilience exercise, open to observers",
        url=f"https://events.example/{name}",
        source="Port authority",
        date="Thursday, December 3, 2026",
        when=EntryDate("event", date(2026, 12, 3), "Thursday, December 3, 9 a.m. PT", "Event"),
        details=("Long Beach", "Free for observers."),
    )
    chance = SectionEntry(
        headline="Request for information: counter-drone sensors",
        url=f"https://sam.example/{name}",
        summary="For makers of passive sensors, of any size.",
        source="SAM.gov",
        when=EntryDate("deadline", date(2026, 12, 4), "Friday, December 4", "Deadline"),
    )
    return EditionContent(
        name=name,
        number=number,
        subject=subject,
        preheader="Also: 41,000 homes join the flood zone; a hospital's week offline",
        date="Friday, November 20, 2026",
        minutes=6,
        intro="Two notices this week ask for the same plain thing: know what is plugged in.",
        editor="Dana Reyes",
        sections=(
            EditionSection("featured", "featured", "Featured", "", (lead, *rows)),
            EditionSection("events", "events", "Events", "", (event,)),
            EditionSection("opportunities", "opportunities", "Opportunities", "Soonest deadline first", (chance,)),
        ),
        released_on=date(2026, 11, 20),
    )
