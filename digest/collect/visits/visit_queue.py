"""The pending visits of a run, by host. A host is claimed before any of its sources is visited.

A row per host serves as a lock across processes and machines. Within a process, the fetcher sends a
host one request at a time. Because only one run can claim a host, the same applies across all
processes. A run renews its claims regularly. They expire if it doesn't, or immediately if its
process is known to be dead.
"""

import secrets
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from digest.collect.visits.source_visit import VisitTarget
from digest.store.engine import Database
from digest.store.models import Source, SourceHostClaim
from digest.store.process_identity import identify_current_process
from subscribers.store.database import upsert

CLAIM_LEASE = timedelta(minutes=5)
CLAIM_RENEWAL = timedelta(minutes=1)  # storing a visit's result takes less than the remaining four minutes


def list_claimed_hosts(session: Session, now: datetime) -> set[str]:
    """Return the hosts claimed by runs that may still be active."""
    claims = session.scalars(select(SourceHostClaim).where(SourceHostClaim.lease_until > now)).all()
    dead = _dead_owners(claims)
    return {claim.host for claim in claims if claim.owner not in dead}


def delete_lapsed_claims(session: Session, now: datetime) -> None:
    """Delete the claims of runs that haven't renewed them in time or are known to be dead."""
    dead = _dead_owners(session.scalars(select(SourceHostClaim)).all())
    # Don't delete them by host, because another run may have taken one over since it was read.
    is_lapsed = (SourceHostClaim.lease_until <= now) | SourceHostClaim.owner.in_(dead)
    session.execute(delete(SourceHostClaim).where(is_lapsed))


def claim_hosts(
    session: Session,
    hosts: Iterable[str],
    run: str,
    now: datetime,
) -> set[str]:
    """Claim hosts for a run, and return the hosts that it claimed.

    Another run may have claimed the others first.
    """
    # All runs use the same order, so that two that want the same hosts can't deadlock.
    claim = {"owner": run, "lease_until": now + CLAIM_LEASE}
    claims = [claim | {"host": host} for host in sorted(hosts)]
    if not claims:
        return set()
    insert = upsert(session, SourceHostClaim).on_conflict_do_nothing().returning(SourceHostClaim.host)
    return set(session.scalars(insert, claims))


def renew_claims(session: Session, run: str, now: datetime) -> None:
    """Renew a run's claims on all its hosts."""
    own = update(SourceHostClaim).where(SourceHostClaim.owner == run)
    session.execute(own.values(lease_until=now + CLAIM_LEASE))


def release_host_claims(session: Session, hosts: Collection[str], run: str) -> None:
    """Release a run's claims on the given hosts."""
    own = delete(SourceHostClaim).where(SourceHostClaim.owner == run)
    session.execute(own.where(SourceHostClaim.host.in_(hosts)))


def _dead_owners(claims: Iterable[SourceHostClaim]) -> set[str]:
    knows_dead = identify_current_process().knows_dead
    return {owner for owner in {claim.owner for claim in claims} if knows_dead(owner)}


def _find_unvisited(session: Session, targets: list[VisitTarget]) -> list[VisitTarget]:
    """Return the sources that no other run has visited since this run began."""
    ids = [target.id for target in targets]
    query = select(Source.id, Source.tried_at).where(Source.id.in_(ids))
    tried_at = dict(iter(session.execute(query)))
    return [target for target in targets if tried_at.get(target.id) == target.tried_at]


class VisitQueue:
    """The queue of one run's visits, for use from only one thread."""

    def __init__(self, database: Database, targets: Iterable[VisitTarget]) -> None:
        self._database = database
        self._run = f"{identify_current_process()}/{secrets.token_hex(2)}"
        self._waiting: defaultdict[str, list[VisitTarget]] = defaultdict(list)
        for target in targets:
            self._waiting[target.host].append(target)
        self._begun: Counter[str] = Counter()  # number of visits in progress, by host
        self._finished: set[str] = set()  # hosts that are still claimed but no longer needed
        self._renewed_at = datetime.now(UTC)

    def list_waiting(self) -> list[VisitTarget]:
        """Return the visits that haven't been handed out yet."""
        return [target for targets in self._waiting.values() for target in targets]

    def has_free_visits(self) -> bool:
        """Return True if a visit is waiting for a host that no run has claimed."""
        with self._database.read() as session:
            return bool(self._waiting.keys() - list_claimed_hosts(session, datetime.now(UTC)))

    def claim_visits(self, room: int) -> tuple[list[VisitTarget], list[VisitTarget]]:
        """Claim hosts until there are `room` visits or no host is free.

        Returns:
            The visits that the run may make, and those that another run has already made.
        """
        if room <= 0 or not self._waiting:
            return [], []
        now = datetime.now(UTC)
        with self._database.write() as session:
            release_host_claims(session, self._finished, self._run)
            delete_lapsed_claims(session, now)
            hosts = self._choose_hosts(list_claimed_hosts(session, now), room)
            claimed = claim_hosts(session, hosts, self._run, now)
            targets = self._take_waiting(claimed)
            unvisited = _find_unvisited(session, targets)
        self._begun.update(target.host for target in unvisited)
        self._finished = {host for host in claimed if not self._begun[host]}
        return unvisited, [target for target in targets if target not in unvisited]

    def end_visit(self, target: VisitTarget | None) -> None:
        """Record that a visit has ended and was stored. For a file, `target` is None."""
        if target is None:
            return
        self._begun[target.host] -= 1
        if not self._begun[target.host]:
            self._finished.add(target.host)

    def renew(self) -> None:
        """Renew the run's claims if `CLAIM_RENEWAL` has passed since the last renewal."""
        now = datetime.now(UTC)
        if now - self._renewed_at >= CLAIM_RENEWAL:
            self._renewed_at = now
            with self._database.write() as session:
                renew_claims(session, self._run, now)

    def close(self) -> None:
        """Release all claims. Those that can't be released will expire."""
        held_hosts = self._finished | {host for host, visits in self._begun.items() if visits}
        if held_hosts:
            # An unavailable database must not hide why the run ended.
            with suppress(SQLAlchemyError), self._database.write() as session:
                release_host_claims(session, held_hosts, self._run)

    def _take_waiting(self, claimed: set[str]) -> list[VisitTarget]:
        hosts = [host for host in self._waiting if host in claimed]
        return [target for host in hosts for target in self._waiting.pop(host)]

    def _choose_hosts(self, claimed: set[str], room: int) -> Iterator[str]:
        for host, targets in self._waiting.items():
            if room > 0 and host not in claimed:
                yield host
                room -= len(targets)
