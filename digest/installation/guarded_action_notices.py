"""Emails that tell admins about guarded actions.

An email is sent immediately if a control is weakened, and a summary of the access to addresses is
sent daily. The first kind also goes to staff members who are affected by the action. No setting
turns these emails off. They go to verified addresses. If there are none, as during setup, nothing
is queued.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from digest.deliver.control import installation_hold
from digest.deliver.events.server_replies import scrub_addresses
from digest.deliver.send.notices.notice_queue import make_notice_queue
from digest.edition.rendering.sanitizer import sanitize_text
from digest.installation.action_words import TERMINAL_PREFIX, format_action_for_email, name_actor
from digest.installation.opened_installation import Installation
from digest.installation.staff_mail import make_mail_queue
from digest.settings import Settings
from digest.settings.guarded_areas import GuardedArea
from digest.store.delivery_models import StaffMember
from digest.store.engine import Database
from digest.store.staff import list_verified_staff, name_member_number
from digest.store.subscriber_address_use_models import SubscriberAddressUseCount
from subscribers.crypto.keys import KeyRing
from subscribers.english_text import curl_quotes
from subscribers.mail_requests import MailRequest
from subscribers.store.database import upsert

STAFF_PREFIX, STAFF_PATH = "staff ", "/admin/staff"
SUMMARY_STATE_KEY = "address summary"
FACE_WORDS = {"terminal": "on the command line", "desk": "on the website"}


@dataclass(frozen=True, slots=True)
class GuardedNoticeRecipients:
    """The possible recipients of an email, as mappings of staff numbers to addresses.

    `admins` are the admins, and `proven` are all verified members before the action. `sole_admin`
    is the name of the acting admin if no other admin can be emailed.
    """

    admins: Mapping[int, str] = field(default_factory=dict)
    proven: Mapping[int, str] = field(default_factory=dict)
    sole_admin: str = ""

    @property
    def words(self) -> str:
        """A sentence that says who gets an email about an action.

        The text after it begins with "when".
        """
        if not self.admins:
            return "No admin has a verified address, so no one gets an email"
        only = "You’re the only admin with a verified address, so you get an email"
        return only if self.sole_admin else "All other admins get an email"

    def find_by_subject(self, subject: str) -> dict[int, str]:
        """Return the admins and the member whom the action affects.

        The member is included even if that member is the actor, because the session may be stolen.
        If a sole admin changes another account, the whole team is emailed, because that admin may
        control a second address.
        """
        concerned = {number: email for number, email in self.proven.items() if f"{STAFF_PREFIX}{number}" == subject}
        is_colleague = subject.startswith(STAFF_PREFIX) and subject != self.sole_admin
        return {**self.admins, **(self.proven if self.sole_admin and is_colleague else concerned)}


def find_guarded_notice_recipients(database: Database, signed_in_as: str) -> GuardedNoticeRecipients:
    """Return the people who may be emailed about an action.

    They are the other verified admins and the members whom the action may affect. A sole admin is
    also emailed about their own actions. Call this before the action, so that members whom it
    removes or demotes are included.
    """
    with database.read() as session:
        admins = dict(choose_recipients(list_verified_admins(session), signed_in_as))
        proven = {member.id: member.email for member in list_verified_staff(session)}
    has_others = any(f"{STAFF_PREFIX}{number}" != signed_in_as for number in admins)
    return GuardedNoticeRecipients(admins, proven, "" if has_others else signed_in_as)


def list_verified_admins(session: Session) -> list[tuple[int, str]]:
    """Return the number and the address of each admin whose address is verified."""
    return [(member.id, member.email) for member in list_verified_staff(session) if member.role == "admin"]


def choose_recipients(admins: Sequence[tuple[int, str]], signed_in_as: str) -> Sequence[tuple[int, str]]:
    """Return all admins except the acting one, or only the acting one if there's no other."""
    return [admin for admin in admins if f"{STAFF_PREFIX}{admin[0]}" != signed_in_as] or admins


@dataclass(frozen=True, slots=True)
class GuardedActionNotice:
    """An email that's sent immediately after `actor` did what `words` say.

    `subject` is the subject of the audit row. `undo_path` is the path of the page where the action
    can be undone, if that isn't the team page.
    """

    actor: str
    face: str
    words: str
    subject: str
    guarded_area: str
    at: datetime
    undo_path: str = ""

    def queue(self, session: Session, keys: KeyRing, settings: Settings, recipients: Mapping[int, str]) -> None:
        """Queue the email to each recipient in the action's transaction.

        The sender comes from `settings`, which are from before the action, so that changing the
        sender can't suppress the warning about that.
        """
        queue = make_notice_queue(keys, settings, lambda: self.at)
        undo_path = self.undo_path or (STAFF_PATH if self.guarded_area == GuardedArea.ACCOUNTS else "")
        facts = {
            "who": describe_actor(session, self.actor),
            "did": curl_quotes(format_action_for_email(self.words, describe_actor(session, self.subject))),
            "concern": self.guarded_area,
            "done_at": self.at.isoformat(),
            # The name of a terminal user says where they acted.
            "face": "" if self.actor.startswith(TERMINAL_PREFIX) else FACE_WORDS.get(self.face, self.face),
            "sent_from": settings.file.sender.model_dump(include={"name", "address", "reply_to", "bounce_domain"}),
            "undo_url": f"{settings.link_base}{undo_path}" if undo_path else "",
            **_page_urls(settings),
        }
        occasion = secrets.token_hex(6)
        for number, address in recipients.items():
            member = session.get(StaffMember, number)
            own = {"to": address, "about_you": "yes" if self.subject == f"{STAFF_PREFIX}{number}" else ""}
            own |= {"to_editor": "yes" if member is not None and member.role != "admin" else ""}
            own |= {"by_you": "yes" if self.actor == f"{STAFF_PREFIX}{number}" else ""}
            queue(session, MailRequest("guard", None, f"{number}-{occasion}", facts | own))


def count_address_access(session: Session, words: str, actor: str, *, now: datetime) -> None:
    """Count an action that accesses addresses, for the daily summary.

    It's counted in the action's transaction.
    """
    first = {"words": format_action_for_email(words), "actor": actor, "uses": 1, "since": now}
    statement = upsert(session, SubscriberAddressUseCount).values(**first)
    update_values = {"uses": SubscriberAddressUseCount.uses + 1}
    session.execute(statement.on_conflict_do_update(index_elements=["words", "actor"], set_=update_values))


def queue_address_access_summary(installation: Installation, now: datetime) -> str:
    """Queue the daily summary of access to addresses for each verified admin.

    The counts that it covers are deleted. At most one summary is queued per day, and later counts
    wait for the next one.
    """
    with installation.read() as session:
        if session.scalar(select(SubscriberAddressUseCount.uses).limit(1)) is None:
            return "no actions on addresses to report"
    queue = make_mail_queue(installation, now)
    today = now.astimezone(installation.settings.zone).date().isoformat()
    with installation.write() as session:
        if (installation_hold.read_installation_value(session, SUMMARY_STATE_KEY) or {}).get("day") == today:
            return "actions on addresses were reported today"
        counted = select(SubscriberAddressUseCount).order_by(
            SubscriberAddressUseCount.actor, SubscriberAddressUseCount.words
        )
        uses = session.scalars(counted.with_for_update()).all()
        admins = list_verified_admins(session)
        if not uses or not admins:
            return "no admin to report actions on addresses to" if uses else "no actions on addresses to report"
        facts = _summarize_uses(session, uses) | _page_urls(installation.settings)
        facts |= {"done_at": now.isoformat()}
        for number, address in admins:
            queue(session, MailRequest("summary", None, f"{number}-{today}", facts | {"to": address}))
        installation_hold.write_installation_value(session, SUMMARY_STATE_KEY, {"day": today}, now=now)
        for use in uses:  # only those that were read, because more may have been counted since
            session.delete(use)
    return f"{len(uses)} kinds of actions on addresses reported to {len(admins)} admins"


def _summarize_uses(session: Session, uses: Sequence[SubscriberAddressUseCount]) -> dict[str, str]:
    lines = [f"{describe_actor(session, use.actor)} {curl_quotes(use.words)}{_count_words(use.uses)}" for use in uses]
    since = min(use.since for use in uses)
    return {"since": since.isoformat(), "lines": "\n".join(lines)}


def _count_words(uses: int) -> str:
    return "" if uses == 1 else f" ({uses:,} times)"


def _page_urls(settings: Settings) -> dict[str, str]:
    return {"log_url": f"{settings.link_base}/admin/audit", "staff_url": f"{settings.link_base}{STAFF_PATH}"}


def describe_actor(session: Session, name: str) -> str:
    """Return the name of an actor for emails.

    It's `Dana (team member 3)`, or `team member 3` if the member hasn't entered a name. For others, it's the
    same as on pages. It never contains an address.
    """
    number = name.removeprefix(STAFF_PREFIX)
    if number == name or not number.isdecimal():
        return name_actor(name, {})
    member = session.get(StaffMember, int(number))
    chosen = sanitize_text(scrub_addresses(member.name)) if member is not None else ""
    numbered = name_member_number(name)
    return f"{chosen} ({numbered})" if chosen else numbered
