"""Requesting, approving, and queuing emails that correct an edition.

An editor requests one, someone else approves its exact text, and a job queues it. If there's only
one editor, that editor can correct the archive immediately. The email itself is approved like an
edition, by the same rule (`ApproverRule`) and with the same key, and the signature covers
everything that the email says.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from digest.app.approval.approval_overviews import ApproverRuleOverview, explain_approver_rule
from digest.app.editing.corrections import CorrectionError, find_correction
from digest.app.editions.edition_status import resolve_edition_name
from digest.app.editions.sample_emails import RenderedSample, compose_sample_notice
from digest.deliver.plan.correction_plan import CorrectionAudience, read_recipient_batches
from digest.deliver.send.claims import restored_copy
from digest.deliver.send.notices import notice_queue
from digest.edition.approval.approval_check import list_valid_signatures
from digest.edition.approval.approved_versions import build_signature_payload, compute_content_hash, sign_payload
from digest.edition.approval.approvers import ApproverRule
from digest.edition.approval.authors import read_approver_rule_for_authors
from digest.edition.archive import corrections
from digest.edition.archive.correction_check import build_correction_statement, explain_invalid_approval
from digest.edition.editing.authorship import CORRECTION_PART, WrittenPart
from digest.edition.edition_queries import find_edition
from digest.installation.audited_actions import SCHEDULER, Action, Actor
from digest.installation.opened_installation import Installation
from digest.settings import Settings
from digest.store.audit import record_audit
from digest.store.correction_models import Correction, CorrectionSignature
from digest.store.models import Edition, EditionState
from digest.store.staff import map_staff_display_names
from subscribers.callback_types import Clock
from subscribers.loggers import get_logger
from subscribers.mail_requests import MailRequest
from subscribers.store.keyed_row_seals import is_genuine_row

REQUEST = Action("correction email requested")
APPROVE = Action("correction email approved")
# In the audit log, for an email that isn't the one that was approved.
REFUSED_EMAIL = "correction email refused"
EmailFacts = dict[str, str]  # by name in the templates
_WRITE_PAGE = 200  # emails per write transaction

log = get_logger("corrections")


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrectionEmailOverview(ApproverRuleOverview):
    """A correction's email and the approvals it still needs.

    `fault` is the reason that an earlier approval doesn't count, and `content_hash` covers
    everything that the email says. `sent` is the corrected text as subscribers received it.
    """

    edition: Edition
    correction: Correction
    content_hash: str
    sent: str
    fault: str

    @property
    def is_approved(self) -> bool:
        """True if the email was queued or will be."""
        return self.correction.mail_planned_at is not None or (
            self.correction.mail_approved_at is not None and not self.fault
        )

    @property
    def is_requested(self) -> bool:
        """True if someone requested the email."""
        return self.correction.mail_asked_at is not None

    def describe(self, viewer: str = "") -> list[str]:
        """Return sentences about the email's approvals, or the reason that an approval doesn't count.

        The viewer is called "you".
        """
        if self.is_approved:
            signed = (self.name_actor(each.actor, viewer, "you") for each in self.correction.signatures)
            return [f"Approved by {name}." for name in signed]
        return [
            *([f"The email wasn't sent: {self.fault}"] if self.fault else []),
            *explain_approver_rule(self, viewer),
        ]


def read_correction_email(installation: Installation, name: str, number: int) -> CorrectionEmailOverview:
    """Return a correction's email and the state of its approval.

    Raises:
        UnknownEditionError: there's no edition of that name.
        CorrectionError: the edition has no such correction.
    """
    with installation.read() as session:
        edition = find_edition(session, name)
        return _read_email(session, edition, find_correction(session, edition, number), installation)


def _read_email(
    session: Session, edition: Edition, correction: Correction, installation: Installation
) -> CorrectionEmailOverview:
    rule = read_approver_rule_for_authors(session, (correction.actor,), correction.at, installation.settings)
    stated = _state_email(session, edition, correction, rule)
    content_hash = compute_content_hash(stated)
    signatures = list_valid_signatures(correction.signatures, content_hash, correction.seq, installation.keys)
    signed = tuple(signature.actor for signature in signatures)
    return CorrectionEmailOverview(
        rule=ApproverRule(rule.needed, signed, rule.written, rule.staff, rule.is_alone),
        names=map_staff_display_names(session),
        parts=(WrittenPart(correction.actor, CORRECTION_PART, correction.headline),),
        edition=edition,
        correction=correction,
        content_hash=content_hash,
        sent=stated["sent"],
        fault=explain_invalid_approval(session, edition, correction, installation.keys),
    )


def _state_email(session: Session, edition: Edition, correction: Correction, rule: ApproverRule) -> dict[str, Any]:
    """Return everything that an approval of the email signs, as JSON values."""
    return build_correction_statement(session, edition, correction) | {
        "approvals": rule.needed,
        "authors": list(rule.written),
        "alone": rule.is_alone,
    }


def request_correction_email(
    installation: Installation, name: str, number: int, *, actor: Actor, now: datetime
) -> bool:
    """Request that a correction be emailed to the subscribers who received the error.

    Return False if someone had already requested it. Nothing is sent until the email is approved
    (see `approve_correction_email`).

    Raises:
        UnknownEditionError: there's no edition of that name.
        CorrectionError: the edition has no such correction or isn't sent yet.
    """
    name = resolve_edition_name(installation, name)
    with REQUEST.transaction(installation, actor, name, now=now) as (session, audit):
        correction = _find_mailable(session, name, number)[1]
        audit.changed = correction.mail_asked_at is None
        audit.detail = {"correction": correction.id}
        if audit.changed:
            correction.mail_asked_at, correction.mail_asked_by = now, actor.name
    return audit.changed


def approve_correction_email(
    installation: Installation, name: str, number: int, content_hash: str, *, actor: Actor, now: datetime
) -> CorrectionEmailOverview:
    """Approve the email identified by `content_hash`, and return it with the state of its approval.

    Once no approval is missing, `queue_approved_correction_emails` queues the email, immediately if
    the scheduler is running. Approving an approved email again changes nothing.

    Raises:
        UnknownEditionError: there's no edition of that name.
        CorrectionError: the edition has no such correction or isn't sent yet, the correction
            doesn't match `content_hash`, or the actor isn't allowed to approve it (see
            `ApproverRule`).
    """
    name = resolve_edition_name(installation, name)
    with APPROVE.transaction(installation, actor, name, now=now) as (session, audit):
        edition, correction = _find_mailable(session, name, number)
        email = _read_email(session, edition, correction, installation)
        audit.changed = not email.is_approved
        if audit.changed:
            if not is_genuine_row(session, correction):
                raise CorrectionError(
                    "The correction was changed outside this program.",
                    "Correct the story again, then email the new correction.",
                )
            _check_approval(email, content_hash, actor)
            _sign_email(session, email, installation, actor, now)
            email = _read_email(session, edition, correction, installation)
            audit.detail = {"correction": correction.id, "mark": email.content_hash, "missing": email.rule.missing}
            audit.detail |= {"authors": list(email.rule.written), "alone": email.rule.is_alone}
        session.expunge_all()
    return email


def _find_mailable(session: Session, name: str, number: int) -> tuple[Edition, Correction]:
    edition = find_edition(session, name, lock=True)
    correction = find_correction(session, edition, number)
    if edition.state is not EditionState.SENT:
        raise CorrectionError(
            f"{name} is still being sent, so it isn't known yet which subscribers received the error.",
            "Email the correction once the edition is sent.",
        )
    return edition, correction


def _check_approval(email: CorrectionEmailOverview, content_hash: str, actor: Actor) -> None:
    if content_hash.lower() != email.content_hash:
        raise CorrectionError(
            "The correction or its approvers changed after you opened the page.",
            "Read the correction again before you approve it.",
        )
    if refusal := email.rule.explain_refusal(actor.name):
        raise CorrectionError(refusal)


def _sign_email(
    session: Session, email: CorrectionEmailOverview, installation: Installation, actor: Actor, now: datetime
) -> None:
    """Add a signature, and remove signatures of anything other than this email."""
    correction = email.correction
    correction.signatures = [each for each in correction.signatures if each.actor in email.rule.signed]
    # Delete the same person's earlier signature before adding the new one.
    session.flush()
    payload = build_signature_payload(email.content_hash, correction.seq, actor.name, now)
    signature = sign_payload(installation.keys.current("approval"), payload)
    correction.signatures.append(CorrectionSignature(actor=actor.name, at=now, signature=signature))
    correction.mail_statement = _state_email(session, email.edition, correction, email.rule)
    correction.mail_approved_at = None if email.rule.with_approval(actor.name).missing else now
    if correction.mail_asked_at is None:
        correction.mail_asked_at, correction.mail_asked_by = now, actor.name
    session.flush()


# --- recipients and queuing ----------------------------------------------------------------------------------


def count_correction_recipients(installation: Installation, name: str, number: int) -> CorrectionAudience:
    """Return how many people received an error, as of now.

    Raises:
        UnknownEditionError: there's no edition of that name.
        CorrectionError: the edition has no such correction.
    """
    with installation.read() as session:
        edition = find_edition(session, name)
        correction = find_correction(session, edition, number)
    pages = read_recipient_batches(installation.database, correction, edition, installation.settings)
    return sum((page.counts for page in pages), CorrectionAudience())


@dataclass(frozen=True, slots=True)
class QueuedCorrectionEmails:
    """The result of queuing correction emails.

    `queued` and `uncertain` count the emails queued and those that may have been sent before a
    restore. `refused` has a sentence for each correction that wasn't emailed.
    """

    queued: int
    uncertain: int
    refused: tuple[str, ...]

    def __str__(self) -> str:
        """Return the counts and refusals in words, or an empty string if there are none."""
        queued = [f"{self.queued} corrections queued"] if self.queued else []
        uncertain = [f"{self.uncertain} corrections may have been sent before the restore"] if self.uncertain else []
        return "; ".join([*queued, *uncertain, *self.refused])


def queue_approved_correction_emails(installation: Installation, *, clock: Clock) -> QueuedCorrectionEmails:
    """Queue the emails of all approved corrections.

    Each email is first compared with what was approved. If they differ, the approval is revoked and
    the audit log says why. If a correction was approved before a restore, its emails may already
    have been sent, so they get status unknown. The function can safely be run again if it's
    interrupted.
    """
    is_owed_to = (Correction.mail_approved_at.is_not(None), Correction.mail_planned_at.is_(None))
    query = select(Correction.id).where(*is_owed_to)
    with installation.read() as session:
        numbers = session.scalars(query.order_by(Correction.id)).all()
    queued, uncertain, refused = 0, 0, []
    for number in numbers:
        with installation.read() as session:
            correction = session.get_one(Correction, number)
            edition = session.get_one(Edition, correction.edition_id)
            fault = explain_invalid_approval(session, edition, correction, installation.keys)
            sent = corrections.find_sent_text(session, correction)
            doubtful = restored_copy.build_uncertain_delivery_columns(session, correction.at)
        if fault:
            _revoke_approval_of_correction(installation, correction, edition, fault, now=clock())
            refused.append(f"Correction {correction.seq} of {edition.name} wasn't emailed: {fault}")
        else:
            planned = _plan_emails(installation, correction, edition, sent, doubtful, clock)
            queued, uncertain = (queued, uncertain + planned) if doubtful else (queued + planned, uncertain)
    return QueuedCorrectionEmails(queued, uncertain, tuple(refused))


def _revoke_approval_of_correction(
    installation: Installation, correction: Correction, edition: Edition, fault: str, *, now: datetime
) -> None:
    log.error("a correction isn't what was approved", edition=edition.name, correction=correction.seq, why=fault)
    with installation.write() as session:
        # Approving also locks the edition's row. A correction that was approved again in the
        # meantime stays approved.
        find_edition(session, edition.name, lock=True)
        row = session.get_one(Correction, correction.id)
        if row.mail_approved_at != correction.mail_approved_at:
            return
        row.mail_approved_at, row.signatures = None, []
        detail = {"correction": correction.id, "message": fault}
        record_audit(session, REFUSED_EMAIL, edition.name, detail, actor=SCHEDULER.name, now=now)


def build_email_facts(settings: Settings, edition: Edition, correction: Correction, sent: str) -> EmailFacts:
    """Return the values for the template of a correction email.

    `sent` is the corrected text as subscribers received it.
    """
    publication, language = settings.file.publication, settings.subscriber_language
    return {
        "number": str(edition.number),
        "headline": correction.headline,
        "was": sent,
        "becomes": correction.becomes,
        "why": correction.note,
        "signature": corrections.format_correction_byline(correction, publication.zone, language),
        "address": f"{settings.link_base}/editions/{edition.name}",
    }


def compose_sample_correction(installation: Installation, name: str, number: int) -> RenderedSample:
    """Render a correction's email for a made-up subscriber.

    Raises:
        UnknownEditionError: there's no edition of that name.
        CorrectionError: the edition has no such correction.
        TemplateMistakeError: one of the operator's own templates has a mistake.
    """
    email, settings = read_correction_email(installation, name, number), installation.settings
    facts = build_email_facts(settings, email.edition, email.correction, email.sent)
    return compose_sample_notice(settings, "correction", facts)


def _plan_emails(
    installation: Installation,
    correction: Correction,
    edition: Edition,
    sent: str,
    doubtful: dict[str, Any],
    clock: Clock,
) -> int:
    database, keys, settings = installation.database, installation.keys, installation.settings
    facts = build_email_facts(settings, edition, correction, sent)
    queued = 0
    for page in read_recipient_batches(database, correction, edition, settings):
        for start in range(0, len(page.recipients), _WRITE_PAGE):
            people = page.recipients[start : start + _WRITE_PAGE]
            requests = [MailRequest("correction", person, str(correction.id), facts) for person in people]
            rows = notice_queue.prepare_notices(keys, settings, requests, clock())
            with database.write() as session:
                queued += notice_queue.insert_notices(session, rows, **doubtful)
    with database.write() as session:
        session.get_one(Correction, correction.id).mail_planned_at = clock()
    return queued
