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
from sqlalchemy import select
from sqlalchemy.orm import Session

from digest import staff
from digest.db import Audit, Database, Edition
from digest.deliver import claims, holding, return_path
from digest.deliver.handing import Handed, Outgoing, Transport
from digest.deliver.identity import delivery_id, message_id
from digest.deliver.letters import Filled, Letter
from digest.deliver.moves import Move, move
from digest.deliver.personalising import asked_text, require_one_click
from digest.deliver.sending import SendError
from digest.deliver.variants import variants_of
from digest.delivery_db import Delivery, DeliveryState, Staff
from digest.edition import approval
from digest.owner import this_process
from digest.settings import Settings
from subscribers import tokens
from subscribers.choices import Choices
from subscribers.vault import Keys

PURPOSE = "test:"
LEASE_BEYOND_PATIENCE = timedelta(minutes=1)

log = structlog.get_logger("sending")


@dataclass(frozen=True, slots=True)
class Tested:
    """What came of the test mail to one member of the staff; `reply` is what was said."""

    email: str
    state: DeliveryState
    reply: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """What came of a test, by member. `stopped` is empty or says why not all of them were tried."""

    edition: str
    tested: tuple[Tested, ...]
    stopped: str = ""

    @property
    def arrived(self) -> bool:
        """Whether every mail was accepted."""
        return all(one.state is DeliveryState.ACCEPTED for one in self.tested)


@dataclass(frozen=True, slots=True)
class _Mail:
    """One test mail, written, and not handed over yet."""

    member: Staff
    message: Outgoing


@dataclass(frozen=True, slots=True)
class _Run:
    """One test over one transport."""

    database: Database
    transport: Transport
    purpose: str
    owner: str
    now: Callable[[], datetime]


def send(
    database: Database,
    name: str,
    transport: Transport,
    keys: Keys,
    settings: Settings,
    *,
    to: Sequence[str] = (),
    actor: str,
    now_fn: Callable[[], datetime],
) -> Report:
    """Send an edition as it stands to the staff whose address is proven: all of them, or those of `to`.

    Raises:
        SendError: there is no such edition, nothing in it, or nobody to send it to.
        ApprovalError: it is approved, and not what was approved.
        LetterError: the base URL is too long for List-Unsubscribe.
    """
    require_one_click(settings.base)
    purpose = f"{PURPOSE}{name}:{secrets.token_hex(4)}"
    with database.read() as session:
        letter = _letter(session, name, keys, settings)
        mails = [_mail(member, letter, purpose, keys, settings) for member in _chosen(session, to)]
    with database.write() as session:
        claims.settle_the_dead(session, Delivery.purpose.startswith(PURPOSE), this_process(), now=now_fn())
        detail = {"to": [staff.actor_of(mail.member) for mail in mails]}
        session.add(Audit(at=now_fn(), actor=actor, act="test", subject=name, detail=detail))
    run = _Run(database, transport, purpose, str(this_process()), now_fn)
    tested: list[Tested] = []
    stopped = ""
    for batch in _batches(mails, transport.batch):
        if stopped:
            tested += [Tested(mail.member.email, DeliveryState.CANCELLED) for mail in batch]
        else:
            some, stopped = _hand_over(run, batch)
            tested += some
    log.info("test sent", edition=name, mails=len(tested), stopped=stopped)
    return Report(name, tuple(tested), stopped)


def _letter(session: Session, name: str, keys: Keys, settings: Settings) -> Letter:
    """Write the letter of every section. What is approved has to be what was approved, as with readers."""
    edition = session.scalar(select(Edition).where(Edition.name == name))
    if edition is None:
        raise SendError(f"No edition is called {name}. See 'digest status'.")
    if edition.approval:
        fragments = approval.verify(session, edition, settings=settings, keys=keys)
    else:
        fragments = approval.fragments_of(session, edition)
    variants = variants_of(edition, fragments, settings)
    letter = variants.letter(Choices())
    if letter is None or not variants.sections:
        raise SendError(f"{name} has no sections: draft it again.")
    return letter


def _chosen(session: Session, to: Sequence[str]) -> list[Staff]:
    """Find whom a test goes to; the messages say which of `to` by its place, and never an address."""
    if not to:
        found = staff.proven(session)
        if not found:
            raise SendError(
                "Nobody on the staff has proven an address yet. 'digest staff add EMAIL --role editor' mails a "
                "link, and the button behind it proves the address."
            )
        return found
    chosen: dict[int, Staff] = {}
    for place, email in enumerate(to, start=1):
        member = staff.named(session, email)
        if member is None:
            raise SendError(
                f"Address {place} of those to test with is not on the staff. See 'digest staff list'."
            )
        if member.proven_at is None:
            raise SendError(
                f"{staff.actor_of(member)} has not proven the address yet. 'digest staff prove' mails the link again."
            )
        chosen[member.id] = member
    return list(chosen.values())


def _mail(member: Staff, letter: Letter, purpose: str, keys: Keys, settings: Settings) -> _Mail:
    named = delivery_id(keys, purpose, member.id)
    sender = settings.file.sender
    since = member.proven_at or member.added_at
    filled = Filled(
        to=member.email,
        message_id=message_id(purpose, named, sender.list_id),
        leave=tokens.make(keys, member.id, "test leave"),
        preferences=tokens.make(keys, member.id, "test preferences"),
        asked=asked_text(since, "the desk", settings.file.publication.zone),
    )
    bounces_to = return_path.make(keys, named, sender.bounce_domain) if sender.bounce_domain else ""
    return _Mail(member, Outgoing(named, "test", letter, filled, bounces_to))


def _batches(mails: Sequence[_Mail], size: int) -> Iterator[Sequence[_Mail]]:
    for start in range(0, len(mails), size):
        yield mails[start : start + size]


def _hand_over(run: _Run, batch: Sequence[_Mail]) -> tuple[list[Tested], str]:
    """Claim, hand over and record one batch; give what came of it, and why nothing more should be tried."""
    with run.database.write() as session:
        held = holding.held(session)
        if held is not None:
            return [
                Tested(mail.member.email, DeliveryState.CANCELLED) for mail in batch
            ], f"the installation is {held}"
        still = _claim(session, run, batch)
    handed = run.transport.hand_all([mail.message for mail in still]) if still else Handed(())
    moves = _moves(run, still, handed)
    with run.database.write() as session:
        claims.record(session, run.owner, moves.items())
    tested = [_tested(mail, moves.get(mail.message.delivery)) for mail in batch]
    stop = handed.stop or (f"the provider asks to wait for {handed.wait:.0f} seconds" if handed.wait else "")
    return tested, stop


def _claim(session: Session, run: _Run, batch: Sequence[_Mail]) -> list[_Mail]:
    """Write the rows of those who are still to get it, at this moment; give their mails."""
    proven = {member.id for member in staff.listed(session) if member.proven_at}
    still = [mail for mail in batch if mail.member.id in proven]
    now = run.now()
    lease = timedelta(seconds=run.transport.patience) + LEASE_BEYOND_PATIENCE
    for mail in still:
        row = Delivery(
            id=mail.message.delivery,
            purpose=run.purpose,
            state=DeliveryState.HANDING_OVER,
            due_at=now,
            next_try_at=now,
            owner=run.owner,
            lease_until=now + lease,
            handed_at=now,
            message_id=mail.message.filled.message_id,
            transport=run.transport.name,
        )
        session.add(row)
    return still


def _moves(run: _Run, still: Sequence[_Mail], handed: Handed) -> dict[str, Move]:
    now = run.now()
    moves = {}
    for mail, outcome in zip(still, handed.outcomes, strict=True):
        named = mail.message.delivery
        moved = move(outcome, delivery=named, tries=0, due_at=now, now=now)
        if moved.state is DeliveryState.WAITING:  # one try is all that a test gets
            over = DeliveryState.EXPIRED if moved.tried else DeliveryState.CANCELLED
            moved = replace(moved, state=over, next_try_at=None)
        moves[named] = moved
    return moves


def _tested(mail: _Mail, moved: Move | None) -> Tested:
    if moved is None:
        return Tested(mail.member.email, DeliveryState.WITHDRAWN)
    return Tested(mail.member.email, moved.state, moved.reply)
