"""Rate limits: counts in rows that all processes share, and decisions based on the counts.

They protect against list bombing (hundreds of forms that send email to one victim) and floods. Only
accepted forms are counted, so a rejected form only requires a few reads.
"""

import hmac
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cache
from typing import NamedTuple

from sqlalchemy import Select, bindparam, delete, func, select
from sqlalchemy.orm import Session

from subscribers.address import Address
from subscribers.crypto.keys import KeyRing, SecretKey
from subscribers.signup import mailbox_identity
from subscribers.store.database import upsert
from subscribers.store.signup_models import RateLimitCount, SignupMail, SignupSurge

DAY, WEEK = timedelta(days=1), timedelta(days=7)
# The windows in which forms are counted. An hour consists of six of them.
TEN_MINUTES = timedelta(minutes=10)
# How long emails to a mailbox are remembered.
MAIL_HISTORY_PERIOD = timedelta(days=30)
# Emails that the recipient may not have requested.
STRANGER_MAIL_KINDS = frozenset({"confirm", "remind", "ask", "move"})
SURGE_KIND = "sign-up surge"
# The second scope counts the forms of one wide network for a domain.
DOMAIN_SCOPE, DOMAIN_NETWORK_SCOPE = "domain", "domain network"

# The scopes of sign-up counts: all forms, those of a network, those of a wide network, and answers
# by network.
SIGNUP_SCOPE, NETWORK_SCOPE, WIDE_NETWORK_SCOPE = "sign-up", "sign-up network", "sign-up wide"
ANSWERED_SCOPE = "sign-up answered"
_SIGNUP_SCOPES = (SIGNUP_SCOPE, NETWORK_SCOPE, WIDE_NETWORK_SCOPE, ANSWERED_SCOPE)
UNREADABLE_ADDRESS = "unreadable"  # used instead of an IP address
# The prefix lengths of nested networks, widest first. IPv4 has no middle one.
_PREFIX_LENGTHS = {4: (16, 16, 24), 6: (32, 40, 48)}


class NetworkHashes(NamedTuple):
    """Keyed hashes of the nested networks that a form came from.

    IPv4 has no middle network, so `middle` is the same as `wide`. All three are empty if the
    network is unknown.
    """

    wide: str  # /16 or /32
    middle: str  # /40
    network: str  # /24 or /48


class DomainHashes(NamedTuple):
    """Keyed hashes for counting the forms submitted for a small domain within a week.

    For a large mailbox provider, both are empty.
    """

    domain: str
    # A hash of the domain together with the form's wide network, so that domains can't be linked.
    network: str = ""


class SubmissionOutcome(StrEnum):
    """The outcome of submitting a form.

    It never reveals whether an address is known.
    """

    ACCEPTED = "taken"
    NETWORK_LIMIT_REACHED = "too many from one network"
    DOMAIN_LIMIT_REACHED = "too many for one domain"
    TOTAL_LIMIT_REACHED = "too many in all"


@dataclass(frozen=True, slots=True)
class NetworkQuota:
    """The number of forms accepted per hour from one network, and of `first` and `further` forms from all networks.

    A form is a first one if its wide network (/16, /32) didn't send any in the preceding hour. A
    flood needs another wide network for each first form, and its further forms don't displace
    anyone's first form. Sign-up forms that exceed `first` and `further` wait, and messages to the
    editors are rejected.
    """

    per_network: int
    first: int
    further: int


@dataclass(frozen=True, slots=True)
class SignupLimits:
    """The limits on sign-up forms from the `limits` table of the settings."""

    quota: NetworkQuota = NetworkQuota(per_network=30, first=500, further=200)
    per_domain_week: int = 40  # forms for addresses of one small domain
    per_address_month: int = 4  # emails in 30 days to a mailbox that doesn't confirm
    surge_per_hour: int = 100
    max_pending: int = 5000  # forms in the queue


def decide_submission_outcome(turn: int, wide_turn: int, taken_count: int, quota: NetworkQuota) -> SubmissionOutcome:
    """Decide whether a form is accepted.

    `turn` and `wide_turn` are its number in the hour from its network and its wide network, or 0 if
    the network is unknown. `taken_count` is the number of first or further forms, whichever this
    is, that were accepted from all networks.
    """
    if turn > quota.per_network:
        return SubmissionOutcome.NETWORK_LIMIT_REACHED
    most = quota.first if wide_turn == 1 else quota.further
    return SubmissionOutcome.ACCEPTED if taken_count < most else SubmissionOutcome.TOTAL_LIMIT_REACHED


def check_contact_message(
    session: Session, tags: NetworkHashes, quota: NetworkQuota, *, now: datetime
) -> tuple[int, SubmissionOutcome]:
    """Return a message's number among those of the last hour from its wide network, and whether it's accepted.

    Nothing is counted. Messages from unknown networks are treated as those of one network, without
    the network's limit.
    """
    wide_turn = find_form_number_in_last_hour(session, "contact wide", tags.wide, now=now)
    turn = find_form_number_in_last_hour(session, "contact network", tags.network, now=now) if tags.network else 0
    taken_count = _read_count_last_hour(session, _message_scope(wide_turn), "", now=now)
    return wide_turn, decide_submission_outcome(turn, wide_turn, taken_count, quota)


def count_contact_message(session: Session, tags: NetworkHashes, wide_turn: int, *, now: datetime) -> None:
    """Count an accepted message to the editors."""
    counted = (("contact network", tags.network), ("contact wide", tags.wide), (_message_scope(wide_turn), ""))
    for scope, tag in counted:
        increment_count(session, scope, tag, now=now, window=TEN_MINUTES)


def _message_scope(wide_turn: int) -> str:
    return "contact first" if wide_turn == 1 else "contact further"


def find_form_number_in_last_hour(session: Session, scope: str, tag: str, *, now: datetime) -> int:
    """Return the number, counting from 1, that a form would have among those of the last hour."""
    return _read_count_last_hour(session, scope, tag, now=now) + 1


def count_signup(session: Session, network_tag: str, wide_tag: str, *, now: datetime) -> None:
    """Count an accepted sign-up form."""
    for scope, tag in ((NETWORK_SCOPE, network_tag), (WIDE_NETWORK_SCOPE, wide_tag), (SIGNUP_SCOPE, "")):
        increment_count(session, scope, tag, now=now, window=TEN_MINUTES)


def count_answered_form(session: Session, network_tags: Iterable[str], *, now: datetime) -> None:
    """Count an answered sign-up form for each of its networks."""
    for tag in sorted(set(network_tags)):
        increment_count(session, ANSWERED_SCOPE, tag, now=now, window=TEN_MINUTES)


def count_answered_forms_by_network(session: Session, *, now: datetime) -> dict[str, int]:
    """Return the number of forms answered in the last hour, by network hash."""
    query = (
        select(RateLimitCount.tag, func.sum(RateLimitCount.count))
        .where(RateLimitCount.scope == ANSWERED_SCOPE, RateLimitCount.began >= _last_hour_start(now))
        .group_by(RateLimitCount.tag)
    )
    return {tag: int(answers) for tag, answers in session.execute(query)}


def count_domain_form(session: Session, tags: DomainHashes, *, now: datetime) -> None:
    """Count an accepted form for an address at a small domain."""
    for scope, tag in ((DOMAIN_SCOPE, tags.domain), (DOMAIN_NETWORK_SCOPE, tags.network)):
        if tag:
            increment_count(session, scope, tag, now=now, window=DAY)


def find_narrowest_network(address: str) -> str | None:
    """Return the narrowest network of an IP address (/24 or /48), or None if it isn't public."""
    prefixes = list_networks_of_ip_address(address)
    return prefixes[-1] if prefixes else None


def list_networks_of_ip_address(address: str) -> tuple[str, ...]:
    """Return the nested networks of an IP address, widest first.

    They're /16, /16, and /24 for IPv4, and /32, /40, and /48 for IPv6. For `UNREADABLE_ADDRESS`,
    return one network shared by all such requests. For addresses that aren't public, return none.
    Behind a proxy that's missing in the settings, all visitors seem to have the proxy's address,
    and ten busy ones would lock out all others.
    """
    if address == UNREADABLE_ADDRESS:
        return (UNREADABLE_ADDRESS,) * 3
    try:
        ip_address = ipaddress.ip_address(address)
    except ValueError:
        return ()
    if isinstance(ip_address, ipaddress.IPv6Address) and ip_address.ipv4_mapped:
        ip_address = ip_address.ipv4_mapped
    if not ip_address.is_global:
        return ()
    lengths = _PREFIX_LENGTHS[ip_address.version]
    return tuple(str(ipaddress.ip_network((ip_address, length), strict=False)) for length in lengths)


def hash_mailbox(keys: KeyRing, address: Address) -> str:
    """Return the keyed hash by which forms and emails for a mailbox are counted, as 64 hex digits."""
    return _keyed_tag(keys.current("lookup"), "address", mailbox_identity.find_canonical_mailbox(address))


def hash_mailbox_with_all_keys(keys: KeyRing, address: Address) -> list[str]:
    """Return the hashes by which a mailbox may have been counted, one for each lookup key."""
    return [
        _keyed_tag(key, "address", mailbox_identity.find_canonical_mailbox(address)) for key in keys.of_kind("lookup")
    ]


def hash_domain_unless_large_provider(keys: KeyRing, address: Address) -> str:
    """Return the keyed hash of an address's registrable domain, or "" if it belongs to a large mailbox provider."""
    if mailbox_identity.is_large_provider(address.domain):
        return ""
    return _keyed_tag(keys.current("lookup"), "domain", mailbox_identity.find_registrable_domain(address.domain))


def hash_domain_and_network(keys: KeyRing, address: Address, ip_address: str) -> DomainHashes:
    """Return the hashes by which a form is counted for its domain.

    Unknown networks are treated as one network.
    """
    domain = hash_domain_unless_large_provider(keys, address)
    wide = (list_networks_of_ip_address(ip_address) or ("",))[0]
    return DomainHashes(domain, domain and _keyed_tag(keys.current("lookup"), "domain network", f"{domain} {wide}"))


def hash_networks(keys: KeyRing, ip_address: str, now: datetime) -> NetworkHashes:
    """Return the keyed hashes of an IP address's networks. They change every day."""
    day = f"network {now.astimezone(UTC):%Y-%m-%d}"
    prefixes = list_networks_of_ip_address(ip_address) or ("", "", "")
    return NetworkHashes(*(prefix and _keyed_tag(keys.current("lookup"), day, prefix) for prefix in prefixes))


def _keyed_tag(key: SecretKey, purpose: str, text: str) -> str:
    return hmac.digest(key.secret, f"count {purpose}\0{text}".encode(), "sha256").hex()


def increment_count(
    session: Session,
    scope: str,
    tag: str,
    *,
    now: datetime,
    window: timedelta,
) -> None:
    """Add one to a count in the current window."""
    row = {"scope": scope, "tag": tag, "began": find_window_start(now, window), "count": 1}
    statement = upsert(session, RateLimitCount).values(row)
    statement = statement.on_conflict_do_update(
        index_elements=["scope", "tag", "began"], set_={"count": RateLimitCount.count + 1}
    )
    session.execute(statement)


def is_domain_over_limit(session: Session, tags: DomainHashes, signup_limits: SignupLimits, *, now: datetime) -> bool:
    """Return True if a small domain has reached its limit on the number of forms in seven days.

    The last quarter is reserved for wide networks that haven't sent any of them, so one network
    can't lock out a whole organization, however long it continues.
    """
    if not tags.domain:
        return False
    since = find_window_start(now, DAY) - 6 * DAY
    is_first = bool(tags.network) and not sum_counts(session, DOMAIN_NETWORK_SCOPE, tags.network, since)
    most = signup_limits.per_domain_week if is_first else signup_limits.per_domain_week * 3 // 4
    return sum_counts(session, DOMAIN_SCOPE, tags.domain, since) >= most


def _read_count_last_hour(session: Session, scope: str, tag: str, *, now: datetime) -> int:
    return sum_counts(session, scope, tag, _last_hour_start(now))


def _last_hour_start(now: datetime) -> datetime:
    return find_window_start(now, TEN_MINUTES) - 5 * TEN_MINUTES


def count_signups_last_hour(session: Session, *, now: datetime) -> int:
    """Return the number of sign-up forms accepted in the last hour."""
    return _read_count_last_hour(session, SIGNUP_SCOPE, "", now=now)


def sum_counts(session: Session, scope: str, tag: str, since: datetime) -> int:
    """Return the sum of a count over the windows that began at `since` or later."""
    return session.scalar(_select_sum(), {"counted_scope": scope, "counted_tag": tag, "since": since}) or 0


@cache  # because it's used several times per form
def _select_sum() -> Select[int]:
    return select(func.coalesce(func.sum(RateLimitCount.count), 0)).where(
        RateLimitCount.scope == bindparam("counted_scope"),
        RateLimitCount.tag == bindparam("counted_tag"),
        RateLimitCount.began >= bindparam("since"),
    )


def find_window_start(now: datetime, window: timedelta) -> datetime:
    """Return when the current window of a given length began."""
    seconds = int(window.total_seconds())
    return datetime.fromtimestamp(int(now.timestamp()) // seconds * seconds, UTC)


def record_signup_mail(session: Session, mailbox_tag: str, kind: str, now: datetime) -> None:
    """Record that a form caused an email to a mailbox."""
    session.add(SignupMail(mailbox_tag=mailbox_tag, kind=kind, at=now))


def list_recent_mails(
    session: Session,
    mailbox_tag: str,
    *,
    now: datetime,
) -> list[tuple[str, datetime]]:
    """Return the kind and time of each email to a mailbox that forms caused in the last 30 days, oldest first."""
    query = (
        select(SignupMail.kind, SignupMail.at)
        .where(SignupMail.mailbox_tag == mailbox_tag, SignupMail.at > now - MAIL_HISTORY_PERIOD)
        .order_by(SignupMail.at, SignupMail.id)
    )
    return [(kind, at) for kind, at in session.execute(query)]


def find_open_signup_surge(session: Session) -> SignupSurge | None:
    """Return the surge that hasn't ended yet, or None."""
    return session.scalar(_select_open_surge())


@cache  # because it's used by every page of the desk
def _select_open_surge() -> Select[SignupSurge]:
    return select(SignupSurge).where(SignupSurge.kind == SURGE_KIND, SignupSurge.ended_at.is_(None)).limit(1)


_RAISE_LIMITS = "raise limits.signups_first, limits.signups_further, and limits.signups_alert"


def describe_signup_surge(surge: SignupSurge, *, since: str = "", remedy: str = _RAISE_LIMITS) -> str:
    """Return sentences about an open surge and what to do about it.

    `since` is its beginning as text, by default in UTC.
    """
    since = since or f"{surge.at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    return (
        f"Sign-ups have surged since {since}, with up to {surge.detail['most']:,} in an hour. Sign-ups over "
        f"the limits wait for up to 24 hours. If they're real, {remedy}. Otherwise, wait until the surge is "
        "over."
    )


def update_signup_surge(session: Session, forms_taken: int, signup_limits: SignupLimits, *, now: datetime) -> str:
    """Update the surge's row, and return "raised" or "over" if its state just changed, or "" if it didn't."""
    surge = find_open_signup_surge(session)
    if forms_taken <= signup_limits.surge_per_hour:
        if surge is None:
            return ""
        surge.ended_at = now
        return "over"
    if surge is None:
        session.add(SignupSurge(kind=SURGE_KIND, at=now, detail={"most": forms_taken}))
        return "raised"
    if forms_taken > surge.detail["most"]:
        surge.detail = {"most": forms_taken}
    return ""


def delete_old_signup_counts(session: Session, *, now: datetime) -> None:
    """Delete the counts that no limit needs anymore."""
    delete_old_network_counts(session, now=now)
    by_week = RateLimitCount.scope.in_((DOMAIN_SCOPE, DOMAIN_NETWORK_SCOPE))
    session.execute(delete(RateLimitCount).where(RateLimitCount.began < now - 2 * DAY, ~by_week))
    session.execute(delete(RateLimitCount).where(RateLimitCount.began < now - WEEK - DAY, by_week))
    session.execute(delete(SignupMail).where(SignupMail.at < now - MAIL_HISTORY_PERIOD))


def delete_old_network_counts(session: Session, *, now: datetime) -> None:
    """Delete sign-up counts older than an hour, because a flood creates a row for each network."""
    is_old = RateLimitCount.began < _last_hour_start(now)
    session.execute(delete(RateLimitCount).where(RateLimitCount.scope.in_(_SIGNUP_SCOPES), is_old))
