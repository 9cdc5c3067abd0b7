"""The encrypted evidence of where a consent came from."""

from sqlalchemy.orm import Session

from subscribers.consent.evidence import RequestOrigin
from subscribers.crypto.encrypted_values import decrypt_json
from subscribers.crypto.keys import KeyRing
from subscribers.store.signup_models import RequestEvidence


def open_evidence(session: Session, keys: KeyRing, event: int) -> RequestOrigin:
    """Decrypt what is kept of an event."""
    row = session.get_one(RequestEvidence, event)
    value = decrypt_json(keys, (row.ciphertext, row.key_id), bound_to=f"trace {event}")
    return RequestOrigin(value["network"], value["agent"])
