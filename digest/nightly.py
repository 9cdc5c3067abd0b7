"""What happens every night: the consent ledger is proved and sealed, and what was kept long enough goes."""

from collections.abc import Callable
from datetime import datetime, timedelta

import structlog
from sqlalchemy import delete, select

from digest.db import FIRST_LOOK, Audit, Slot
from digest.deliver import erasures, folding, pace, strikes
from digest.deliver.inbound import payloads, pulling
from digest.deliver.inbound.pulling import Pulled
from digest.deliver.passages import recipient
from digest.deliver.transports import TransportError, open_api, over_sendgrid
from digest.install import Install
from subscribers import disclosures, expiring, letting_go, seals
from subscribers.db import Seal
from subscribers.journal import Journal
from subscribers.transfer.importing import drop_salts

SLOTS_KEPT = timedelta(days=90)
PAGE = 1000  # rows of one write transaction

log = structlog.get_logger("nightly")


def run(install: Install, now: datetime) -> str:
    """Do all that a night owes; say what came of each step.

    A step that fails is named, and stops neither the others nor the next night: each is repeatable.
    """
    return "; ".join(_said(step, install, now) for step in STEPS)


def _said(step: Callable[[Install, datetime], str], install: Install, now: datetime) -> str:
    try:
        return step(install, now)
    except Exception as exc:  # one night's surprise in one step must not keep the others from running
        log.exception("nightly step failed", step=step.__name__)
        return f"{step.__name__} failed: {type(exc).__name__}"


def seal(install: Install, now: datetime) -> str:
    """Prove the ledger and seal it; a broken link goes into the audit log and the log, by its place."""
    sealed, proof = seal_ledger(install, now, actor="scheduler")
    if proof.sound:
        return f"sealed {sealed.links:,} links of {sealed.people:,} people as {sealed.hash[:12]}"
    return f"sealed as {sealed.hash[:12]}, and the ledger is broken: run 'digest subscribers verify'"


def seal_ledger(install: Install, now: datetime, *, actor: str) -> tuple[Seal, seals.Proof]:
    """Prove the ledger and append a seal, with a line in the audit log. The walk is outside any write transaction."""
    with install.database.write() as session:
        through = seals.horizon(session)
    with install.database.read() as session:
        proof = seals.prove(session, through=through)
    assert proof.survey is not None, "it was asked for"
    with install.database.write() as session:
        sealed = seals.append(session, proof.survey, now)
        detail = {"people": sealed.people, "links": sealed.links, "root": sealed.root, "seal": sealed.hash}
        session.add(Audit(at=now, actor=actor, act="ledger sealed", subject="ledger", detail=detail))
        if not proof.sound:
            wrong = {"fault": proof.fault} if proof.broken is None else _place(proof)
            session.add(Audit(at=now, actor=actor, act="ledger broken", subject="ledger", detail=wrong))
            log.error("the ledger is broken", **wrong)
    return sealed, proof


def _place(proof: seals.Proof) -> dict[str, str | int]:
    assert proof.broken is not None
    return {"person": proof.broken.person, "link": proof.broken.seq, "fault": proof.broken.fault}


def age_disclosures(install: Install, now: datetime) -> str:
    """Fold disclosures that are older than 400 days into totals, a thousand a transaction."""
    folded = 0
    while True:
        with install.database.write() as session:
            some = disclosures.fold(session, now)
        folded += some
        if not some:
            return f"{folded:,} old disclosures folded"


def forget_unconfirmed(install: Install, now: datetime) -> str:
    """Let go of addresses that nobody confirmed in 7 days, and of what was kept of forms for a set time."""
    return f"{expiring.tidy(install.database, now=now):,} unconfirmed sign-ups deleted"


def let_go_of_addresses(install: Install, now: datetime) -> str:
    """Empty the rows of people who left 30 days ago, and drop what ties imported consents to a network address."""
    gone = letting_go.let_go(install.database, now=now)
    old = now - timedelta(days=install.settings.file.retention.evidence_days)
    with install.database.write() as session:
        salts = drop_salts(session, before=old)
    return f"{gone:,} addresses of people who are gone let go, {salts:,} imports' salts dropped"


def judge_strikes(install: Install, now: datetime) -> str:
    """Suppress addresses that failed too often in a row."""
    journal = Journal(install.settings.left_log, install.keys)
    kept = timedelta(days=install.settings.file.retention.delivery_days)
    judged = strikes.judge(install.database, install.keys, journal, now=now, looked_back=kept)
    return f"{judged:,} addresses that keep bouncing suppressed"


def fold_deliveries(install: Install, now: datetime) -> str:
    """Make totals of deliveries that were kept long enough."""
    return f"{folding.fold(install.database, install.settings, now=now):,} old deliveries folded"


def drop_payloads(install: Install, now: datetime) -> str:
    """Delete what providers posted more than 30 days ago."""
    return f"{payloads.drop_old(install.database, now=now):,} old payloads dropped"


def forget_counts(install: Install, now: datetime) -> str:
    """Delete the counts of minutes that no bound on sending looks at any more."""
    return f"{pace.forget_old(install.database, now=now):,} old minutes forgotten"


def pass_on_erasures(install: Install, now: datetime) -> str:
    """Ask SendGrid to erase whom we have erased, where it ever knew them."""
    settings = install.settings
    try:
        api = open_api(settings) if settings.sendgrid_api_key is not None else None
    except TransportError as exc:
        return f"no erasure was passed on: {exc}"
    to_whom = recipient(erasures.PROVIDER, settings)
    passed = erasures.pass_on(install.database, install.keys, api, to_whom=to_whom, now=now)
    if passed.trouble or passed.given_up:
        log.warning("erasures", outcome=str(passed))
    return str(passed)


def pull_suppressions(install: Install, now: datetime) -> str:
    """Take over whom SendGrid will not deliver to any more, while mail goes out over SendGrid."""
    if not over_sendgrid(install.settings):
        return "mail does not go over SendGrid, so its lists were not read"
    try:
        pulled = pull_lists(install, now)
    except TransportError as exc:
        return f"SendGrid's lists were not read: {exc}"
    for trouble in pulled.troubles:
        log.warning("a list of SendGrid", trouble=trouble)
    return str(pulled)


def pull_lists(install: Install, now: datetime) -> Pulled:
    """Read what is new on SendGrid's suppression lists.

    Raises:
        TransportError: there is no key for its API.
        OSError: the journal could not be written.
    """
    api = open_api(install.settings)
    journal = Journal(install.settings.left_log, install.keys)
    return pulling.pull(install.database, install.keys, journal, api, now=now)


def drop_slots(install: Install, now: datetime) -> str:
    """Delete what is remembered of the timetable's slots of more than 90 days ago: only the latest are asked about."""
    old = select(Slot.id).where(Slot.at < now - SLOTS_KEPT, Slot.job != FIRST_LOOK).limit(PAGE)
    dropped = 0
    while True:
        with install.database.write() as session:
            some = session.connection().execute(delete(Slot).where(Slot.id.in_(old))).rowcount
        dropped += some
        if not some:
            return f"{dropped:,} old slots dropped"


STEPS: tuple[Callable[[Install, datetime], str], ...] = (
    seal,
    age_disclosures,
    forget_unconfirmed,
    let_go_of_addresses,
    judge_strikes,
    fold_deliveries,
    drop_payloads,
    forget_counts,
    drop_slots,
    pass_on_erasures,
    pull_suppressions,  # asks others, and may take its time
)
