"""The guarded areas that settings and actions affect.

Every setting and action declares one, so none is left unguarded by oversight.
"""

from enum import StrEnum

from pydantic import BaseModel


class GuardedArea(StrEnum):
    """The guarded area that a change affects, as worded in the email to admins."""

    NONE = "no guarded settings"
    BY_SETTING = "as declared by each changed setting"  # for the one action that changes settings
    ADDRESSES = "subscriber addresses"
    ACCOUNTS = "who can sign in, and how"
    ALERTS = "alerts and stop rules"
    APPROVAL = "approvals"
    BACKUPS = "backups and the database"
    CONSENT = "consent and the suppression list"
    CONSENT_TEXT = "the consent text"
    EXPORT = "who has copies of subscriber addresses"
    KEYS = "encryption keys"
    LOOK = "the design of emails and pages, and the logo"
    LIMITS = "limits on sign-ups, sending, and fetching"
    NETWORK = "trusted networks and proxies"
    RETENTION = "data retention"
    SENDER = "the sender, replies, and links"
    SENDING = "sending"
    SEND_TIME = "when editions are sent"
    TEXT = "text in emails that are sent without approval"

    @property
    def weakens_control(self) -> bool:
        """True if people must confirm who they are before the change, and all other admins are emailed right away."""
        return self not in {GuardedArea.NONE, GuardedArea.BY_SETTING, GuardedArea.ADDRESSES}

    @property
    def needs_confirmation(self) -> bool:
        """True if people must confirm who they are before the change or action."""
        return self.weakens_control or self is GuardedArea.ADDRESSES


def find_guarded_area(table: type[BaseModel], name: str) -> GuardedArea:
    """Return the area that a setting's field declares, or else the area that its table declares.

    Raises:
        TypeError: neither declares one.
    """
    for mark in table.model_fields[name].metadata:
        if isinstance(mark, GuardedArea):
            return mark
    declared = vars(table).get("guarded_area")
    if not isinstance(declared, GuardedArea):
        raise TypeError(f"{table.__name__}.{name} doesn't declare its guarded area")
    return declared
