"""Domains that are most likely mistyped: one slip of the fingers from one of the large mail services. Pure."""

from functools import lru_cache

# Services with many mailboxes and a name long enough that one letter more or less is hardly another's. Gathered by hand.
LARGE_DOMAINS = (
    *("gmail.com", "googlemail.com", "yahoo.com", "hotmail.com", "outlook.com", "icloud.com", "comcast.net"),
    *("verizon.net", "protonmail.com", "bellsouth.net", "charter.net"),
)
# What is one letter away and is a service or a company of its own.
OTHER_DOMAINS = frozenset(
    {"mail.com", "email.com", "ymail.com", "cloud.com", "gmail.ca", "iclouds.com", "outlooks.com"}
)


@lru_cache(maxsize=20_000)
def find_likely_domain(domain: str) -> str:
    """Return the domain that was most likely meant; an empty text where nothing says that another was.

    A slip is one letter left out, too many or wrong, or two letters that changed places (Damerau's four kinds of typing
    errors: F. J. Damerau, Communications of the ACM 7(3), 1964).
    """
    if domain in LARGE_DOMAINS or domain in OTHER_DOMAINS:
        return ""
    return next((large for large in LARGE_DOMAINS if _is_one_slip_away(domain, large)), "")


def _is_one_slip_away(typed: str, meant: str) -> bool:
    if abs(len(typed) - len(meant)) > 1:
        return False
    start = next((n for n, (one, other) in enumerate(zip(typed, meant, strict=False)) if one != other), len(typed))
    rest, meant_rest = typed[start:], meant[start:]
    has_swapped_letters = len(rest) > 1 and rest[1::-1] == meant_rest[:2] and rest[2:] == meant_rest[2:]
    return has_swapped_letters or meant_rest == rest[1:] or rest == meant_rest[1:] or rest[1:] == meant_rest[1:]
