"""Parsing and validating email addresses.

Error messages never contain the address.
"""

import re
from dataclasses import dataclass
from itertools import zip_longest

from subscribers.errors import RefusalError
from subscribers.subscriber_language import mark_message

# The maximum length of a whole address: RFC 5321, section 4.5.3.1.3, without the angle brackets.
MAX_ADDRESS_LENGTH = 254
# The maximum length before the @: RFC 5321, section 4.5.3.1.1.
MAX_LOCAL_LENGTH = 64
# The specials of RFC 5322, section 3.2.3, except for the dot and the @, plus spaces.
_ENDS_AN_ADDRESS = re.compile(r'[\s()<>\[\]:;,\\"]')


class AddressError(RefusalError):
    """Raised when a text isn't an address that can be emailed.

    The message says what's wrong, without the address.
    """


@dataclass(frozen=True, slots=True)
class Address:
    """An email address: the local part as typed, and the domain as an A-label (RFC 5890, section 2.3.2.1)."""

    local: str
    domain: str

    @property
    def mailbox(self) -> str:
        """The address in ASCII, as used in To header fields and RCPT commands."""
        return f"{self.local}@{self.domain}"

    @property
    def canonical(self) -> str:
        """The form of the address that lookups compare, with a case-folded local part.

        Ada@ and ada@ therefore belong to one person.
        """
        return f"{self.local.casefold()}@{self.domain}"

    def __repr__(self) -> str:
        return "Address(…)"


def read_address(text: str) -> Address:
    """Parse an address that a person typed. Display names aren't allowed.

    Raises:
        AddressError: `text` isn't an address, or its local part isn't ASCII (RFC 6531, section
            3.3), because too many servers refuse such addresses.
    """
    typed = text.strip()
    address = _parse_address(typed)
    if address is None:
        raise AddressError(_describe_problem(typed))
    return address


def is_safe_in_angle_brackets(text: str) -> bool:
    """Return True if a text is safe between the angle brackets of a header field.

    Safe texts are addresses (RFC 5322, section 3.4.1) and list IDs (RFC 2919, section 2) without
    quoted parts or domain literals.
    """
    return text.isascii() and text.isprintable() and not _ENDS_AN_ADDRESS.search(text)


def mask_address(address: str) -> str:
    """Mask an address except for its first character and domain, as in d•••@county.example."""
    local, _, domain = address.rpartition("@")
    return f"{local[:1]}•••@{domain}"


def mask_two_addresses(first: str, second: str) -> tuple[str, str]:
    """Mask two addresses in such a way that the masks differ.

    If necessary, the first character that differs is shown.
    """
    masks = mask_address(first), mask_address(second)
    locals_ = first.rpartition("@")[0], second.rpartition("@")[0]
    if masks[0] != masks[1] or locals_[0] == locals_[1]:
        return masks
    place = next(place for place, (one, other) in enumerate(zip_longest(*locals_)) if one != other)
    first_mask, second_mask = (
        mask.replace("•••@", f"{'•••' if place > 1 else ''}{local[place]}•••@") if local[place:] else mask
        for mask, local in zip(masks, locals_, strict=True)
    )
    return first_mask, second_mask


def _parse_address(typed: str) -> Address | None:
    """Return the address in a text, or None if it's invalid.

    The library's error isn't passed on, because it quotes the text.
    """
    # This is imported here because sending never parses typed addresses.
    from email_validator import EmailNotValidError, validate_email

    try:
        # There's no DNS lookup, because it would reveal who is about to be emailed, and fail
        # whenever the network does.
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
