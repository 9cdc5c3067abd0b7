"""The hosts that links in an edition's texts lead to, so that approvers see a link to a site that the newsletter never linked."""

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from sqlalchemy import Text, cast, or_, select
from sqlalchemy.orm import Session

from digest.collect.texts.urls import ascii_host
from digest.edition.content.edition_content import EditionContent, SectionEntry
from digest.edition.queries import PUBLIC_STATES
from digest.edition.rendering.inline_markup import split_links
from digest.store.models import Article, Edition, EditionStory
from digest.store.past_edition_models import PastStory

# What mail programs turn into a link, even where we don't.
_WRITTEN_URL = re.compile(r"(?:(?:https?|ftp):[/\\]{2}|mailto:|www\.)[^\s<>\"|]+", re.IGNORECASE)
_PUNCTUATION = ".,;:!?'’”)]}"
_MAX_SHOWN = 80  # characters of a URL without a host


@dataclass(frozen=True, slots=True)
class TextHost:
    """A host, the places in the edition that lead there, and whether no article and no past edition had it."""

    host: str
    places: tuple[str, ...]
    is_new: bool


def list_text_hosts(
    session: Session, edition: Edition, content: EditionContent, own_urls: Iterable[str]
) -> tuple[TextHost, ...]:
    """List the hosts of links in an edition's texts, new ones first. `own_urls` are the publication's own pages."""
    articles = _find_article_hosts(session, edition)
    known = articles | {find_host(url) for url in own_urls}
    places: dict[str, list[str]] = {}
    for place, url in _list_links(content, articles):
        found = places.setdefault(find_host(url), [])
        if place not in found:
            found.append(place)
    known |= _find_past_hosts(session, edition, places.keys() - known)
    hosts = [TextHost(host, tuple(found), host not in known) for host, found in places.items()]
    return tuple(sorted(hosts, key=lambda host: not host.is_new))


def find_host(url: str) -> str:
    """Return the host that a browser or mail program goes to, as A-labels without `www.`; an unreadable URL as it is."""
    written = url.strip().rstrip(_PUNCTUATION).replace("\\", "/")
    try:
        if written.lower().startswith("mailto:"):
            name = written.partition("?")[0].rpartition("@")[2]
        else:
            name = urlsplit(written if "//" in written else f"//{written}").hostname or ""
        return ascii_host(name).lower().removeprefix("www.")
    except ValueError:
        return url[:_MAX_SHOWN]


def _list_links(content: EditionContent, articles: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield the place and the URL of each link in a text, and of each story that no source brought."""
    intro, urls = split_links(content.intro)
    yield from (("Intro", url) for url in urls)
    head = {"Subject": content.subject, "Preheader": content.preheader, "Intro": intro, "Signature": content.editor}
    for place, text in head.items():
        yield from ((place, url) for url in _WRITTEN_URL.findall(text))
    for section in content.sections:
        yield from ((section.title, url) for url in _find_written_urls((section.title, section.note)))
        for entry in section.entries:
            yield from ((f"“{entry.headline}”", url) for url in _list_entry_links(entry, articles))
    for block in content.blocks:
        urls = [block.url] if block.url else []
        urls += _find_written_urls((block.headline, block.name, block.text))
        yield from ((f"Labeled block “{block.headline}”", url) for url in urls)


def _find_written_urls(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        yield from _WRITTEN_URL.findall(text)


def _list_entry_links(entry: SectionEntry, articles: Collection[str]) -> Iterator[str]:
    texts = [entry.headline, entry.kicker, entry.summary, entry.source, entry.credit, entry.note, entry.why]
    texts += entry.details
    links = (*entry.also, *entry.related)
    texts += [text for link in links for text in (link.text, link.note, link.headline)]
    yield from _find_written_urls(texts)
    yield from (url for url in (entry.url, *(link.url for link in links)) if url and find_host(url) not in articles)


def _find_article_hosts(session: Session, edition: Edition) -> frozenset[str]:
    """Return the hosts of the articles that sources brought to an edition's stories."""
    placed = select(EditionStory.members).where(
        EditionStory.edition_id == edition.id, EditionStory.section.is_not(None)
    )
    members = {url for urls in session.scalars(placed) for url in urls}
    articles = session.execute(select(Article.url, Article.link).where(Article.url.in_(members)))
    return frozenset(find_host(url) for urls in articles for url in urls)


def _find_past_hosts(session: Session, edition: Edition, hosts: Collection[str]) -> frozenset[str]:
    """Return which hosts an edition that went out before had, here or before this installation."""
    wanted, found = set(hosts), set[str]()
    if not wanted:
        return frozenset()
    content = cast(Edition.content, Text)
    sent = select(content).where(
        Edition.state.in_(PUBLIC_STATES),
        Edition.release_at < edition.release_at,
        or_(*(content.icontains(host, autoescape=True) for host in wanted)),
    )
    past = select(PastStory.url).where(or_(*(PastStory.url.icontains(host, autoescape=True) for host in wanted)))
    for query in (sent, past):
        for text in session.scalars(query.execution_options(yield_per=10)):
            found |= wanted.intersection(map(find_host, _WRITTEN_URL.findall(text)))
            if found == wanted:
                return frozenset(found)
    return frozenset(found)
