"""Answering queued forms: whom a form is from, which email they get, and a transaction that records and queues it.

`decide_signup_answer` is the rule, as a function of values. `RequestProcessor` looks up the person,
writes the consent event, and queues the email, all together.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from subscribers.address import Address
from subscribers.consent import audience, consent_texts, evidence, ledger, suppression
from subscribers.crypto.keys import DecryptionError, KeyRing
from subscribers.loggers import get_logger
from subscribers.mail_requests import MailRequest, QueueMail
from subscribers.signup import rate_limits, request_queue
from subscribers.signup.rate_limits import STRANGER_MAIL_KINDS, SignupLimits
from subscribers.signup.request_queue import FormSubmission
from subscribers.store import one_time_tokens, people
from subscribers.store.database import PeopleDatabase
from subscribers.store.models import ConsentKind, Person, PersonState, Suppression
from subscribers.store.signup_models import FormKind, OneTimeToken, SignupRequest

BATCH_SIZE = 50  # forms answered at once
# The lifetime of a confirmation link, and so of unconfirmed data.
CONFIRMATION_LIFETIME = timedelta(days=7)
SUBSCRIBER_MAIL_INTERVAL = timedelta(days=7)
SUPPRESSED_MAIL_INTERVAL = timedelta(days=30)
# Earlier repetitions are double submissions, or the email is still on its way.
MIN_REMINDER_DELAY = timedelta(minutes=15)
# With these, forms aren't answered unless an admin allows it.
BLOCKING_REASONS = frozenset({"complained", "by an admin"})

_DEPARTURE_KINDS = (ConsentKind.WITHDRAWN, ConsentKind.ERASED)

log = get_logger("signup")


class SignupReplyKind(StrEnum):
    """The answer to a form: the kind of email, or none."""

    CONFIRM = "confirm"
    REMIND = "remind"
    KNOWN = "known"
    LINK = "link"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class AddressStatus:
    """Facts about an address: whether it's subscribed, has a pending request, or is suppressed and why.

    `pending` means an open request for the same preferences with the same consent text. Any other
    is a new request. `recent_mails` are the emails to its mailbox in the last 30 days that were
    caused by forms.
    """

    subscribed: bool
    pending: bool
    suppression_reason: str
    recent_mails: tuple[tuple[str, datetime], ...]


def decide_signup_answer(
    kind: FormKind, status: AddressStatus, signup_limits: SignupLimits, *, now: datetime
) -> SignupReplyKind:
    """Decide how a form is answered.

    Subscribers receive their link, once a week. People with a pending request receive one reminder.
    All others receive a confirmation email as often as the limits allow. That's once in 30 days
    after a bounce, an erasure, or a complaint by email, and never after a complaint signed by a
    provider or a suppression by an admin.
    """
    if status.subscribed:
        answer = SignupReplyKind.LINK if kind == "lost link" else SignupReplyKind.KNOWN
        return _answer_unless_emailed(answer, status, frozenset({"known", "link"}), now - SUBSCRIBER_MAIL_INTERVAL)
    if kind == "lost link" or status.suppression_reason in BLOCKING_REASONS:
        return SignupReplyKind.NOTHING
    if status.suppression_reason:
        return _answer_unless_emailed(
            SignupReplyKind.CONFIRM, status, STRANGER_MAIL_KINDS, now - SUPPRESSED_MAIL_INTERVAL
        )
    if status.pending:
        return _answer_waiting(status, now)
    unconfirmed = sum(kind in STRANGER_MAIL_KINDS for kind, _ in status.recent_mails)
    return SignupReplyKind.NOTHING if unconfirmed >= signup_limits.per_address_month else SignupReplyKind.CONFIRM


def _answer_waiting(status: AddressStatus, now: datetime) -> SignupReplyKind:
    if status.recent_mails and status.recent_mails[-1][0] != "confirm":
        return SignupReplyKind.NOTHING  # a reminder was sent already
    return _answer_unless_emailed(SignupReplyKind.REMIND, status, STRANGER_MAIL_KINDS, now - MIN_REMINDER_DELAY)


def _answer_unless_emailed(
    answer: SignupReplyKind, status: AddressStatus, kinds: frozenset[str], since: datetime
) -> SignupReplyKind:
    """Return the answer, or `NOTHING` if the mailbox has been sent an email of one of these kinds since a moment."""
    mailed = any(kind in kinds and at > since for kind, at in status.recent_mails)
    return SignupReplyKind.NOTHING if mailed else answer


@dataclass(frozen=True, slots=True)
class RequestProcessor:
    """A processor that answers queued forms for as long as its process runs.

    `evidence_retention` is how long the IP address and user agent of a request are stored.
    """

    database: PeopleDatabase
    keys: KeyRing
    signup_limits: SignupLimits
    evidence_retention: timedelta
    queue: QueueMail

    def process_pending(self, clock: Callable[[], datetime]) -> dict[SignupReplyKind, int]:
        """Answer up to `BATCH_SIZE` forms, and return the number of forms that got each answer.

        The others wait, so that their emails are sent before more are queued, and new forms get their turn.
        """
        answers = dict.fromkeys(SignupReplyKind, 0)
        now = clock()
        answers[SignupReplyKind.NOTHING] += self._drop_old_requests(now)
        with self.database.read() as session:
            quota = self.signup_limits.quota
            pending = request_queue.list_next_requests(session, quota, limit=BATCH_SIZE, now=now)
        self._update_surge(now)
        for request in pending:
            answers[self._process_request(request, clock())] += 1
        return answers

    def _drop_old_requests(self, now: datetime) -> int:
        with self.database.read() as session:
            if not request_queue.has_old_requests(session, now=now):
                return 0
        with self.database.write() as session:
            return request_queue.delete_old_requests(session, now=now)

    def _update_surge(self, now: datetime) -> None:
        with self.database.read() as session:
            forms_taken = rate_limits.count_signups_last_hour(session, now=now)
            if forms_taken <= self.signup_limits.surge_per_hour and rate_limits.find_open_signup_surge(session) is None:
                # This is the usual case, once a second, so nothing is written.
                return
        with self.database.write() as session:
            change = rate_limits.update_signup_surge(session, forms_taken, self.signup_limits, now=now)
        if change:
            log.warning("sign-up surge", change=change, forms_last_hour=forms_taken)

    def _process_request(self, request: SignupRequest, now: datetime) -> SignupReplyKind:
        """Answer a form in a transaction of its own.

        A form that can't be decrypted is deleted, because it can't be answered.
        """
        submission = None
        try:
            submission = request_queue.decrypt_request(self.keys, request)
        except DecryptionError as exc:
            log.error("a sign-up form can't be decrypted", form=request.id, error=str(exc))  # noqa: TRY400 - no trace needed
        try:
            with self.database.write() as session:
                if submission is None:
                    request_queue.remove_request(session, request)
                    return SignupReplyKind.NOTHING
                if not request_queue.claim_request(session, request, self.signup_limits.quota, now=now):
                    return SignupReplyKind.NOTHING
                return self._decide_and_queue(session, submission, request, now)
        # Another worker created the same person at the same time, so the form waits.
        except IntegrityError:
            return SignupReplyKind.NOTHING

    def _decide_and_queue(
        self, session: Session, submission: FormSubmission, request: SignupRequest, now: datetime
    ) -> SignupReplyKind:
        number = people.find_person_number(session, self.keys, submission.address)
        person = ledger.lock_person(session, number) if number else None
        if person is not None and _has_left_since(session, person, submission.sent_at):
            return SignupReplyKind.NOTHING
        suppression_row = suppression.find_suppression(session, self.keys, submission.address)
        waiting = _find_same_request_token(session, number, submission, now) if number else None
        status = self._load_address_status(
            session, person, suppression_row, request, is_pending=waiting is not None, now=now
        )
        answer = decide_signup_answer(submission.kind, status, self.signup_limits, now=now)
        reply = self._build_reply(session, answer, submission, person, waiting, now)
        if reply is not None:
            rate_limits.record_signup_mail(session, request.mailbox_tag, answer, now)
            self.queue(session, reply)
        return answer

    def _build_reply(
        self,
        session: Session,
        answer: SignupReplyKind,
        submission: FormSubmission,
        person: Person | None,
        waiting: OneTimeToken | None,
        now: datetime,
    ) -> MailRequest | None:
        """Return the email for an answer, or None if there's none.

        For a confirmation, the request is recorded first.
        """
        if answer is SignupReplyKind.CONFIRM:
            return self._record_request(session, submission, person, now)
        if person is None or answer is SignupReplyKind.NOTHING:
            return None
        if waiting is not None and answer is SignupReplyKind.REMIND:
            return self._build_reminder(session, person, waiting, now)
        return MailRequest("known" if answer is SignupReplyKind.KNOWN else "link", person.number, f"{now:%Y-%m-%d}")

    def _load_address_status(
        self,
        session: Session,
        person: Person | None,
        suppression_row: Suppression | None,
        request: SignupRequest,
        *,
        is_pending: bool,
        now: datetime,
    ) -> AddressStatus:
        number = person.number if person is not None else 0
        erased = person is not None and person.state is PersonState.ERASED
        return AddressStatus(
            subscribed=suppression_row is None and audience.may_email_person(session, number),
            pending=is_pending,
            suppression_reason=suppression_row.reason if suppression_row else "erased" if erased else "",
            recent_mails=tuple(rate_limits.list_recent_mails(session, request.mailbox_tag, now=now)),
        )

    def _record_request(
        self, session: Session, submission: FormSubmission, person: Person | None, now: datetime
    ) -> MailRequest:
        """Record a sign-up request, and return the confirmation email."""
        assert submission.wording is not None, "a form to subscribe has its words"
        if person is not None and person.state is PersonState.ERASED:
            _move_suppression_off_row(session, self.keys, person, submission.address, now)
            person = None
        is_new = person is None
        if person is None:
            person = people.create_person(
                session, self.keys, submission.address, asked_at=submission.sent_at, asked_where=submission.where
            )
        encrypt_again = people.decrypt_person_address(self.keys, person) is None
        # The address was deleted 30 days after they left, or can't be decrypted.
        if encrypt_again:
            people.encrypt_person_address(self.keys, person, submission.address)
        commitment = (
            people.make_person_address_commitment(self.keys, person, submission.address)
            if is_new or encrypt_again
            else ""
        )
        salt = evidence.make_evidence_salt()
        body = {
            **consent_texts.register_consent_text(session, submission.wording, now).as_json(),
            "page": submission.page,
            "where": submission.where,
            "method": "form",
            "actor": "reader",
            "asked_at": submission.sent_at.isoformat(timespec="milliseconds"),
            "address_sealed_again": encrypt_again,
            **({"choices": dict(submission.choices)} if submission.choices else {}),
            **evidence.hash_request_origin(submission.origin, salt),
        }
        event = ledger.append_event(session, person, ConsentKind.REQUESTED, body, now, commitment=commitment)
        evidence.store_evidence(
            session, self.keys, event, submission.origin, salt=salt, until=now + self.evidence_retention
        )
        expires_at = submission.sent_at + CONFIRMATION_LIFETIME
        return MailRequest(
            "confirm",
            person.number,
            str(event.seq),
            self._issue_confirmation_context(session, person, event.seq, expires_at, now),
        )

    def _build_reminder(self, session: Session, person: Person, first: OneTimeToken, now: datetime) -> MailRequest:
        """Return the only reminder that a person is sent.

        The first token can't be read from the database, so the reminder has a second one with the
        same expiry.
        """
        facts = self._issue_confirmation_context(session, person, int(first.serial), first.expires_at, now)
        return MailRequest("remind", person.number, first.serial, facts)

    def _issue_confirmation_context(
        self, session: Session, person: Person, seq: int, expires_at: datetime, now: datetime
    ) -> dict[str, str]:
        token = one_time_tokens.issue_token(
            session, "confirm", person.number, now=now, expires_at=expires_at, serial=str(seq)
        )
        request = ledger.read_event_body(session, person.number, seq)
        return {
            "token": token,
            "wording": request["wording"],
            "where": request["where"],
            "asked_at": request["asked_at"],
            "expires_at": expires_at.isoformat(),
        }


def _has_left_since(session: Session, person: Person, moment: datetime) -> bool:
    """Return True if a person left after a given moment.

    A form that was waiting at that moment then no longer represents their wishes.
    """
    if person.state not in ledger.DEPARTED_STATES:
        return False
    last = ledger.find_last_event(session, person.number, _DEPARTURE_KINDS)
    return last is not None and last.at > moment


def _find_same_request_token(
    session: Session, number: int, submission: FormSubmission, now: datetime
) -> OneTimeToken | None:
    """Return the first open link from a form with the same preferences and consent text, or None.

    Anyone can type an address, so an earlier form may be a stranger's, and its preferences must not
    apply to the owner's. A question that was sent by us isn't a form.
    """
    asked = (submission.wording and submission.wording.hash, dict(submission.choices))
    for link in one_time_tokens.list_open_tokens(session, number, "confirm", now=now):
        body = ledger.read_event_body(session, number, int(link.serial))
        is_form = body["method"] != ledger.PERMISSION_METHOD
        if is_form and (body["wording_hash"], body.get("choices", {})) == asked:
            return link
    return None


def _move_suppression_off_row(
    session: Session,
    keys: KeyRing,
    person: Person,
    address: Address,
    now: datetime,
) -> None:
    """Replace the lookup hash of an erased row with a suppression, now that the address is known.

    It's the only hash left in the row.
    """
    hashes = suppression.hash_address(session, keys, address)
    suppression.suppress_hashes(session, hashes.suppressions, "erased", now)
    person.lookup = person.lookup_key = None
    session.flush()
