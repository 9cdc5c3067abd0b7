"""Why somebody acts on a reader or shows an address: words that stand in chains, disclosures and the audit log."""

from subscribers.errors import RefusalError

MAX_REASON_LENGTH = 150  # characters


class ReasonError(RefusalError):
    """The text is no reason that could be kept."""


def read_reason(text: str) -> str:
    """Return a reason as it is kept: in one line, without an address in it.

    Raises:
        ReasonError: it is empty, too long, or may hold an address.
    """
    reason = " ".join(text.split())
    if "@" in reason or not reason or len(reason) > MAX_REASON_LENGTH or not reason.isprintable():
        raise ReasonError(
            f"Say why in a few words (at most {MAX_REASON_LENGTH} characters), with no address among them."
        )
    return reason
