"""The bundled sample's week as an editors' draft: real sources, a stored proposal, two editors."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from pydantic import SecretStr
from sqlalchemy import select

from digest.app.demo.sample_week import DEMO_ACTOR, SAMPLE_NOW
from digest.app.editing import editing_state
from digest.app.editing.editing_state import EditingState
from digest.app.editions import drafting as editions
from digest.collect.fetch.fetcher import FolderFetcher
from digest.installation.opened_installation import Installation
from digest.settings import load_settings
from digest.store import staff, staff_sessions
from digest.store.delivery_models import StaffMember
from digest.store.engine import Database
from digest.store.models import Edition
from digest.web.app import create_app
from digest.web.auth.cookies import CookieScope
from digest.web.desk.outline.story_pool import story_anchor
from subscribers.crypto.keys import KeyRing

EDITORS = {"dana": "dana.reyes@news.example.org", "sam": "sam.whitfield@news.example.org"}
COLLEAGUES = EDITORS | {"priya": "priya.nair@news.example.org"}  # whom a test adds that needs a third
BASE_URL = "https://news.example.org"


@dataclass(frozen=True)
class SampleWeek:
    """An installation with the sample's draft, and its pages."""

    installation: Installation
    app: Flask
    name: str

    def client(self, editor: str = "dana") -> FlaskClient:
        """Give a client that is signed in as an editor."""
        client = self.app.test_client()
        name, value = self.session_cookie(editor)
        client.set_cookie(name, value, domain="localhost")
        return client

    def session_cookie(self, editor: str = "dana", now: datetime = SAMPLE_NOW) -> tuple[str, str]:
        """Begin a session; give the cookie's name and value."""
        with self.installation.database.write() as session:
            member = staff.require_staff_member(session, COLLEAGUES[editor])
            token = staff_sessions.begin_session(
                session, member, network="this machine", browser="Firefox on Linux", now=now
            )
        return CookieScope.from_settings(self.installation.settings).session, token

    @property
    def path(self) -> str:
        """The page of the edition."""
        return f"/desk/editions/{self.name}"

    @property
    def state(self) -> EditingState:
        """The edition as its editors see it now."""
        return editing_state.read_editing_state(self.installation, self.name)

    def entries(self, section: str) -> list[dict[str, Any]]:
        """Give the edition's entries of a section, in order."""
        with self.installation.database.read() as session:
            content = session.scalars(select(Edition)).one().content
        entries = [s["entries"] for s in content["sections"] if s["key"] == section]
        return entries[0] if entries else []

    def entry(self, section: str, position: int) -> dict[str, Any]:
        """Give one entry."""
        return self.entries(section)[position]

    def headlines(self, section: str) -> list[str]:
        """Give what the edition says in a section, in order."""
        return [entry["headline"] for entry in self.entries(section)]

    def anchors(self, section: str) -> list[str]:
        """Give the anchors of a section's stories, in order."""
        return [story_anchor(story.url) for story in self.state.arrangement.sections[section]]

    def act(self, word: str, editor: str = "dana", *, client: FlaskClient | None = None, **fields: Any) -> Any:
        """Press a button of the page as it stands, or as it stood at `seq`, and agree to lose the approval unless `supersedes` is given."""
        state = self.state
        fields.setdefault("seq", state.last_seq)
        fields.setdefault("supersedes", state.approval)
        return (client or self.client(editor)).post(f"{self.path}/act", data={"act": word, **fields})


def unmarked(html: str) -> str:
    """Take the ids of the places out of a preview."""
    return re.sub(r'<span id="at-[^"]+"></span>| id="at-[^"]+"', "", html)


def build_sample_week(database: Database, home: Path, *, base_url: str = BASE_URL) -> SampleWeek:
    """Collect the bundled sample and draft its edition; Dana and Sam are on the staff."""
    with resources.as_file(resources.files("digest").joinpath("sample/digest.toml")) as file:
        settings = load_settings(file, {}).model_copy(
            update={"home": home, "base_url": base_url, "mail_url": SecretStr("outbox:")}
        )
    KeyRing.create(settings.key_file)
    installation = Installation(settings, database)
    fetcher = FolderFetcher(resources.files("digest").joinpath("sample"))
    editions.collect_articles(installation, actor=DEMO_ACTOR, now=SAMPLE_NOW, fetcher=fetcher)
    draft = editions.draft_next_edition(installation, actor=DEMO_ACTOR, now=SAMPLE_NOW, fetcher=fetcher)
    with database.write() as session:
        for email in EDITORS.values():
            member = StaffMember(email=email, name=email.split(".")[0].capitalize(), role="editor", added_by="test")
            member.added_at = member.proven_at = SAMPLE_NOW
            session.add(member)
    app = create_app(installation, clock=later)
    app.config["WTF_CSRF_ENABLED"] = False  # the token has tests of its own
    app.testing = True
    return SampleWeek(installation, app, draft.name)


def later() -> datetime:
    """Give a moment after the draft: Thursday afternoon."""
    return SAMPLE_NOW + timedelta(minutes=5)
