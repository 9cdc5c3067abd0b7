"""Preference changes, by a link from an email or by an admin, which are reported to the subscriber and can be undone.

Anyone to whom an email was forwarded can use its link, so each change is reported to the owner of
the address. The first one is reported immediately, and those of the following day in one email at
its end. An admin's changes are reported immediately. The email has a one-time link.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from subscribers.consent import ledger
from subscribers.consent.preferences import Preferences, change_preferences
from subscribers.consent.unsubscribe_log import PREFERENCES_CHANGED, PendingUnsubscribeLogEntry, UnsubscribeLog
from subscribers.mail_requests import MailRequest, QueueMail
from subscribers.store import one_time_tokens
from subscribers.store.models import ConsentEvent, ConsentKind, Person, PersonState
from subscribers.store.one_time_tokens import ActionLinkState, OneTimePurpose, TokenLookup, TokenState
from subscribers.store.signup_models import OneTimeToken

RESTORE_PERIOD = timedelta(days=7)  # from the time when the email is due
NOTICE_INTERVAL = timedelta(days=1)
RESTORE_PURPOSE: OneTimePurpose = "restore choices"
_NOTHING_CHOSEN = Preferences()


@dataclass(frozen=True, slots=True)
class PreferenceRestoreLink:
    """The state of a link that restores preferences: the current ones and, while the link is open, the earlier ones.

    `by_editor` means that an admin changed them.
    """

    stage: ActionLinkState
    person: int | None = None
    current: Preferences = _NOTHING_CHOSEN
    earlier: Preferences = _NOTHING_CHOSEN
    until: datetime | None = None
    by_editor: bool = False
    first_change: int = 0  # the position of the event in the chain
    is_superseded: bool = False  # another link has restored even earlier preferences
    changed: bool = False  # whether this request restored them


def save_preferences_by_link(
    session: Session, number: int, preferences: Preferences, queue: QueueMail, *, now: datetime
) -> None:
    """Store the preferences chosen with a link from an email, and report any changes to the owner.

    Raises:
        LookupError: the person doesn't exist.
    """
    if not change_preferences(session, number, preferences, now, method="link in a mail"):
        return
    due_at = _next_notice_time(_load_recent_notices(session, number, now), now)
    if due_at is not None:
        _queue_notice(session, number, queue, now, due_at)


def save_preferences_by_admin(
    session: Session,
    unsubscribe_log: UnsubscribeLog,
    number: int,
    preferences: Preferences,
    queue: QueueMail,
    *,
    actor: str,
    reason: str,
    now: datetime,
) -> bool:
    """Store and report an admin's changes to a subscriber's preferences. Return True if anything changed.

    They're reported by email. The unsubscribe log is synced first, so that the people whose change
    was lost can be listed after a restore.

    Raises:
        LookupError: the person doesn't exist.
        OSError: the unsubscribe log couldn't be written.
    """
    method = f"{ledger.ADMIN_METHOD}{reason}"
    if not change_preferences(session, number, preferences, now, method=method, actor=actor):
        return False
    _log_change(session, unsubscribe_log, number, now)
    _queue_notice(session, number, queue, now, now, by_editor="yes", reason=reason)
    return True


def _log_change(session: Session, unsubscribe_log: UnsubscribeLog, number: int, now: datetime) -> None:
    person = session.get_one(Person, number)
    unsubscribe_log.append(PendingUnsubscribeLogEntry.of_person(person, PREFERENCES_CHANGED), at=now)


def _queue_notice(
    session: Session, number: int, queue: QueueMail, now: datetime, due_at: datetime, **facts: str
) -> None:
    """Queue the email that reports the latest change and has a link that restores the earlier preferences."""
    change = ledger.find_last_event(session, number, {ConsentKind.CHOICES_CHANGED})
    assert change is not None, "it was written a moment ago"
    expires_at = due_at + RESTORE_PERIOD
    token = one_time_tokens.issue_token(
        session, RESTORE_PURPOSE, number, now=now, expires_at=expires_at, serial=str(change.seq)
    )
    link = {"token": token, "expires_at": expires_at.isoformat(), "first_change": change.seq}
    queue(session, MailRequest("choices", number, str(change.seq), facts | link, due_at=due_at))


def _load_recent_notices(session: Session, number: int, now: datetime) -> Sequence[OneTimeToken]:
    """Return the tokens of emails that were due during the past day or haven't been sent yet."""
    mine = (OneTimeToken.person == number, OneTimeToken.purpose == RESTORE_PURPOSE)
    since = OneTimeToken.expires_at > now - NOTICE_INTERVAL + RESTORE_PERIOD
    return session.scalars(select(OneTimeToken).where(*mine, since)).all()


def _next_notice_time(recent: Sequence[OneTimeToken], now: datetime) -> datetime | None:
    """Return when to report a change, or None if a queued email will include it."""
    due_times = [(token.expires_at - RESTORE_PERIOD, token.ended_at is None) for token in recent]
    if any(due_at > now and waits for due_at, waits in due_times):
        return None
    return max((due_at + NOTICE_INTERVAL for due_at, _ in due_times if due_at <= now), default=now)


def find_preferences_before_and_after(
    session: Session, number: int, first_change: int, *, until: datetime
) -> tuple[Preferences, Preferences]:
    """Return the preferences before and after the changes reported in an email.

    These are the changes from event `first_change`, up to `until`.
    """
    query = select(ConsentEvent.body).where(
        ConsentEvent.person == number,
        ConsentEvent.kind == ConsentKind.CHOICES_CHANGED,
        ConsentEvent.seq >= first_change,
        ConsentEvent.at <= until,
    )
    statement = query.order_by(ConsentEvent.seq)
    bodies = [json.loads(body) for body in session.scalars(statement)]
    return Preferences.from_json(bodies[0]["before"]), Preferences.from_json(bodies[-1]["after"])


def look_up_preference_restoration(session: Session, token: str, *, now: datetime) -> PreferenceRestoreLink:
    """Return the state of a link that restores preferences.

    Nothing is changed.
    """
    return _describe_token(session, one_time_tokens.look_up_token(session, token, RESTORE_PURPOSE, now=now))


def restore_preferences(
    session: Session, unsubscribe_log: UnsubscribeLog, token: str, *, now: datetime
) -> PreferenceRestoreLink:
    """Restore the preferences from before the changes reported in an email if its link is open.

    This is idempotent. The link was only emailed to the owner, so no email follows. Later changes are undone, too. Their
    links stop working, and a queued email about them isn't sent. The links of earlier changes still work.

    Raises:
        OSError: the unsubscribe log couldn't be written.
    """
    link = look_up_preference_restoration(session, token, now=now)
    if link.stage is not ActionLinkState.OPEN or link.person is None:
        return link
    if one_time_tokens.use_token(session, token, RESTORE_PURPOSE, now=now).state is not TokenState.FRESH:
        return look_up_preference_restoration(session, token, now=now)
    if change_preferences(session, link.person, link.earlier, now, method="link mailed to the owner"):
        _log_change(session, unsubscribe_log, link.person, now)
    _supersede_later_links(session, link.person, link.first_change, now)
    return PreferenceRestoreLink(ActionLinkState.DONE, link.person, link.earlier, changed=True)


def _supersede_later_links(session: Session, person: int, first_change: int, now: datetime) -> None:
    for token in one_time_tokens.list_open_tokens(session, person, RESTORE_PURPOSE, now=now):
        if int(token.serial) > first_change:
            token.ended_at = now


def _describe_token(session: Session, link: TokenLookup) -> PreferenceRestoreLink:
    person = session.get(Person, link.person) if link.person is not None else None
    if link.state is TokenState.UNKNOWN or person is None:
        return PreferenceRestoreLink(ActionLinkState.UNKNOWN)
    if person.state is not PersonState.SUBSCRIBED or link.state is TokenState.EXPIRED:
        return PreferenceRestoreLink(ActionLinkState.OVER, is_superseded=link.ended_at is not None)
    current = Preferences.from_stored(person.choices)
    if link.state is TokenState.USED:
        return PreferenceRestoreLink(ActionLinkState.DONE, person.number, current)
    first_change = ledger.read_event_body(session, person.number, int(link.serial))
    return PreferenceRestoreLink(
        ActionLinkState.OPEN,
        person.number,
        current,
        earlier=Preferences.from_json(first_change["before"]),
        until=link.expires_at,
        by_editor=ledger.is_by_admin(first_change),
        first_change=int(link.serial),
    )
