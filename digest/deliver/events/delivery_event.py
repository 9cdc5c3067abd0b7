"""One event about a delivery, normalised: what a provider, a mail server or the bounce mailbox reported."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from digest.deliver.compose.identifiers import DELIVERY_ID_LENGTH
from digest.deliver.events.consequences import EventKind
from digest.deliver.events.failure_causes import FailureCause

_DELIVERY_ID = re.compile(rf"[a-z2-7]{{{DELIVERY_ID_LENGTH}}}")


@dataclass(frozen=True, slots=True)
class DeliveryEvent:
    """One event, normalised. `detail` holds texts that are scrubbed of addresses; `reported_by` names the source.

    `fingerprint` is a hash of the content, `provider_mark` one of the provider's id for the event: it is a repetition
    if either is known.
    """

    reported_by: str
    delivery_id: str | None
    kind: EventKind
    cause: FailureCause
    occurred_at: datetime
    received_at: datetime
    fingerprint: str
    provider_mark: str | None
    detail: Mapping[str, str]


def parse_delivery_id(text: str) -> str | None:
    """Return the text if it has the form of a delivery's id, else None."""
    return text if _DELIVERY_ID.fullmatch(text) else None


def hash_parts(*parts: str) -> str:
    """Hash what identifies an event; no two lists of parts give the same hash."""
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
