"""What a setting or an action may weaken or touch: declared with each, so that none is left unguarded by oversight."""

from enum import StrEnum

from pydantic import BaseModel


class Concern(StrEnum):
    """What a change affects, in the words of the email that admins get about it."""

    NONE = "nothing that is guarded"
    BY_SETTING = "what each changed setting declares"  # of the one action that changes settings
    ADDRESSES = "subscriber addresses"
    ACCOUNTS = "who can sign in, and how"
    ALERTS = "alerts, and the rules that stop a send"
    APPROVAL = "who must approve an edition"
    BACKUPS = "backups and the database"
    CONSENT = "consent and the suppression list"
    KEYS = "encryption keys"
    LOOK = "what every email and page looks like, and its logo"
    LIMITS = "limits on sign-ups, sending, and fetching"
    NETWORK = "which networks and proxies are trusted"
    RETENTION = "how long records are kept"
    SENDER = "who email comes from, and where replies and links lead"
    SENDING = "whether email leaves this installation"

    @property
    def weakens_control(self) -> bool:
        """Whether people confirm who they are and all other admins get an email, whatever the settings."""
        return self not in {Concern.NONE, Concern.BY_SETTING, Concern.ADDRESSES}

    @property
    def needs_confirmation(self) -> bool:
        """Whether people confirm who they are first."""
        return self.weakens_control or self is Concern.ADDRESSES


def find_concern(table: type[BaseModel], name: str) -> Concern:
    """Return what a setting declares: the mark of its field, else what its table declares as a whole.

    Raises:
        TypeError: neither declares anything.
    """
    for mark in table.model_fields[name].metadata:
        if isinstance(mark, Concern):
            return mark
    declared = vars(table).get("concern")
    if not isinstance(declared, Concern):
        raise TypeError(f"{table.__name__}.{name} doesn't declare its concern")
    return declared
