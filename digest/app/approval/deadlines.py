"""Approval reminders, and the handling of editions that aren't approved by their deadline.

Both are calendar jobs. They email all staff with a verified address, once for each reminder or
deadline.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from digest.app.approval import approval_overviews
from digest.app.calendar import releases as calendar
from digest.edition.approval.approval_check import find_reinstatable_approval
from digest.edition.approval.approved_versions import ApprovalError
from digest.edition.calendar import calendar_store
from digest.edition.calendar.release_calendar import (
    DeadlineDecision,
    PlannedRelease,
    decide_at_deadline,
    find_latest_step,
    plan_steps,
)
from digest.edition.content.edition_content import EditionContent
from digest.edition.edition_queries import COMING_STATES, IS_REGULAR, UNAPPROVED_STATES, make_release_slot_key
from digest.installation.audited_actions import SCHEDULER
from digest.installation.opened_installation import Installation
from digest.installation.staff_mail import make_deadline_email_key, queue_staff_mail
from digest.store.models import Edition, EditionState
from subscribers.english_text import curl_quotes, hour_in_zone, weekday_month_day

MAIL_KIND: Literal["deadline"] = "deadline"
_MAX_LISTED = 6  # stories per section in an email's preview


@dataclass(frozen=True, slots=True)
class _DueStep:
    """A reminder or deadline that's due at `at`.

    `deadline` is the time by which the edition must be approved.
    """

    release: PlannedRelease
    at: datetime
    deadline: datetime
    edition: Edition | None

    @property
    def unapproved(self) -> bool:
        """True if the edition has a draft that isn't approved."""
        return self.edition is not None and self.edition.state in UNAPPROVED_STATES


def read_deadline(installation: Installation, edition: Edition) -> datetime | None:
    """Return the deadline of an unapproved edition.

    Return None if the edition isn't unapproved, or isn't in the calendar anymore.
    """
    if edition.state not in UNAPPROVED_STATES:
        return None
    with installation.read() as session:
        return calendar_store.find_deadline(session, installation.settings.file, edition)


def remind_editors(installation: Installation, *, now: datetime) -> str:
    """Email the editors if an edition needs approval or has no draft yet.

    Return the number of emails in words.
    """
    with installation.write() as session:
        step = _find_step(session, installation, "remind", now)
        if step is None or step.release.release_at <= now or not (step.unapproved or step.edition is None):
            return "no reminder is due"
        if step.edition is None and not _is_without_draft(
            session, installation, step, Edition.state.in_(COMING_STATES)
        ):
            return "the edition was approved for an earlier schedule"
        sent = _mail_editors(session, installation, step, "remind" if step.edition else "missing", now)
    return f"{sent} reminded"


def apply_deadline_rule(installation: Installation, *, now: datetime) -> str:
    """Apply the configured rule to an edition that wasn't approved by its deadline or send time.

    Return the result in words. If the last approved version can't be sent anymore, for example
    because the sender's address has changed, the edition waits and an email tells the editors why.
    """
    with installation.read() as session:
        step = _find_step(session, installation, "deadline", now)
        if step is None or (
            step.edition is None
            and (step.at != step.release.release_at or not _is_without_draft(session, installation, step))
        ):
            return "no decision is due"
        decision, obstacle = _decide(session, installation, step, now)
    name = step.edition.name if step.edition else make_release_slot_key(step.release.release_at)
    if decision is DeadlineDecision.NOTHING and step.edition:
        return f"{name} is {step.edition.state}"
    if decision is DeadlineDecision.SKIP:
        calendar.skip_release(installation, step.release.release_at, actor=SCHEDULER, now=now)
    if decision is DeadlineDecision.SEND_VERSION:
        approval_overviews.reinstate_last_approval(installation, name, actor=SCHEDULER, now=now)
    what = str(decision) if step.edition else "undrafted"
    with installation.write() as session:
        _mail_editors(session, installation, step, what, now, obstacle=obstacle)
    return f"{name}: {what}"


def _is_without_draft(
    session: Session, installation: Installation, step: _DueStep, *conditions: ColumnElement[bool]
) -> bool:
    """Return True if no edition between a release's neighbors has been drafted that matches all conditions.

    A draft at a nearby time may come from earlier settings.
    """
    planned = calendar_store.load_calendar(session, installation.settings.file)
    release_at = step.release.release_at
    before = planned.latest_release(release_at - timedelta(microseconds=1))
    around = [IS_REGULAR, Edition.release_at < planned.next_release(release_at).release_at, *conditions]
    around += [Edition.release_at > before.release_at] if before else []
    return session.scalar(select(Edition.id).where(*around).limit(1)) is None


def _decide(
    session: Session, installation: Installation, step: _DueStep, now: datetime
) -> tuple[DeadlineDecision, str]:
    """Return the decision, and the reason that the last approved version can't be sent, if any."""
    settings, rule = installation.settings, installation.settings.file.schedule.at_deadline
    has_version, obstacle = False, ""
    if step.edition and DeadlineDecision(rule) is DeadlineDecision.SEND_VERSION:
        try:
            approval = find_reinstatable_approval(session, step.edition, settings=settings, keys=installation.keys)
            has_version = approval is not None
        except ApprovalError as exc:
            obstacle = str(exc)
    decision = decide_at_deadline(
        rule, unapproved=step.unapproved, has_version=has_version, release_at=step.release.release_at, now=now
    )
    return decision, obstacle


def _find_step(session: Session, installation: Installation, job: str, now: datetime) -> _DueStep | None:
    file = installation.settings.file
    planned, rules = calendar_store.load_calendar(session, file), calendar_store.build_step_rules(file.schedule)
    latest_step = find_latest_step(planned, rules, now, job)
    if latest_step is None:
        return None
    release, at = latest_step
    edition = session.scalar(select(Edition).where(Edition.slot == make_release_slot_key(release.release_at)))
    return _DueStep(release, at, plan_steps(planned, release, rules).deadline, edition)


# --- emails -------------------------------------------------------------------------------------------------


def _mail_editors(
    session: Session, installation: Installation, step: _DueStep, email_kind: str, now: datetime, *, obstacle: str = ""
) -> int:
    """Queue an email to all staff with a verified address, and return the number of emails.

    Each reminder and deadline is emailed only once. `obstacle` is the reason that the last approved
    version, which the settings call for, can't be sent.
    """
    facts = _mail_facts(installation, step, email_kind, obstacle)
    # An edition waits from its deadline on, even if an outage delayed this email until the send
    # time.
    moment = step.deadline if email_kind == DeadlineDecision.WAIT else step.at
    occasion = make_deadline_email_key(make_release_slot_key(step.release.release_at), email_kind, moment)
    return queue_staff_mail(session, installation, MAIL_KIND, occasion, facts, now=now)


def _mail_facts(installation: Installation, step: _DueStep, email_kind: str, obstacle: str) -> dict[str, str]:
    file, edition = installation.settings.file, step.edition
    zone = file.publication.zone
    words = build_deadline_email(
        email_kind,
        number=f"No. {edition.number}" if edition else "",
        release=_write_moment(step.release.release_at.astimezone(zone)),
        deadline=_write_moment(step.deadline.astimezone(zone)),
        rule=file.schedule.at_deadline,
        obstacle=obstacle,
    )
    content = EditionContent.from_json(edition.content) if edition and email_kind != DeadlineDecision.SKIP else None
    page = f"editions/{edition.name}" if edition and content else "calendar"
    return {
        "title": curl_quotes(words.title),
        "heading": curl_quotes(words.heading),
        "say": curl_quotes(words.sentence),
        "state": curl_quotes(edition.held_because) if edition and edition.state is EditionState.INCOMPLETE else "",
        "button": "Open the edition" if content else "Open the calendar",
        "address": f"{installation.settings.link_base}/desk/{page}",
        **_describe_content(content),
    }


def _describe_content(content: EditionContent | None) -> dict[str, str]:
    if content is None:
        return dict.fromkeys(("subject", "preheader", "preview"), "")
    return {"subject": content.subject, "preheader": content.preheader, "preview": format_edition_summary(content)}


@dataclass(frozen=True, slots=True)
class DeadlineEmailTexts:
    """The texts of an email to the editors: subject, heading, and a sentence on what happens and what to do."""

    title: str
    heading: str
    sentence: str


_OTHERWISE = {
    "wait": "After that, it's sent as soon as someone approves it.",
    "skip": "Otherwise, it's skipped, and its week is added to the next edition.",
    "send-last-approved": "Otherwise, its last approved version is sent, if there is one.",
}


def build_deadline_email(
    email_kind: str, *, number: str, release: str, deadline: str, rule: str, obstacle: str = ""
) -> DeadlineEmailTexts:
    """Return the texts of an email to the editors.

    `email_kind` is `remind`, `missing` (a reminder when there's no draft), a `DeadlineDecision`, or
    `undrafted` (a send time that passed without a draft).
    """
    unsendable = f"Its last approved version can't be sent instead: {obstacle} " if obstacle else ""
    return {
        "remind": DeadlineEmailTexts(
            f"Approve {number} by {deadline}",
            f"{number} needs your approval",
            f"Approve the edition by {deadline}. Its send time is {release}. {_OTHERWISE[rule]}",
        ),
        "missing": DeadlineEmailTexts(
            f"No draft for {release}",
            "There's no draft yet",
            f"The next edition's send time is {release}, and there's no draft. Ask an admin whether the scheduler is running, "
            "or run 'digest draft'.",
        ),
        DeadlineDecision.WAIT: DeadlineEmailTexts(
            f"{number} is waiting for approval",
            "The deadline has passed",
            f"{number} wasn't approved by {deadline}. {unsendable}Once someone approves it, it's sent at its send time ({release}), or "
            "immediately if that has passed.",
        ),
        DeadlineDecision.SKIP: DeadlineEmailTexts(
            f"{number} was skipped because it wasn't approved",
            f"{number} was skipped",
            f"{number} wasn't approved in time, so it won't be sent {release}. Its week is added to the next edition. "
            "To bring its draft back, use the calendar before its send time.",
        ),
        DeadlineDecision.SEND_VERSION: DeadlineEmailTexts(
            f"The last approved version of {number} will be sent",
            "The last approved version will be sent",
            f"The latest changes to {number} weren't approved, so its last approved version will be sent {release}. The changes "
            "are in its history. To keep it from being sent, revoke the approval.",
        ),
        DeadlineDecision.MISSED: DeadlineEmailTexts(
            f"{number} wasn't sent",
            f"{number} wasn't sent",
            f"{number} wasn't approved by {deadline}, and its send time ({release}) was more than a day ago. To send it "
            "immediately, approve it. Otherwise, its week is added to the next edition.",
        ),
        "undrafted": DeadlineEmailTexts(
            f"Nothing was sent {release}",
            "Nothing was sent",
            f"The send time was {release}, and there was no draft. The week is added to the next edition. Ask an admin "
            "whether the scheduler was running.",
        ),
    }[email_kind]


def _write_moment(local: datetime) -> str:
    return f"{weekday_month_day(local)}, {hour_in_zone(local)}"


def format_edition_summary(content: EditionContent) -> str:
    """Return a plain-text summary of an edition: its intro, and the first stories of each section."""
    lines = [content.intro, ""]
    for section in content.sections:
        lines.append(section.title.upper())
        for number, entry in enumerate(section.entries[:_MAX_LISTED], 1):
            lines += [f"{number}. {entry.headline}", *([entry.summary] if entry.summary else [])]
        more = len(section.entries) - _MAX_LISTED
        lines += [f"and {more} more"] if more > 0 else []
        lines.append("")
    return "\n".join(lines).strip()
