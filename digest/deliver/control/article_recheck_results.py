"""The results of rechecking an edition's articles right before sending, stored once per edition.

A result is valid for one approval. After a new approval, the articles are checked again.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from digest.deliver.control import installation_hold
from digest.edition.edition_queries import explain_missed_release
from digest.store.models import Edition, EditionState
from digest.type_adapters import type_adapter
from subscribers.english_text import count_with_noun

# How often to repeat a check that paused an edition, because a missing article may come back.
REPEAT_AFTER = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class ArticleFinding:
    """An article that's missing or couldn't be checked."""

    url: str
    headline: str
    what: str  # "404", why visitors can't read it, or why the check failed


@dataclass(frozen=True, slots=True)
class ArticleCheck:
    """The result of checking all of an edition's articles.

    `pause_reason` is the reason for the pause that the check caused, if any. `reported_urls` are the URLs of the
    missing articles that editors have been told about, and `occasion` identifies the last email about them.
    """

    at: datetime
    approved_at: datetime | None
    checked_count: int
    gone: tuple[ArticleFinding, ...] = ()
    unanswered: tuple[ArticleFinding, ...] = ()
    pause_reason: str = ""
    reported_urls: tuple[str, ...] = ()
    occasion: str = ""

    @property
    def sentence(self) -> str:
        """The result of the check as a sentence."""
        parts = [f"{count_with_noun(self.checked_count, 'article')} checked again"]
        parts += [f"{len(self.gone)} gone"] if self.gone else []
        parts += [f"{len(self.unanswered)} without a response"] if self.unanswered else []
        return ", ".join(parts)


def read_article_check(session: Session, edition: str) -> ArticleCheck | None:
    """Return the last article check of an edition, or None if there was none."""
    stored = installation_hold.read_installation_value(session, _state_key(edition))
    return None if stored is None else type_adapter(ArticleCheck).validate_python(stored)


def save_article_check(session: Session, edition: str, article_check: ArticleCheck) -> None:
    """Store an article check, replacing the edition's previous one."""
    stored = type_adapter(ArticleCheck).dump_python(article_check, mode="json")
    installation_hold.write_installation_value(session, _state_key(edition), stored, now=article_check.at)


def _state_key(edition: str) -> str:
    return f"last look {edition}"


def needs_article_check_before_send(session: Session, edition: Edition, *, minutes: int, now: datetime) -> bool:
    """Return True if an approved edition needs an article check before it's sent.

    If `minutes` is 0, no edition does.
    """
    if not minutes or edition.release_at - timedelta(minutes=minutes) > now or explain_missed_release(edition, now):
        return False
    return lacks_current_article_check(session, edition)


def lacks_current_article_check(session: Session, edition: Edition) -> bool:
    """Return True if an approved edition's articles haven't been checked since its approval.

    Breaking news must also have been checked since someone chose to send it.
    """
    article_check = read_article_check(session, edition.name)
    if edition.state is not EditionState.APPROVED or article_check is None:
        return edition.state is EditionState.APPROVED
    is_earlier = edition.send_requested_at is not None and article_check.at < edition.send_requested_at
    return is_earlier or article_check.approved_at != edition.approved_at


def find_due_article_checks(session: Session, *, minutes: int, now: datetime) -> list[str]:
    """Return the names of the editions whose articles should be checked now.

    These are the editions about to be sent and, every ten minutes, those that a check has paused.
    """
    if not minutes:
        return []
    soon = (Edition.state == EditionState.APPROVED, Edition.release_at <= now + timedelta(minutes=minutes))
    return [
        edition.name
        for edition in session.scalars(select(Edition).where(*soon).order_by(Edition.release_at))
        if needs_article_check_before_send(session, edition, minutes=minutes, now=now)
        or _is_to_be_repeated(session, edition, now)
    ]


def _is_to_be_repeated(session: Session, edition: Edition, now: datetime) -> bool:
    article_check = read_article_check(session, edition.name)
    return (
        article_check is not None
        and is_paused_by_article_check(edition, article_check)
        and now - article_check.at >= REPEAT_AFTER
    )


def is_paused_by_article_check(edition: Edition, article_check: ArticleCheck) -> bool:
    """Return True if an edition is paused because of an article check."""
    return (
        edition.paused_at is not None
        and bool(article_check.pause_reason)
        and edition.paused_because == article_check.pause_reason
    )


def list_unreported_missing_articles(article_check: ArticleCheck) -> tuple[ArticleFinding, ...]:
    """Return the missing articles that haven't been reported yet."""
    return tuple(finding for finding in article_check.gone if finding.url not in article_check.reported_urls)


def carry_over_reported_articles(
    article_check: ArticleCheck, before: ArticleCheck | None, *, stops: bool
) -> ArticleCheck:
    """Return a new check that records which of its missing articles have already been reported.

    If `stops` is true, missing articles also give it a reason to pause the edition.
    """
    missing_urls = {finding.url for finding in article_check.gone}
    reported_urls = tuple(filter(missing_urls.__contains__, before.reported_urls)) if before else ()
    pause_reason = describe_missing_articles(article_check.gone) if stops and article_check.gone else ""
    return replace(
        article_check,
        reported_urls=reported_urls,
        pause_reason=pause_reason,
        occasion=before.occasion if before else "",
    )


def describe_missing_articles(findings: tuple[ArticleFinding, ...]) -> str:
    """Return a message that lists the missing articles and says what to do."""
    headlines = "; ".join(f"“{finding.headline}” ({finding.what})" for finding in findings[:3])
    more = f"; and {len(findings) - 3} more" if len(findings) > 3 else ""
    subject, them = ("an article", "it") if len(findings) == 1 else (f"{len(findings)} articles", "them")
    return (
        f"visitors can't read {subject} anymore: {headlines}{more}. Remove {them} and approve the edition again, "
        "or resume sending."
    )
