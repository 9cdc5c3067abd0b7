"""The steps of nightly maintenance.

It verifies and seals the consent ledger, and deletes data whose retention period is over.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from digest.app.accounts.passkeys import delete_old_challenges
from digest.app.accounts.sign_in_log import LOG_RETENTION
from digest.app.subscribers.list_transfers import pull_suppressions_without_actor
from digest.app.subscribers.upload_files import delete_stale_uploads
from digest.app.upkeep.audit_log import save_check_result
from digest.app.upkeep.disk_growth import record_free_space
from digest.backups import early_rows
from digest.deliver.control import installation_hold
from digest.deliver.control.installation_hold import read_installation_value, write_installation_value
from digest.deliver.inbound import mail_log, payloads
from digest.deliver.providers.kind import ProviderErasures, ProviderKind, ProviderSettingsError
from digest.deliver.providers.registry import is_provider_in_use, load_provider_kinds
from digest.deliver.retention import (
    cached_delivery_counts,
    delivery_disclosures,
    edition_figures,
    provider_erasures,
    repeated_bounces,
)
from digest.deliver.retention.delivery_seals import SEALED_TABLES, seal_deliveries
from digest.deliver.send.limits import rate_limiter
from digest.installation.audited_actions import Action, Actor
from digest.installation.guarded_action_notices import queue_address_access_summary
from digest.installation.opened_installation import Installation
from digest.installation.staff_mail import make_mail_queue
from digest.store import staff_sessions
from digest.store.account_models import SignInAttempt
from digest.store.alert_models import Alert, AlertNotification
from digest.store.audit import read_audit_head, record_audit
from digest.store.audit_chain import verify_audit_log
from digest.store.engine import Database
from digest.store.models import FIRST_LOOK_JOB, DailySourceVisitCounts, ScheduleSlot
from digest.store.staff import list_verified_staff
from subscribers.consent import daily_consent_counts, disclosure_sealing, disclosures, seals
from subscribers.consent.daily_consent_counts import DayKey
from subscribers.consent.seals import LedgerProof
from subscribers.english_text import count_with_noun
from subscribers.errors import RefusalError
from subscribers.lifecycle import expiry, inactivity_questions
from subscribers.loggers import get_logger
from subscribers.mail_requests import MailRequest
from subscribers.store.models import DailyConsentCount, Seal
from subscribers.subscriber_language import ENGLISH
from subscribers.transfer.import_batches import drop_import_salts

GROWTH_STATE_KEY = "growth counted"
REASONS_STATE_KEY = "unsubscribe reasons counted"
SLOT_RETENTION = timedelta(days=90)
ALERT_RETENTION = timedelta(days=90)
MIN_DAY_COUNT_RETENTION = timedelta(days=400)  # pages show a year, however long deliveries are kept
DELETE_BATCH_SIZE = 1000  # rows per write transaction

log = get_logger("nightly")
# It takes a session and the numbers of events, `after` (exclusive) and `through`.
_CountEvents = Callable[..., Mapping[DayKey, int]]


FAILED = " failed: "  # marks a failed step in the outcome


def run_nightly_steps(installation: Installation, now: datetime) -> str:
    """Run all nightly steps, and return their outcomes as text.

    A step that fails doesn't stop the others. Each step can be repeated the next night.
    """
    return "; ".join(_run_step(step, installation, now) for step in NIGHTLY_STEPS)


def _run_step(step: Callable[[Installation, datetime], str], installation: Installation, now: datetime) -> str:
    try:
        return step(installation, now)
    except Exception as exc:  # an error in one step must not stop the others
        log.exception("nightly step failed", step=step.__name__)
        return f"{step.__name__}{FAILED}{type(exc).__name__}"


def seal_disclosures(installation: Installation, now: datetime) -> str:
    """Seal new records of where addresses were disclosed.

    These are the deliveries of finished editions and of transactional email, and other disclosures.
    """
    database, keys = installation.database, installation.keys
    deliveries = seal_deliveries(database, keys, now=now)
    sealed_count = disclosure_sealing.seal_disclosures(database, keys, now=now)
    return f"sealed {deliveries:,} deliveries and {sealed_count:,} other disclosures"


def seal_ledger_and_email_admins(installation: Installation, now: datetime) -> str:
    """Verify and seal the ledger, and email the seal if that's due.

    Faults are recorded in the audit log and in the program's log.
    """
    sealed, proof = verify_and_seal_ledger(installation, now, actor="scheduler")
    mailed = email_seal_when_due(installation, sealed, proof, now=now)
    addressed = f", emailed to admins: {mailed:,}" if mailed else ""
    if proof.sound:
        return f"sealed {sealed.links:,} links of {sealed.people:,} people as {sealed.hash[:12]}{addressed}"
    return (
        f"sealed as {sealed.hash[:12]}{addressed}, but the ledger failed verification: run 'digest subscribers verify'"
    )


SEAL = Action("ledger sealed")


class JustSealedError(RefusalError):
    """Raised if another process has just sealed the ledger."""


def seal_ledger(installation: Installation, actor: Actor, *, now: datetime) -> Seal:
    """Seal the ledger now, as nightly maintenance does.

    Raises:
        NotPermittedError: the actor isn't an admin.
        InstallationError: there's no key file.
        JustSealedError: another process sealed it at the same time.
    """
    SEAL.check_role(installation, actor, "ledger", now=now)
    return verify_and_seal_ledger(installation, now, actor=actor.name)[0]


def verify_and_seal_ledger(installation: Installation, now: datetime, *, actor: str) -> tuple[Seal, seals.LedgerProof]:
    """Verify the ledger, and append a seal and an audit row.

    The verification runs outside any write transaction.

    Raises:
        JustSealedError: another process sealed it at the same time.
    """
    through = seals.find_last_fully_committed_rows(installation.database)
    with installation.read() as session:
        proof = seals.verify_ledger(session, installation.keys, tables=SEALED_TABLES, through=through, night=now)
        log_proof = verify_audit_log(session)
        proof = replace(proof, fault=proof.fault or log_proof.fault)
    assert proof.summary is not None, "it was asked for"
    with installation.write() as session:
        log_head = seals.LogHead(*read_audit_head(session))
        try:
            sealed = seals.append_seal(session, proof.summary, now, log_head=log_head)
        except IntegrityError as exc:
            raise JustSealedError("Another process has just sealed the ledger, so it wasn't sealed again.") from exc
        counted: dict[str, Any] = {"people": sealed.people, "links": sealed.links, "suppressions": sealed.suppressions}
        counted |= {"log_rows": log_head.through}
        detail = counted | {"root": sealed.root, "seal": sealed.hash}
        record_audit(session, SEAL.name, "ledger", detail, actor=actor, now=now)
        save_check_result(session, replace(log_proof, sealed_through=log_head.through), now=now)
        if not proof.sound:
            wrong = _describe_faults(proof)
            record_audit(session, "ledger broken", "ledger", wrong, actor=actor, now=now)
            log.error("the ledger failed verification", **wrong)
    return sealed, proof


def _describe_faults(proof: seals.LedgerProof) -> dict[str, Any]:
    """Return the first broken link or seal, the faults in disclosures, and the faults in people's addresses."""
    faults: dict[str, Any] = {"fault": proof.fault} if proof.fault else {}
    if proof.broken is not None:
        faults = {"person": proof.broken.person, "link": proof.broken.seq, "fault": proof.broken.fault}
    if proof.disclosure_faults:
        faults["disclosures"] = list(proof.disclosure_faults)
    if proof.address_faults:
        faults["addresses"] = {str(at_fault.person): at_fault.fault for at_fault in proof.address_faults}
    return faults


def aggregate_old_disclosures(installation: Installation, now: datetime) -> str:
    """Replace disclosures older than 400 days with totals, one batch per transaction."""
    folded = 0
    while True:
        with installation.write() as session:
            some = disclosures.aggregate_disclosures(session, installation.keys, now)
        folded += some
        if not some:
            return f"{folded:,} old disclosures replaced with totals"


def delete_unconfirmed_signups(installation: Installation, now: datetime) -> str:
    """Delete addresses that weren't confirmed within seven days, and outdated form data."""
    return f"{expiry.expire_unconfirmed_requests(installation.database, now=now):,} unconfirmed sign-ups deleted"


def unsubscribe_nonresponders(installation: Installation, now: datetime) -> str:
    """Unsubscribe inactive subscribers who didn't answer in time, if the email announced that."""
    removed_count = inactivity_questions.unsubscribe_nonresponders(
        installation.database, installation.unsubscribe_log, now=now
    )
    return f"{removed_count:,} people who didn't answer unsubscribed"


def delete_departed_addresses(installation: Installation, now: datetime) -> str:
    """Delete the addresses of people who unsubscribed at least 30 days ago, and salts from old imports.

    The salts are those of IP addresses.
    """
    deleted_count = expiry.delete_expired_addresses(installation.database, now=now)
    old = now - timedelta(days=installation.settings.file.retention.evidence_days)
    with installation.write() as session:
        salts = drop_import_salts(session, before=old)
    return f"{deleted_count:,} addresses of former subscribers and {salts:,} salts of imports deleted"


def suppress_bouncing_addresses(installation: Installation, now: datetime) -> str:
    """Suppress addresses that failed too many times in a row."""
    journal = installation.unsubscribe_log
    lookback = timedelta(days=installation.settings.file.retention.delivery_days)
    suppressed_count = repeated_bounces.suppress_repeated_bounces(
        installation.database, installation.keys, journal, now=now, lookback=lookback
    )
    return f"{suppressed_count:,} addresses that keep bouncing suppressed"


def aggregate_old_deliveries(installation: Installation, now: datetime) -> str:
    """Replace deliveries with totals after their retention period."""
    database, keys = installation.database, installation.keys
    folded = delivery_disclosures.add_old_deliveries_to_totals(database, keys, installation.settings, now=now)
    return f"{folded:,} old deliveries replaced with totals"


def cache_finished_delivery_counts(installation: Installation, now: datetime) -> str:
    """Store the delivery counts of finished editions for the pages that list them."""
    return f"deliveries of {cached_delivery_counts.cache_delivery_counts(installation.database, now=now):,} editions counted"


def count_growth(installation: Installation, now: datetime) -> str:
    """Count new consent events by day, current subscribers, and the results of recent editions."""
    database, zone = installation.database, installation.settings.zone
    with database.read() as session:
        end = daily_consent_counts.find_last_fully_committed_event(session, now)
    today = now.astimezone(zone).date()

    def count_events(session: Session, *, after: int, through: int) -> Mapping[DayKey, int]:
        counts = daily_consent_counts.count_consent_events(session, zone, after=after, through=through)
        joined, went = daily_consent_counts.count_list_changes(session, after=after, through=through)
        moves = {
            (today, daily_consent_counts.JOINED_KIND, ""): joined,
            (today, daily_consent_counts.WENT_KIND, ""): went,
        }
        return {**counts, **moves}

    count_reasons = partial(daily_consent_counts.count_unsubscribe_reasons, zone=zone)
    counted = _count_in_steps(database, GROWTH_STATE_KEY, count_events, end, now)
    _count_in_steps(database, REASONS_STATE_KEY, count_reasons, end, now)
    with database.write() as session:
        through = _read_counted_through(session, GROWTH_STATE_KEY)
        daily_consent_counts.record_subscriber_count(session, today, after=through)
    editions = edition_figures.store_edition_figures(database, now=now)
    return f"{counted:,} consent events and {editions} editions counted for growth"


def _count_in_steps(
    database: Database,
    key: str,
    count: _CountEvents,
    end: int,
    now: datetime,
) -> int:
    """Count the events since the last count stored under `key`, and return how many there were.

    The counts are added to the daily counts.
    """
    with database.read() as session:
        begin = _read_counted_through(session, key)
    counted = 0
    for after in range(begin, end, daily_consent_counts.EVENTS_A_STEP):
        through = min(after + daily_consent_counts.EVENTS_A_STEP, end)
        with database.read() as session:
            counts = count(session, after=after, through=through)
        with database.write() as session:
            if _read_counted_through(session, key) != after:
                break  # another process is counting
            daily_consent_counts.add_day_counts(session, counts)
            write_installation_value(session, key, {"through": through}, now=now)
        for (_, kind, _), times in counts.items():
            counted += times if kind not in daily_consent_counts.KINDS_WITHOUT_WAY else 0
    return counted


def _read_counted_through(session: Session, key: str) -> int:
    return int((read_installation_value(session, key) or {}).get("through", 0))


def delete_old_event_payloads(installation: Installation, now: datetime) -> str:
    """Delete payloads of events that providers posted more than 30 days ago."""
    return f"{payloads.delete_old_payloads(installation.database, now=now):,} old events deleted"


def delete_old_queue_ids(installation: Installation, now: datetime) -> str:
    """Delete the queue IDs of messages whose final status never appeared in the mail server's log."""
    return f"{mail_log.delete_old_queue_ids(installation.database, now=now):,} old queue IDs deleted"


def delete_old_rate_counts(installation: Installation, now: datetime) -> str:
    """Delete counts per minute that no rate limit uses anymore."""
    return f"{rate_limiter.delete_old_counts(installation.database, now=now):,} old counts deleted"


def request_provider_erasures(installation: Installation, now: datetime) -> str:
    """Request that providers erase the data of people who were erased here."""
    return "; ".join(
        _request_erasures(installation, kind, kind.erasures, now) for kind in load_provider_kinds() if kind.erasures
    )


def _request_erasures(
    installation: Installation, provider: ProviderKind, erasures: ProviderErasures, now: datetime
) -> str:
    try:
        erase = erasures.open_eraser(installation.settings)
    except ProviderSettingsError as exc:
        return f"no erasures were passed on: {exc}"
    recipient = provider.describe_recipient(installation.settings, ENGLISH)
    report = provider_erasures.forward_erasures(
        installation.database, installation.keys, provider, erase, recipient=recipient, now=now
    )
    if report.trouble or report.given_up:
        log.warning("erasures", outcome=str(report))
    return str(report)


def pull_provider_suppressions(installation: Installation, now: datetime) -> str:
    """Apply the suppression lists of the provider that's in use."""
    return "; ".join(_pull_if_in_use(installation, kind, now) for kind in load_provider_kinds() if kind.suppressions)


def _pull_if_in_use(installation: Installation, provider: ProviderKind, now: datetime) -> str:
    if not is_provider_in_use(provider, installation.settings):
        return f"email isn't sent with {provider.title}, so its lists weren't read"
    try:
        result = pull_suppressions_without_actor(installation, now)
    except ProviderSettingsError as exc:
        return f"{provider.title}'s lists weren't read: {exc}"
    for trouble in result.troubles:
        log.warning("a suppression list", provider=provider.name, trouble=trouble)
    return str(result)


def forget_killed_backups(installation: Installation, now: datetime) -> str:
    """Forget backups that were killed, so that changes are no longer recorded for them."""
    forgotten = early_rows.delete_stale_backup_records(installation.database, now=now)
    return f"cleaned up after {count_with_noun(forgotten, 'killed backup')}"


def delete_old_sign_ins(installation: Installation, now: datetime) -> str:
    """Delete expired staff sessions and passkey challenges, and sign-in log entries older than 90 days."""
    old = SignInAttempt.at < now - LOG_RETENTION
    deleted = installation.database.delete_in_batches(SignInAttempt, old, size=DELETE_BATCH_SIZE)
    with installation.write() as session:
        ended = staff_sessions.delete_old_sessions(session, now=now)
        delete_old_challenges(session, now=now)
    return f"{ended:,} expired sessions and {deleted:,} old sign-ins deleted"


def delete_old_slots(installation: Installation, now: datetime) -> str:
    """Delete schedule slots older than 90 days, except the record of when the schedule was first followed."""
    old = (ScheduleSlot.at < now - SLOT_RETENTION) & (ScheduleSlot.job != FIRST_LOOK_JOB)
    return f"{installation.database.delete_in_batches(ScheduleSlot, old, size=DELETE_BATCH_SIZE):,} old scheduled times deleted"


def delete_old_daily_counts(installation: Installation, now: datetime) -> str:
    """Delete daily counts of source visits and consent events that pages no longer show."""
    file, database = installation.settings.file, installation.database
    retention = max(timedelta(days=file.retention.delivery_days), MIN_DAY_COUNT_RETENTION)
    first = now.astimezone(file.publication.zone).date() - retention
    deleted = database.delete_in_batches(
        DailySourceVisitCounts, DailySourceVisitCounts.day < first, size=DELETE_BATCH_SIZE
    )
    deleted += database.delete_in_batches(DailyConsentCount, DailyConsentCount.day < first, size=DELETE_BATCH_SIZE)
    return f"{deleted:,} old daily counts deleted"


def delete_old_alerts(installation: Installation, now: datetime) -> str:
    """Delete alerts that ended more than 90 days ago."""
    old = Alert.ended_at < now - ALERT_RETENTION
    posts = AlertNotification.alert_id.in_(select(Alert.id).where(old))
    installation.database.delete_in_batches(AlertNotification, posts, size=DELETE_BATCH_SIZE)
    return f"{installation.database.delete_in_batches(Alert, old, size=DELETE_BATCH_SIZE):,} old alerts deleted"


NIGHTLY_STEPS: tuple[Callable[[Installation, datetime], str], ...] = (
    seal_disclosures,
    seal_ledger_and_email_admins,
    aggregate_old_disclosures,
    delete_unconfirmed_signups,
    unsubscribe_nonresponders,
    delete_departed_addresses,
    suppress_bouncing_addresses,
    aggregate_old_deliveries,
    cache_finished_delivery_counts,
    count_growth,
    delete_old_event_payloads,
    delete_old_queue_ids,
    delete_old_rate_counts,
    forget_killed_backups,
    delete_old_sign_ins,
    delete_old_slots,
    delete_old_daily_counts,
    delete_old_alerts,
    queue_address_access_summary,
    delete_stale_uploads,
    record_free_space,
    request_provider_erasures,
    pull_provider_suppressions,  # last, because it calls other services and may take a while
)


MAILED_SEAL_STATE_KEY = "mailed seal"
KEPT_DIGITS = 12  # the first digits of a seal, enough to identify it


def email_seal_when_due(installation: Installation, seal: Seal, proof: LedgerProof, *, now: datetime) -> int:
    """Email the seal to every verified admin, as often as the settings say.

    Return the number of emails queued.
    """
    settings = installation.settings
    with installation.write() as session:
        last = installation_hold.read_installation_value(session, MAILED_SEAL_STATE_KEY)
        days, zone = settings.file.alerts.seal_mail_days, settings.zone
        if not is_seal_email_due(last, sound=proof.sound, days=days, zone=zone, now=now):
            return 0
        admins = [member for member in list_verified_staff(session) if member.role == "admin"]
        queue = make_mail_queue(installation, now)
        facts = {
            "sealed_at": seal.at.isoformat(),
            "counts": f"{count_with_noun(seal.people, 'person', 'people')}, {seal.links:,} events, {seal.suppressions:,} suppressions",
            "seal": seal.hash,
            "seal_start": seal.hash[:KEPT_DIGITS],
            "fault": "" if proof.sound else "yes",
        }
        for admin in admins:
            queue(session, MailRequest("seal", None, f"{admin.id}-{seal.id}", facts | {"to": admin.email}))
        if admins:
            state = {"at": now.isoformat(), "sound": proof.sound}
            installation_hold.write_installation_value(session, MAILED_SEAL_STATE_KEY, state, now=now)
            detail = {"seal": seal.hash, "admins": [admin.id for admin in admins]}
            record_audit(session, "seal mailed", "ledger", detail, actor="scheduler", now=now)
        return len(admins)


def is_seal_email_due(last: Mapping[str, Any] | None, *, sound: bool, days: int, zone: ZoneInfo, now: datetime) -> bool:
    """Return True if tonight's seal should be emailed.

    It's emailed on the first night, then every `days` days (never if 0), and on the first night on
    which a check finds a fault.
    """
    if days == 0:
        return False
    if last is None or (last["sound"] and not sound):
        return True
    mailed_on = datetime.fromisoformat(last["at"]).astimezone(zone).date()
    return (now.astimezone(zone).date() - mailed_on).days >= days
