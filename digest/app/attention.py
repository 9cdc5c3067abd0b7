"""What somebody should look at now, one sentence each: the desk, `digest status` and `digest doctor` say the same."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from digest.app.running_imports import list_idle_imports
from digest.backups.last_backup import explain_missing_backup
from digest.collect.sources import list_source_problems
from digest.deliver.control import article_looks, edition_control, installation_hold
from digest.deliver.providers.registry import provider_kinds
from digest.deliver.retention import provider_erasures
from digest.deliver.send.send_gate import send_blocked_reason
from digest.edition.calendar_store import find_deadline
from digest.edition.content import EditionContent
from digest.edition.kinds import SECTION_KINDS
from digest.edition.queries import UNAPPROVED_STATES, explain_missed_release
from digest.edition.release_calendar import MAX_LATENESS
from digest.settings import SettingsFile
from digest.store.models import Edition, EditionState
from subscribers.phrases import clock_hour, join_words, weekday_month_day
from subscribers.signup import rate_limits

MAX_SOURCES_NAMED = 3  # sources
# What can need a person, by a name that never changes: what is asked. `digest doctor` checks each by this name.
ATTENTION_KINDS = {
    "held": "Whether the installation is held, so that nothing leaves",
    "paused": "Whether an edition rests half sent",
    "gone-articles": "Whether articles of a coming edition were found gone",
    "signup-surge": "Whether sign-up forms come in numbers that nobody expects",
    "unfinished-import": "Whether the import of a list was begun and not finished",
    "missed-release": "Whether an approved edition missed its release",
    "dead-source": "Whether sources give nothing any more",
    "suppression-lists": "Whether the provider's suppression lists were read whole",
    "stuck-erasures": "Whether the provider erases those who asked for it",
    "missed-deadline": "Whether an edition is past its deadline and not approved",
    "unfed-section": "Whether every section has sources",
    "missing-backup": "Whether the last backup by the clock was made and proved",
}


@dataclass(frozen=True, slots=True)
class AttentionFinding:
    """One thing that somebody should look at: a name of `ATTENTION_KINDS`, and what it is and what to do, in a sentence."""

    kind: str
    sentence: str


def find_attention(
    session: Session, now: datetime, file: SettingsFile | None = None, *, pause_told: str = ""
) -> list[AttentionFinding]:
    """Find what somebody should look at; none where all is as usual. The arguments are those of `attention_sentences`."""
    findings = [*_find_in_sending(session, now, pause_told), *_find_in_lists(session, now)]
    if file:
        findings += [AttentionFinding("missed-deadline", said) for said in _explain_deadlines(session, file, now)]
        findings += [AttentionFinding("unfed-section", said) for said in explain_unfed_sections(file)]
        if missing := explain_missing_backup(session, file, now):
            findings.append(AttentionFinding("missing-backup", missing))
    return findings


def attention_sentences(
    session: Session, now: datetime, file: SettingsFile | None = None, *, pause_told: str = ""
) -> list[str]:
    """Give the sentences; none where all is as usual. With the settings' file also what is wrong in it.

    `pause_told` is the edition whose pause stands elsewhere on the page.
    """
    return [finding.sentence for finding in find_attention(session, now, file, pause_told=pause_told)]


def _explain_deadlines(session: Session, file: SettingsFile, now: datetime) -> Iterator[str]:
    """Say of each coming edition that its deadline is over and nobody has approved it."""
    coming = select(Edition).where(Edition.state.in_(UNAPPROVED_STATES), Edition.release_at > now - MAX_LATENESS)
    for edition in session.scalars(coming.order_by(Edition.release_at)):
        deadline = find_deadline(session, file, edition)
        if deadline is not None and deadline <= now:
            local = deadline.astimezone(file.publication.zone)
            by = f"{weekday_month_day(local)}, {clock_hour(local)}"
            yield f"{edition.name} was to be approved by {by}, and is not: it goes out at its time, or later, once somebody approves it."


def explain_unfed_sections(file: SettingsFile) -> Iterator[str]:
    """Say of each section that takes articles of sources of its own that no source is one; none without any source."""
    fed = {source.section for source in file.sources}
    for section in file.sections if fed else ():
        wanted = SECTION_KINDS[section.kind].source_section
        if wanted not in fed:
            yield (
                f'{section.title} has no source: add one with section = "{wanted}" to digest.toml, or take the section '
                "out of [[sections]]."
            )


def _find_in_sending(session: Session, now: datetime, pause_told: str) -> Iterator[AttentionFinding]:
    """Find what keeps editions from going out."""
    hold = installation_hold.current_hold(session)
    if hold is not None:
        yield AttentionFinding("held", f"Nothing leaves: {hold}")
    resting = select(Edition).where(Edition.paused_at.is_not(None), Edition.state.in_(edition_control.PAUSABLE_STATES))
    for edition in session.scalars(resting.order_by(Edition.release_at)):
        if edition.name != pause_told:
            yield AttentionFinding("paused", send_blocked_reason(edition.name, edition, None))
    yield from (AttentionFinding("gone-articles", said) for said in _name_gone_articles(session))
    for edition in session.scalars(select(Edition).where(Edition.state == EditionState.APPROVED)):
        if words := explain_missed_release(edition, now):
            yield AttentionFinding("missed-release", f"{edition.name} did not go out. {words}")


def _find_in_lists(session: Session, now: datetime) -> Iterator[AttentionFinding]:
    """Find what is wrong with sign-ups, imports, sources and the provider's lists."""
    alarm = rate_limits.find_open_alarm(session)
    if alarm is not None:
        yield AttentionFinding("signup-surge", rate_limits.describe_alarm(alarm))
    for unfinished in list_idle_imports(session, now):
        yield AttentionFinding("unfinished-import", unfinished.sentence)
    if sources := [trouble.name for trouble in list_source_problems(session, now)]:
        names = join_words(sources[:MAX_SOURCES_NAMED], more=max(0, len(sources) - MAX_SOURCES_NAMED))
        yield AttentionFinding(
            "dead-source", f"Nothing comes in from {names}: see Sources at the desk, or 'digest sources list'."
        )
    for kind in provider_kinds():
        if kind.suppressions and (trouble := kind.suppressions.last_trouble(session)):
            yield AttentionFinding(
                "suppression-lists",
                f"{kind.title}'s lists were not read whole last time: {trouble}. The next night tries again, or 'digest subscribers pull'.",
            )
    for said in provider_erasures.stuck_erasures_warnings(session):
        yield AttentionFinding("stuck-erasures", said)


def _name_gone_articles(session: Session) -> Iterator[str]:
    """Say which articles the last look found gone that still stand in an edition that is to be approved again."""
    for edition in session.scalars(select(Edition).where(Edition.state.in_(UNAPPROVED_STATES))):
        look = article_looks.read_look(session, edition.name)
        if look is None or not look.gone:
            continue
        linked = EditionContent.from_json(edition.content).linked_articles
        if gone := tuple(finding for finding in look.gone if finding.url in linked):
            yield f"{edition.name}: {article_looks.describe_gone(gone)}"
