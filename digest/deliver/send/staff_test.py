"""Test mails: an edition sent to the staff alone, also while it is a draft.

They get what a reader of all sections gets: the same letter, spliced, signed and handed over by the same code. Their
own are the address, the ids, the words on when they asked, and tokens whose pages say that this was a test. Each is a
delivery of purpose `test:<edition>:<serial>` to nobody on the list, so the books of the edition do not change.

A test is tried once, for somebody waits for it. Its row is born claimed: whatever a crash leaves is `uncertain`.
"""

import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog
from sqlalchemy.orm import Session

from digest.deliver.compose import return_path
from digest.deliver.compose.identifiers import make_delivery_id, make_message_id
from digest.deliver.compose.message import MessageTemplate, PlaceholderValues
from digest.deliver.compose.personalisation import check_unsubscribe_length, signup_text
from digest.deliver.compose.variants import build_variants
from digest.deliver.control import installation_hold
from digest.deliver.providers.base import BatchOutcome, OutgoingMessage, Provider
from digest.deliver.send import claims
from digest.deliver.send.edition_run import SendError
from digest.deliver.send.retry_policy import StateChange, decide_state_change
from digest.edition import approval
from digest.edition.queries import find_edition
from digest.settings import Settings
from digest.store import staff
from digest.store.delivery_models import Delivery, DeliveryState, StaffMember
from digest.store.engine import Database
from digest.store.process_owner import this_process_owner
from subscribers.consent.preferences import Preferences
from subscribers.crypto import link_tokens
from subscribers.crypto.keys import KeyRing

TEST_PURPOSE_PREFIX = "test:"
LEASE_MARGIN = timedelta(minutes=1)

log = structlog.get_logger("sending")


@dataclass(frozen=True, slots=True)
class StaffTestResult:
    """What came of the test mail to one member of the staff; `reply` is what was said."""

    email: str
    state: DeliveryState
    reply: str = ""


@dataclass(frozen=True, slots=True)
class StaffTestReport:
    """What came of a test, by member. `stopped` is empty or says why not all of them were tried."""

    edition: str
    tested: tuple[StaffTestResult, ...]
    stopped: str = ""

    @property
    def arrived(self) -> bool:
        """Whether every mail was accepted."""
        return all(one.state is DeliveryState.ACCEPTED for one in self.tested)


@dataclass(frozen=True, slots=True)
class _StaffTestMail:
    """One test mail, written, and not handed over yet."""

    member: StaffMember
    message: OutgoingMessage


@dataclass(frozen=True, slots=True)
class StaffTest:
    """A composed test of an edition."""

    edition: str
    purpose: str
    mails: tuple[_StaffTestMail, ...]

    @property
    def recipients(self) -> list[str]:
        """Who gets it, as the audit log names them."""
        return [staff.staff_actor(mail.member) for mail in self.mails]


@dataclass(frozen=True, slots=True)
class _StaffTestRun:
    """One test over one transport."""

    database: Database
    provider: Provider
    purpose: str
    owner: str
    clock: Callable[[], datetime]


def compose_test(
    session: Session, name: str, keys: KeyRing, settings: Settings, *, to: Sequence[str] = ()
) -> StaffTest:
    """Write an edition as it stands to the staff whose address is proven: all of them, or those of `to`.

    Raises:
        UnknownEditionError: there is no such edition.
        SendError: there is nothing in it, or nobody to send it to.
        ApprovalError: it is approved, and not what was approved.
        ComposeError: the base URL is too long for List-Unsubscribe.
    """
    check_unsubscribe_length(settings.link_base)
    purpose = f"{TEST_PURPOSE_PREFIX}{name}:{secrets.token_hex(4)}"
    template = _compose_template(session, name, keys, settings)
    mails = [_compose_mail(member, template, purpose, keys, settings) for member in _choose_members(session, to)]
    return StaffTest(name, purpose, tuple(mails))


def hand_over_test(
    database: Database, test: StaffTest, provider: Provider, *, clock: Callable[[], datetime]
) -> StaffTestReport:
    """Hand a composed test over, each mail once."""
    with database.write() as session:
        claims.mark_orphans_uncertain(
            session, Delivery.purpose.startswith(TEST_PURPOSE_PREFIX), this_process_owner(), now=clock()
        )
    run = _StaffTestRun(database, provider, test.purpose, str(this_process_owner()), clock)
    tested: list[StaffTestResult] = []
    stopped = ""
    for batch in _split_into_batches(test.mails, provider.batch_size):
        if stopped:
            tested += [StaffTestResult(mail.member.email, DeliveryState.CANCELLED) for mail in batch]
        else:
            results, stopped = _hand_over_batch(run, batch)
            tested += results
    log.info("test sent", edition=test.edition, mails=len(tested), stopped=stopped)
    return StaffTestReport(test.edition, tuple(tested), stopped)


def _compose_template(session: Session, name: str, keys: KeyRing, settings: Settings) -> MessageTemplate:
    """Write the letter of every section. What is approved has to be what was approved, as with readers."""
    edition = find_edition(session, name)
    if edition.approval:
        fragments = approval.verify_approval(session, edition, settings=settings, keys=keys)
    else:
        fragments = approval.load_fragments(session, edition)
    variants = build_variants(edition, fragments, settings)
    letter = variants.template_for(Preferences())
    if letter is None or not variants.sections:
        raise SendError(f"{name} has no sections: draft it again.")
    return letter


def _choose_members(session: Session, to: Sequence[str]) -> list[StaffMember]:
    """Find whom a test goes to; the messages say which of `to` by its place, and never an address."""
    if not to:
        found = staff.list_proven_staff(session)
        if not found:
            raise SendError(
                "Nobody on the staff has proven an address yet. 'digest staff add EMAIL --role editor' mails a "
                "link, and the button behind it proves the address."
            )
        return found
    chosen: dict[int, StaffMember] = {}
    for place, email in enumerate(to, start=1):
        member = staff.find_staff_member(session, email)
        if member is None:
            raise SendError(f"Address {place} of those to test with is not on the staff. See 'digest staff list'.")
        if member.proven_at is None:
            raise SendError(
                f"{staff.staff_actor(member)} has not proven the address yet. 'digest staff prove' mails the link again."
            )
        chosen[member.id] = member
    return list(chosen.values())


def _compose_mail(
    member: StaffMember, template: MessageTemplate, purpose: str, keys: KeyRing, settings: Settings
) -> _StaffTestMail:
    named = make_delivery_id(keys, purpose, member.id)
    sender = settings.file.sender
    since = member.proven_at or member.added_at
    filled = PlaceholderValues(
        to=member.email,
        message_id=make_message_id(purpose, named, sender.list_id),
        leave_token=link_tokens.make_link_token(keys, member.id, "test leave"),
        preferences_token=link_tokens.make_link_token(keys, member.id, "test preferences"),
        signup_text=signup_text(since, "the desk", settings.file.publication.zone),
    )
    bounces_to = return_path.make_return_path(keys, named, sender.bounce_domain) if sender.bounce_domain else ""
    return _StaffTestMail(member, OutgoingMessage(named, "test", template, filled, bounces_to))


def _split_into_batches(mails: Sequence[_StaffTestMail], size: int) -> Iterator[Sequence[_StaffTestMail]]:
    for start in range(0, len(mails), size):
        yield mails[start : start + size]


def _hand_over_batch(run: _StaffTestRun, batch: Sequence[_StaffTestMail]) -> tuple[list[StaffTestResult], str]:
    """Claim, hand over and record one batch; give what came of it, and why nothing more should be tried."""
    with run.database.write() as session:
        held = installation_hold.current_hold(session)
        if held is not None:
            return [
                StaffTestResult(mail.member.email, DeliveryState.CANCELLED) for mail in batch
            ], f"the installation is {held}"
        still = _claim_mails(session, run, batch)
    handed = run.provider.send_batch([mail.message for mail in still]) if still else BatchOutcome(())
    moves = _decide_state_changes(run, still, handed)
    with run.database.write() as session:
        claims.record_results(session, run.owner, moves.items())
    tested = [_test_result(mail, moves.get(mail.message.delivery_id)) for mail in batch]
    stop = handed.stop_reason or (
        f"the provider asks to wait for {handed.wait_seconds:.0f} seconds" if handed.wait_seconds else ""
    )
    return tested, stop


def _claim_mails(session: Session, run: _StaffTestRun, batch: Sequence[_StaffTestMail]) -> list[_StaffTestMail]:
    """Write the rows of those who are still to get it, at this moment; give their mails."""
    proven = {member.id for member in staff.list_staff_members(session) if member.proven_at}
    still = [mail for mail in batch if mail.member.id in proven]
    now = run.clock()
    lease = timedelta(seconds=run.provider.batch_timeout) + LEASE_MARGIN
    for mail in still:
        row = Delivery(
            id=mail.message.delivery_id,
            purpose=run.purpose,
            state=DeliveryState.HANDING_OVER,
            due_at=now,
            next_try_at=now,
            owner=run.owner,
            lease_until=now + lease,
            handed_at=now,
            message_id=mail.message.placeholders.message_id,
            transport=run.provider.name,
        )
        session.add(row)
    return still


def _decide_state_changes(
    run: _StaffTestRun, mails: Sequence[_StaffTestMail], batch_outcome: BatchOutcome
) -> dict[str, StateChange]:
    now = run.clock()
    moves = {}
    for mail, outcome in zip(mails, batch_outcome.outcomes, strict=True):
        named = mail.message.delivery_id
        moved = decide_state_change(outcome, delivery_id=named, tries=0, due_at=now, now=now)
        if moved.state is DeliveryState.WAITING:  # one try is all that a test gets
            over = DeliveryState.EXPIRED if moved.attempted else DeliveryState.CANCELLED
            moved = replace(moved, state=over, next_try_at=None)
        moves[named] = moved
    return moves


def _test_result(mail: _StaffTestMail, change: StateChange | None) -> StaffTestResult:
    if change is None:
        return StaffTestResult(mail.member.email, DeliveryState.WITHDRAWN)
    return StaffTestResult(mail.member.email, change.state, change.reply)
