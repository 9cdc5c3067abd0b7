"""The causes of failed deliveries, determined only by reply codes, and whether the address is to blame.

The codes come from RFC 5321, section 4.2; RFC 3463, section 3; RFC 7372, section 3; RFC 7505,
section 4; and the registry of enhanced status codes. Free text is never parsed.
"""

import re
from collections.abc import Sequence
from enum import StrEnum
from functools import lru_cache


class FailureCause(StrEnum):
    """The cause of a failure, classified by what it says about the address."""

    NONE = ""  # none: a network error, a deferral, or a problem at the provider
    NO_MAILBOX = "no mailbox"  # the mailbox doesn't exist, so it's never emailed again
    HARD = "hard"  # probably gone; two in a row suppress it
    SOFT = "soft"  # full, or no reason given; three in a row over more than 14 days suppress it
    POLICY = "policy"  # our reputation, content, or authentication; never the subscriber's fault
    OUR_FAULT = "ours"  # our message or settings are wrong; never the subscriber's fault
    COMPLAINED = "complained"  # the provider has a complaint from this subscriber
    LEFT = "left"  # the provider has an unsubscribe from this subscriber


MILDEST_FIRST = (
    FailureCause.POLICY,
    FailureCause.OUR_FAULT,
    FailureCause.NONE,
    FailureCause.SOFT,
    FailureCause.HARD,
    FailureCause.NO_MAILBOX,
)
_NO_MAILBOX_CODES = frozenset({"5.1.1", "5.1.3", "5.1.6", "5.1.10"})
_HARD_CODES = frozenset({"5.1.2", "5.4.4", "5.2.1"})
_OUR_FAULT_CODES = frozenset({"5.1.7", "5.1.8", "5.3.4", "5.4.6"})
# RFC 3463, section 3.2: some problem with an address. The reply code is no less exact, and some servers also refuse a
# sender with it, so it only counts as much as the reply code alone.
_OTHER_ADDRESS_STATUS = frozenset({"5.1.0"})
_ADDRESS_REPLY_CODES = frozenset({"550", "551", "553"})
_ENHANCED_CODE = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")
_LEADING_CODES = re.compile(r"\s*(?P<code>[245]\d\d)?[ -]?(?P<status>[245]\.\d{1,3}\.\d{1,3})?(?![\d.])")


def parse_reply_codes(status: str, reply: str) -> tuple[str, frozenset[str]]:
    """Return the reply code (three digits, or "") and the enhanced codes of a failure.

    Only codes at the very start of a reply count. The codes x.0.0 have no meaning and are omitted.
    """
    match = _LEADING_CODES.match(reply)
    return _read_codes(status.strip(), *(match.groups("") if match else ("", "")))


@lru_cache(maxsize=1024)
def _read_codes(status: str, code: str, leading_status: str) -> tuple[str, frozenset[str]]:
    if not code and re.fullmatch(r"[245]\d\d", status):
        code = status
    return code, frozenset(
        s for s in (status, leading_status) if _ENHANCED_CODE.fullmatch(s) and not s.endswith(".0.0")
    )


def format_reply_codes(code: str, enhanced_codes: frozenset[str]) -> str:
    """Return the codes of a failure as a string, in the form stored with events."""
    return " ".join(filter(None, (code, *sorted(enhanced_codes))))


def find_failure_cause(reply_code: str, enhanced_codes: frozenset[str]) -> FailureCause | None:
    """Return the cause indicated by the codes, or None if they don't indicate any.

    If they disagree, it's the mildest one.
    """
    if reply_code in _ADDRESS_REPLY_CODES and enhanced_codes <= _OTHER_ADDRESS_STATUS:
        return FailureCause.HARD
    causes = {_cause_of_enhanced_code(s) for s in enhanced_codes}
    for cause in MILDEST_FIRST:
        if cause in causes:
            return cause
    if reply_code == "554":
        return FailureCause.SOFT
    return FailureCause.OUR_FAULT if reply_code in {"530", "535", "538"} else None


def find_refusal_cause(reply: str, event_causes: Sequence[str]) -> FailureCause:
    """Return why a message was refused.

    It's the last cause reported by an event, or else the cause in the reply.
    """
    reported = [FailureCause(cause) for cause in event_causes if cause]
    if reported:
        return reported[-1]
    return find_failure_cause(*parse_reply_codes("", reply)) or FailureCause.NONE


def _cause_of_enhanced_code(enhanced_code: str) -> FailureCause:
    if enhanced_code in _NO_MAILBOX_CODES:
        return FailureCause.NO_MAILBOX
    if enhanced_code in _HARD_CODES:
        return FailureCause.HARD
    if enhanced_code.endswith(".2.2") and enhanced_code[0] in "45":
        return FailureCause.SOFT
    if enhanced_code.startswith("5.7."):
        return FailureCause.POLICY
    if enhanced_code in _OUR_FAULT_CODES or enhanced_code.startswith(("5.5.", "5.6.")):
        return FailureCause.OUR_FAULT
    return FailureCause.SOFT if enhanced_code.startswith(("5.1.", "5.2.")) else FailureCause.NONE
