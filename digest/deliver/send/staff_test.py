"""Test emails: an edition sent only to the staff, even while it's a draft.

Staff members receive what a subscriber of all sections would receive, composed, signed, and handed
over by the same code. The only differences are the mark in the subject, a notice at the end of the
body, the address, the IDs, the sign-up text, and the tokens, whose pages say that this was a test.
Each email is a delivery with the purpose `test:<edition>:<serial>` and no person, so the edition's
delivery counts don't change. The serial begins with the version that was tested.

A test is tried once, because someone is waiting for it. Its row is stored and claimed in one
commit, so anything left by a crash is `uncertain`.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from sqlalchemy import select
from sqlalchemy.orm import Session

from digest.deliver.compose import headers
from digest.deliver.compose.identifiers import make_delivery_id, make_message_id
from digest.deliver.compose.message import MessageTemplate, PlaceholderValues
from digest.deliver.compose.return_path import make_return_path
from digest.deliver.compose.variants import check_unsubscribe_url_length, create_variants, format_signup_text
from digest.deliver.plan.delivery_plan import TEST_PURPOSE_PREFIX, make_test_purpose
from digest.deliver.providers.base import OutgoingMessage, Provider
from digest.deliver.send.claims import delivery_claims as claims
from digest.deliver.send.claims.dead_runs import recover_dead_and_silent_runs
from digest.deliver.send.claims.delivery_claims import ClaimedDelivery
from digest.deliver.send.claims.run_lease import keep_lease
from digest.deliver.send.claims.run_progress_file import RunFile
from digest.deliver.send.handover import HandoverRun, SendTask, hand_over_batches
from digest.deliver.send.run.edition_sending import SendError
from digest.edition.approval import approval_check
from digest.edition.approval import approved_versions as approval
from digest.edition.content.slotted_text import SlottedText
from digest.edition.edition_queries import find_edition
from digest.settings import Settings
from digest.store import staff
from digest.store.delivery_models import Delivery, DeliveryState, StaffMember
from digest.store.engine import Database
from digest.store.models import Edition
from subscribers.consent.preferences import Preferences
from subscribers.crypto import link_tokens
from subscribers.crypto.keys import KeyRing
from subscribers.loggers import get_logger

BATCH_SIZE = 20  # messages handed over at once
# This keeps people from mistaking a test for the edition, or forwarding it as such.
SUBJECT_MARK = "[Test]"
TEST_NOTICE = (
    "This is a test email for the team. In the edition, the last lines say when and where each subscriber signed up."
)
NOTICE_TEXT = f"\n{TEST_NOTICE}\n"
# The colors are legible in light and dark.
NOTICE_HTML = (
    '<p lang="en" dir="ltr" style="margin:0;padding:8px 16px;background:#fff3c4;color:#1a1a1a;'
    f'font:14px/20px Arial,sans-serif;text-align:center">{TEST_NOTICE}</p>\n'
)

log = get_logger("sending")


@dataclass(frozen=True, slots=True)
class StaffTestResult:
    """The result of the test email to one staff member.

    `reply` is the provider's reply.
    """

    email: str
    state: DeliveryState
    reply: str = ""


@dataclass(frozen=True, slots=True)
class StaffTestReport:
    """The results of a test, with one for each staff member.

    `stopped` says why some emails weren't tried, or is empty. `serial` distinguishes the test from
    the edition's other tests.
    """

    edition: str
    tested: tuple[StaffTestResult, ...]
    stopped: str = ""
    serial: str = ""

    @property
    def arrived(self) -> bool:
        """True if every email was accepted."""
        return all(result.state is DeliveryState.ACCEPTED for result in self.tested)


@dataclass(frozen=True, slots=True)
class _StaffTestMail(ClaimedDelivery):
    """A test email, which is composed before it's claimed."""

    member: StaffMember
    message: OutgoingMessage

    def compose_message(self) -> OutgoingMessage:
        """Return the message that has already been composed."""
        return self.message


@dataclass(frozen=True, slots=True)
class StaffTest:
    """A composed test of an edition."""

    edition: str
    purpose: str
    mails: tuple[_StaffTestMail, ...]

    @property
    def recipients(self) -> list[str]:
        """The recipients, by their names in the audit log."""
        return [staff.staff_actor(mail.member) for mail in self.mails]


@dataclass(kw_only=True)
class _StaffTestRun(HandoverRun):
    """A test with one provider. `unclaimed` are the emails still to be sent."""

    purpose: str
    unclaimed: deque[_StaffTestMail]


def compose_staff_test(
    session: Session,
    name: str,
    keys: KeyRing,
    settings: Settings,
    *,
    to: Sequence[str] = (),
    now: datetime,
) -> StaffTest:
    """Compose an edition in its current state for all verified staff members, or only for those in `to`.

    Raises:
        UnknownEditionError: the edition doesn't exist.
        SendError: it has no content, or there are no recipients.
        ApprovalError: it's approved, but isn't what was approved.
        ComposeError: the base URL is too long for List-Unsubscribe.
    """
    check_unsubscribe_url_length(settings.link_base)
    edition = find_edition(session, name)
    purpose = make_test_purpose(name, approval.read_current_content_hash(session, edition, settings))
    template = _compose_template(session, edition, keys, settings)
    mails = [_compose_mail(member, template, purpose, keys, settings, now) for member in _choose_members(session, to)]
    return StaffTest(name, purpose, tuple(mails))


def hand_over_staff_test(
    database: Database,
    test: StaffTest,
    provider: Provider,
    keys: KeyRing,
    settings: Settings,
    *,
    clock: Callable[[], datetime],
) -> StaffTestReport:
    """Hand over the emails of a composed test."""
    recover_dead_and_silent_runs(database, settings, keys, now=clock())
    run_file = RunFile.in_memory(BATCH_SIZE)  # no retries, so uncertain deliveries stay uncertain
    with keep_lease(database, run_file.owner, settings) as run_lease:
        run = _StaffTestRun(
            database=database,
            provider=provider,
            keys=keys,
            settings=settings,
            clock=clock,
            run_file=run_file,
            run_lease=run_lease,
            retries=False,
            purpose=test.purpose,
            unclaimed=deque(test.mails),
        )
        hand_over_batches(run, partial(_claim_mails, run), _make_tasks)
    log.info("test sent", edition=test.edition, mails=len(test.mails), stopped=run.stop_reason)
    serial = test.purpose.rpartition(":")[2]
    return StaffTestReport(test.edition, _read_results(run, test.mails), run.stop_reason, serial)


def read_test_report(session: Session, name: str, serial: str, keys: KeyRing) -> StaffTestReport | None:
    """Return the results of a test for current staff members, or None if there are none."""
    purpose = f"{TEST_PURPOSE_PREFIX}{name}:{serial}"
    deliveries = session.scalars(select(Delivery).where(Delivery.purpose == purpose))
    rows = {row.id: row for row in deliveries}
    proven = staff.list_verified_staff(session)
    delivery_by_member = [(member, rows.get(make_delivery_id(keys, purpose, member.id))) for member in proven]
    tested = tuple(StaffTestResult(member.email, row.state, row.reply) for member, row in delivery_by_member if row)
    return StaffTestReport(name, tested, serial=serial) if tested else None


def _compose_template(session: Session, edition: Edition, keys: KeyRing, settings: Settings) -> MessageTemplate:
    """Compose the edition's full variant.

    An approved edition must be what was approved, as for subscribers.
    """
    if approval.find_valid_approval(session, edition):
        mailable = approval_check.verify_approval(session, edition, settings=settings, keys=keys)
    else:
        mailable = approval.read_draft_version(session, edition, settings)
    variants = create_variants(mailable, settings)
    template = variants.template_for(Preferences())
    if template is None or not variants.parts:
        raise SendError(f"{edition.name} has no sections.", "Draft the edition again.")
    return replace(
        template,
        subject=f"{SUBJECT_MARK} {template.subject}",
        text=replace(template.text, text=template.text.text + NOTICE_TEXT),
        html=template.html and _add_notice(template.html),
    )


def _add_notice(html: SlottedText) -> SlottedText:
    """Add the notice that this is a test at the end of the body, because inboxes show the start."""
    body, end, after = html.text.rpartition("</body>")
    return replace(html, text=f"{body}{NOTICE_HTML}{end}{after}" if end else html.text + NOTICE_HTML)


def _choose_members(session: Session, to: Sequence[str]) -> list[StaffMember]:
    """Return the recipients of a test.

    Errors refer to an entry of `to` by its position, never by the address.
    """
    if not to:
        proven = staff.list_verified_staff(session)
        if not proven:
            raise SendError(
                "No one on the team has verified their address yet.",
                "Open the link in the invitation email, or get another one with 'digest staff verify EMAIL'."
                if staff.list_staff_members(session)
                else "Invite someone with 'digest staff add EMAIL --role editor'.",
            )
        return proven
    chosen: dict[int, StaffMember] = {}
    for place, email in enumerate(to, start=1):
        member = staff.find_staff_member(session, email)
        if member is None:
            raise SendError(
                f"Test address {place} doesn't belong to a team member.", "Choose an address from 'digest staff list'."
            )
        if member.proven_at is None:
            raise SendError(
                f"Team member {member.id} hasn't verified their address yet.",
                "Send a new link with 'digest staff verify'.",
            )
        chosen[member.id] = member
    return list(chosen.values())


def _compose_mail(
    member: StaffMember, template: MessageTemplate, purpose: str, keys: KeyRing, settings: Settings, now: datetime
) -> _StaffTestMail:
    delivery_id, sender = make_delivery_id(keys, purpose, member.id), settings.file.sender
    zone, language = settings.file.publication.zone, settings.subscriber_language
    signed_up_at = member.proven_at or member.added_at
    placeholders = PlaceholderValues(
        to=member.email,
        message_id=make_message_id(purpose, delivery_id, sender.list_id),
        date=headers.format_date_value(now, zone),
        leave_token=link_tokens.make_link_token(keys, member.id, "test leave", address=member.email),
        preferences_token=link_tokens.make_link_token(keys, member.id, "test preferences", address=member.email),
        signup_text=format_signup_text(signed_up_at, language.gettext("the team’s pages"), zone, language),
    )
    bounce_address = make_return_path(keys, delivery_id, sender.bounce_domain)
    message = OutgoingMessage(delivery_id, "test", template, placeholders, bounce_address)
    return _StaffTestMail(
        delivery_id=delivery_id,
        message_id=placeholders.message_id,
        tries=0,
        due_at=now,
        claimed_at=now,
        first_handed_at=now,
        person=None,
        domain_tag=None,
        member=member,
        message=message,
    )


def _claim_mails(run: _StaffTestRun, session: Session) -> list[_StaffTestMail]:
    """Store and claim the rows of the next batch, leaving out former staff members."""
    if not run.may_claim(session):
        return []
    proven = {member.id for member in staff.list_verified_staff(session)}
    now, claimed = run.clock(), list[_StaffTestMail]()
    while run.unclaimed and len(claimed) < min(BATCH_SIZE, run.provider.batch_size):
        mail = run.unclaimed.popleft()
        if mail.member.id in proven:
            claimed.append(mail)
    session.add_all(
        Delivery(
            id=mail.delivery_id,
            purpose=run.purpose,
            state=DeliveryState.WAITING,
            due_at=now,
            next_try_at=now,
            message_id=mail.message_id,
        )
        for mail in claimed
    )
    session.flush()
    claims.take_leases(session, run.lease, [mail.delivery_id for mail in claimed], now=now)
    return claimed


def _make_tasks(claimed: Sequence[_StaffTestMail]) -> list[SendTask]:
    """Return a task for each claimed email.

    The claim has just checked their recipients.
    """
    return [SendTask(mail, mail.compose_message) for mail in claimed]


def _read_results(run: _StaffTestRun, mails: Sequence[_StaffTestMail]) -> tuple[StaffTestResult, ...]:
    """Return the result of each email: `cancelled` if it wasn't tried, and `withdrawn` for former staff members."""
    untried = {mail.member.id for mail in run.unclaimed}
    with run.database.read() as session:
        query = select(Delivery.id, Delivery.state, Delivery.reply).where(Delivery.purpose == run.purpose)
        rows = {row.id: row for row in session.execute(query)}
    return tuple(
        StaffTestResult(mail.member.email, row.state, row.reply)
        if (row := rows.get(mail.delivery_id))
        else StaffTestResult(
            mail.member.email, DeliveryState.CANCELLED if mail.member.id in untried else DeliveryState.WITHDRAWN
        )
        for mail in mails
    )
