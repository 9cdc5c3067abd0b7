"""Forms that wait: appended by a page without a look at who it is, answered later by a worker (`request_processor`).

A page that looked would tell, by its words or by its time, who is on the list. So a page only counts, and writes
one row of one size, in the same statements for everybody.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from subscribers.address import Address, read_address
from subscribers.consent.evidence import MAX_AGENT_LENGTH, RequestOrigin
from subscribers.consent.wordings import Wording
from subscribers.crypto.encrypted_values import decrypt_json, encrypt_json
from subscribers.crypto.keys import KeyRing
from subscribers.signup import rate_limits
from subscribers.signup.rate_limits import SignupLimits
from subscribers.store.signup_models import SignupRequest

FormKind = Literal["subscribe", "lost link"]
REQUEST_LIFETIME = timedelta(hours=24)  # an answer that comes later than that would puzzle more than help


class SubmissionOutcome(StrEnum):
    """What came of a form. None of them says anything of the address."""

    ACCEPTED = "taken"
    NETWORK_LIMIT_REACHED = "too many from one network"
    QUEUE_FULL = "too many wait"


@dataclass(frozen=True, slots=True)
class FormSubmission:
    """What a form said. `page` is where it stood, `where` how a reader would say that, both from a list of ours."""

    kind: FormKind
    address: Address
    sent_at: datetime
    page: str
    where: str
    wording: Wording | None
    origin: RequestOrigin


@dataclass(frozen=True, slots=True)
class PreparedRequest:
    """A form made ready to be written: all cryptography is done before the transaction."""

    row: SignupRequest
    network_tag: str


def prepare_request(keys: KeyRing, submission: FormSubmission) -> PreparedRequest:
    """Encrypt what a form said, and compute the hashes that it is counted by."""
    tag = rate_limits.address_tag(keys, submission.address)
    value = {
        "address": submission.address.mailbox,
        "page": submission.page,
        "where": submission.where,
        "wording": submission.wording.as_json() if submission.wording else None,
        "network": submission.origin.ip_address,
        "agent": submission.origin.user_agent[:MAX_AGENT_LENGTH],
    }
    ciphertext, key_id = encrypt_json(keys, value, bound_to=_request_binding(submission.kind, tag))
    row = SignupRequest(
        at=submission.sent_at, kind=submission.kind, address_tag=tag, ciphertext=ciphertext, key_id=key_id
    )
    network = rate_limits.network_prefix(submission.origin.ip_address)
    return PreparedRequest(row, rate_limits.network_tag(keys, network, submission.sent_at))


def _request_binding(kind: str, tag: str) -> str:
    return f"request {kind} {tag}"


def enqueue_request(session: Session, prepared: PreparedRequest, signup_limits: SignupLimits) -> SubmissionOutcome:
    """Count a form and append it, unless its network or the whole house sent too many.

    What one address may ask is counted here and judged by the worker: a page says the same to everybody.
    """
    now = prepared.row.at
    from_network = rate_limits.increment_count(
        session, "network", prepared.network_tag, now=now, window=rate_limits.HOUR
    )
    rate_limits.increment_count(session, "address", prepared.row.address_tag, now=now, window=rate_limits.DAY)
    rate_limits.increment_count(session, "all", "", now=now, window=rate_limits.TEN_MINUTES)
    waiting = session.scalar(select(func.count()).select_from(SignupRequest)) or 0
    if prepared.network_tag and from_network > signup_limits.per_network_hour:
        return SubmissionOutcome.NETWORK_LIMIT_REACHED
    if waiting >= signup_limits.max_pending:
        return SubmissionOutcome.QUEUE_FULL
    session.add(prepared.row)
    session.flush()
    return SubmissionOutcome.ACCEPTED


@dataclass(frozen=True, slots=True)
class PendingRequest:
    """One row that waits, still encrypted."""

    id: int
    kind: FormKind
    sent_at: datetime
    address_tag: str
    encrypted: tuple[bytes, str]


def list_pending_requests(session: Session, *, after_id: int = 0, limit: int = 100) -> list[PendingRequest]:
    """Return the forms that wait, the oldest first, from the one that follows `after_id`."""
    query = select(SignupRequest).where(SignupRequest.id > after_id).order_by(SignupRequest.id).limit(limit)
    return [
        PendingRequest(r.id, _parse_kind(r.kind), r.at, r.address_tag, (r.ciphertext, r.key_id))
        for r in session.scalars(query)
    ]


def _parse_kind(text: str) -> FormKind:
    return "lost link" if text == "lost link" else "subscribe"


def decrypt_request(keys: KeyRing, request: PendingRequest) -> FormSubmission:
    """Open a form.

    Raises:
        DecryptionError: it was changed.
        KeyFileError: its key is not in the key file.
    """
    value = decrypt_json(keys, request.encrypted, bound_to=_request_binding(request.kind, request.address_tag))
    wording = value["wording"]
    return FormSubmission(
        kind=request.kind,
        address=read_address(value["address"]),
        sent_at=request.sent_at,
        page=value["page"],
        where=value["where"],
        wording=Wording(wording["wording_version"], wording["language"], wording["wording"]) if wording else None,
        origin=RequestOrigin(value["network"], value["agent"]),
    )


def remove_request(session: Session, request: PendingRequest) -> bool:
    """Remove a form that is answered in this transaction. False: another worker was faster."""
    deletion = delete(SignupRequest).where(SignupRequest.id == request.id).returning(SignupRequest.id)
    return session.scalar(deletion) is not None


def delete_requests_from(session: Session, keys: KeyRing, address: Address) -> None:
    """Drop the forms that wait with an address: its owner is erased, and is asked nothing more."""
    tags = rate_limits.address_tags(keys, address)
    session.execute(delete(SignupRequest).where(SignupRequest.address_tag.in_(tags)))


def delete_old_requests(session: Session, *, now: datetime) -> None:
    """Drop forms that nobody answered in a day."""
    session.execute(delete(SignupRequest).where(SignupRequest.at < now - REQUEST_LIFETIME))
