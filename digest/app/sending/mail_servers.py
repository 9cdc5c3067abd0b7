"""Background lookups of MX records, to find out which receiving domains share mail servers.

Microsoft 365, Google, and others receive email for many companies. Only keyed tags are stored,
never domain names.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import delete, func, or_, select
from sqlalchemy.orm import Session

from digest.app.doctor.network_access import DnsLookup, LookupFailedError
from digest.deliver.control import installation_hold
from digest.deliver.providers.registry import provider_in_use
from digest.installation.opened_installation import Installation
from digest.store.delivery_models import DomainGroupMember
from subscribers.address import Address, read_address
from subscribers.callback_types import Clock, StopCheck
from subscribers.crypto.keys import DecryptionError
from subscribers.crypto.stored_addresses import decrypt_address, make_domain_tag
from subscribers.signup.mailbox_identity import find_registrable_domain
from subscribers.store.database import upsert
from subscribers.store.models import Person, PersonState

PASS_INTERVAL = timedelta(hours=1)  # between two passes
MAX_DOMAINS = 20_000  # per pass
FRESH_FOR, RETRY_AFTER = timedelta(days=7), timedelta(days=1)  # after an answer, and after a failed lookup
# For groups that are no longer looked up, because no subscriber has the domain anymore.
KEPT_FOR = timedelta(days=30)
LOOKUP_THREADS = 16
PAGE_SIZE = 500  # domains per transaction
_STATE_KEY = "mail servers looked up"

FindExchangers = Callable[[str], list[str]]


def look_up_mail_servers(
    installation: Installation,
    *,
    clock: Clock,
    stopping: StopCheck = lambda: False,
    find_exchangers: FindExchangers | None = None,
) -> int:
    """Look up the mail servers of domains without a current group, if a pass is due.

    Return the number of domains looked up. `find_exchangers` returns the mail servers of a domain,
    the preferred one first, or raises `LookupFailedError`. By default, it asks the system's name
    servers. Nothing is looked up while emails are saved as files or all sending is paused.
    """
    if not _take_turn(installation, clock()):
        return 0
    if find_exchangers is None:
        try:
            find_exchangers = DnsLookup().find_exchangers
        except LookupFailedError:
            return 0
    looked_up, keys = 0, installation.keys
    domains = list(_find_stale_domains(installation, clock()).items())
    with ThreadPoolExecutor(LOOKUP_THREADS, thread_name_prefix="mx") as executor:
        while looked_up < len(domains) and not stopping():
            page = domains[looked_up : looked_up + PAGE_SIZE]
            tags, names = zip(*page, strict=True)
            operators = executor.map(partial(find_mail_operator_domain, find_exchangers), names)
            groups = [make_domain_tag(keys, Address("x", operator)) if operator else "" for operator in operators]
            with installation.write() as session:
                _keep_groups(session, list(zip(tags, groups, strict=True)), clock())
            looked_up += len(page)
    with installation.write() as session:
        session.execute(delete(DomainGroupMember).where(DomainGroupMember.fresh_until < clock() - KEPT_FOR))
    return looked_up


def find_mail_operator_domain(find_exchangers: FindExchangers, domain: str) -> str:
    """Return the registrable domain of a domain's mail server.

    If the domain has no mail server, return its own registrable domain. If the lookup fails, return
    an empty string.
    """
    try:
        exchangers = [host for host in find_exchangers(domain) if host != "."]
    except (LookupFailedError, OSError, UnicodeError):
        return ""
    return find_registrable_domain(exchangers[0] if exchangers else domain)


def _take_turn(installation: Installation, now: datetime) -> bool:
    """Claim the next pass, and return True if it's due."""
    if provider_in_use(installation.settings).name == "outbox":
        return False
    with installation.read() as session:
        stored = installation_hold.read_installation_value(session, _STATE_KEY)
        if installation_hold.read_current_hold(session) is not None:
            return False
    last = datetime.fromisoformat(stored["at"]) if stored else None
    if last is not None and last <= now < last + PASS_INTERVAL:
        return False
    with installation.write() as session:
        installation_hold.write_installation_value(session, _STATE_KEY, {"at": now.isoformat()}, now=now)
    return True


def _find_stale_domains(installation: Installation, now: datetime) -> dict[str, str]:
    """Return the domains that have no current group, by tag.

    They are domains with a rate limit and domains of subscribers. The name of each is read from one
    subscriber's address.
    """
    keys, limited = installation.keys, installation.settings.file.limits.domains_per_hour
    names = {make_domain_tag(keys, Address("x", domain)): domain for domain in limited}
    is_stale = or_(DomainGroupMember.fresh_until.is_(None), DomainGroupMember.fresh_until < now)
    one_each = (
        select(func.min(Person.number))
        .outerjoin(DomainGroupMember, DomainGroupMember.domain_tag == Person.domain_tag)
        .where(Person.state == PersonState.SUBSCRIBED, is_stale)
        .group_by(Person.domain_tag)
        .limit(MAX_DOMAINS)
    )
    columns = (Person.number, Person.domain_tag, Person.ciphertext, Person.key_id)
    with installation.read() as session:
        fresh = select(DomainGroupMember.domain_tag).where(
            DomainGroupMember.domain_tag.in_(names), DomainGroupMember.fresh_until >= now
        )
        stale = {tag: name for tag, name in names.items() if tag not in set(session.scalars(fresh))}
        people = session.execute(select(*columns).where(Person.number.in_(one_each))).all()
    for person in people:
        try:
            address = read_address(decrypt_address(keys, (person.ciphertext, person.key_id), person.number))
        except DecryptionError:
            continue
        stale[person.domain_tag] = address.domain
    return stale


def _keep_groups(session: Session, groups: list[tuple[str, str]], now: datetime) -> None:
    """Store the groups that domains belong to, given as (tag, group).

    If there was no answer, the previous group is kept for another day.
    """
    insert = upsert(session, DomainGroupMember)
    for is_answered, fresh_until in ((True, now + FRESH_FOR), (False, now + RETRY_AFTER)):
        rows = [
            {"domain_tag": tag, "group_tag": group or tag, "fresh_until": fresh_until}
            for tag, group in groups
            if bool(group) is is_answered
        ]
        changed = ("group_tag", "fresh_until") if is_answered else ("fresh_until",)
        values = {name: insert.excluded[name] for name in changed}
        if rows:
            session.execute(insert.on_conflict_do_update(index_elements=["domain_tag"], set_=values), rows)
