"""The record of processing that GDPR article 30 asks for, and the list of processors, made from the settings."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from digest.app.site.page_context import data_controller
from digest.deliver.providers.registry import describe_address_holders
from digest.installation.acts import Act, Actor, Role
from digest.installation.opened import Installation
from digest.settings import Settings
from digest.settings.concerns import Concern
from subscribers.transfer.exports import DataController

SHOW_RECORD = Act("record of processing shown", Role.ADMIN, Concern.NONE)


@dataclass(frozen=True, slots=True)
class ProcessingActivity:
    """One purpose for which data of people is processed, in the terms of article 30(1)(b) to (f)."""

    purpose: str
    ground: str
    people: str
    data: str
    kept: str


@dataclass(frozen=True, slots=True)
class ProcessingRecord:
    """The whole record: who answers for it, what is done and why, who else gets to know addresses, and how data is guarded.

    `gaps` name what the settings do not say and the law asks for.
    """

    controller: DataController
    activities: tuple[ProcessingActivity, ...]
    recipients: tuple[str, ...]
    measures: tuple[str, ...]
    gaps: tuple[str, ...]


def view_processing_record(installation: Installation, actor: Actor, *, now: datetime) -> ProcessingRecord:
    """Make the record from the settings as they are now.

    Raises:
        NotPermittedError: the actor is no admin.
    """
    SHOW_RECORD.check_role(installation.database, actor, "settings", now=now)
    return describe_processing(installation.settings)


def describe_processing(settings: Settings) -> ProcessingRecord:
    """Make the record from settings. Pure."""
    controller = data_controller(settings)
    return ProcessingRecord(
        controller=controller,
        activities=_describe_activities(settings),
        recipients=(*describe_address_holders(settings), *_describe_mailbox(settings)),
        measures=_describe_measures(settings),
        gaps=tuple(_find_gaps(controller)),
    )


def _describe_activities(settings: Settings) -> tuple[ProcessingActivity, ...]:
    retention = settings.file.retention
    readers = "readers, and who typed an address into the form"
    return (
        ProcessingActivity(
            "Sending the newsletter",
            "consent: article 6(1)(a)",
            "readers who confirmed, or whose consent a list shows",
            "address, choices of sections, frequency and hour",
            "while on the list, and 30 days after leaving",
        ),
        ProcessingActivity(
            "Proving consent",
            "duty to show it: article 7(1)",
            readers,
            "wording, time and place of each consent; network address and program",
            f"until erasure; network address and program {retention.evidence_days} days",
        ),
        ProcessingActivity(
            "Showing what was sent, and stopping at bounces and complaints",
            "legitimate interest: article 6(1)(f)",
            "readers",
            "a line for each mail with its result; what servers said of it",
            f"{retention.delivery_days} days, then totals; servers' words 30 days, encrypted",
        ),
        ProcessingActivity(
            "Keeping away who left, complained or was erased",
            "legal duty: articles 6(1)(c), 17 and 21",
            "former readers, and departures that lists named",
            "a keyed hash of the address, without the address",
            "as long as the list exists",
        ),
        ProcessingActivity(
            "Answering requests for data, and saying where an address has been",
            "legal duty: articles 12 to 20",
            "readers",
            "each passage of an address: to whom, why, when",
            "400 days, then totals",
        ),
        ProcessingActivity(
            "Accounts of the staff, and the audit log",
            "legitimate interest: article 6(1)(f)",
            "the staff",
            "address, name, ways to sign in; what they did, and when",
            "the address and ways to sign in until removal; sign-ins 90 days; the log, number and name as long as the installation exists",
        ),
    )


def _describe_mailbox(settings: Settings) -> Sequence[str]:
    host = settings.file.inbound.host
    return (f"The mailbox for what comes back lies at {host}.",) if host else ()


def _describe_measures(settings: Settings) -> tuple[str, ...]:
    passphrase = "the key file under a passphrase" if settings.key_passphrase else "the key file closed to other users"
    return (
        f"Addresses are encrypted at rest (AES-256-GCM), {passphrase}; backups hold no key.",
        "Staff sign in by passkey, or by password and code; whatever shows or moves addresses asks for it anew and for a reason.",
        "Every act stands in an audit log whose rows are chained and sealed every night.",
        "Mail leaves over TLS alone, except to this machine; it holds no tracking pixel and no counted links.",
        "Consent and suppression are asked again at the moment of handing over.",
    )


def _find_gaps(controller: DataController) -> Sequence[str]:
    gaps = []
    if not controller.postal_address.strip():
        gaps.append("sender.postal_address is empty: the record must say where the controller can be reached.")
    gaps.append(
        "A representative or a data protection officer, where you must have one, and the contracts with the processors "
        "(article 28) stand in no setting: add them to the copy that you file."
    )
    return gaps
