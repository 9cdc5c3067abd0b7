"""No sequence of edits, approvals, withdrawals, drafts and deadlines sends bytes whose approval was taken back or never given.

Editors and the timetable act on one edition in any order, through the acts of the application, on a real database; what is sent is
read from the outbox, byte by byte. Each edit writes a number into subject and intro, so that a message tells of which draft it is made.
"""

import re
import shutil
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage, Message
from itertools import count
from pathlib import Path
from typing import Literal

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import make_url, select, text

from digest.app import approvals, edit_reversal, editing, editing_state, editions, sending
from digest.app.acts import SCHEDULER, Actor, Face, Role
from digest.app.edit_application import EditForm
from digest.app.editing_state import EditRefusedError
from digest.app.edition_status import edition_status
from digest.app.installation import Installation
from digest.deliver.providers.registry import open_provider
from digest.deliver.send.edition_run import SendError, run_edition
from digest.edition import approval, placeholders
from digest.edition.approval import ApprovalError
from digest.edition.drafting import DraftError
from digest.edition.edits import EditionField
from digest.edition.fragment_names import list_omitted_fragments
from digest.edition.mailable_edition import FragmentKind, MailableEdition
from digest.edition.sent_back_notes import SentBackError
from digest.settings import ApprovalSettings
from digest.store.approval_models import Approval, ApprovalState
from digest.store.delivery_models import StaffMember
from digest.store.engine import Database, open_database
from digest.store.models import Edition, EditionState
from subscribers.consent.preferences import Preferences, change_preferences
from subscribers.crypto.keys import KeyRing
from subscribers.signup.manual_signup import add_subscriber
from tests.actors import ADMIN
from tests.app.test_editing import ROOMY, TITLES
from tests.edition.test_drafting import NOW, add, drafted
from tests.run_database import run_on_server, sibling_database_url
from tests.shared_statements import share_compiled_statements
from tests.web.conftest import sample_evidence

STAFF = tuple(Actor(f"staff {number}", Role.EDITOR, Face.DESK) for number in (1, 2, 3))
READERS = {
    "ada@example.org": None,
    "bo@example.org": Preferences(text_only=True),
    "cy@example.org": Preferences(omit=frozenset({"topics"})),
}
MAIL_PLACEHOLDERS = re.compile("|".join(re.escape(p) for p in placeholders.ALL_PLACEHOLDERS))


@dataclass(frozen=True)
class PreparedWeek:
    """The home of an installation with a draft, three editors and three readers of different choices; its database is copied."""

    home: Path
    database_url: str
    server: str = ""  # of the PostgreSQL that has it; empty: it is a file in the home

    def copy_into(self, home: Path, number: int) -> str:
        """Copy it, and return the URL of the copy's database."""
        shutil.copytree(self.home, home)
        if not self.server:
            return f"sqlite:///{home / 'digest.db'}"
        source = make_url(self.database_url).database
        run_on_server(self.server, f"CREATE DATABASE laws_{number} TEMPLATE {source} STRATEGY WAL_LOG")
        return sibling_database_url(self.server, f"laws_{number}")

    def drop_copy(self, number: int) -> None:
        """Drop the database of a copy."""
        if self.server:
            run_on_server(self.server, f"DROP DATABASE laws_{number} WITH (FORCE)")


def open_week(home: Path, database_url: str, approvers: Literal[1, 2] = 1) -> Installation:
    """Open an installation in a folder."""
    sender = ROOMY.file.sender.model_copy(update={"postal_address": "1 Main St, Springfield"})
    file = ROOMY.file.model_copy(update={"sender": sender, "approval": ApprovalSettings(approvers=approvers)})
    database = share_compiled_statements(open_database(database_url))
    return Installation(ROOMY.model_copy(update={"home": home, "file": file}), database)


def prepare_week(week: PreparedWeek) -> PreparedWeek:
    """Draft an edition in an empty database; add editors and readers."""
    install = open_week(week.home, week.database_url)
    KeyRing.create(install.settings.key_file)
    for hours, title in enumerate(TITLES[:3], 1):
        add(install.database, title, dated=NOW - timedelta(hours=hours), found=NOW)
    drafted(install)
    with install.database.write() as session:
        for actor in STAFF:
            email = f"{actor.name.replace(' ', '')}@news.example.org"
            session.add(StaffMember(email=email, role="editor", added_at=NOW, added_by="test", proven_at=NOW))
            session.flush()
        for email, choices in READERS.items():
            added = add_subscriber(session, install.keys, email, evidence=sample_evidence(), now=NOW)
            if choices:
                change_preferences(session, added.number, choices, NOW)
    if not week.server:
        with install.database.engine.connect() as connection:
            connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
    install.database.close()
    return week


@dataclass
class GivenVersion:
    """What the model knows of a version: the draft that its approvers saw, who they are, and what became of it."""

    seen: MailableEdition
    signed: list[str] = field(default_factory=list)
    stood: bool = False
    state: ApprovalState = ApprovalState.WAITING


class ApprovalLaws(RuleBasedStateMachine):
    """Acts on one edition, and what they should come to."""

    prepared: PreparedWeek
    numbers: Iterator[int]  # of the copies
    install: Installation

    def __init__(self) -> None:
        """Begin with a copy of the prepared installation."""
        super().__init__()
        self.folder, self.number = Path(tempfile.mkdtemp()), next(self.numbers)
        self.database_url = self.prepared.copy_into(self.folder / "home", self.number)
        self.versions: list[GivenVersion] = []
        self.open_notes: list[int] = []
        self.last_editor = ""
        self.texts = 0
        self.marks: list[str] = []
        self.is_sent = False
        self.approvers = 1

    @initialize(approvers=st.sampled_from([1, 2]))
    def choose_rule(self, approvers: Literal[1, 2]) -> None:
        self.approvers = approvers
        self.install = open_week(self.folder / "home", self.database_url, approvers)

    def teardown(self) -> None:
        """End each sequence with a send: so few of them come to one by themselves that the laws would say nothing."""
        self.send(None)
        self.install.database.close()
        self.prepared.drop_copy(self.number)
        shutil.rmtree(self.folder)

    # --- what is known -------------------------------------------------------------------------------------

    @property
    def database(self) -> Database:
        return self.install.database

    def edition(self) -> Edition:
        with self.database.read() as session:
            return session.scalars(select(Edition)).one()

    def standing(self) -> GivenVersion | None:
        return next((v for v in self.versions if v.state is ApprovalState.STANDING), None)

    def waiting(self) -> GivenVersion | None:
        return next((v for v in self.versions if v.state is ApprovalState.WAITING), None)

    def draft(self) -> MailableEdition:
        """Give the draft as an editor sees it."""
        with self.database.read() as session:
            return approval.read_draft(session, session.scalars(select(Edition)).one(), self.install.settings)

    def supersede(self) -> None:
        for version in self.versions:
            if version.state in approval.OPEN_STATES:
                version.state = ApprovalState.SUPERSEDED

    # --- what editors and the timetable do -----------------------------------------------------------------

    @rule(actor=st.sampled_from(STAFF))
    def edit(self, actor: Actor) -> None:
        self.texts += 1
        form = EditForm("current", actor, NOW)
        try:
            editing.write_edition_text(self.install, form, EditionField.SUBJECT, f"Subject {self.texts}")
            editing.write_edition_text(self.install, form, EditionField.INTRO, f"Intro {self.texts}.")
        except EditRefusedError:
            assert self.is_sent
            return
        assert not self.is_sent
        self.last_editor = actor.name
        self.supersede()

    @rule(actor=st.sampled_from(STAFF))
    def undo(self, actor: Actor) -> None:
        try:
            edit_reversal.undo_last(self.install, EditForm("current", actor, NOW))
        except EditRefusedError:
            return
        assert not self.is_sent
        self.last_editor = actor.name
        self.supersede()

    @rule(actor=st.sampled_from(STAFF), stale=st.booleans())
    def approve(self, actor: Actor, *, stale: bool) -> None:
        mark = edition_status(self.install, "current", now=NOW).content_hash
        given = self.marks[0] if stale and self.marks else mark
        self.marks.append(mark)
        seen, waiting = self.draft(), self.waiting()
        if waiting and waiting.seen != seen:
            waiting = None
        may = (
            self.edition().state is EditionState.DRAFT
            and given == mark
            and not self.open_notes
            and actor.name != self.last_editor
            and not (waiting and actor.name in waiting.signed)
        )
        try:
            editions.approve_edition(self.install, "current", given, actor=actor, now=NOW)
        except ApprovalError:
            assert not may
            return
        assert may
        if waiting is None:
            self.supersede()
            waiting = GivenVersion(seen)
            self.versions.append(waiting)
        waiting.signed.append(actor.name)
        if len(waiting.signed) == self.approvers:
            waiting.stood, waiting.state = True, ApprovalState.STANDING

    @rule()
    def approve_together(self) -> None:
        for actor in STAFF:
            self.approve(actor, stale=False)

    @rule(actor=st.sampled_from(STAFF))
    def take_back(self, actor: Actor) -> None:
        try:
            editions.void_approval(self.install, "current", actor=actor, now=NOW)
        except ApprovalError:
            assert self.is_sent or all(v.state is ApprovalState.TAKEN_BACK for v in self.versions)
            return
        assert not self.is_sent
        for version in self.versions:
            version.state = ApprovalState.TAKEN_BACK

    @rule(actor=st.sampled_from(STAFF))
    def send_back(self, actor: Actor) -> None:
        try:
            approvals.send_back_edition(self.install, "current", "Look again.", actor=actor, now=NOW)
        except SentBackError:
            assert self.is_sent
            return
        self.open_notes = [note.id for note in approvals.list_open_notes(self.install, "current")]
        ended = self.versions if self.standing() else [v for v in self.versions if v is self.waiting()]
        for version in ended:
            version.state = ApprovalState.TAKEN_BACK

    @rule(actor=st.sampled_from(STAFF))
    def finish_notes(self, actor: Actor) -> None:
        for note in self.open_notes:
            approvals.finish_note(self.install, "current", note, actor=actor, now=NOW)
        self.open_notes = []

    @rule(news=st.booleans())
    def draft_again(self, *, news: bool) -> None:
        if news:
            self.texts += 1
            add(self.database, f"Levee {self.texts} holds at Harlow", dated=NOW - timedelta(hours=5), found=NOW)
        before = self.draft()
        try:
            drafted(self.install)
        except DraftError:
            assert self.standing()
            return
        assert not self.standing()
        if self.draft() != before:
            self.supersede()

    @rule()
    def pass_deadline(self) -> None:
        approved = [v for v in self.versions if v.stood and v.state is not ApprovalState.TAKEN_BACK]
        may = bool(approved) and self.edition().state is EditionState.DRAFT
        try:
            number = approvals.reinstate_last_approval(self.install, "current", actor=SCHEDULER, now=NOW)
        except (ApprovalError, EditRefusedError):
            assert not may
            return
        assert may
        assert self.versions[number - 1] is approved[-1]
        self.supersede()
        approved[-1].state = ApprovalState.STANDING
        # The draft was brought back by an edit of the timetable, unless it stood there already.
        assert self.draft() == approved[-1].seen
        edits = editing_state.read_editing_state(self.install, "current").edits
        self.last_editor = edits[-1].actor if edits else ""

    @rule(limit=st.sampled_from([1, 2, None]))
    def send(self, limit: int | None) -> None:
        """Send, all or a part: whatever is done before the rest goes, the rest is of the same version."""
        install, release_at = self.install, self.edition().release_at
        try:
            if limit is None:
                sending.send_edition(install, "current", actor=ADMIN, clock=lambda: release_at)
            else:
                provider, name = open_provider(install.settings), self.edition().name
                run_edition(
                    install.database,
                    name,
                    provider,
                    install.keys,
                    install.settings,
                    clock=lambda: release_at,
                    limit=limit,
                )
        except SendError:
            assert self.standing() is None
            return
        self.is_sent = True
        version = self.standing()
        assert version is not None
        assert len(version.signed) == self.approvers
        messages = read_outbox(install.settings.outbox_folder / "edition")
        assert (len(messages) == len(READERS)) == (self.edition().state is EditionState.SENT)
        assert len({str(message["To"]) for message in messages}) == len(messages) > 0
        for message in messages:
            assert [v.seen for v in self.versions if is_made_of(message, v.seen)] == [
                v.seen for v in self.versions if v.seen == version.seen
            ]
        assert editions.edition_bytes(install, "current", "web").decode() == version.seen.join("web")

    # --- what always holds ---------------------------------------------------------------------------------

    @invariant()
    def stored_states_are_those_of_the_model(self) -> None:
        if not hasattr(self, "install"):
            return
        with self.database.read() as session:
            stored = [(a.state, bool(a.stood_at)) for a in session.scalars(select(Approval).order_by(Approval.version))]
        assert stored == [(v.state, v.stood) for v in self.versions]
        outgoing = {EditionState.APPROVED, EditionState.SENDING, EditionState.SENT}
        assert (self.standing() is not None) == (self.edition().state in outgoing)


def read_outbox(folder: Path) -> list[EmailMessage]:
    """Read the messages of the outbox."""
    messages = []
    for file in sorted(folder.rglob("*.eml")):
        message = message_from_bytes(file.read_bytes(), policy=policy.default)
        assert isinstance(message, EmailMessage)
        messages.append(message)
    return messages


def is_made_of(message: EmailMessage, version: MailableEdition) -> bool:
    """Whether a message's bytes are those of a version as the reader's choices join it, but for what is filled in for one reader."""
    choices = READERS[str(message["To"])] or Preferences()
    omitted = list_omitted_fragments((piece.name for piece in version.pieces), choices.omit)
    parts = {part.get_content_subtype(): part for part in message.walk() if part.get_content_maintype() == "text"}
    assert parts.keys() == ({"plain"} if choices.text_only else {"plain", "html"})
    return str(message["Subject"]) == version.subject and all(
        re.fullmatch(octet_pattern(version, "text" if subtype == "plain" else "html", omitted), decode_part(part))
        for subtype, part in parts.items()
    )


def octet_pattern(version: MailableEdition, kind: FragmentKind, omitted: Collection[str]) -> re.Pattern[bytes]:
    """Return what the bytes of a part must be: those of the fragments, with something short in place of each placeholder."""
    pieces = MAIL_PLACEHOLDERS.split(version.join(kind, omitted).strip())
    return re.compile(b".{1,200}?".join(re.escape(piece.encode()) for piece in pieces), re.DOTALL)


def decode_part(part: Message) -> bytes:
    octets = part.get_payload(decode=True)
    assert isinstance(octets, bytes)
    return octets.replace(b"\r\n", b"\n").strip()


def check_laws(week: PreparedWeek, examples: int) -> None:
    class PreparedLaws(ApprovalLaws):
        prepared, numbers = week, count()

    run_state_machine_as_test(
        PreparedLaws,
        settings=settings(
            max_examples=examples,
            stateful_step_count=15,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )


def test_nothing_is_sent_that_was_not_approved_or_whose_approval_was_taken_back(
    sqlite_template: Path, tmp_path: Path
) -> None:
    home = tmp_path / "prepared"
    home.mkdir()
    shutil.copy(sqlite_template, home / "digest.db")
    check_laws(prepare_week(PreparedWeek(home, f"sqlite:///{home / 'digest.db'}")), examples=8)


def test_on_postgresql_too_nothing_is_sent_that_was_not_approved(
    postgresql_url: str, postgresql_template: str, tmp_path: Path
) -> None:
    run_on_server(postgresql_url, f"CREATE DATABASE laws TEMPLATE {postgresql_template} STRATEGY WAL_LOG")
    week = PreparedWeek(tmp_path / "prepared", sibling_database_url(postgresql_url, "laws"), postgresql_url)
    week.home.mkdir()
    check_laws(prepare_week(week), examples=4)
