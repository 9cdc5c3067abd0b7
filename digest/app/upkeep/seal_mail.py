"""The newest seal of the consent ledger by mail to every admin who has proven their address: a witness outside the database."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from digest.deliver.control import installation_hold
from digest.deliver.send.notices.notice_queue import make_notice_queue
from digest.installation.opened import Installation
from digest.store.audit import record_audit
from digest.store.staff import list_proven_staff
from subscribers.consent.seals import LedgerProof
from subscribers.mail_requests import MailRequest
from subscribers.store.models import Seal

MAILED_SEAL_STATE_KEY = "mailed seal"
KEPT_DIGITS = 12  # of a seal, enough to name it by


def mail_seal_when_due(installation: Installation, seal: Seal, proof: LedgerProof, *, now: datetime) -> int:
    """Queue a mail with the seal for every proven admin, as often as the settings say; return for how many."""
    settings = installation.settings
    with installation.database.write() as session:
        last = installation_hold.read_installation_state(session, MAILED_SEAL_STATE_KEY)
        days, zone = settings.file.alerts.seal_mail_days, settings.file.publication.zone
        if not is_seal_mail_due(last, sound=proof.sound, days=days, zone=zone, now=now):
            return 0
        admins = [member for member in list_proven_staff(session) if member.role == "admin"]
        queue = make_notice_queue(installation.keys, settings, lambda: now)
        facts = {
            "sealed_at": seal.at.isoformat(),
            "counts": f"{seal.people:,} people, {seal.links:,} events, {seal.suppressions:,} suppressions",
            "seal": seal.hash,
            "seal_start": seal.hash[:KEPT_DIGITS],
            "fault": "" if proof.sound else "yes",
        }
        for admin in admins:
            queue(session, MailRequest("seal", None, f"{admin.id}-{seal.id}", facts | {"to": admin.email}))
        if admins:
            state = {"at": now.isoformat(), "sound": proof.sound}
            installation_hold.write_installation_state(session, MAILED_SEAL_STATE_KEY, state, now=now)
            detail = {"seal": seal.hash, "admins": [admin.id for admin in admins]}
            record_audit(session, "seal mailed", "ledger", detail, actor="scheduler", now=now)
        return len(admins)


def is_seal_mail_due(last: Mapping[str, Any] | None, *, sound: bool, days: int, zone: ZoneInfo, now: datetime) -> bool:
    """Decide whether tonight's seal goes out by mail.

    It does on the first night, then every `days` days (0: never), and on the night on which a check finds a fault first.
    """
    if days == 0:
        return False
    if last is None or (last["sound"] and not sound):
        return True
    mailed_on = datetime.fromisoformat(last["at"]).astimezone(zone).date()
    return (now.astimezone(zone).date() - mailed_on).days >= days
