"""The areas that settings and actions affect.

Every setting and action declares one, so none is left unguarded by oversight.
"""

from enum import StrEnum

from pydantic import BaseModel


class AffectedArea(StrEnum):
    """The area that a change affects, as worded in the email to admins."""

    NONE = "no guarded settings"
    BY_SETTING = "as declared by each changed setting"  # for the one action that changes settings
    ADDRESSES = "subscriber addresses"
    ACCOUNTS = "who can sign in, and how"
    ALERTS = "alerts and stop rules"
    APPROVAL = "approvals"
    BACKUPS = "backups and the database"
    CONSENT = "consent and the suppression list"
    CONSENT_TEXT = "what the consent text says"
    KEYS = "encryption keys"
    LOOK = "design of emails and pages, and the logo"
    LIMITS = "limits on sign-ups, sending, and fetching"
    NETWORK = "trusted networks and proxies"
    RETENTION = "data retention"
    SENDER = "sender, replies, and links"
    SENDING = "sending"
    TEXT = "text in emails that are sent without approval"

    @property
    def weakens_control(self) -> bool:
        """True if people must confirm who they are before the change, and all other admins are emailed."""
        return self not in {AffectedArea.NONE, AffectedArea.BY_SETTING, AffectedArea.ADDRESSES}

    @property
    def needs_confirmation(self) -> bool:
        """True if people must confirm who they are before the change or action."""
        return self.weakens_control or self is AffectedArea.ADDRESSES


def find_affected_area(table: type[BaseModel], name: str) -> AffectedArea:
    """Return the area that a setting's field declares, or else the area that its table declares.

    Raises:
        TypeError: neither declares one.
    """
    for mark in table.model_fields[name].metadata:
        if isinstance(mark, AffectedArea):
            return mark
    declared = vars(table).get("affected_area")
    if not isinstance(declared, AffectedArea):
        raise TypeError(f"{table.__name__}.{name} doesn't declare its affected area")
    return declared
