"""What counts as an address that mail can be sent to, in one place; no error text ever holds the address."""

import re
from dataclasses import dataclass

from subscribers.errors import RefusalError
from subscribers.subscriber_language import mark_message

# Characters of a whole address: RFC 5321, section 4.5.3.1.3, without the angle brackets.
MAX_ADDRESS_LENGTH = 254
MAX_LOCAL_LENGTH = 64  # characters before the @: RFC 5321, section 4.5.3.1.1
# The specials of RFC 5322, section 3.2.3, but for the dot and the @, and blanks.
_ENDS_AN_ADDRESS = re.compile(r'[\s()<>\[\]:;,\\"]')


class AddressError(RefusalError):
    """The text is no address that we can mail; the message says which part is wrong, never the address."""


@dataclass(frozen=True, slots=True)
class Address:
    """An address as mail goes to it: the local part as typed, the domain as an A-label (RFC 5890, section 2.3.2.1)."""

    local: str
    domain: str

    @property
    def mailbox(self) -> str:
        """The address in ASCII, ready for a To header and for RCPT TO."""
        return f"{self.local}@{self.domain}"

    @property
    def canonical(self) -> str:
        """What look-ups compare: mail systems that tell Ada from ada are not worth two people in the audience."""
        return f"{self.local.casefold()}@{self.domain}"

    def __repr__(self) -> str:
        return "Address(…)"


def read_address(text: str, *, label: str = "") -> Address:
    """Read an address as a person typed it.

    Args:
        text: the address alone, without a display name.
        label: words that tell which one it was ("row 3"), put before the error's message.

    Raises:
        AddressError: it is no address, or its local part is not ASCII (RFC 6531, section 3.3: too many servers refuse it).
    """
    typed = text.strip()
    address = _parse_address(typed)
    if address is None:
        prefix = f"{label}: " if label else ""
        raise AddressError(prefix + _describe_problem(typed))
    return address


def is_safe_in_angle_brackets(text: str) -> bool:
    """Return whether a text may stand between the angle brackets of a header field.

    It is an address (RFC 5322, section 3.4.1) or the id of a list (RFC 2919, section 2); neither of them quoted, nor a domain literal.
    """
    return text.isascii() and text.isprintable() and not _ENDS_AN_ADDRESS.search(text)


def mask_address(address: str) -> str:
    """Write an address so that its owner knows it and a stranger does not: d•••@county.example."""
    local, _, domain = address.rpartition("@")
    return f"{local[:1]}•••@{domain}"


def _parse_address(typed: str) -> Address | None:
    """Return the address that a text is; None where it is none: the library's error quotes it."""
    # Imported here: what sends reads no address as somebody typed it.
    from email_validator import EmailNotValidError, validate_email

    try:
        # No look-up in the DNS: it would tell strangers whom we are about to mail, and fail with the network.
        validated = validate_email(typed, check_deliverability=False, allow_smtputf8=False)
    except EmailNotValidError:
        return None
    if len(validated.local_part) > MAX_LOCAL_LENGTH:
        return None
    return Address(validated.local_part, (validated.ascii_domain or validated.domain).lower())


def _describe_problem(typed: str) -> str:
    local, at, domain = typed.rpartition("@")
    if not at:
        return mark_message("the address has no @")
    if not local or not domain:
        return mark_message("text is missing before the @") if domain else mark_message("text is missing after the @")
    if len(local) > MAX_LOCAL_LENGTH:
        return mark_message("the part before the @ is longer than 64 characters")
    if not local.isascii():
        return mark_message(
            "the part before the @ has accented or non-Latin characters, which many mail servers reject"
        )
    if _parse_address(f"x@{domain}") is None:
        return mark_message("the part after the @ isn’t a domain name")
    return mark_message("the part before the @ isn’t valid: enter only the address, without a name or quotation marks")
