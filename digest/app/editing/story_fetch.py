"""Fetching a story for an editor by its URL.

The same limits apply as in collection, and a child process parses the page.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select

from digest.app.editing.edit_application import EDIT
from digest.app.editing.editing_state import EditRefusedError, read_editing_state
from digest.collect.documents.parsed_document import NOT_PUBLIC, DocumentKind, ParsedItem, ParseError
from digest.collect.fetch.fetcher import open_fetcher
from digest.collect.fetch.result import ContentFetcher, FetchError
from digest.collect.fetch.robots_txt import explain_robots_refusal
from digest.collect.sandbox import client as sandbox
from digest.collect.texts.urls import canonical_url, site_name, usable_url
from digest.collect.visits.page_check import explain_unrelated_redirect
from digest.edition.drafting.candidates import may_mail_image
from digest.installation.audited_actions import Actor
from digest.installation.opened_installation import Installation
from digest.store.models import Source
from subscribers.english_text import end_sentence

PAGE_ACCEPT = "text/html, application/xhtml+xml;q=0.9, text/plain;q=0.5"


@dataclass(frozen=True, slots=True)
class FetchedStory:
    """An article found at a URL, for an editor to correct.

    `article` has the fields that `add_written_story` takes. `story_url` is the story that already
    contains the article, or empty.
    """

    article: dict[str, Any]
    story_url: str = ""


def fetch_story(
    installation: Installation,
    edition: str,
    typed_url: str,
    *,
    actor: Actor,
    now: datetime,
    fetcher: ContentFetcher | None = None,
) -> FetchedStory:
    """Fetch a page and return its article, without storing anything.

    `fetcher` replaces the network.

    Raises:
        NotPermittedError: the actor isn't an editor.
        UnknownEditionError: there's no such edition.
        EditRefusedError: the page can't be read or has no article. The error says what to do.
    """
    EDIT.check_role(installation, actor, edition, now=now)
    state = read_editing_state(installation, edition)
    article = fetch_article(installation, typed_url, now=now, fetcher=fetcher)
    url = article["url"]
    existing_name = state.arrangement.name_target(url) if url in state.arrangement.story_names else ""
    return FetchedStory(article, existing_name)


def fetch_article(
    installation: Installation, typed_url: str, *, now: datetime, fetcher: ContentFetcher | None = None
) -> dict[str, Any]:
    """Fetch a page and return the fields of its article, as in `FetchedStory.article`.

    `fetcher` replaces the network.

    Raises:
        EditRefusedError: the page can't be read or has no article. The error says what to do.
    """
    url = parse_story_url(typed_url)
    with open_fetcher(installation.settings, fetcher) as active_fetcher:
        item, site = _read_article(active_fetcher, url, now)
    return _describe_item(installation, item, site)


def parse_story_url(typed: str) -> str:
    """Return the normalized URL of a story that someone typed.

    Raises:
        EditRefusedError: `typed` isn't a URL.
    """
    url = usable_url(typed.strip())
    if url is None:
        raise EditRefusedError("This isn't a URL.", "Enter a URL that begins with https:// or http://.")
    return url


def _read_article(fetcher: ContentFetcher, url: str, now: datetime) -> tuple[ParsedItem, str]:
    """Fetch a page, and return its article and the name that the page gives for its site."""
    advice = "Open the page in a browser, write the story yourself, and add the link."
    try:
        if not fetcher.may_read(url):
            raise EditRefusedError(explain_robots_refusal(fetcher, url), advice)
        answer = fetcher.get(url, accept=PAGE_ACCEPT)
        if barrier := explain_unrelated_redirect(url, answer.url):
            raise _refuse_withheld(barrier)
        document = sandbox.parse_document(answer.body, url=answer.url, now=now, charset=answer.charset)
    except FetchError as exc:
        raise EditRefusedError(end_sentence(f"Couldn't load the page: {exc.message_for_now}"), advice) from exc
    except ParseError as exc:
        raise EditRefusedError(f"Couldn't read the page: {exc}", advice) from exc
    if withheld := next((entry.reason for entry in document.rejected if entry.withheld_url), ""):
        raise _refuse_withheld(withheld.removeprefix(NOT_PUBLIC))
    if document.kind is not DocumentKind.PAGE or not document.items:
        raise EditRefusedError("Couldn't find an article at this URL.", advice)
    return document.items[0], document.site


def _refuse_withheld(barrier: str) -> EditRefusedError:
    return EditRefusedError(f"Visitors can't read this page: {barrier}.", "Add a public page.")


def _describe_item(installation: Installation, item: ParsedItem, site_title: str) -> dict[str, Any]:
    site = site_name(item.url)
    with installation.read() as session:
        sources = session.scalars(select(Source).where(Source.active).order_by(Source.id))
        source = next((s for s in sources if site_name(s.url) == site), None)
    moment = item.published or item.updated
    name = source.name if source else site_title or site
    described: dict[str, Any] = {
        "url": canonical_url(item.url),
        "link": item.link,
        "title": item.title,
        "summary": item.summary,
        "summary_basis": item.summary_basis.value,
        "source": name,
        "publisher": source.publisher if source else name,
        "credit": item.credit,
        **_describe_image(item, source),
    }
    return described | ({"dated_at": moment.isoformat(), "has_date": True} if moment else {})


def _describe_image(item: ParsedItem, source: Source | None) -> dict[str, str | None]:
    """Return the fields for an item's image.

    All are None unless the source allows its images in email.
    """
    if source is None or not may_mail_image(source, item):
        return {"image": None, "image_alt": None, "image_credit": None}
    return {"image": item.image_url, "image_alt": item.image_alt, "image_credit": item.image_credit}
