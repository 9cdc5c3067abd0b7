"""Whatever three editors do, in any order, no approved edition has words whose author is the only one who signed it.

As `tests/edition/test_authorship_laws.py`, through the acts of the application and on real databases: all that is written holds a
word that names who wrote it, and what is looked at are the pieces that would be sent.
"""

import re
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from digest.app.approval import edition_approval
from digest.app.editing import changes as editing
from digest.app.editing import edit_history, editing_state
from digest.app.editing.edit_application import EditForm, EditResult
from digest.app.editing.editing_state import EditRefusedError
from digest.app.editions.edition_status import read_edition_status
from digest.edition.approval import approved_versions as approval
from digest.edition.approval.approved_versions import ApprovalError
from digest.edition.content.edition_content import LabeledBlock
from digest.edition.editing.arrangement import Arrangement
from digest.edition.editing.edits import EditionField, StoryField
from digest.installation.audited_actions import Actor
from digest.installation.opened_installation import Installation
from digest.store.models import Edition, EditionState
from tests.app.editing.test_changes import TITLES, url_of
from tests.app.test_approval_laws import STAFF, PreparedWeek, open_week, prepare_week, sqlite_week
from tests.moments import DRAFTING as NOW
from tests.run_database import run_on_server, sibling_database_url

__all__ = ["sqlite_week"]

INK = re.compile(r"ink-(\d)-")
URLS = [url_of(title) for title in TITLES[:3]]


class Newsroom:
    """Three editors on one edition, whose acts are drawn by a seed."""

    def __init__(self, install: Installation, seed: int) -> None:
        self.install, self.random, self.count = install, Random(seed), 0

    def act(self) -> None:
        """Do one act; one that is refused changes nothing."""
        actor = self.random.choice(STAFF)
        self.count += 1
        ink = f"ink-{actor.name.removeprefix('staff ')}-{self.count}x"
        act: Callable[[EditForm, str], EditResult] = self.random.choice(
            (self.write_head, self.write_story, self.write_note, self.write_block, self.move_block, self.add, self.pin,
             self.merge, self.undo, self.undo, self.bring_back)
        )  # fmt: skip
        with suppress(EditRefusedError):
            act(EditForm("current", actor, NOW), ink)

    @property
    def arrangement(self) -> Arrangement:
        return editing_state.read_editing_state(self.install, "current").arrangement

    def write_head(self, form: EditForm, ink: str) -> EditResult:
        field = self.random.choice((EditionField.INTRO, EditionField.SUBJECT))
        words = f"{self.arrangement.texts.get(field, '')} {ink}"
        return editing.set_edition_text(self.install, form, field, words)

    def write_story(self, form: EditForm, ink: str) -> EditResult:
        url, field = self.random.choice(URLS), self.random.choice((StoryField.HEADLINE, StoryField.SUMMARY))
        story = self.arrangement.find_story(url)
        words = f"{story.texts.get(field, '') if story else ''} {ink}"
        return editing.set_story_text(self.install, form, url, field, words)

    def write_note(self, form: EditForm, ink: str) -> EditResult:
        return editing.set_editor_note(self.install, form, self.random.choice(URLS), ink)

    def write_block(self, form: EditForm, ink: str) -> EditResult:
        known = self.arrangement.find_block("offer")
        name = known.name if known and self.random.random() < 0.5 else ink
        block = LabeledBlock("offer", "sponsor", ink, name, "Iron.", "https://anvil.example.org/")
        return editing.save_labeled_block(self.install, form, block)

    def move_block(self, form: EditForm, _: str) -> EditResult:
        known = self.arrangement.find_block("offer")
        if known is None:
            raise EditRefusedError("There is none.")
        moved = LabeledBlock(known.id, known.kind, known.headline, known.name, known.text, known.url, after="events")
        return editing.save_labeled_block(self.install, form, moved)

    def add(self, form: EditForm, ink: str) -> EditResult:
        article = {"title": f"Story {ink}", "url": f"https://elsewhere.example.org/{ink}"}
        return editing.add_written_story(self.install, form, article, section="featured")

    def pin(self, form: EditForm, _: str) -> EditResult:
        return editing.pin_story(self.install, form, self.random.choice(URLS), pinned=True)

    def merge(self, form: EditForm, _: str) -> EditResult:
        one, other = self.random.sample(URLS[1:], 2)
        return editing.merge_stories(self.install, form, one, other)

    def undo(self, form: EditForm, _: str) -> EditResult:
        edits = editing_state.read_editing_state(self.install, "current").edits
        return edit_history.undo_edit(self.install, form, self.random.randint(0, len(edits)))

    def bring_back(self, form: EditForm, _: str) -> EditResult:
        edits = editing_state.read_editing_state(self.install, "current").edits
        return edit_history.restore_past_state(self.install, form, self.random.randint(0, len(edits)))

    def approve(self, actor: Actor) -> None:
        """Approve what is there, or be refused; then look at what is approved."""
        mark = read_edition_status(self.install, "current", now=NOW).content_hash
        with suppress(ApprovalError):
            edition_approval.approve_edition(self.install, "current", mark, actor=actor, now=NOW)
        self.check_law()

    def check_law(self) -> bool:
        """Look whether it is approved, and if so, that nobody's words are signed by them alone."""
        with self.install.database.read() as session:
            edition = session.scalars(select(Edition)).one()
            standing = approval.find_valid_approval(session, edition)
            assert (standing is not None) == (edition.state is EditionState.APPROVED)
            if standing is None:
                return False
            version = approval.read_approved_version(session, standing)
            signers = {signature.actor for signature in standing.signatures}
        shown = " ".join((version.subject, version.preheader, *(piece.body for piece in version.pieces)))
        for number in INK.findall(shown):
            assert signers - {f"staff {number}"}, (number, signers)
        return True


def check_week(week: PreparedWeek, number: int, seed: int) -> None:
    """Let editors act and approve on a copy of the week; at last all three approve, and then it is approved."""
    folder = Path(tempfile.mkdtemp())
    install = open_week(folder / "home", week.copy_into(folder / "home", number))
    try:
        newsroom = Newsroom(install, seed)
        for _ in range(newsroom.random.randint(1, 3)):
            for _ in range(newsroom.random.randint(1, 5)):
                newsroom.act()
            newsroom.approve(newsroom.random.choice(STAFF))
        for actor in STAFF:
            newsroom.approve(actor)
        assert newsroom.check_law()
    finally:
        install.database.close()
        week.drop_copy(number)
        shutil.rmtree(folder)


def check_laws(week: PreparedWeek, examples: int) -> None:
    number = 0

    @settings(max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(seed=st.integers(0, 10**9))
    def check_seed(seed: int) -> None:
        nonlocal number
        number += 1
        check_week(week, number, seed)

    check_seed()


def test_no_approved_edition_shows_words_that_only_their_author_signed(sqlite_week: PreparedWeek) -> None:
    check_laws(sqlite_week, examples=10)


def test_on_postgresql_too_no_author_signs_alone(postgresql_url: str, postgresql_template: str, tmp_path: Path) -> None:
    run_on_server(postgresql_url, f"CREATE DATABASE four_eyes TEMPLATE {postgresql_template} STRATEGY WAL_LOG")
    week = PreparedWeek(tmp_path / "prepared", sibling_database_url(postgresql_url, "four_eyes"), postgresql_url)
    week.home.mkdir()
    check_laws(prepare_week(week), examples=2)
