"""The week as a few idempotent steps, that the command line, the desk and the scheduler all call.

collect → draft → check → approve → release. Each opens what it needs and leaves the rest to its stage.
"""

import json
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from digest.app.installation import Installation
from digest.collect import collection_run
from digest.collect.fetch.fetcher import open_fetcher
from digest.collect.fetch.result import ContentFetcher
from digest.collect.readership import import_readership
from digest.deliver.compose.personalisation import compose_specimen
from digest.deliver.control import installation_hold, installation_state
from digest.deliver.plan.delivery_plan import DeliveryCounts, count_deliveries, edition_purpose
from digest.deliver.providers.registry import open_provider
from digest.deliver.send import edition_run, staff_test
from digest.deliver.send.progress import SendProgress, read_progress
from digest.deliver.send.progress import describe_progress as in_words_of
from digest.deliver.send.send_gate import send_blocked_reason
from digest.edition import approval, drafting
from digest.edition.content import EditionContent
from digest.edition.preflight import (
    FindingLevel,
    PictureFacts,
    PreflightFinding,
    PreflightInput,
    SentStory,
    run_preflight_rules,
)
from digest.edition.queries import explain_missed_release, find_edition, load_rendered_fragments, select_editions_before
from digest.edition.rendering.fragments import join_fragments
from digest.store.models import Edition, EditionState, EditionStory, MediaFile
from subscribers.consent import audience
from subscribers.phrases import weekday_date
from subscribers.store.models import PersonState


def collect_articles(install: Installation, *, now: datetime) -> list[collection_run.SourceReport]:
    """Visit every source that is due, then bring the readership in."""
    with open_fetcher(install.settings) as getter:
        reports = collection_run.collect_sources(install.database, getter, install.settings, now=now)
        import_readership(install.database, getter, install.settings, now=now)
    return reports


def draft_next_edition(
    install: Installation, *, now: datetime, actor: str, getter: ContentFetcher | None = None
) -> drafting.DraftResult:
    """Draft the next edition; `getter` is given by the demo, whose pictures are bundled."""
    if getter is None:
        with open_fetcher(install.settings) as door:
            return draft_next_edition(install, now=now, actor=actor, getter=door)
    return drafting.draft_edition(install.database, getter, install.settings, now=now, actor=actor)


def gather_preflight_facts(install: Installation, session: Session, edition: Edition) -> PreflightInput:
    """Gather what preflight looks at: the final bytes of a message, the pictures, the editions before."""
    content = EditionContent.from_json(edition.content)
    media = session.execute(
        select(MediaFile.hash, MediaFile.content_type, MediaFile.size, MediaFile.width, MediaFile.height)
    )
    return PreflightInput(
        message=compose_specimen(session, edition, install.settings),
        content=content,
        file=install.settings.file,
        base=install.settings.link_base,
        pictures={m.hash: PictureFacts(m.content_type, m.size, m.width, m.height) for m in media},
        sent_stories=_recently_sent_stories(session, edition, install.settings.file.select.repeat_editions),
        incomplete_reason=edition.held_because,
    )


def _recently_sent_stories(session: Session, edition: Edition, edition_count: int) -> tuple[SentStory, ...]:
    recent = select_editions_before(edition.release_at).order_by(Edition.release_at.desc()).limit(edition_count)
    return tuple(
        SentStory(before.name, story.url, story.title)
        for before in session.scalars(recent)
        for story in session.scalars(
            select(EditionStory).where(EditionStory.edition_id == before.id, EditionStory.section.is_not(None))
        )
    )


def run_preflight(install: Installation, name: str, *, online: bool = False) -> tuple[PreflightFinding, ...]:
    """Check an edition; `online` tries its links too.

    Raises:
        UnknownEditionError: there is none of that name.
    """
    with install.database.read() as session:
        facts = gather_preflight_facts(install, session, find_edition(session, name))
    if not online:
        return run_preflight_rules(facts)
    with open_fetcher(install.settings) as getter:
        return run_preflight_rules(replace(facts, getter=getter))


def approve_edition(install: Installation, name: str, content_hash: str, *, actor: str, now: datetime) -> str:
    """Approve an edition by the content mark that was looked at; give its name.

    Raises:
        UnknownEditionError: there is none of that name.
        ApprovalError: it is no draft, changed since, or preflight finds errors.
    """
    errors = [f for f in run_preflight(install, name) if f.level == FindingLevel.ERROR]
    if errors:
        listed = "; ".join(f"{f.rule}: {f.message}" for f in errors[:3])
        raise approval.ApprovalError(f"{name} has {len(errors)} thing(s) to fix first. {listed}")
    with install.database.write() as session:
        edition = find_edition(session, name)
        approval.sign_approval(
            session, edition, content_hash, settings=install.settings, keys=install.keys, actor=actor, now=now
        )
        return edition.name


def void_approval(install: Installation, name: str, *, actor: str, now: datetime) -> str:
    """Take an approval back; give the edition's name.

    Raises:
        UnknownEditionError: there is none of that name.
        ApprovalError: nothing is approved, or sending has begun.
    """
    with install.database.write() as session:
        edition = find_edition(session, name)
        approval.clear_approval(session, edition, actor=actor, now=now)
        return edition.name


@dataclass(frozen=True, slots=True)
class EditionStatus:
    """Where an edition stands. `release_sentence` says to whom and when it goes, `content_hash` what it is.

    `blocked_reason` says why nothing of it leaves (it is paused, or all is held), `progress_sentence` how the last run gets on.
    """

    name: str
    number: int
    state: EditionState
    content_hash: str
    release_text: str
    release_sentence: str
    delivery_counts: DeliveryCounts
    blocked_reason: str
    progress: SendProgress | None
    progress_sentence: str


def edition_status(install: Installation, name: str, *, now: datetime) -> EditionStatus:
    """Say where an edition stands.

    Raises:
        UnknownEditionError: there is none of that name.
    """
    zone = install.settings.file.publication.zone
    with install.database.read() as session:
        edition = find_edition(session, name)
        readers = audience.count_people_by_state(session)[PersonState.SUBSCRIBED]
        local = edition.release_at.astimezone(zone)
        release = f"{weekday_date(local)}, {local:%H:%M %Z}"
        when = f"on {release}" if edition.release_at > now else f"at once: it was due {release}"
        found, last = (count_deliveries(session, edition_purpose(edition.name)), read_progress(session, edition.name))
        hindered = send_blocked_reason(
            edition.name, edition, installation_state.read_installation_state(session, installation_hold.HOLD_STATE_KEY)
        )
        return EditionStatus(
            name=edition.name,
            number=edition.number,
            state=edition.state,
            content_hash=approval.current_content_hash(session, edition, install.settings),
            release_text=release,
            release_sentence=f"No. {edition.number} goes to {readers:,} readers {when}.",
            delivery_counts=found,
            blocked_reason=hindered,
            progress=last,
            progress_sentence="" if hindered else in_words_of(last, found.open, now, zone),
        )


EditionFormat = Literal["html", "text", "eml", "json", "web"]


def edition_bytes(install: Installation, name: str, output_format: EditionFormat) -> bytes:
    """Give an edition as readers get it (html, text, eml), as the archive shows it (web), or as data (json).

    Raises:
        UnknownEditionError: there is none of that name.
    """
    with install.database.read() as session:
        edition = find_edition(session, name)
        if output_format == "eml":
            return compose_specimen(session, edition, install.settings)
        if output_format == "json":
            return (json.dumps(edition.content, indent=2, ensure_ascii=False) + "\n").encode()
        return join_fragments(load_rendered_fragments(session, edition), output_format).encode()


def send_edition(
    install: Installation,
    name: str,
    *,
    clock: Callable[[], datetime],
    progress: Callable[[int, int], None] | None = None,
    sleep: Callable[[float], object] = time.sleep,
    stopping: Callable[[], bool] = lambda: False,
) -> edition_run.SendReport:
    """Send an approved edition, or go on with one that was cut short; say what this run did.

    Raises:
        UnknownEditionError: there is none of that name.
        SendError: it is not approved.
        ApprovalError: it is not what was approved.
        ProviderSettingsError: the settings do not say how to send, or forbid it.
    """
    with install.database.read() as session:
        name = find_edition(session, name).name
    with closing(open_provider(install.settings)) as transport:
        return edition_run.send_edition(
            install.database,
            name,
            transport,
            install.keys,
            install.settings,
            clock=clock,
            report_progress=progress,
            sleep=sleep,
            stopping=stopping,
        )


def send_test_mail(
    install: Installation, name: str, *, to: Sequence[str] = (), actor: str, clock: Callable[[], datetime]
) -> staff_test.StaffTestReport:
    """Send an edition as it stands, a draft too, to the staff whose address is proven: to all, or to those named.

    Raises:
        UnknownEditionError: there is none of that name.
        SendError: there is nothing to send, or nobody to send it to.
        ApprovalError: it is approved, and not what was approved.
        ProviderSettingsError: the settings do not say how to send, or forbid it.
    """
    with install.database.read() as session:
        name = find_edition(session, name).name
    with closing(open_provider(install.settings)) as transport:
        return staff_test.send_test_mail(
            install.database, name, transport, install.keys, install.settings, to=to, actor=actor, clock=clock
        )


@dataclass(frozen=True, slots=True)
class PendingReleases:
    """What is to be sent now, by name, and what a person decides about: what was missed, with what to do."""

    ready_to_send: tuple[str, ...]
    missed: dict[str, str]


def find_pending_releases(install: Installation, *, now: datetime) -> PendingReleases:
    """Find what to send: approved editions whose time has come, and those that were cut short.

    None that is paused is ready, and none at all while the installation is held.
    """
    due = select(Edition).where(
        Edition.paused_at.is_(None),
        (Edition.state == EditionState.SENDING)
        | ((Edition.state == EditionState.APPROVED) & (Edition.release_at <= now)),
    )
    with install.database.read() as session:
        held = installation_hold.current_hold(session) is not None
        found = session.scalars(due.order_by(Edition.release_at)).all()
    late = {e.name: words for e in found if (words := explain_missed_release(e, now))}
    return PendingReleases(() if held else tuple(e.name for e in found if e.name not in late), late)


def describe_delivery_counts(delivery_counts: DeliveryCounts) -> str:
    """Say the books in one sentence; states in which nobody is are left out."""
    counts = [f"{count:,} {state}" for state, count in delivery_counts.by_state.items() if count]
    return f"{delivery_counts.planned:,} planned" + "".join(f", {c}" for c in counts) + "."
