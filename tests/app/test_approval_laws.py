"""No sequence of edits, approvals, revocations, drafts, and deadlines sends content without a valid approval.

Editors and the timetable act on one edition in any order, through the acts of the application, on a real database; what is sent is
read from the outbox, byte by byte. Each text that is written has a number of its own, so that a message tells of which draft it is made.

A sequence is words: "edit 1; approve 2; take-back 3", with the number of who acts. Drawn step by step, hardly one in ten comes to
a send or to a version that stands again; so most are drawn as passages of several acts that belong together, refused ones among them.
"""

import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage, Message
from pathlib import Path
from typing import Literal, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import make_url, select, text

from digest.app.approval import approval_overviews, deadlines, edition_approval
from digest.app.calendar import releases as calendar
from digest.app.editing import changes as editing
from digest.app.editing import edit_history, editing_state
from digest.app.editing.edit_application import EditForm, EditResult
from digest.app.editing.editing_state import EditRefusedError
from digest.app.editions import drafting as editions
from digest.app.editions.edition_status import read_edition_status
from digest.app.editions.edition_views import read_edition
from digest.app.sending import send_control as sending
from digest.deliver.providers.registry import open_provider
from digest.deliver.send.run.edition_sending import SendError, run_edition
from digest.edition.approval import approved_versions as approval
from digest.edition.approval.approved_versions import ApprovalError
from digest.edition.approval.sent_back_notes import SentBackError
from digest.edition.calendar.release_calendar import DeadlineDecision
from digest.edition.content.mailable_edition import FragmentKind, MailableEdition
from digest.edition.content.slotted_text import Slot, SlottedText
from digest.edition.drafting.drafts import DraftError
from digest.edition.editing.edits import EditionField, EditKind, list_active_edits
from digest.installation.audited_actions import ActionEntryPoint, Actor, Role
from digest.installation.opened_installation import Installation
from digest.settings import ApprovalSettings
from digest.settings.publication import DeadlineRule
from digest.store.approval_models import Approval, ApprovalState
from digest.store.delivery_models import StaffMember
from digest.store.engine import Database, open_database
from digest.store.models import Edition, EditionState
from subscribers.consent.preferences import Preferences, change_preferences
from subscribers.crypto.keys import KeyRing
from subscribers.signup.manual_signup import add_subscriber
from tests.actors import ADMIN
from tests.app.editing.test_changes import ROOMY, TITLES, agreed, url_of
from tests.edition.drafting.test_drafts import add, drafted
from tests.moments import DRAFTING as NOW
from tests.run_database import run_on_server, sibling_database_url
from tests.shared_statements import share_compiled_statements
from tests.web.conftest import sample_evidence

STAFF = tuple(Actor(f"staff {number}", Role.EDITOR, ActionEntryPoint.DESK) for number in (1, 2, 3))
DEADLINE = NOW + timedelta(hours=2, minutes=30)  # 8 p.m. in New York, ten hours before the release
SUBSCRIBERS = {
    "ada@example.org": None,
    "bo@example.org": Preferences(text_only=True),
    "cy@example.org": Preferences(omit=frozenset({"topics"})),
}


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
        for email, choices in SUBSCRIBERS.items():
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
    authors: set[str]
    signed: list[str] = field(default_factory=list)
    stood: bool = False
    state: ApprovalState = ApprovalState.WAITING


class WatchedEdition:
    """Acts on one edition, and what they should come to. `done` counts those that did something."""

    def __init__(self, week: PreparedWeek, number: int, approvers: Literal[1, 2]) -> None:
        """Begin with a copy of the prepared installation."""
        self.prepared, self.number, self.approvers = week, number, approvers
        self.folder = Path(tempfile.mkdtemp())
        database_url = week.copy_into(self.folder / "home", number)
        self.install = open_week(self.folder / "home", database_url, approvers)
        self.name = self.edition().name
        self.now = NOW
        self.versions: list[GivenVersion] = []
        self.open_notes: list[int] = []
        self.texts = 0
        self.marks: list[str] = []
        self.is_sent = self.is_skipped = False
        self.done: Counter[str] = Counter()

    def close(self) -> None:
        """Remove the copy."""
        self.install.database.close()
        self.prepared.drop_copy(self.number)
        shutil.rmtree(self.folder)

    def act(self, step: str) -> None:
        """Do one step of a sequence, and look whether the stored states are those of the model."""
        verb, _, who = step.partition(" ")
        if verb == "deadline":
            rule: DeadlineRule = next(rule for rule in get_args(DeadlineRule) if rule == who)
            self.pass_deadline(rule)
        elif who:
            actions_of_staff: dict[str, Callable[[Actor], None]] = {
                "edit": self.edit,
                "drop": self.drop,
                "move": self.move,
                "drop-all": self.drop_all,
                "move-all": self.move_all,
                "merge-all": self.merge_all,
                "under-all": self.put_all_under,
                "undo": self.undo,
                "approve": self.approve,
                "approve-unseen": self.approve_unseen,
                "take-back": self.take_back,
                "send-back": self.send_back,
                "finish-notes": self.finish_notes,
                "bring-back": self.bring_back,
            }
            actions_of_staff[verb](STAFF[int(who) - 1])
        else:
            acts: dict[str, Callable[[], None]] = {
                "approve-together": self.approve_together,
                "draft-again": self.draft_again,
                "draft-news": self.draft_news,
                "send-part": lambda: self.send(1),
                "send": lambda: self.send(None),
            }
            acts[verb]()
        self.check_states()

    # --- what is known -------------------------------------------------------------------------------------

    @property
    def database(self) -> Database:
        return self.install.database

    @property
    def has_ended(self) -> bool:
        """Whether it goes out, went, or is set aside with its release."""
        return self.is_sent or self.is_skipped

    def edition(self) -> Edition:
        with self.database.read() as session:
            return session.scalars(select(Edition)).one()

    def standing(self) -> GivenVersion | None:
        return next((v for v in self.versions if v.state is ApprovalState.VALID), None)

    def waiting(self) -> GivenVersion | None:
        return next((v for v in self.versions if v.state is ApprovalState.WAITING), None)

    def draft(self) -> MailableEdition:
        """Give the draft as an editor sees it."""
        with self.database.read() as session:
            return approval.read_draft_version(session, session.scalars(select(Edition)).one(), self.install.settings)

    def supersede(self) -> None:
        for version in self.versions:
            if version.state in approval.OPEN_STATES:
                version.state = ApprovalState.SUPERSEDED

    def check_states(self) -> None:
        with self.database.read() as session:
            stored = [(a.state, bool(a.stood_at)) for a in session.scalars(select(Approval).order_by(Approval.version))]
        assert stored == [(v.state, v.stood) for v in self.versions]
        outgoing = {EditionState.APPROVED, EditionState.SENDING, EditionState.SENT}
        state = self.edition().state
        assert (self.standing() is not None) == (state in outgoing)
        assert self.is_skipped == (state is EditionState.CANCELLED)

    # --- what editors and the timetable do -----------------------------------------------------------------

    def edit(self, actor: Actor) -> None:
        """Write a text that no draft had before: the subject, or the intro."""
        self.texts += 1
        field, text = (EditionField.SUBJECT, EditionField.INTRO)[self.texts % 2], f"Text {self.texts}."
        is_written = self.change(
            "edited", actor, lambda form: editing.set_edition_text(self.install, form, field, text)
        )
        assert is_written is not self.has_ended

    def drop(self, actor: Actor) -> None:
        """Remove a story, but never the first: an edition without any cannot be approved."""
        self.texts += 1
        url = url_of(TITLES[1 + self.texts % 2])
        self.change("dropped", actor, lambda form: editing.drop_stories(self.install, form, url))

    def move(self, actor: Actor) -> None:
        """Put a story before the one above it."""
        self.texts += 1
        url = url_of(TITLES[1 + self.texts % 2])
        self.change("moved", actor, lambda form: editing.move_story(self.install, form, url, steps=-1))

    def drop_all(self, actor: Actor) -> None:
        """Remove all stories but the first, in one action."""
        urls = [url_of(title) for title in TITLES[1:3]]
        self.change("several dropped", actor, lambda form: editing.drop_stories(self.install, form, *urls))

    def move_all(self, actor: Actor) -> None:
        """Put all stories but the first before it, in one action."""
        urls = [url_of(title) for title in TITLES[1:3]]
        self.change(
            "several moved",
            actor,
            lambda form: editing.place_stories(self.install, form, *urls, section="featured", position=0),
        )

    def merge_all(self, actor: Actor) -> None:
        """Let the first story take the articles of all others, in one action."""
        urls = [url_of(title) for title in TITLES[:3]]
        self.change("several merged", actor, lambda form: editing.merge_stories(self.install, form, *urls))

    def put_all_under(self, actor: Actor) -> None:
        """Put all other stories under the first one, in one action."""
        main, *urls = [url_of(title) for title in TITLES[:3]]
        self.change(
            "several put under",
            actor,
            lambda form: editing.add_supporting_stories(self.install, form, *urls, main=main),
        )

    def undo(self, actor: Actor) -> None:
        self.change("undone", actor, lambda form: edit_history.undo_own_last_edit(self.install, form))

    def change(self, what: str, actor: Actor, act: Callable[[EditForm], EditResult]) -> bool:
        """Do an act of an editor on the edition; return whether it was done. A refused one leaves the draft as it is."""
        before = self.draft()
        try:
            result = act(agreed(self.install, EditForm(self.name, actor, self.now)))
        except EditRefusedError:
            assert self.draft() == before
            return False
        assert not self.has_ended
        assert result.edit is not None
        self.done[what] += 1
        self.supersede()
        self.reinstate()
        return True

    def reinstate(self) -> None:
        """Let the last approved version stand again, if the draft is what it was and nobody asked for a change since."""
        stood = [v for v in self.versions if v.stood and v.state is not ApprovalState.REVOKED]
        if not stood or self.open_notes or self.has_ended:
            return
        if (stood[-1].seen, stood[-1].authors) == (self.draft(), self.authors()):
            stood[-1].state = ApprovalState.VALID
            self.done["undone to what was approved"] += 1

    def approve(self, actor: Actor) -> None:
        self.approve_mark(actor, read_edition_status(self.install, self.name, now=self.now).content_hash)

    def approve_unseen(self, actor: Actor) -> None:
        """Approve by the oldest mark that anybody looked at, which may have changed since."""
        self.approve_mark(actor, self.marks[0] if self.marks else "")

    def approve_mark(self, actor: Actor, given: str) -> None:
        mark = read_edition_status(self.install, self.name, now=self.now).content_hash
        self.marks.append(mark)
        seen, waiting = self.draft(), self.waiting()
        if waiting and waiting.seen != seen:
            waiting = None
        may = (
            self.edition().state is EditionState.DRAFT
            and given == mark
            and not self.open_notes
            and self.is_useful(actor.name, waiting.signed if waiting else [])
        )
        try:
            edition_approval.approve_edition(self.install, self.name, given, actor=actor, now=self.now)
        except ApprovalError:
            assert not may
            self.done["approval refused"] += 1
            return
        assert may
        if waiting is None:
            self.supersede()
            waiting = GivenVersion(seen, self.authors())
            self.versions.append(waiting)
        waiting.signed.append(actor.name)
        if self.is_enough(waiting.signed):
            waiting.stood, waiting.state = True, ApprovalState.VALID
            self.done["approved"] += 1

    def authors(self) -> set[str]:
        """Name who wrote the subject or the intro, which is all that is written here: up to the edit in force, undone ones too."""
        edits = editing_state.read_editing_state(self.install, self.name).edits
        last = {e.text("field"): e.seq for e in list_active_edits(edits) if e.kind == EditKind.TEXT}
        return {e.actor for e in edits if e.kind == EditKind.TEXT and e.seq <= last.get(e.text("field"), 0)}

    def is_useful(self, actor: str, signed: list[str]) -> bool:
        """Whether an approval adds something: another one, where somebody else's words lack it."""
        others = [author for author in self.authors() if author != actor]
        lacking = [author for author in others if len(set(signed) - {author}) < self.approvers]
        return actor not in signed and (bool(lacking) or not self.authors())

    def is_enough(self, signed: list[str]) -> bool:
        """Whether as many as it takes have approved what anybody else wrote."""
        counts = [len(set(signed) - {author}) for author in self.authors()] or [len(signed)]
        return min(counts) >= self.approvers

    def approve_together(self) -> None:
        """Let one after the other approve until it is approved."""
        for actor in STAFF:
            if not self.standing():
                self.approve(actor)

    def take_back(self, actor: Actor) -> None:
        try:
            edition_approval.revoke_approval(self.install, self.name, actor=actor, now=self.now)
        except ApprovalError:
            assert self.has_ended or all(v.state is ApprovalState.REVOKED for v in self.versions)
            return
        assert not self.has_ended
        self.done["taken back"] += 1
        for version in self.versions:
            version.state = ApprovalState.REVOKED

    def send_back(self, actor: Actor) -> None:
        try:
            approval_overviews.send_back_edition(self.install, self.name, "Look again.", actor=actor, now=self.now)
        except SentBackError:
            assert self.has_ended
            return
        self.done["sent back"] += 1
        self.open_notes = [note.id for note in approval_overviews.list_open_notes(self.install, self.name)]
        ended = self.versions if self.standing() else [v for v in self.versions if v is self.waiting()]
        for version in ended:
            version.state = ApprovalState.REVOKED

    def finish_notes(self, actor: Actor) -> None:
        for note in self.open_notes:
            approval_overviews.mark_note_done(self.install, self.name, note, actor=actor, now=self.now)
        self.open_notes = []

    def draft_news(self) -> None:
        self.texts += 1
        add(self.database, f"Levee {self.texts} holds at Harlow", dated=NOW - timedelta(hours=5), found=NOW)
        self.draft_again()

    def draft_again(self) -> None:
        if self.is_skipped:  # the next edition would be drafted
            return
        before = self.draft()
        try:
            drafted(self.install)
        except DraftError:
            assert self.standing()
            return
        assert not self.standing()
        if self.draft() != before:
            self.done["drafted anew"] += 1
            self.supersede()

    def pass_deadline(self, rule: DeadlineRule) -> None:
        """Decide as the timetable does at the deadline, by a rule."""
        self.now = DEADLINE
        before, approved = (
            self.draft(),
            [v for v in self.versions if v.stood and v.state is not ApprovalState.REVOKED],
        )
        is_draft = not self.standing() and not self.has_ended
        decision = deadlines.apply_deadline_rule(with_deadline_rule(self.install, rule), now=self.now)
        if not is_draft:
            assert decision in {f"{self.name} is {self.edition().state}", "no decision is due"}
        elif rule == "skip":
            assert decision == f"{self.name}: {DeadlineDecision.SKIP}"
            self.done["skipped"] += 1
            self.is_skipped = True
            self.supersede()
        elif rule == "send-last-approved" and approved:
            assert decision == f"{self.name}: {DeadlineDecision.SEND_VERSION}"
            self.done["reinstated"] += 1
            self.supersede()
            approved[-1].state = ApprovalState.VALID
            # The draft was brought back by an edit of the timetable, unless it stood there already.
            before = approved[-1].seen
        else:
            assert decision == f"{self.name}: {DeadlineDecision.WAIT}"
            self.done["waits"] += 1
        assert self.draft() == before

    def bring_back(self, actor: Actor) -> None:
        """Bring a skipped release back, with the draft that was set aside."""
        if self.is_skipped:
            calendar.restore_release(self.install, self.edition().release_at, actor=actor, now=self.now)
            self.is_skipped = False
            self.done["brought back"] += 1

    def send(self, limit: int | None) -> None:
        """Send, all or a part: whatever is done before the rest goes, the rest is of the same version."""
        install, release_at = self.install, self.edition().release_at
        try:
            if limit is None:
                sending.send_edition(install, self.name, actor=ADMIN, clock=lambda: release_at)
            else:
                provider = open_provider(install.settings)
                run_edition(
                    install.database,
                    self.name,
                    provider,
                    install.keys,
                    install.settings,
                    clock=lambda: release_at,
                    limit=limit,
                )
        except SendError:
            assert self.standing() is None
            assert not (install.settings.outbox_folder / "edition").exists()
            return
        version = self.standing()
        assert version is not None
        assert len(version.signed) >= self.approvers
        for author in version.authors:
            assert len(set(version.signed) - {author}) >= self.approvers
        messages = read_outbox(install.settings.outbox_folder / "edition")
        is_whole = self.edition().state is EditionState.SENT
        assert (len(messages) == len(SUBSCRIBERS)) == is_whole
        assert len({str(message["To"]) for message in messages}) == len(messages) > 0
        for message in messages:
            assert [v for v in self.versions if is_made_of(message, v.seen)] == [
                v for v in self.versions if joined_for(message, v.seen) == joined_for(message, version.seen)
            ]
            assert is_made_of(message, version.seen)
        assert (
            editions.render_edition_bytes(install, read_edition(install, self.name), "web").decode()
            == version.seen.join("web").text
        )
        self.is_sent = True
        self.done["sent" if is_whole else "sent in part"] += 1


def with_deadline_rule(install: Installation, rule: DeadlineRule) -> Installation:
    """Return an installation whose settings have another rule for the deadline."""
    schedule = install.settings.file.schedule.model_copy(update={"at_deadline": rule})
    file = install.settings.file.model_copy(update={"schedule": schedule})
    return Installation(install.settings.model_copy(update={"file": file}), install.database)


def read_outbox(folder: Path) -> list[EmailMessage]:
    """Read the messages of the outbox."""
    messages = []
    for file in sorted(folder.rglob("*.eml")):
        message = message_from_bytes(file.read_bytes(), policy=policy.default)
        assert isinstance(message, EmailMessage)
        messages.append(message)
    return messages


def joined_for(message: EmailMessage, version: MailableEdition) -> tuple[str, tuple[SlottedText, ...]]:
    """Return subject and texts of a version as they are joined for the reader of a message, with the slots in them."""
    choices = SUBSCRIBERS[str(message["To"])] or Preferences()
    kinds: tuple[FragmentKind, ...] = ("text",) if choices.text_only else ("text", "html")
    return version.subject, tuple(version.join(kind, choices.omit) for kind in kinds)


def is_made_of(message: EmailMessage, version: MailableEdition) -> bool:
    """Whether a message's bytes are those of a version as the reader's choices join it, but for what is filled in for one reader."""
    subject, texts = joined_for(message, version)
    parts = [part for part in message.walk() if part.get_content_maintype() == "text"]
    assert [part.get_content_subtype() for part in parts] == ["plain", "html"][: len(texts)]
    return str(message["Subject"]) == subject and all(
        re.fullmatch(octet_pattern(text), decode_part(part)) for text, part in zip(texts, parts, strict=True)
    )


def octet_pattern(joined: SlottedText) -> re.Pattern[bytes]:
    """Return what the bytes of a part must be: those of the fragments, with something short in each slot."""
    parts = (b".{1,200}?" if isinstance(part, Slot) else re.escape(part.encode()) for part in joined.parts())
    return re.compile(rb"\s*%s\s*" % b"".join(parts), re.DOTALL)


def decode_part(part: Message) -> bytes:
    octets = part.get_payload(decode=True)
    assert isinstance(octets, bytes)
    return octets.replace(b"\r\n", b"\n")


# --- sequences -----------------------------------------------------------------------------------------------

APPROVERS: tuple[Literal[1, 2], ...] = (1, 1, 2)
# Each several times where it matters most. The numbers are three editors, who change places from passage to passage.
PASSAGES = (
    *3 * ("approve-together; edit 1; deadline send-last-approved",),
    *2 * ("edit 1; approve 1; approve 2; approve 3; drop 1; deadline send-last-approved; take-back 2",),
    *2 * ("approve-together; move 1; take-back 2; deadline send-last-approved; approve 1",),
    *2 * ("edit 1; approve-together; take-back 3; deadline send-last-approved; approve 2; approve 2",),
    "approve-together; send-back 1; approve 2; deadline send-last-approved; finish-notes 3",
    "approve 1; edit 2; send-back 3; approve 1; finish-notes 2; undo 2; approve-unseen 3",
    "edit 1; approve 2; undo 1; approve 2; approve 3",
    "approve-together; drop 1; undo 1; move 2; undo 2",
    "approve-together; drop-all 1; undo 1; move-all 2; undo 2",
    "approve-together; merge-all 1; undo 1; under-all 2; undo 2",
    "draft-news; approve 1; draft-again; approve 2",
    "drop 1; move 2; deadline wait",
    "edit 1; deadline skip; approve 2; bring-back 3",
)
STEPS = (
    *(
        "edit 1",
        "drop 1",
        "move 1",
        "drop-all 1",
        "move-all 1",
        "merge-all 1",
        "under-all 1",
        "undo 1",
        "approve 1",
        "approve-unseen 1",
        "take-back 1",
        "send-back 1",
        "finish-notes 1",
    ),
    *("draft-again", "draft-news", "approve-together", "deadline send-last-approved", "deadline wait"),
)
ENDINGS = (
    "edit 1; finish-notes 2; approve-together; send-part; take-back 2; edit 3; deadline skip; send",
    "approve-together; edit 1; deadline send-last-approved; send-part; draft-news; undo 1; send-back 2; send",
    "finish-notes 1; approve-together; edit 1; deadline send-last-approved; send",
    "edit 1; finish-notes 2; approve-together; send",
    "approve-together; edit 2; take-back 1; deadline send-last-approved; send",
    "edit 1; deadline skip; send",
)


@st.composite
def draw_steps(draw: st.DrawFn) -> list[str]:
    """Draw passages with a step by itself between them, and an ending."""
    chosen = [draw(st.sampled_from(PASSAGES)) for _ in range(draw(st.integers(1, 3)))]
    passages = [text for passage in chosen for text in (passage, draw(st.sampled_from(STEPS)))]
    steps: list[str] = []
    for passage in (*passages, draw(st.sampled_from(ENDINGS))):
        places = str.maketrans("123", "".join(draw(st.permutations("123"))))
        steps += passage.translate(places).split("; ")
    return steps


def check_laws(week: PreparedWeek, examples: int) -> None:
    number = 0

    @settings(
        max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
    )
    @given(approvers=st.sampled_from(APPROVERS), steps=draw_steps())
    def check_sequence(approvers: Literal[1, 2], steps: list[str]) -> None:
        nonlocal number
        number += 1
        follow_steps(week, number, approvers, steps)

    check_sequence()


def follow_steps(week: PreparedWeek, number: int, approvers: Literal[1, 2], steps: list[str]) -> Counter[str]:
    """Do the steps on a copy of the week; return what was done."""
    watched = WatchedEdition(week, number, approvers)
    try:
        for step in steps:
            watched.act(step)
    finally:
        watched.close()
    return watched.done


@pytest.fixture(scope="module")
def sqlite_week(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> PreparedWeek:
    """Give the week on SQLite."""
    home = tmp_path_factory.mktemp("prepared")
    shutil.copy(sqlite_template, home / "digest.db")
    return prepare_week(PreparedWeek(home, f"sqlite:///{home / 'digest.db'}"))


def test_nothing_is_sent_that_was_not_approved_or_whose_approval_was_taken_back(sqlite_week: PreparedWeek) -> None:
    check_laws(sqlite_week, examples=6)


APPROVED_BY_ONE = (
    "edit 1; approve 1; approve 2; drop 1; undo 1; drop-all 1; undo 1; move-all 1; undo 1; "
    "merge-all 1; undo 1; under-all 1; undo 1; drop 1; deadline send-last-approved; send-part; take-back 3; edit 2; send-back 1; "
    "deadline skip; draft-news; send"
)
DONE_BY_ONE = {
    "edited": 1,
    "approval refused": 1,
    "approved": 1,
    "dropped": 2,
    "several dropped": 1,
    "several moved": 1,
    "several merged": 1,
    "several put under": 1,
    "undone": 5,
    "reinstated": 1,
    "undone to what was approved": 5,
    "sent in part": 1,
    "sent": 1,
}
APPROVED_BY_TWO = (
    "approve 1; approve 1; approve 2; move 3; take-back 1; deadline send-last-approved; send; undo 3; deadline skip; edit 1; "
    "bring-back 2; send-back 1; approve 2; finish-notes 1; approve 2; approve 1; send"
)
DONE_BY_TWO = {
    "approval refused": 2,
    "approved": 2,
    "moved": 1,
    "taken back": 1,
    "waits": 1,
    "undone": 1,
    "skipped": 1,
    "brought back": 1,
    "sent back": 1,
    "sent": 1,
}


@pytest.mark.parametrize(
    ("approvers", "script", "done"),
    [(1, APPROVED_BY_ONE, DONE_BY_ONE), (2, APPROVED_BY_TWO, DONE_BY_TWO)],
    ids=["one approver", "two approvers"],
)
def test_each_act_of_the_sequences_does_something_and_the_law_holds(
    sqlite_week: PreparedWeek, approvers: Literal[1, 2], script: str, done: dict[str, int]
) -> None:
    assert follow_steps(sqlite_week, 0, approvers, script.split("; ")) == done


def test_on_postgresql_too_nothing_is_sent_that_was_not_approved(
    postgresql_url: str, postgresql_template: str, tmp_path: Path
) -> None:
    run_on_server(postgresql_url, f"CREATE DATABASE laws TEMPLATE {postgresql_template} STRATEGY WAL_LOG")
    week = PreparedWeek(tmp_path / "prepared", sibling_database_url(postgresql_url, "laws"), postgresql_url)
    week.home.mkdir()
    check_laws(prepare_week(week), examples=2)
