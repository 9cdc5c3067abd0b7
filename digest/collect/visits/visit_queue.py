"""The visits that one run has yet to begin, by host: a host is claimed before any of its sources is visited."""

import secrets
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from digest.collect.visits.host_claims import (
    CLAIM_RENEWAL,
    claim_hosts,
    delete_lapsed_claims,
    list_claimed_hosts,
    release_hosts,
    renew_claims,
)
from digest.collect.visits.source_visit import VisitTarget
from digest.store.engine import Database
from digest.store.models import Source
from digest.store.process_owner import this_process_owner

_MAX_HOST_LENGTH = 255


@dataclass(frozen=True, slots=True)
class DueVisit:
    """A source that is due; `tried_at` is when it was last visited as the run began: a later visit was another run's."""

    target: VisitTarget
    tried_at: datetime | None

    @property
    def host(self) -> str:
        """The host that is asked."""
        return find_visit_host(self.target.current_url)


@dataclass(frozen=True, slots=True)
class ClaimedVisits:
    """What a run may visit now, and what it need not visit any more, as another run has."""

    to_visit: tuple[VisitTarget, ...] = ()
    visited_elsewhere: tuple[VisitTarget, ...] = ()


def find_visit_host(url: str) -> str:
    """Find the host of an address; an address without one counts as a host of its own."""
    try:
        host = urlsplit(url).hostname
    except ValueError:
        host = None
    return (host or url).rstrip(".")[:_MAX_HOST_LENGTH]


class VisitQueue:
    """The visits of one run. It lives as long as the run; one thread uses it."""

    def __init__(self, database: Database, visits: Iterable[DueVisit]) -> None:
        self._database = database
        self._run = f"{this_process_owner()}/{secrets.token_hex(2)}"
        self._waiting: dict[str, list[DueVisit]] = {}
        for visit in visits:
            self._waiting.setdefault(visit.host, []).append(visit)
        self._begun: Counter[str] = Counter()  # visits that were handed out and have not ended, by host
        self._finished: set[str] = set()  # hosts that are claimed still and not needed
        self._renewed_at = datetime.now(UTC)

    def list_waiting(self) -> list[VisitTarget]:
        """List what was not handed out."""
        return [visit.target for visits in self._waiting.values() for visit in visits]

    def has_free_visits(self) -> bool:
        """Return whether something waits at a host that no run holds."""
        with self._database.read() as session:
            return bool(self._waiting.keys() - list_claimed_hosts(session, datetime.now(UTC)))

    def claim_visits(self, room: int) -> ClaimedVisits:
        """Claim hosts until as many visits as `room` are due there, or no host is free."""
        if room <= 0 or not self._waiting:
            return ClaimedVisits()
        now = datetime.now(UTC)
        with self._database.write() as session:
            release_hosts(session, self._finished, self._run)
            delete_lapsed_claims(session, now)
            wanted = self._choose_hosts(list_claimed_hosts(session, now), room)
            claimed = claim_hosts(session, wanted, self._run, now)
            visits = [visit for host in wanted if host in claimed for visit in self._waiting[host]]
            query = select(Source.id, Source.tried_at).where(Source.id.in_([visit.target.id for visit in visits]))
            tried_at = dict(iter(session.execute(query)))
        unvisited = [visit for visit in visits if tried_at.get(visit.target.id) == visit.tried_at]
        self._begun.update(visit.host for visit in unvisited)
        self._finished = {host for host in claimed if not self._begun[host]}
        for host in claimed:
            del self._waiting[host]
        elsewhere = tuple(visit.target for visit in visits if visit not in unvisited)
        return ClaimedVisits(tuple(visit.target for visit in unvisited), elsewhere)

    def end_visit(self, target: VisitTarget) -> None:
        """Note that a visit has ended and is stored."""
        host = find_visit_host(target.current_url)
        self._begun[host] -= 1
        if not self._begun[host]:
            self._finished.add(host)

    def renew(self) -> None:
        """Keep what is claimed, when it is time to say so."""
        now = datetime.now(UTC)
        if now - self._renewed_at >= CLAIM_RENEWAL:
            self._renewed_at = now
            with self._database.write() as session:
                renew_claims(session, self._run, now)

    def close(self) -> None:
        """Give back all that is claimed; what cannot be given back lapses."""
        held = self._finished | {host for host, visits in self._begun.items() if visits}
        if held:
            # A database that is away must not hide why the run ended.
            with suppress(SQLAlchemyError), self._database.write() as session:
                release_hosts(session, held, self._run)

    def _choose_hosts(self, claimed: set[str], room: int) -> list[str]:
        hosts, visits = [], 0
        for host, waiting in self._waiting.items():
            if visits >= room:
                break
            if host not in claimed:
                hosts.append(host)
                visits += len(waiting)
        return hosts
