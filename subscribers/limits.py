"""How much is too much: counts in rows, the same for all processes, and decisions over them.

Against list bombing (somebody has hundreds of forms send mail to one victim) and against floods. Windows are
fixed, so at their border twice the number can pass; for these purposes that is as good as sliding ones.
"""

import hmac
import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Insert, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from subscribers.addresses import Address
from subscribers.signup_db import Alarm, LimitCount, SignupMail
from subscribers.vault import Key, Keys

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
TENTH = timedelta(minutes=10)  # the windows in which the whole house is counted: an hour is six of them
MAIL_MEMORY = timedelta(days=30)  # how long it is remembered that an address got a mail
SURGE = "sign-up surge"


@dataclass(frozen=True, slots=True)
class Bounds:
    """The limits, as the settings give them (table `limits`); counts of forms, where nothing else is said."""

    per_address_day: int = 5
    per_network_hour: int = 30
    alarm_hour: int = 100
    brake_hour: int = 500
    mails_hour: int = 200  # mails that forms bring about
    queue: int = 5000  # forms that wait
    per_address_month: int = 4  # mails to one address in 30 days that it has not confirmed


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast forms may be answered now: `mails` more, whether the alarm is on, and the brake."""

    mails: int
    alarm: bool
    brake: bool


def pace(asked: int, mailed: int, bounds: Bounds) -> Pace:
    """Decide over the forms and mails of the last hour. With the brake on, forms wait and nobody is mailed."""
    brake = asked > bounds.brake_hour
    return Pace(0 if brake else max(0, bounds.mails_hour - mailed), asked > bounds.alarm_hour, brake)


def network_of(address: str) -> str | None:
    """Give the network that an address counts with: /24 of IPv4, /48 of IPv6.

    None for an address that is not a public one: behind a proxy that nobody told us of, everybody would seem to
    come from there, and ten busy readers would lock out all others.
    """
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped:
        found = found.ipv4_mapped
    if not found.is_global:
        return None
    return str(ipaddress.ip_network((found, 24 if found.version == 4 else 48), strict=False))


def address_tag(keys: Keys, address: Address) -> str:
    """Give the keyed hash (64 hex digits) by which forms and mails for an address are counted."""
    return _tag(keys.current("lookup"), "address", address.canonical)


def address_tags(keys: Keys, address: Address) -> list[str]:
    """Give the hashes by which an address may have been counted: one for each look-up key."""
    return [_tag(key, "address", address.canonical) for key in keys.of("lookup")]


def network_tag(keys: Keys, network: str | None, now: datetime) -> str:
    """Give the keyed hash by which a network is counted, another one every day; empty for None."""
    today = f"network {now.astimezone(UTC):%Y-%m-%d}"
    return "" if network is None else _tag(keys.current("lookup"), today, network)


def _tag(key: Key, what: str, text: str) -> str:
    return hmac.digest(key.secret, f"count {what}\0{text}".encode(), "sha256").hex()


def count(session: Session, scope: str, tag: str, *, now: datetime, window: timedelta) -> int:
    """Count one more; give how many that makes in this window. One statement, whatever stood there before."""
    row = {"scope": scope, "tag": tag, "began": began(now, window), "count": 1}
    return session.scalar(_upsert(session).values(row)) or 0


def _upsert(session: Session) -> Insert:
    postgres = session.get_bind().dialect.name == "postgresql"
    insert = postgresql.insert(LimitCount) if postgres else sqlite.insert(LimitCount)
    return insert.on_conflict_do_update(
        index_elements=["scope", "tag", "began"], set_={"count": LimitCount.count + 1}
    ).returning(LimitCount.count)


def counted(session: Session, scope: str, tag: str, *, now: datetime, window: timedelta) -> int:
    """Say how many there were in the window that `now` lies in."""
    return _sum(session, scope, tag, began(now, window))


def counted_last_hour(session: Session, scope: str, *, now: datetime) -> int:
    """Say how many there were in the whole house in the last hour, by windows of ten minutes."""
    return _sum(session, scope, "", began(now, TENTH) - 5 * TENTH)


def _sum(session: Session, scope: str, tag: str, since: datetime) -> int:
    where = (LimitCount.scope == scope, LimitCount.tag == tag, LimitCount.began >= since)
    return session.scalar(select(func.coalesce(func.sum(LimitCount.count), 0)).where(*where)) or 0


def began(now: datetime, window: timedelta) -> datetime:
    """Give the moment at which the window of `now` began."""
    seconds = int(window.total_seconds())
    return datetime.fromtimestamp(int(now.timestamp()) // seconds * seconds, UTC)


def note_mail(session: Session, tag: str, kind: str, now: datetime) -> None:
    """Remember that an address is mailed because of a form."""
    session.add(SignupMail(address_tag=tag, kind=kind, at=now))


def mails_to(session: Session, tag: str, *, now: datetime) -> list[tuple[str, datetime]]:
    """Give what an address got in the last 30 days because of forms, as kind and time, the oldest first."""
    query = (
        select(SignupMail.kind, SignupMail.at)
        .where(SignupMail.address_tag == tag, SignupMail.at > now - MAIL_MEMORY)
        .order_by(SignupMail.at, SignupMail.id)
    )
    return [(kind, at) for kind, at in session.execute(query)]


def mails_last_hour(session: Session, *, now: datetime) -> int:
    """Say how many mails forms brought about in the last hour."""
    query = select(func.count()).select_from(SignupMail).where(SignupMail.at > now - HOUR)
    return session.scalar(query) or 0


def open_alarm(session: Session) -> Alarm | None:
    """Give the alarm that is on, for a page that shows it."""
    return session.scalar(select(Alarm).where(Alarm.kind == SURGE, Alarm.ended_at.is_(None)).limit(1))


def in_words(alarm: Alarm) -> str:
    """Say what an alarm that is on means, and what to do."""
    since = f"{alarm.at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    brake = "forms wait and nobody is mailed" if alarm.detail["brake"] else "they are still answered"
    return (
        f"Sign-ups surge since {since}, up to {alarm.detail['most']:,} forms in an hour: {brake}. It ends by itself; "
        "where the readers are real, raise limits.signups_alarm and limits.signups_brake."
    )


def ring(session: Session, found: Pace, asked: int, *, now: datetime) -> Alarm | None:
    """Keep the alarm's row as things stand; give the alarm where it was raised, got worse or ended just now."""
    alarm = open_alarm(session)
    if not found.alarm:
        if alarm is not None:
            alarm.ended_at = now
        return alarm
    if alarm is None:
        alarm = Alarm(kind=SURGE, at=now, detail={"most": asked, "brake": found.brake})
        session.add(alarm)
        return alarm
    worse = found.brake != alarm.detail["brake"]
    if worse or asked > alarm.detail["most"]:
        alarm.detail = {"most": max(asked, alarm.detail["most"]), "brake": found.brake}
    return alarm if worse else None


def tidy(session: Session, *, now: datetime) -> None:
    """Forget counts that decide nothing any more."""
    session.execute(delete(LimitCount).where(LimitCount.began < now - 2 * DAY))
    session.execute(delete(SignupMail).where(SignupMail.at < now - MAIL_MEMORY))
