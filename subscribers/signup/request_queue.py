"""The queue of sign-up forms.

Pages append forms without checking the address, and a worker answers them (`request_processor`). If
a page checked it, its text or timing would reveal who's on the list. Pages therefore only count,
and write a row of constant size, with the same statements for everyone. The pure functions
`choose_next_forms` and `choose_form_to_drop` decide which form is answered next and which one is
dropped from a full queue.

Networks are nested: an IPv6 /48 is in a /40 and in a /32, and an IPv4 /24 is in a /16. The owner of
a wide network owns all networks in it, so shares are first assigned to wide networks, and then
divided inside each.
"""

import heapq
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.orm import Session

from subscribers.address import Address, read_address
from subscribers.consent.consent_texts import ConsentText
from subscribers.consent.evidence import MAX_AGENT_LENGTH, RequestOrigin
from subscribers.crypto.encrypted_values import decrypt_json, encrypt_json
from subscribers.crypto.keys import KeyRing
from subscribers.signup import rate_limits
from subscribers.signup.rate_limits import (
    TEN_MINUTES,
    DomainHashes,
    NetworkHashes,
    NetworkQuota,
    SignupLimits,
    SubmissionOutcome,
    find_window_start,
)
from subscribers.store.database import count_rows
from subscribers.store.signup_models import FormKind, SignupRequest, StoredSignupReplyAllowance

# A later answer would be more confusing than helpful.
REQUEST_LIFETIME = timedelta(hours=24)
_ALLOWANCE_ID = 1
# The largest difference between processes. If an allowance is later than this, its time is wrong.
_MAX_CLOCK_SKEW = timedelta(hours=1)
_HOUR = timedelta(hours=1)


class WaitingForm(NamedTuple):
    """A form that's waiting in the queue.

    IDs are in order of arrival. `turn` is its number in the hour from its wide network, counted from 1.
    """

    id: int
    turn: int
    networks: NetworkHashes


class NetworkWaitingForms(NamedTuple):
    """The waiting forms from one network: their number, and the IDs of the first and last to arrive."""

    networks: NetworkHashes
    size: int
    oldest: int
    newest: int


@dataclass(frozen=True, slots=True)
class SignupReplyAllowance:
    """The number of forms that can be answered now: each wide network's first form in an hour, and all others.

    Both are refilled evenly, from nothing to the quota in an hour. If `first` is full, the rest is added
    to `further`, so that a single network gets the whole rate, but never the share of first forms.
    """

    first: float
    further: float

    @classmethod
    def full(cls, quota: NetworkQuota) -> "SignupReplyAllowance":
        """Return the maximum that the quota allows at one time."""
        return cls(quota.first, quota.further)

    def refill(self, quota: NetworkQuota, elapsed: timedelta) -> "SignupReplyAllowance":
        """Return the allowance after a period without answers."""
        share = elapsed / _HOUR
        first = self.first + quota.first * share
        unused = max(0.0, first - quota.first)
        return SignupReplyAllowance(
            min(quota.first, first), min(quota.further, self.further + quota.further * share + unused)
        )

    def spend(self, turn: int) -> "SignupReplyAllowance | None":
        """Return the allowance that's left after answering a form, or None if the form has to wait."""
        if turn == 1 and self.first >= 1:
            return replace(self, first=self.first - 1)
        return replace(self, further=self.further - 1) if self.further >= 1 else None


def choose_next_forms(
    waiting: Iterable[WaitingForm], answered: Mapping[str, int], allowance: SignupReplyAllowance, *, limit: int
) -> list[int]:
    """Return the IDs of at most `limit` forms to answer now, in order.

    Networks take turns. The next form is always from the wide network with the fewest answers, and
    within it from the middle network and the network with the fewest. `answered` is the number of
    answers in the last hour by network hash.
    """
    counts = Counter(answered)
    queue = [(_rank(form, counts), form) for form in waiting]
    heapq.heapify(queue)
    chosen: list[int] = []
    while queue and len(chosen) < limit:
        rank, form = queue[0]
        # A form of the same network was chosen in the meantime.
        if (current := _rank(form, counts)) != rank:
            heapq.heapreplace(queue, (current, form))
            continue
        heapq.heappop(queue)
        if (allowance_left := allowance.spend(form.turn)) is not None:
            allowance = allowance_left
            chosen.append(form.id)
            counts.update(set(form.networks))
    return chosen


def _rank(
    form: WaitingForm,
    answered: Mapping[str, int],
) -> tuple[int, int, int, bool, int]:
    """Return a form's sort key. Forms with lower keys are answered first.

    Among first forms with equal counts, the latest goes first. If there are too many to answer,
    most people who submit a form now still receive their email immediately. In order of arrival,
    all of them would wait for hours.
    """
    wide, middle, network = (answered.get(tag, 0) for tag in form.networks)
    is_first = form.turn == 1
    return wide, middle, network, not is_first, -form.id if is_first else form.id


def choose_form_to_drop(groups: Iterable[NetworkWaitingForms], newcomer: NetworkHashes) -> int | None:
    """Return the ID of the form to drop from a full queue, or None if the new form can't be added.

    The largest wide network loses a form, which is the latest form of the largest network in its
    largest middle network. Among wide networks of equal size, the one that has waited longest
    loses, so a quiet network can always add one. Within a wide network, it's the one that came
    last, so a flood can't replace its own forms, and rejecting them writes nothing.
    """
    remaining_groups = list(groups)
    contested = True  # whether the newcomer is in the remaining networks
    for level, own in enumerate(newcomer):
        sizes, arrivals = Counter[str](), dict[str, float]()
        for group in remaining_groups:
            tag = group.networks[level]
            sizes[tag] += group.size
            arrivals[tag] = min(arrivals.get(tag, group.oldest), group.oldest)
        if contested:
            sizes[own] += 1
            arrivals[own] = math.inf
        largest = max(sizes, key=lambda tag: (sizes[tag], arrivals[tag] if level else -arrivals[tag]))
        contested = contested and largest == own
        remaining_groups = [group for group in remaining_groups if group.networks[level] == largest]
    return None if contested else max(group.newest for group in remaining_groups)


@dataclass(frozen=True, slots=True)
class FormSubmission:
    """The content of a submitted form.

    `page` is its URL, and `where` is what a subscriber would call it. Both are from our own list.
    """

    kind: FormKind
    address: Address
    sent_at: datetime
    page: str
    where: str
    wording: ConsentText | None
    origin: RequestOrigin
    # The preferences in their stored form.
    choices: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PreparedRequest:
    """A form that's ready to be stored.

    All cryptography is done before the transaction.
    """

    row: SignupRequest
    networks: NetworkHashes
    domain: DomainHashes


class QueueAdmissionDecision(NamedTuple):
    """The decision on whether a form is accepted.

    It consists of the outcome, the form's number in the hour from its wide network, and the form it
    displaces.
    """

    outcome: SubmissionOutcome
    turn: int
    displaced: int | None = None


def prepare_request(keys: KeyRing, submission: FormSubmission) -> PreparedRequest:
    """Encrypt a form, and compute the hashes by which it's counted."""
    tag = rate_limits.hash_mailbox(keys, submission.address)
    value = {
        "address": submission.address.mailbox,
        "page": submission.page,
        "where": submission.where,
        "wording": asdict(submission.wording) if submission.wording else None,
        "network": submission.origin.ip_address,
        "agent": submission.origin.user_agent[:MAX_AGENT_LENGTH],
        "choices": dict(submission.choices),
    }
    ciphertext, key_id = encrypt_json(keys, value, bound_to=_request_binding(submission.kind, tag))
    networks = rate_limits.hash_networks(keys, submission.origin.ip_address, submission.sent_at)
    row = SignupRequest(
        at=submission.sent_at,
        kind=submission.kind,
        wide_tag=networks.wide,
        middle_tag=networks.middle,
        network_tag=networks.network,
        mailbox_tag=tag,
        ciphertext=ciphertext,
        key_id=key_id,
    )
    # Lost links are only emailed to subscribers, so these forms don't count against the limit of a
    # domain's other mailboxes.
    domain = DomainHashes("")
    if submission.kind == "subscribe":
        domain = rate_limits.hash_domain_and_network(keys, submission.address, submission.origin.ip_address)
    return PreparedRequest(row, networks, domain)


def _request_binding(kind: str, tag: str) -> str:
    return f"request {kind} {tag}"


def decide_queue_admission(
    session: Session, prepared: PreparedRequest, signup_limits: SignupLimits
) -> QueueAdmissionDecision:
    """Decide whether to accept a form, without counting it.

    The decision depends on the addresses in forms, but never on whether they're known. The limits
    per mailbox are applied by the worker.
    """
    now, networks = prepared.row.at, prepared.networks
    turn = rate_limits.find_form_number_in_last_hour(session, rate_limits.WIDE_NETWORK_SCOPE, networks.wide, now=now)
    of_network = rate_limits.find_form_number_in_last_hour(
        session, rate_limits.NETWORK_SCOPE, networks.network, now=now
    )
    if networks.network and of_network > signup_limits.quota.per_network:
        return QueueAdmissionDecision(SubmissionOutcome.NETWORK_LIMIT_REACHED, turn)
    if rate_limits.is_domain_over_limit(session, prepared.domain, signup_limits, now=now):
        return QueueAdmissionDecision(SubmissionOutcome.DOMAIN_LIMIT_REACHED, turn)
    waiting = count_rows(session, SignupRequest)
    if waiting < signup_limits.max_pending:
        return QueueAdmissionDecision(SubmissionOutcome.ACCEPTED, turn)
    displaced = choose_form_to_drop(_list_waiting_groups(session), networks)
    outcome = SubmissionOutcome.TOTAL_LIMIT_REACHED if displaced is None else SubmissionOutcome.ACCEPTED
    return QueueAdmissionDecision(outcome, turn, displaced)


def _list_waiting_groups(session: Session) -> list[NetworkWaitingForms]:
    tags = (SignupRequest.wide_tag, SignupRequest.middle_tag, SignupRequest.network_tag)
    query = select(*tags, func.count(), func.min(SignupRequest.id), func.max(SignupRequest.id)).group_by(*tags)
    rows = session.execute(query)
    return [NetworkWaitingForms(NetworkHashes(*row[:3]), *row[3:]) for row in rows]


def enqueue_request(session: Session, prepared: PreparedRequest, signup_limits: SignupLimits) -> SubmissionOutcome:
    """Count a form and append it to the queue if it's accepted."""
    now = prepared.row.at
    decision = decide_queue_admission(session, prepared, signup_limits)
    if decision.outcome is not SubmissionOutcome.ACCEPTED:
        return decision.outcome
    if decision.displaced is not None:
        session.execute(delete(SignupRequest).where(SignupRequest.id == decision.displaced))
    rate_limits.count_signup(session, prepared.networks.network, prepared.networks.wide, now=now)
    rate_limits.count_domain_form(session, prepared.domain, now=now)
    prepared.row.turn = decision.turn
    session.add(prepared.row)
    session.flush()
    return decision.outcome


def list_next_requests(
    session: Session,
    quota: NetworkQuota,
    *,
    limit: int,
    now: datetime,
) -> list[SignupRequest]:
    """Return up to `limit` forms to answer now.

    Networks take turns, within the hourly quota.
    """
    allowance = read_signup_reply_allowance(session, quota, now=now)
    tags = (SignupRequest.wide_tag, SignupRequest.middle_tag, SignupRequest.network_tag)
    query = select(SignupRequest.id, SignupRequest.turn, *tags)
    if allowance.further < 1:  # most forms of a flood are further ones
        query = query.where(SignupRequest.turn == 1)
    waiting = [WaitingForm(row[0], row[1], NetworkHashes(*row[2:])) for row in session.execute(query)]
    if not waiting:
        return []
    answered = rate_limits.count_answered_forms_by_network(session, now=now)
    chosen = choose_next_forms(waiting, answered, allowance, limit=limit)
    statement = select(SignupRequest).where(SignupRequest.id.in_(chosen))
    rows = {row.id: row for row in session.scalars(statement)}
    return [rows[number] for number in chosen if number in rows]


def read_signup_reply_allowance(
    session: Session, quota: NetworkQuota, *, now: datetime, for_update: bool = False
) -> SignupReplyAllowance:
    """Return how many forms can be answered now.

    With `for_update`, other workers wait until this transaction ends.
    """
    row = session.get(
        StoredSignupReplyAllowance, _ALLOWANCE_ID, with_for_update=for_update or None, populate_existing=True
    )
    if row is None or row.at - now > _MAX_CLOCK_SKEW:
        return SignupReplyAllowance.full(quota)
    return SignupReplyAllowance(row.first, row.further).refill(quota, max(now - row.at, timedelta(0)))


def claim_request(session: Session, request: SignupRequest, quota: NetworkQuota, *, now: datetime) -> bool:
    """Remove a form from the queue, and count its answer.

    Return False if another worker was faster or used up the quota.
    """
    allowance_left = read_signup_reply_allowance(session, quota, now=now, for_update=True).spend(request.turn)
    if allowance_left is None or not remove_request(session, request):
        return False
    row = session.get(StoredSignupReplyAllowance, _ALLOWANCE_ID)
    if row is None:
        session.add(
            StoredSignupReplyAllowance(
                id=_ALLOWANCE_ID, at=now, first=allowance_left.first, further=allowance_left.further
            )
        )
    else:
        if find_window_start(now, TEN_MINUTES) != find_window_start(row.at, TEN_MINUTES):
            rate_limits.delete_old_network_counts(session, now=now)
        row.first, row.further = allowance_left.first, allowance_left.further
        row.at = now if row.at - now > _MAX_CLOCK_SKEW else max(row.at, now)
    rate_limits.count_answered_form(session, (request.wide_tag, request.middle_tag, request.network_tag), now=now)
    return True


def decrypt_request(keys: KeyRing, request: SignupRequest) -> FormSubmission:
    """Decrypt a queued form.

    Raises:
        DecryptionError: it was changed.
        KeyFileError: its key isn't in the key file.
    """
    encrypted, binding = (request.ciphertext, request.key_id), _request_binding(request.kind, request.mailbox_tag)
    value = decrypt_json(keys, encrypted, bound_to=binding)
    return FormSubmission(
        kind=request.kind,
        address=read_address(value["address"]),
        sent_at=request.at,
        page=value["page"],
        where=value["where"],
        wording=ConsentText(**value["wording"]) if value["wording"] else None,
        origin=RequestOrigin(value["network"], value["agent"]),
        choices=value["choices"],
    )


def remove_request(session: Session, request: SignupRequest) -> bool:
    """Remove a form that's answered in this transaction.

    Return False if another worker was faster.
    """
    deletion = delete(SignupRequest).where(SignupRequest.id == request.id).returning(SignupRequest.id)
    return session.scalar(deletion) is not None


def delete_requests_from(session: Session, keys: KeyRing, address: Address) -> None:
    """Delete queued forms for an address's mailbox.

    Its owner is being erased and must not be asked anything.
    """
    tags = rate_limits.hash_mailbox_with_all_keys(keys, address)
    session.execute(delete(SignupRequest).where(SignupRequest.mailbox_tag.in_(tags)))


def has_old_requests(session: Session, *, now: datetime) -> bool:
    """Return True if a form has waited for more than a day."""
    query = select(SignupRequest.id).where(_is_old(now)).limit(1)
    return session.scalar(query) is not None


def delete_old_requests(session: Session, *, now: datetime) -> int:
    """Delete forms that have waited for more than a day, and return the number deleted."""
    change = delete(SignupRequest).where(_is_old(now)).returning(SignupRequest.id)
    return len(session.scalars(change).all())


def _is_old(now: datetime) -> ColumnElement[bool]:
    return SignupRequest.at < now - REQUEST_LIFETIME
