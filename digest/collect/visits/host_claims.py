"""Which run visits which host: a row a host is the lock, whatever the number of processes and machines.

Within a process the fetcher asks a host one thing at a time. As only one run at a time holds a host, that is true of all of them
together. A run says again and again that it goes on; what it holds lapses when it does not, and at once where its process is known dead.
"""

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from digest.store.models import HostClaim
from digest.store.process_owner import this_process_owner
from subscribers.store.database import upsert

CLAIM_LEASE = timedelta(minutes=5)
CLAIM_RENEWAL = timedelta(minutes=1)  # storing what one visit brought takes less than the four minutes that are left


def list_claimed_hosts(session: Session, now: datetime) -> set[str]:
    """List the hosts that some run holds which may be going on."""
    claims = session.scalars(select(HostClaim).where(HostClaim.lease_until > now)).all()
    dead = _dead_owners(claims)
    return {claim.host for claim in claims if claim.owner not in dead}


def delete_lapsed_claims(session: Session, now: datetime) -> None:
    """Delete the claims of runs that were silent for too long, or are known dead."""
    dead = _dead_owners(session.scalars(select(HostClaim)).all())
    # Not by host: another run may have taken one over since it was read.
    session.execute(delete(HostClaim).where((HostClaim.lease_until <= now) | HostClaim.owner.in_(dead)))


def claim_hosts(session: Session, hosts: Iterable[str], run: str, now: datetime) -> set[str]:
    """Claim hosts that nobody holds for a run; return those that nobody else claimed meanwhile."""
    # In one order for all runs: two that want the same hosts then wait for each other at the first, never crosswise.
    wanted = [{"host": host, "owner": run, "lease_until": now + CLAIM_LEASE} for host in sorted(hosts)]
    if not wanted:
        return set()
    insert = upsert(session, HostClaim).on_conflict_do_nothing().returning(HostClaim.host)
    return set(session.scalars(insert, wanted))


def renew_claims(session: Session, run: str, now: datetime) -> None:
    """Say that a run goes on with all the hosts that it holds."""
    session.execute(update(HostClaim).where(HostClaim.owner == run).values(lease_until=now + CLAIM_LEASE))


def release_hosts(session: Session, hosts: Collection[str], run: str) -> None:
    """Give hosts back that a run has done with."""
    session.execute(delete(HostClaim).where(HostClaim.owner == run, HostClaim.host.in_(hosts)))


def _dead_owners(claims: Iterable[HostClaim]) -> set[str]:
    knows_dead = this_process_owner().knows_dead
    return {owner for owner in {claim.owner for claim in claims} if knows_dead(owner)}
