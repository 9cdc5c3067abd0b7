"""Problems that need attention now, each described in a sentence.

They're shown at the desk and by `digest status` and `digest doctor`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from digest.app.accounts.sign_in_log import SURGE, count_recent_refusals
from digest.app.calendar.upcoming_steps import explain_missed_run, find_missed_runs
from digest.app.subscribers.running_imports import list_idle_imports
from digest.backups.last_backup import explain_missing_backup
from digest.collect.articles.storage import find_withdrawn_links
from digest.collect.sources.source_rows import describe_source_health, list_source_problems
from digest.deliver.control import article_recheck_results, edition_control, installation_hold, set_aside_domains
from digest.deliver.control.correction_waits import read_correction_waits
from digest.deliver.control.set_aside_domains import SetAsideDomain
from digest.deliver.plan.delivery_plan import (
    IS_WAITING,
    make_correction_delivery_purpose,
    make_edition_delivery_purpose,
)
from digest.deliver.retention import provider_erasures
from digest.deliver.send.claims.send_progress import SendProgress, read_progress
from digest.deliver.send.notices.notice_queue import count_retried_admin_warnings
from digest.deliver.send.run.send_gate import explain_blocked_send
from digest.edition.calendar.calendar_store import find_deadline
from digest.edition.calendar.release_calendar import MAX_LATENESS
from digest.edition.content.edition_content import map_article_headlines, parse_sections
from digest.edition.edition_queries import (
    DRAFT_ACT,
    FINISHED_STATES,
    UNAPPROVED_STATES,
    WITHOUT_TEXTS,
    explain_missed_release,
)
from digest.installation.action_words import name_actor
from digest.settings import SettingsFileContent
from digest.store.correction_models import Correction
from digest.store.delivery_models import Delivery, DeliveryState
from digest.store.models import AuditEntry, Edition, EditionState
from digest.store.schedule_slots import MAX_JOB_LATENESS
from digest.store.staff import map_staff_display_names
from subscribers.english_text import (
    clock_hour,
    count_with_noun,
    end_sentence,
    hour_in_zone,
    join_words,
    sentence,
    weekday_month_day,
)
from subscribers.signup import rate_limits

PAUSE_KIND = "held"  # all sending is paused
MAX_SOURCES_NAMED = 3
MAX_STANDSTILL = timedelta(hours=1)  # without progress while an edition is being sent


@dataclass(frozen=True, slots=True)
class AttentionKind:
    """A kind of problem that can need attention.

    Attributes:
        name: the name, which never changes. `digest doctor` has a check of the same name.
        meaning: a sentence that's true as long as there's no such problem.
        remedy: what to do about it, unless the sentences about a problem say so or the providers have
            remedies.
        for_editors: True if editors can fix the problem or must know about it before they approve
            an edition. Other problems need an admin.
    """

    name: str
    meaning: str
    remedy: str = ""
    for_editors: bool = False


_KINDS = (
    AttentionKind(
        PAUSE_KIND,
        "Sending isn't paused",
        for_editors=True,
    ),
    AttentionKind(
        "paused",
        "No edition is paused partway through sending",
        for_editors=True,
    ),
    AttentionKind(
        "set-aside",
        "No emails are set aside by a stop rule",
        for_editors=True,
    ),
    AttentionKind(
        "gone-articles",
        "Visitors can read every article in upcoming editions",
        for_editors=True,
    ),
    AttentionKind(
        "signup-surge",
        "The number of sign-ups is normal",
    ),
    AttentionKind(
        "refused-sign-ins",
        "Fewer than 30 sign-ins were rejected in the last hour",
    ),
    AttentionKind(
        "undelivered-warnings",
        "Emails about security changes reach the admins",
    ),
    AttentionKind(
        "unfinished-import",
        "Every import is finished",
    ),
    AttentionKind(
        "missed-release",
        "Approved editions are sent at their send time",
        for_editors=True,
    ),
    AttentionKind(
        "dead-source",
        "Every source works",
        "Run 'digest sources test URL', then correct or remove the source.",
    ),
    AttentionKind(
        "suppression-lists",
        "The provider's suppression lists were read completely",
    ),
    AttentionKind(
        "stuck-erasures",
        "The provider erases addresses when asked",
    ),
    AttentionKind(
        "missed-deadline",
        "Editions are approved by their deadline",
        "Approve the edition on its page, or run 'digest approve EDITION'.",
        for_editors=True,
    ),
    AttentionKind(
        "missed-run",
        "Scheduled jobs are on time",
        "Start 'digest serve' or hls-scheduler, which runs overdue jobs once.",
    ),
    AttentionKind(
        "stuck-send",
        "No edition is stuck before or partway through sending",
        "Check the log (journalctl -u digest), then run 'digest send EDITION'.",
    ),
    AttentionKind(
        "refusals",
        "All refusals are acknowledged",
        for_editors=True,
    ),
    AttentionKind(
        "refused-correction",
        "The mail server accepts correction emails",
        for_editors=True,
    ),
    AttentionKind(
        "missing-backup",
        "The last scheduled backup was made and verified",
    ),
)
ATTENTION_KINDS = {kind.name: kind for kind in _KINDS}


@dataclass(frozen=True, slots=True)
class AttentionFinding:
    """A problem that currently needs someone's attention, described in a sentence.

    `kind` is a key of `ATTENTION_KINDS`, and `sentence` says what's wrong and what to do. `subject`
    distinguishes problems of the same kind. If the sentence contains commands, UTC times, or names
    from the audit log, `page_sentence` replaces it on the desk's pages.
    """

    kind: str
    sentence: str
    subject: str = ""
    page_sentence: str = ""


def list_attention_findings(
    session: Session,
    now: datetime,
    file: SettingsFileContent | None = None,
    *,
    edition_with_shown_pause: str = "",
    edition_with_shown_deadline: str = "",
    each_source: bool = False,
    viewer: str = "",
) -> list[AttentionFinding]:
    """Return the problems that need attention.

    Problems with the schedule, deadlines, and backups are included only with `file`. If a page
    already shows them, problems with the pause, refusals, or set-aside emails of the edition
    `edition_with_shown_pause` and with the deadline of the edition `edition_with_shown_deadline` are left out. If `each_source`
    is true, each failing source gets a finding of its own. Page sentences call the actor `viewer` "you".
    """
    editions = session.scalars(_select_open_editions()).all()
    zone: tzinfo = file.publication.zone if file else UTC
    findings = [*_find_in_sending(session, editions, now, edition_with_shown_pause, zone, viewer)]
    findings += _find_in_lists(session, now, zone, each_source=each_source)
    if file:
        untold_editions = [edition for edition in editions if edition.name != edition_with_shown_deadline]
        findings += _find_passed_deadlines(session, untold_editions, file, now)
        findings += [
            AttentionFinding("missed-run", explain_missed_run(slot, file), slot.job)
            for slot in find_missed_runs(session, file, now)
        ]
        if missing := explain_missing_backup(session, file, now):
            way = "“Back up now” under Admin → Settings → Backups"
            on_page = explain_missing_backup(session, file, now, way=way)
            findings.append(AttentionFinding("missing-backup", missing, page_sentence=on_page))
    return findings


def list_attention_sentences(session: Session, now: datetime, file: SettingsFileContent | None = None) -> list[str]:
    """Return the sentences of the problems that `list_attention_findings` returns for the same arguments."""
    return [finding.sentence for finding in list_attention_findings(session, now, file)]


@dataclass(frozen=True, slots=True)
class PageNotes:
    """Sentences about problems that need attention, for a page of the desk.

    Only admins can fix the problems in `for_admins`. `pause` is about a pause of all sending, if there's one,
    and `may_resume` is true for admins, who can end it.
    """

    own: tuple[str, ...]
    for_admins: tuple[str, ...] = ()
    pause: str = ""
    may_resume: bool = False


def build_page_notes(
    session: Session,
    now: datetime,
    file: SettingsFileContent,
    *,
    is_admin: bool,
    viewer: str = "",
    edition_with_shown_pause: str = "",
    edition_with_shown_deadline: str = "",
) -> PageNotes:
    """Return the sentences about problems for a page of the desk.

    They refer to pages instead of commands, and use local times and display names. The actor
    `viewer` is called "you".
    """
    findings = list_attention_findings(
        session,
        now,
        file,
        edition_with_shown_pause=edition_with_shown_pause,
        edition_with_shown_deadline=edition_with_shown_deadline,
        viewer=viewer,
    )
    own: list[str] = []
    for_admins: list[str] = []
    pause: list[str] = []
    for finding in findings:
        is_own = is_admin or ATTENTION_KINDS[finding.kind].for_editors
        notes = pause if finding.kind == PAUSE_KIND else own if is_own else for_admins
        notes.append(finding.page_sentence or finding.sentence)
    return PageNotes(tuple(own), tuple(for_admins), "".join(pause), may_resume=is_admin)


@cache  # called for every page of the desk
def _select_open_editions() -> Select[Edition]:
    open_editions = select(Edition).where(Edition.state.not_in(FINISHED_STATES)).order_by(Edition.release_at)
    return open_editions.options(*WITHOUT_TEXTS)


def _find_passed_deadlines(
    session: Session, editions: Sequence[Edition], file: SettingsFileContent, now: datetime
) -> Iterator[AttentionFinding]:
    """Yield upcoming editions that weren't approved by their deadline."""
    for edition in editions:
        is_coming = edition.state in UNAPPROVED_STATES and edition.release_at > now - MAX_LATENESS
        deadline = find_deadline(session, file, edition) if is_coming else None
        if deadline is not None and deadline <= now and _existed_by(session, edition, deadline):
            local = deadline.astimezone(file.publication.zone)
            by = f"{weekday_month_day(local)}, {clock_hour(local)}"
            goes = "" if edition.release_at <= now else ", and it will be sent at its send time"
            deadline_sentence = (
                f"{edition.title} wasn't approved by its deadline ({by}). It can still be approved{goes}."
            )
            yield AttentionFinding("missed-deadline", deadline_sentence, edition.name)


def _existed_by(session: Session, edition: Edition, moment: datetime) -> bool:
    """Return True if an edition was first drafted at or before a given time.

    The earliest draft is in the audit log, because `drafted_at` is the time of the latest one.
    """
    first = select(func.min(AuditEntry.at)).where(AuditEntry.subject == edition.name, AuditEntry.act == DRAFT_ACT)
    return min(filter(None, (edition.drafted_at, session.scalar(first)))) <= moment


def _find_in_sending(
    session: Session,
    editions: Sequence[Edition],
    now: datetime,
    edition_with_shown_pause: str,
    zone: tzinfo,
    viewer: str,
) -> Iterator[AttentionFinding]:
    """Yield the problems with sending.

    These are pauses, emails set aside, late or stuck sends, missing articles, and refusals.
    """
    hold = installation_hold.read_current_hold(session)
    if hold is not None:
        yield AttentionFinding(PAUSE_KIND, str(hold), page_sentence=_explain_hold(session, hold, zone, viewer))
    for edition in editions:
        is_resting = edition.paused_at is not None and edition.state in edition_control.PAUSABLE_STATES
        if is_resting and edition.name != edition_with_shown_pause:
            sentence = explain_blocked_send(edition.name, edition, None, called=edition.title)
            reason = f": {end_sentence(edition.paused_because)}" if edition.paused_because else "."
            on_page = f"{edition.title} is paused{reason} You can resume sending on the edition's page."
            yield AttentionFinding("paused", sentence, edition.name, on_page)
        aside = set_aside_domains.list_undecided_domains(edition)
        if aside and edition.name != edition_with_shown_pause:
            yield _find_set_aside(edition, aside)
    if hold is None:
        yield from _find_unstarted_sends(editions, now, zone)
        yield from _find_stuck_sends(session, editions, now, zone)
    yield from _find_gone_articles(session, editions)
    yield from (finding for finding in _find_refusals(session) if finding.subject != edition_with_shown_pause)
    yield from _find_refused_corrections(session)
    for edition in editions:
        if words := explain_missed_release(edition, now):
            yield AttentionFinding("missed-release", f"{edition.title} wasn't sent. {words}", edition.name)


def _find_set_aside(edition: Edition, aside: Sequence[SetAsideDomain]) -> AttentionFinding:
    what = f"{edition.title}: {set_aside_domains.describe_set_aside_domains(aside)}, because {end_sentence(aside[-1].reason)}"
    return AttentionFinding(
        "set-aside",
        f"{what} To send or drop these emails, run 'digest set-aside {edition.name}'.",
        edition.name,
        f"{what} You can send or drop these emails on the edition's page.",
    )


def _find_refusals(session: Session) -> Iterator[AttentionFinding]:
    """Yield the sent editions that have refusals, until someone acknowledges the refusals."""
    sent = (Edition.state == EditionState.SENT, Edition.refusals > 0)
    refused = select(Edition).where(*sent).order_by(Edition.release_at)
    for row in session.scalars(refused.options(*WITHOUT_TEXTS)):
        refusals = count_with_noun(row.refusals, "refusal that needs a decision", "refusals that need a decision")
        said = f"{row.title} was sent with {refusals}."
        way = f"To see the reasons, send the messages again, or acknowledge the refusals, run 'digest refused {row.name}'."
        on_page = "Open it under Sent to see the reasons, send the messages again, or acknowledge the refusals."
        yield AttentionFinding("refusals", f"{said} {way}", row.name, f"{said} {on_page}")


def _find_refused_corrections(session: Session) -> Iterator[AttentionFinding]:
    """Yield the corrections whose remaining emails the mail server is refusing."""
    waits = read_correction_waits(session)
    if not waits:
        return
    corrections = select(Correction, Edition).join(Edition, Edition.id == Correction.edition_id)
    for correction, edition in session.execute(corrections.order_by(Correction.id)):
        purpose = make_correction_delivery_purpose(correction)
        waiting = select(Delivery.id).where(Delivery.purpose == purpose, IS_WAITING).limit(1)
        if purpose in waits and session.scalar(waiting):
            yield AttentionFinding(
                "refused-correction",
                f"The mail server is refusing the emails for correction {correction.seq} to {edition.title}: "
                f"{end_sentence(waits[purpose].reply)} Check what the reply says about size, content, or links. The "
                "correction is retried every hour.",
                f"{edition.name} {correction.seq}",
            )


def _explain_hold(session: Session, hold: installation_hold.InstallationHold, zone: tzinfo, viewer: str) -> str:
    began = f"All sending has been paused since {_write_moment(hold.since, zone)}, so emails wait"
    if hold.may_be_copy:
        return f"{began}. {sentence(hold.reason)}"
    reason = hold.reason.rstrip(".")
    if hold.actor == viewer:
        return f"{began}. You paused it{f' (“{reason}”)' if reason else ''}."
    who = name_actor(hold.actor, map_staff_display_names(session))
    if not reason:
        return f"{began}. {who} paused it without giving a reason. Ask whether the pause is still needed."
    return f"{began}. {who} paused it (“{reason}”). Ask whether that's resolved."


def _write_moment(at: datetime, zone: tzinfo) -> str:
    local = at.astimezone(zone)
    return f"{weekday_month_day(local)}, {hour_in_zone(local)}"


def _find_unstarted_sends(editions: Sequence[Edition], now: datetime, zone: tzinfo) -> Iterator[AttentionFinding]:
    """Yield approved editions whose sending should have begun but hasn't.

    They're reported once they're later than jobs are allowed to be. Breaking news is due only after
    someone chooses to send it.
    """
    for edition in editions:
        is_approved = edition.state == EditionState.APPROVED and edition.paused_at is None
        decided_at = edition.send_requested_at if edition.is_breaking_news else edition.approved_at
        if not is_approved or decided_at is None or explain_missed_release(edition, now):
            continue
        due_at = max(edition.release_at, decided_at)
        if now - due_at >= MAX_JOB_LATENESS:
            sentence, on_page = (
                f"{edition.title} was due {at}, but sending hasn't started."
                for at in (f"{due_at:%Y-%m-%d %H:%M} UTC", _write_moment(due_at, zone))
            )
            yield AttentionFinding("stuck-send", sentence, edition.name, on_page)


def _find_stuck_sends(
    session: Session, editions: Sequence[Edition], now: datetime, zone: tzinfo
) -> Iterator[AttentionFinding]:
    """Yield editions whose sending has made no progress for an hour.

    Only editions with overdue emails count, and only if their run isn't waiting on purpose.
    """
    for edition in editions:
        if edition.state != EditionState.SENDING or edition.paused_at is not None:
            continue
        progress = read_progress(session, edition.name)
        moved_at = _find_standstill(edition, progress, now)
        if moved_at is None:
            continue
        # After a failed run, emails are immediately due again.
        overdue_from = now if progress and progress.failing_since else now - MAX_STANDSTILL
        due = (Delivery.state == DeliveryState.WAITING, Delivery.next_try_at <= overdue_from)
        purpose = Delivery.purpose == make_edition_delivery_purpose(edition.name)
        if count := session.scalar(select(func.count()).where(purpose, *due)):
            reason = progress.wait_reason if progress else ""
            why = f" Reason: {end_sentence(reason)}" if reason else ""
            sentence, on_page = (
                f"{edition.title} has made no progress since {since}. Overdue emails: {count:,}.{why}"
                for since in (f"{moved_at:%Y-%m-%d %H:%M} UTC", _write_moment(moved_at, zone))
            )
            yield AttentionFinding("stuck-send", sentence, edition.name, on_page)


def _find_standstill(edition: Edition, progress: SendProgress | None, now: datetime) -> datetime | None:
    """Return the time of a stuck edition's last progress, or None if its sending isn't stuck.

    Sending isn't stuck while it makes progress or waits on purpose.
    """
    if progress is not None and progress.failing_since is not None:
        return progress.failing_since if now - progress.failing_since >= MAX_JOB_LATENESS else None
    moved_at = max(edition.release_at, progress.reported_at) if progress else edition.release_at
    stands_still = now - moved_at >= MAX_STANDSTILL and not _waits_on_purpose(progress, now)
    return moved_at if stands_still else None


def _waits_on_purpose(progress: SendProgress | None, now: datetime) -> bool:
    """Return True if a run announced that it would wait until a time that hasn't come yet."""
    return progress is not None and progress.resumes_at is not None and progress.resumes_at > now


def _find_in_lists(session: Session, now: datetime, zone: tzinfo, *, each_source: bool) -> Iterator[AttentionFinding]:
    """Yield problems with sign-ups, sign-ins, imports, sources, and the provider's lists."""
    surge = rate_limits.find_open_signup_surge(session)
    if surge is not None:
        since = _write_moment(surge.at, zone)
        on_page = rate_limits.describe_signup_surge(
            surge, since=since, remedy="raise the limits under Admin → Settings → Limits"
        )
        yield AttentionFinding("signup-surge", rate_limits.describe_signup_surge(surge), page_sentence=on_page)
    yield from _find_refused_sign_ins(session, now)
    if stuck_count := count_retried_admin_warnings(session):
        sentence = (
            f"{count_with_noun(stuck_count, 'email')} about security changes can't be delivered. Check the "
            "audit log for the changes, then check whether the mail server accepts email from the sender's "
            "address."
        )
        yield AttentionFinding("undelivered-warnings", sentence)
    for unfinished in list_idle_imports(session, now):
        on_page = (
            f"Import {unfinished.batch} ({unfinished.name}, started "
            f"{_write_moment(unfinished.started_at, zone)}) is unfinished, so the people in it won't be emailed. An admin "
            "can continue or undo it under Admin → Import."
        )
        yield AttentionFinding("unfinished-import", unfinished.sentence, f"import {unfinished.batch}", on_page)
    yield from _find_dead_sources(session, now, each_source=each_source)
    if trouble := installation_hold.read_pull_troubles(session):
        sentence = f"Couldn't read all of the provider's suppression lists ({trouble}). They'll be read again tonight."
        way = "To read them now, run 'digest subscribers pull'."
        yield AttentionFinding("suppression-lists", f"{sentence} {way}", page_sentence=sentence)
    for sentence in provider_erasures.list_stuck_erasure_warnings(session):
        yield AttentionFinding("stuck-erasures", sentence)


def _find_refused_sign_ins(session: Session, now: datetime) -> Iterator[AttentionFinding]:
    refusals = count_recent_refusals(session, now=now)
    if refusals.last_hour >= SURGE:
        sentence = (
            f"{refusals.last_hour:,} sign-ins were rejected in the last hour. Ask your team whether they tried to "
            f"sign in. If they didn't, someone is guessing passwords. Attempts are limited, and {{place}} lists "
            "the accounts."
        )
        yield AttentionFinding(
            "refused-sign-ins",
            sentence.format(place="the log of 'digest serve'"),
            page_sentence=sentence.format(place="the server log"),
        )


def _find_dead_sources(session: Session, now: datetime, *, each_source: bool) -> Iterator[AttentionFinding]:
    dead = list_source_problems(session, now)
    for source in dead if each_source else ():
        sentence = f"{source.name} no longer works: {describe_source_health(source, now)}"
        yield AttentionFinding("dead-source", sentence, source.url)
    if dead and not each_source:
        source_names = [source.name for source in dead[:MAX_SOURCES_NAMED]]
        names = join_words(source_names, more=len(dead) - len(source_names))
        sentence = f"No articles from {names}. See Sources, or run 'digest sources list'."
        on_page = f"No articles from {names}. Open Sources to see why."
        yield AttentionFinding("dead-source", sentence, page_sentence=on_page)


def _find_gone_articles(session: Session, editions: Sequence[Edition]) -> Iterator[AttentionFinding]:
    """Yield upcoming editions with links to articles that visitors can't read.

    For drafts, the last article check decides; for approved editions, the sources' own reports do.
    """
    for edition in editions:
        if missing_articles := _list_gone_articles(session, edition):
            sentence = f"{edition.title}: {article_recheck_results.describe_missing_articles(missing_articles)}"
            yield AttentionFinding("gone-articles", sentence, edition.name)


def _list_gone_articles(session: Session, edition: Edition) -> tuple[article_recheck_results.ArticleFinding, ...]:
    if edition.state == EditionState.APPROVED and edition.paused_at is None:
        linked = map_article_headlines(parse_sections(edition.content))
        withdrawn = find_withdrawn_links(session, linked)
        missing_articles = [(url, linked[url], reason) for url, reason in withdrawn.items()]
        return tuple(article_recheck_results.ArticleFinding(*article) for article in missing_articles)
    article_check = (
        article_recheck_results.read_article_check(session, edition.name)
        if edition.state in UNAPPROVED_STATES
        else None
    )
    if article_check is None or not article_check.gone:
        return ()
    linked = map_article_headlines(parse_sections(edition.content))
    return tuple(finding for finding in article_check.gone if finding.url in linked)
