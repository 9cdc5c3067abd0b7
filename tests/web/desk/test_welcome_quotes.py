"""A welcome email quotes only what colleagues signed, so writing to the database adds nothing to it."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from digest.app.editing import corrections
from digest.app.editing.corrections import CorrectionForm
from digest.edition.approval.approved_versions import compute_content_hash
from digest.edition.archive.corrections import read_sent_content
from digest.edition.edition_queries import find_edition
from digest.store.approval_models import Approval
from digest.store.correction_models import Correction
from digest.store.models import Edition
from tests.web.desk.test_correction_approvals import DANA, EVIL, PRIYA, hire, welcome
from tests.web.desk.test_corrections import LATER, NAME, NOTE, SentEdition, approve_email, sent

__all__ = ["sent"]
QUOTES = "UNTIL THEN"


def forge_content(sent: SentEdition) -> dict[str, Any]:
    """Return what the edition says, with every headline and link replaced."""
    with sent.world.database.read() as session:
        content = read_sent_content(session, find_edition(session, NAME)).as_json()
    for section in content["sections"]:
        for entry in section["entries"]:
            entry |= {"headline": EVIL, "url": "https://evil.example/"}
    return content


def test_a_forged_edition_is_not_quoted(sent: Any) -> None:
    assert QUOTES in welcome(sent, LATER)
    forged = forge_content(sent)
    with sent.world.database.write() as session:
        session.execute(update(Edition).where(Edition.name == NAME).values(content=forged))
        statement = session.scalars(select(Approval)).one().statement | {"content": compute_content_hash(forged)}
        session.execute(
            update(Approval).values(content=forged, statement=statement, content_hash=compute_content_hash(statement))
        )
    text = welcome(sent, LATER + timedelta(minutes=1))
    assert "evil" not in text
    assert QUOTES not in text


def forge_statement(session: Session) -> None:
    """Give the version a statement that fits its hash and asks for no signature."""
    statement = session.scalars(select(Approval)).one().statement | {"approvals": 0, "alone": True}
    content_hash = compute_content_hash(statement)
    session.execute(update(Approval).values(statement=statement, content_hash=content_hash))


@pytest.mark.parametrize(
    "damage",
    [
        lambda session: session.execute(delete(Approval)),  # as in a past edition that was imported
        forge_statement,
        lambda session: session.execute(update(Approval).values(statement={})),
        lambda session: session.execute(update(Edition).where(Edition.name == NAME).values(number=666)),
    ],
)
def test_a_welcome_email_without_a_proven_edition_goes_out_without_quotes(
    sent: Any, damage: Callable[[Session], object]
) -> None:
    with sent.world.database.write() as session:
        damage(session)
    text = welcome(sent, LATER)
    assert "Yes." in text
    assert QUOTES not in text
    assert f"/editions/{NAME}" not in text


def test_a_forged_correction_is_not_quoted(sent: Any) -> None:
    hire(sent.install, "dana", "priya")
    lead = corrections.view_corrections(sent.install, NAME).stories[0]
    form = CorrectionForm(lead.url, "headline", "Maps were corrected", NOTE)
    made = corrections.correct_story(sent.install, NAME, form, actor=DANA, now=LATER)
    row = update(Correction).where(Correction.id == made.id)
    with sent.world.database.write() as session:  # as one from before approvals, already queued
        session.execute(row.values(becomes=EVIL, mail_approved_at=LATER, mail_planned_at=LATER))
    text = welcome(sent, LATER + timedelta(minutes=1))
    assert "evil" not in text
    assert lead.headline not in text
    assert QUOTES in text, "the other stories are still there"


def test_a_correction_that_was_changed_after_its_approval_is_not_quoted(sent: Any) -> None:
    hire(sent.install, "dana", "priya")
    lead = corrections.view_corrections(sent.install, NAME).stories[0]
    form = CorrectionForm(lead.url, "headline", "Maps were corrected", NOTE)
    made = corrections.correct_story(sent.install, NAME, form, actor=DANA, now=LATER)
    approve_email(sent.install, made.seq, PRIYA)
    assert "Maps were corrected" in welcome(sent, LATER + timedelta(minutes=1))
    with sent.world.database.write() as session:
        session.execute(update(Correction).where(Correction.id == made.id).values(becomes=EVIL))
    text = welcome(sent, LATER + timedelta(minutes=2))
    assert QUOTES in text
    assert "evil" not in text
