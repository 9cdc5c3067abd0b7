"""The record of processing that GDPR Article 30 requires, and the list of processors.

Both are built from the settings.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from digest.app.site.page_context import build_data_controller
from digest.deliver.providers.registry import describe_address_recipients
from digest.installation.audited_actions import Action, Actor
from digest.installation.opened_installation import Installation
from digest.settings import Settings
from subscribers.transfer.exports import DataController

SHOW_RECORD = Action("record of processing shown")


@dataclass(frozen=True, slots=True)
class ProcessingActivity:
    """A purpose of processing personal data, in the terms of Article 30(1)(b) to (f)."""

    purpose: str
    ground: str
    people: str
    data: str
    kept: str


@dataclass(frozen=True, slots=True)
class ProcessingRecord:
    """The record of processing activities, with any gaps in it.

    `gaps` lists the information that the law requires but the settings lack.
    """

    controller: DataController
    activities: tuple[ProcessingActivity, ...]
    recipients: tuple[str, ...]
    measures: tuple[str, ...]
    gaps: tuple[str, ...]


def view_processing_record(installation: Installation, actor: Actor, *, now: datetime) -> ProcessingRecord:
    """Return the record of processing according to the current settings.

    Raises:
        NotPermittedError: the actor isn't an admin.
    """
    SHOW_RECORD.check_role(installation, actor, "settings", now=now)
    return build_processing_record(installation.settings)


def build_processing_record(settings: Settings) -> ProcessingRecord:
    """Return the record of processing that follows from these settings."""
    controller = build_data_controller(settings)
    return ProcessingRecord(
        controller=controller,
        activities=_describe_activities(settings),
        recipients=(*describe_address_recipients(settings), *_describe_mailbox(settings)),
        measures=_describe_measures(settings),
        gaps=tuple(_find_gaps(controller)),
    )


def _describe_activities(settings: Settings) -> tuple[ProcessingActivity, ...]:
    retention = settings.file.retention
    subscribers = "subscribers and people who entered an address in the form"
    return (
        ProcessingActivity(
            "Sending the newsletter",
            "consent (Article 6(1)(a))",
            "subscribers who confirmed or whose consent an imported list shows",
            "email address, preferences (sections, frequency, hour)",
            "while subscribed, and for 30 days after unsubscribing",
        ),
        ProcessingActivity(
            "Demonstrating consent",
            "obligation to demonstrate consent (Article 7(1))",
            subscribers,
            "text, time, and place of each consent; IP address and browser",
            f"until erasure; IP address and browser for {retention.evidence_days} days",
        ),
        ProcessingActivity(
            "Recording what was sent, and stopping after bounces and complaints",
            "legitimate interest (Article 6(1)(f))",
            "subscribers",
            "a record of each email and its result; server replies",
            f"{retention.delivery_days} days, then totals; server replies 30 days, encrypted",
        ),
        ProcessingActivity(
            "Not emailing people who unsubscribed, complained, or were erased",
            "legal obligation (Articles 6(1)(c), 17, and 21)",
            "former subscribers, and people whom an imported list marked as unsubscribed",
            "a keyed hash of the email address",
            "as long as the list exists",
        ),
        ProcessingActivity(
            "Answering data requests and listing disclosures of an address",
            "legal obligation (Articles 12 to 20)",
            "subscribers",
            "each disclosure of an address (recipient, reason, time)",
            "400 days, then totals",
        ),
        ProcessingActivity(
            "Team accounts and the audit log",
            "legitimate interest (Article 6(1)(f))",
            "team members",
            "email address, name, sign-in methods; actions and their times",
            "address and sign-in methods until removal; sign-ins 90 days; audit log, number, and name as long as "
            "the installation exists",
        ),
    )


def _describe_mailbox(settings: Settings) -> Sequence[str]:
    host = settings.file.inbound.host
    return (f"The bounce mailbox is hosted at {host}.",) if host else ()


def _describe_measures(settings: Settings) -> tuple[str, ...]:
    passphrase = (
        "the key file is protected by a passphrase"
        if settings.key_passphrase
        else "the key file is readable only by its owner"
    )
    return (
        f"Addresses are encrypted at rest (AES-256-GCM), and {passphrase}. Backups don't contain keys.",
        (
            "Team members sign in with a passkey, or with a password and a code. To view or export addresses, "
            "they must sign in again and give a reason."
        ),
        "Every action is recorded in an audit log whose rows are hash-chained and sealed nightly.",
        (
            "Email is sent only over TLS (except to a mail server on the same machine), without tracking pixels "
            "or tracked links."
        ),
        "Consent and suppression are checked again as each email is sent.",
    )


def _find_gaps(controller: DataController) -> Sequence[str]:
    gaps = []
    if not controller.postal_address.strip():
        gaps.append(
            "No postal address is set (sender.postal_address). The record must include the controller's address."
        )
    gaps.append(
        "The settings don't include a representative, a data protection officer, or contracts with processors "
        "(Article 28). Add them to the copy you file if you have them."
    )
    return gaps
