"""Actions on uncertain deliveries: listing them, and resolving them by decision or from a mail server's log."""

from collections.abc import Sequence
from datetime import datetime, timedelta, tzinfo
from itertools import islice
from pathlib import Path

from digest.app.editions.edition_status import resolve_edition_name
from digest.deliver.events.event_processor import MAX_EVENTS_PER_TRANSACTION, process_events
from digest.deliver.providers.registry import provider_in_use
from digest.deliver.retention import cached_delivery_counts
from digest.deliver.send.claims.dead_runs import recover_dead_and_silent_runs
from digest.deliver.send.uncertain import log_evidence, uncertain_deliveries
from digest.deliver.send.uncertain.log_evidence import LogEvidence
from digest.deliver.send.uncertain.uncertain_deliveries import NOTICES, UncertainDelivery, UncertainResolution
from digest.installation.audited_actions import Action, Actor
from digest.installation.opened_installation import Installation
from subscribers.callback_types import Clock
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.store.database import MAX_TRANSACTION_ROWS

RESOLVE_BY_LOG = Action("uncertain settled by a log")
RESOLVE = {resolution: Action(f"uncertain {resolution}") for resolution in UncertainResolution}


def _find_name(installation: Installation, name: str) -> str:
    """Return an edition's canonical name. `NOTICES` is returned unchanged."""
    return name if name == NOTICES else resolve_edition_name(installation, name)


def list_uncertain(installation: Installation, name: str, *, now: datetime) -> list[UncertainDelivery]:
    """Return the uncertain deliveries of an edition or of `NOTICES`, oldest first.

    The deliveries of dead processes are recovered first.

    Raises:
        UnknownEditionError: no edition has this name.
    """
    name = _find_name(installation, name)
    recover_dead_and_silent_runs(installation.database, installation.settings, installation.keys, now=now)
    return uncertain_deliveries.list_uncertain_deliveries(installation.database, name, now=now)


def explain_resend_risk(installation: Installation) -> str:
    """Return what may happen if an uncertain message is sent again through the current provider."""
    return provider_in_use(installation.settings).resend_risk


def resolve_uncertain(
    installation: Installation,
    name: str,
    delivery_ids: Sequence[str],
    resolution: UncertainResolution,
    *,
    reason: str,
    actor: Actor,
    clock: Clock,
) -> int:
    """Resolve uncertain deliveries of an edition or of `NOTICES` as an admin decided.

    Return the number of resolved deliveries. Those that aren't uncertain anymore are left alone.
    Each transaction takes up to 1,000 and has an audit row.

    Raises:
        UnknownEditionError: no edition has this name.
        EditionControlError: the edition is canceled, so its messages can't be sent again.
        InvalidResolutionError: an edition's deliveries would be counted as lost.
    """
    name, resolved = _find_name(installation, name), 0
    with RESOLVE[resolution].steps(installation, actor, name, now=clock()) as audit:
        audit.changed = False
        remaining = iter(delivery_ids)
        while page := list(islice(remaining, MAX_TRANSACTION_ROWS)):
            with installation.write() as session:
                ids = uncertain_deliveries.resolve_uncertain(session, name, page, resolution, now=clock())
                audit.detail = {"because": reason, "deliveries": ids}
                if ids:
                    audit.record(session)
                    if name != NOTICES:
                        cached_delivery_counts.refresh_cached_delivery_counts(session, name, now=clock())
            resolved += len(ids)
    return resolved


def examine_mail_log(
    installation: Installation,
    name: str,
    files: Sequence[Path],
    *,
    zone: tzinfo | None,
    longest_silence: timedelta,
    now: datetime,
) -> LogEvidence:
    """Search a Postfix log for an edition's uncertain deliveries.

    Nothing is changed, and no address in the log is kept.

    Raises:
        UnknownEditionError: no edition has this name.
        MailLogError: a file can't be read, or its times don't match the system clock.
    """
    database, name = installation.database, resolve_edition_name(installation, name)
    return log_evidence.examine_mail_log(database, name, files, zone=zone, longest_silence=longest_silence, now=now)


def resolve_by_log(
    installation: Installation, name: str, evidence: LogEvidence, *, reason: str, actor: Actor, clock: Clock
) -> int:
    """Resolve uncertain deliveries from the entries of a log, and return how many were resolved.

    Entries about other deliveries are applied as events.

    Raises:
        UnknownEditionError: no edition has this name.
        EditionControlError: the edition is canceled, so its messages can't be sent again.
        OSError: the unsubscribe log couldn't be written.
    """
    name, database = resolve_edition_name(installation, name), installation.database
    resolved = 0
    with RESOLVE_BY_LOG.steps(installation, actor, name, now=clock()) as audit:
        audit.changed = bool(evidence.events)
        verdict_counts = {str(verdict): count for verdict, count in evidence.verdicts.items()}
        audit.detail = {"because": reason, "said": verdict_counts}
        unsubscribe_log = UnsubscribeLog(installation.settings.left_log, installation.keys)
        remaining = iter(evidence.events)
        while page := list(islice(remaining, MAX_EVENTS_PER_TRANSACTION)):
            with database.write() as session:
                counts = process_events(
                    session, page, keys=installation.keys, unsubscribe_log=unsubscribe_log, now=clock()
                )
            resolved += len(page) - counts["known"]
    send_again = UncertainResolution.SEND_AGAIN
    return resolved + resolve_uncertain(
        installation, name, evidence.not_accepted, send_again, reason=reason, actor=actor, clock=clock
    )
