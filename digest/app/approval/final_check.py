"""The final check, which fetches all of an edition's articles shortly before its send time.

If articles are missing, the edition can be paused. Editors are notified of each missing article
once, by email and at the desk. Sending resumes when the articles are back, when the edition is
approved again without them, or when an editor resumes it.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy.orm import Session

from digest.deliver.control import article_recheck_results, edition_control
from digest.deliver.control.article_recheck_results import ArticleCheck, ArticleFinding
from digest.edition.approval import approved_versions as approval
from digest.edition.content.edition_content import EditionContent
from digest.edition.content.mailable_edition import list_story_links
from digest.edition.edition_queries import find_edition
from digest.installation.audited_actions import Action, Actor
from digest.installation.opened_installation import Installation
from digest.installation.staff_mail import queue_staff_mail
from digest.settings import Settings
from digest.store.audit import record_audit
from digest.store.models import Edition, EditionState
from subscribers.callback_types import Clock
from subscribers.english_text import curl_quotes, hour_in_zone, weekday_date
from subscribers.loggers import get_logger

if TYPE_CHECKING:
    from digest.collect.fetch.result import ContentFetcher
    from digest.collect.visits.page_check import PageCheckResult

LOOK = Action("looked again")

log = get_logger("scheduler")


def find_due_checks(installation: Installation, *, now: datetime) -> list[str]:
    """Return the names of the editions whose articles are due for a check."""
    minutes = installation.settings.file.schedule.final_check_minutes
    with installation.read() as session:
        return article_recheck_results.find_due_article_checks(session, minutes=minutes, now=now)


def check_before_sending(installation: Installation, name: str, *, actor: Actor, clock: Clock) -> ArticleCheck | None:
    """Check the articles of an edition that's being sent by hand.

    Return None if the edition is paused or already checked, if sending has begun, or if the check
    is off.

    Raises:
        UnknownEditionError: there's no edition of that name.
    """
    with installation.read() as session:
        edition = find_edition(session, name)
        is_wanted = bool(installation.settings.file.schedule.final_check_minutes) and edition.paused_at is None
        if not is_wanted or not article_recheck_results.lacks_current_article_check(session, edition):
            return None
    return recheck_articles(installation, name, actor=actor, clock=clock)


def recheck_articles(
    installation: Installation, name: str, *, actor: Actor, clock: Clock, fetcher: "ContentFetcher | None" = None
) -> ArticleCheck | None:
    """Check all articles of an approved edition and return the result.

    Return None if the edition changed in the meantime. `fetcher` replaces the network. If the check
    itself fails, no article counts as missing, so an outage doesn't delay a send.

    Raises:
        UnknownEditionError: there's no edition of that name.
    """
    database, settings = installation.database, installation.settings
    with database.read() as session:
        edition = find_edition(session, name)
        approved_at, articles = edition.approved_at, _list_articles(session, edition, settings)
    with LOOK.steps(installation, actor, name, now=clock()) as audit:
        audit.changed = False
        pages = _ask_for_pages(installation, articles, fetcher)
        missing_articles = _list_findings(
            articles, {url: page.short_reason for url, page in pages.items() if page.is_gone}
        )
        unanswered = _list_findings(articles, {url: page.failure for url, page in pages.items() if page.failure})
        article_check = ArticleCheck(clock(), approved_at, len(articles), missing_articles, unanswered)
        with database.write() as session:
            edition = find_edition(session, name, lock=True)
            if edition.state is not EditionState.APPROVED or edition.approved_at != approved_at:
                return None
            before = article_recheck_results.read_article_check(session, edition.name)
            article_check = article_recheck_results.carry_over_reported_articles(
                article_check, before, stops=settings.file.schedule.at_gone_article == "stop"
            )
            audit.changed = before is None or before.approved_at != approved_at or before.gone != missing_articles
            audit.detail = {
                "articles": article_check.checked_count,
                "gone": len(missing_articles),
                "no answer": len(unanswered),
            }
            if audit.changed:
                audit.record(session)
            _follow_up(session, edition, before, article_check, now=clock())
            _tell_editors(installation, session, edition, article_check, now=clock())
    return article_check


def _list_findings(articles: Mapping[str, str], reasons: Mapping[str, str]) -> tuple[ArticleFinding, ...]:
    return tuple(ArticleFinding(url, articles[url], reason) for url, reason in reasons.items())


def _list_articles(session: Session, edition: Edition, settings: Settings) -> dict[str, str]:
    """Return the headlines of the articles in the approved version, by link.

    The approved version may differ from the current draft.
    """
    try:
        headlines = EditionContent.from_json(edition.content).linked_articles
    except ValueError:  # its format is too new or too old; missing headlines don't delay a send
        headlines = {}
    links = list_story_links(approval.read_mailable_edition(session, edition, settings))
    return {link: headlines.get(link, link) for link in links}


def _ask_for_pages(
    installation: Installation, articles: Mapping[str, str], fetcher: "ContentFetcher | None"
) -> "dict[str, PageCheckResult]":
    # Most sends only ask whether a check is due, so the fetching code is imported only when one is.
    from digest.collect.fetch.fetcher import open_fetcher
    from digest.collect.visits.page_check import PageCheckResult, check_linked_pages

    settings = installation.settings
    try:
        with open_fetcher(settings, fetcher) as active_fetcher:
            return check_linked_pages(active_fetcher, articles, workers=settings.file.limits.fetch_workers)
    except Exception:
        log.exception("the pre-send check failed")
        return {url: PageCheckResult(failure="the check failed; see the log") for url in articles}


def _follow_up(
    session: Session, edition: Edition, before: ArticleCheck | None, article_check: ArticleCheck, *, now: datetime
) -> None:
    """Pause an edition that has missing articles, or resume one once all of them are back.

    Only an edition that was paused for missing articles is resumed.
    """
    rests_for_look = before is not None and article_recheck_results.is_paused_by_article_check(edition, before)
    is_new = before is None or before.approved_at != article_check.approved_at or before.gone != article_check.gone
    if article_check.pause_reason and rests_for_look:
        edition.paused_because = article_check.pause_reason
    elif article_check.pause_reason and is_new:  # if it isn't new, an editor resumed the edition as it is
        edition_control.pause_automatically(session, edition.name, article_check.pause_reason, now=now)
    elif not article_check.pause_reason and rests_for_look:
        edition_control.resume_edition(session, edition.name, now=now)
        detail = {"because": "every article is there again"}
        record_audit(session, "resumed", edition.name, detail, actor=edition_control.AUTOMATIC_ACTOR, now=now)


def _tell_editors(
    installation: Installation, session: Session, edition: Edition, article_check: ArticleCheck, *, now: datetime
) -> None:
    """Email the staff about missing articles, once for each article, and save the check."""
    untold = article_recheck_results.list_unreported_missing_articles(article_check)
    reported_urls = (*article_check.reported_urls, *(finding.url for finding in untold))
    occasion = f"{edition.name}-{now:%Y%m%d%H%M%S}" if untold else article_check.occasion
    article_recheck_results.save_article_check(
        session, edition.name, replace(article_check, reported_urls=reported_urls, occasion=occasion)
    )
    if not untold:
        return
    local = edition.release_at.astimezone(installation.settings.zone)
    facts = {
        "edition": edition.name,
        "number": edition.title,
        "release": f"{weekday_date(local)}, {hour_in_zone(local)}",
        "stories": "\n".join(f"{finding.headline} ({curl_quotes(finding.what)})" for finding in article_check.gone),
        "several": "yes" if len(article_check.gone) > 1 else "",
        "stopped": "yes" if article_check.pause_reason else "",
        "address": f"{installation.settings.link_base}/desk/editions/{edition.name}",
    }
    queue_staff_mail(session, installation, "gone", occasion, facts, now=now)
