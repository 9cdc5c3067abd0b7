"""How much is too much: counts in rows, the same for all processes, and decisions over them.

Against list bombing (somebody has hundreds of forms send mail to one victim) and against floods. Windows are
fixed, so at their border twice the number can pass; for these purposes that is as good as sliding ones.
"""

import hmac
import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from subscribers.address import Address
from subscribers.crypto.keys import KeyRing, SecretKey
from subscribers.store.database import upsert
from subscribers.store.signup_models import RateLimitCount, SignupAlarm, SignupMail

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
TEN_MINUTES = timedelta(minutes=10)  # the windows in which the whole house is counted: an hour is six of them
MAIL_HISTORY_PERIOD = timedelta(days=30)  # how long it is remembered that an address got a mail
SURGE_ALARM_KIND = "sign-up surge"


@dataclass(frozen=True, slots=True)
class SignupLimits:
    """The limits, as the settings give them (table `limits`); counts of forms, where nothing else is said."""

    per_address_day: int = 5
    per_network_hour: int = 30
    alarm_per_hour: int = 100
    brake_per_hour: int = 500
    mails_per_hour: int = 200  # mails that forms bring about
    max_pending: int = 5000  # forms that wait
    per_address_month: int = 4  # mails to one address in 30 days that it has not confirmed


@dataclass(frozen=True, slots=True)
class SignupThrottle:
    """How fast forms may be answered now: `mails_left` more, whether the alarm is on, and the brake."""

    mails_left: int
    alarm: bool
    brake: bool


def decide_throttle(forms_sent: int, mails_sent: int, signup_limits: SignupLimits) -> SignupThrottle:
    """Decide over the forms and mails of the last hour. With the brake on, forms wait and nobody is mailed."""
    brake = forms_sent > signup_limits.brake_per_hour
    return SignupThrottle(
        0 if brake else max(0, signup_limits.mails_per_hour - mails_sent),
        forms_sent > signup_limits.alarm_per_hour,
        brake,
    )


def network_prefix(address: str) -> str | None:
    """Return the network that an address counts with: /24 of IPv4, /48 of IPv6.

    None for an address that is not a public one: behind a proxy that nobody told us of, everybody would seem to
    come from there, and ten busy readers would lock out all others.
    """
    try:
        ip_address = ipaddress.ip_address(address)
    except ValueError:
        return None
    if isinstance(ip_address, ipaddress.IPv6Address) and ip_address.ipv4_mapped:
        ip_address = ip_address.ipv4_mapped
    if not ip_address.is_global:
        return None
    return str(ipaddress.ip_network((ip_address, 24 if ip_address.version == 4 else 48), strict=False))


def address_tag(keys: KeyRing, address: Address) -> str:
    """Return the keyed hash (64 hex digits) by which forms and mails for an address are counted."""
    return _keyed_tag(keys.current("lookup"), "address", address.canonical)


def address_tags(keys: KeyRing, address: Address) -> list[str]:
    """Return the hashes by which an address may have been counted: one for each look-up key."""
    return [_keyed_tag(key, "address", address.canonical) for key in keys.of_kind("lookup")]


def network_tag(keys: KeyRing, network: str | None, now: datetime) -> str:
    """Return the keyed hash by which a network is counted, another one every day; empty for None."""
    today = f"network {now.astimezone(UTC):%Y-%m-%d}"
    return "" if network is None else _keyed_tag(keys.current("lookup"), today, network)


def _keyed_tag(key: SecretKey, purpose: str, text: str) -> str:
    return hmac.digest(key.secret, f"count {purpose}\0{text}".encode(), "sha256").hex()


def increment_count(session: Session, scope: str, tag: str, *, now: datetime, window: timedelta) -> int:
    """Count one more; return how many that makes in this window. One statement, whatever stood there before."""
    row = {"scope": scope, "tag": tag, "began": window_start(now, window), "count": 1}
    statement = upsert(session, RateLimitCount).values(row)
    statement = statement.on_conflict_do_update(
        index_elements=["scope", "tag", "began"], set_={"count": RateLimitCount.count + 1}
    )
    return session.scalar(statement.returning(RateLimitCount.count)) or 0


def read_count(session: Session, scope: str, tag: str, *, now: datetime, window: timedelta) -> int:
    """Return how many there were in the window that `now` lies in."""
    return _sum_counts(session, scope, tag, window_start(now, window))


def read_count_last_hour(session: Session, scope: str, *, now: datetime) -> int:
    """Return how many there were in the whole house in the last hour, by windows of ten minutes."""
    return _sum_counts(session, scope, "", window_start(now, TEN_MINUTES) - 5 * TEN_MINUTES)


def _sum_counts(session: Session, scope: str, tag: str, since: datetime) -> int:
    conditions = (RateLimitCount.scope == scope, RateLimitCount.tag == tag, RateLimitCount.began >= since)
    return session.scalar(select(func.coalesce(func.sum(RateLimitCount.count), 0)).where(*conditions)) or 0


def window_start(now: datetime, window: timedelta) -> datetime:
    """Return the moment at which the window of `now` began."""
    seconds = int(window.total_seconds())
    return datetime.fromtimestamp(int(now.timestamp()) // seconds * seconds, UTC)


def record_signup_mail(session: Session, address_tag: str, kind: str, now: datetime) -> None:
    """Remember that an address is mailed because of a form."""
    session.add(SignupMail(address_tag=address_tag, kind=kind, at=now))


def list_recent_mails(session: Session, address_tag: str, *, now: datetime) -> list[tuple[str, datetime]]:
    """Return what an address got in the last 30 days because of forms, as kind and time, the oldest first."""
    query = (
        select(SignupMail.kind, SignupMail.at)
        .where(SignupMail.address_tag == address_tag, SignupMail.at > now - MAIL_HISTORY_PERIOD)
        .order_by(SignupMail.at, SignupMail.id)
    )
    return [(kind, at) for kind, at in session.execute(query)]


def count_mails_last_hour(session: Session, *, now: datetime) -> int:
    """Return how many mails forms brought about in the last hour."""
    query = select(func.count()).select_from(SignupMail).where(SignupMail.at > now - HOUR)
    return session.scalar(query) or 0


def find_open_alarm(session: Session) -> SignupAlarm | None:
    """Return the alarm that is on, for a page that shows it."""
    return session.scalar(
        select(SignupAlarm).where(SignupAlarm.kind == SURGE_ALARM_KIND, SignupAlarm.ended_at.is_(None)).limit(1)
    )


def describe_alarm(alarm: SignupAlarm) -> str:
    """Describe an alarm that is on, and what to do."""
    since = f"{alarm.at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    brake = "forms wait and nobody is mailed" if alarm.detail["brake"] else "they are still answered"
    return (
        f"Sign-ups surge since {since}, up to {alarm.detail['most']:,} forms in an hour: {brake}. It ends by itself; "
        "where the readers are real, raise limits.signups_alarm and limits.signups_brake."
    )


def update_alarm(session: Session, throttle: SignupThrottle, forms_sent: int, *, now: datetime) -> SignupAlarm | None:
    """Keep the alarm's row as things stand; return the alarm where it was raised, got worse or ended just now."""
    alarm = find_open_alarm(session)
    if not throttle.alarm:
        if alarm is not None:
            alarm.ended_at = now
        return alarm
    if alarm is None:
        alarm = SignupAlarm(kind=SURGE_ALARM_KIND, at=now, detail={"most": forms_sent, "brake": throttle.brake})
        session.add(alarm)
        return alarm
    worse = throttle.brake != alarm.detail["brake"]
    if worse or forms_sent > alarm.detail["most"]:
        alarm.detail = {"most": max(forms_sent, alarm.detail["most"]), "brake": throttle.brake}
    return alarm if worse else None


def delete_old_signup_counts(session: Session, *, now: datetime) -> None:
    """Forget counts that decide nothing any more."""
    session.execute(delete(RateLimitCount).where(RateLimitCount.began < now - 2 * DAY))
    session.execute(delete(SignupMail).where(SignupMail.at < now - MAIL_HISTORY_PERIOD))
