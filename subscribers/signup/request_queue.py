"""Forms that wait: appended by a page without a look at who it is, answered later by a worker (`request_processor`).

A page that looked would tell, by its words or by its time, who is on the list. So a page only counts, and writes
one row of one size, in the same statements for everybody.
"""

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from subscribers.address import Address, read_address
from subscribers.consent.evidence import MAX_AGENT_LENGTH, RequestOrigin
from subscribers.consent.wordings import WordingText
from subscribers.crypto.encrypted_values import decrypt_json, encrypt_json
from subscribers.crypto.keys import KeyRing
from subscribers.signup import rate_limits
from subscribers.signup.rate_limits import SignupLimits, SubmissionOutcome
from subscribers.store.signup_models import FormKind, SignupRequest

REQUEST_LIFETIME = timedelta(hours=24)  # an answer that comes later than that would puzzle more than help


@dataclass(frozen=True, slots=True)
class FormSubmission:
    """What a form said. `page` is where it stood, `where` how a reader would say that, both from a list of ours."""

    kind: FormKind
    address: Address
    sent_at: datetime
    page: str
    where: str
    wording: WordingText | None
    origin: RequestOrigin


@dataclass(frozen=True, slots=True)
class PreparedRequest:
    """A form made ready to be written: all cryptography is done before the transaction."""

    row: SignupRequest
    network_tag: str
    domain_tag: str  # empty: nothing to limit by


def prepare_request(keys: KeyRing, submission: FormSubmission) -> PreparedRequest:
    """Encrypt what a form said, and compute the hashes that it is counted by."""
    tag = rate_limits.mailbox_tag(keys, submission.address)
    value = {
        "address": submission.address.mailbox,
        "page": submission.page,
        "where": submission.where,
        "wording": asdict(submission.wording) if submission.wording else None,
        "network": submission.origin.ip_address,
        "agent": submission.origin.user_agent[:MAX_AGENT_LENGTH],
    }
    ciphertext, key_id = encrypt_json(keys, value, bound_to=_request_binding(submission.kind, tag))
    row = SignupRequest(
        at=submission.sent_at, kind=submission.kind, mailbox_tag=tag, ciphertext=ciphertext, key_id=key_id
    )
    network = rate_limits.network_prefix(submission.origin.ip_address)
    # A lost link goes to subscribers alone: forms for it turn nothing on a domain's other mailboxes.
    domain_tag = rate_limits.small_domain_tag(keys, submission.address) if submission.kind == "subscribe" else ""
    return PreparedRequest(row, rate_limits.network_tag(keys, network, submission.sent_at), domain_tag)


def _request_binding(kind: str, tag: str) -> str:
    return f"request {kind} {tag}"


def judge_request(
    session: Session, prepared: PreparedRequest, signup_limits: SignupLimits
) -> tuple[int, SubmissionOutcome]:
    """Return which of its network's forms in the last hour this would be, and whether it is taken; nothing is counted.

    It goes by what forms named, never by who is known. What one mailbox may ask is judged by the worker.
    """
    now = prepared.row.at
    turn, outcome = rate_limits.judge_form(session, "sign-up", prepared.network_tag, signup_limits.quota, now=now)
    if outcome is not SubmissionOutcome.ACCEPTED:
        return turn, outcome
    if rate_limits.is_domain_full(session, prepared.domain_tag, signup_limits, first=turn == 1, now=now):
        return turn, SubmissionOutcome.DOMAIN_LIMIT_REACHED
    waiting = session.scalar(select(func.count()).select_from(SignupRequest)) or 0
    return turn, SubmissionOutcome.HOUSE_LIMIT_REACHED if waiting >= signup_limits.max_pending else outcome


def enqueue_request(session: Session, prepared: PreparedRequest, signup_limits: SignupLimits) -> SubmissionOutcome:
    """Count a form and append it, if it is taken."""
    now = prepared.row.at
    turn, outcome = judge_request(session, prepared, signup_limits)
    if outcome is not SubmissionOutcome.ACCEPTED:
        return outcome
    rate_limits.count_form(session, "sign-up", prepared.network_tag, turn, now=now)
    rate_limits.count_domain(session, prepared.domain_tag, now=now)
    prepared.row.turn = turn
    session.add(prepared.row)
    session.flush()
    return outcome


def list_pending_requests(session: Session, *, limit: int) -> list[SignupRequest]:
    """Return forms that wait: of each network the first one, then of each the second, the oldest first."""
    query = select(SignupRequest).order_by(SignupRequest.turn, SignupRequest.id).limit(limit)
    return list(session.scalars(query))


def decrypt_request(keys: KeyRing, request: SignupRequest) -> FormSubmission:
    """Open a form.

    Raises:
        DecryptionError: it was changed.
        KeyFileError: its key is not in the key file.
    """
    encrypted, binding = (request.ciphertext, request.key_id), _request_binding(request.kind, request.mailbox_tag)
    value = decrypt_json(keys, encrypted, bound_to=binding)
    wording = value["wording"]
    return FormSubmission(
        kind=request.kind,
        address=read_address(value["address"]),
        sent_at=request.at,
        page=value["page"],
        where=value["where"],
        # A form that waited while the program was renewed names its words "wording".
        wording=WordingText(wording["language"], wording.get("text") or wording["wording"]) if wording else None,
        origin=RequestOrigin(value["network"], value["agent"]),
    )


def remove_request(session: Session, request: SignupRequest) -> bool:
    """Remove a form that is answered in this transaction. False: another worker was faster."""
    deletion = delete(SignupRequest).where(SignupRequest.id == request.id).returning(SignupRequest.id)
    return session.scalar(deletion) is not None


def delete_requests_from(session: Session, keys: KeyRing, address: Address) -> None:
    """Drop the forms that wait with an address of a mailbox: its owner is erased, and is asked nothing more."""
    tags = rate_limits.mailbox_tags(keys, address)
    session.execute(delete(SignupRequest).where(SignupRequest.mailbox_tag.in_(tags)))


def delete_old_requests(session: Session, *, now: datetime) -> None:
    """Drop forms that nobody answered in a day."""
    session.execute(delete(SignupRequest).where(SignupRequest.at < now - REQUEST_LIFETIME))
