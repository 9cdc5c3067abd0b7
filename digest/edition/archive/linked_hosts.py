"""Hosts of links in an edition's texts, so that approvers notice links to new sites."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from urllib.parse import urlsplit

from sqlalchemy import Text, cast, or_, select, true
from sqlalchemy.orm import Session

from digest.collect.texts.urls import ascii_host
from digest.edition.content.edition_content import EditionContent, SectionEntry
from digest.edition.edition_queries import PUBLIC_STATES
from digest.edition.rendering.inline_markup import split_links
from digest.store.imported_edition_models import ImportedStory
from digest.store.models import Article, Edition, EditionStory

# Texts that email apps turn into links even if we don't.
_WRITTEN_URL = re.compile(r"(?:(?:https?|ftp):[/\\]{2}|mailto:|www\.)[^\s<>\"|]+", re.IGNORECASE)
_PUNCTUATION = ".,;:!?'’”)]}"
_BEFORE_HOST = ("/", "\\", "@", "www.")  # what precedes the host in any URL
_MAX_SHOWN = 80  # number of characters to show of a URL whose host can't be read


@dataclass(frozen=True, slots=True)
class LinkedHost:
    """A host, and the places in the edition that link to it.

    `is_new` is true if no article and no past edition linked to it.
    """

    host: str
    places: tuple[str, ...]
    is_new: bool


def list_linked_hosts(
    session: Session, edition: Edition, content: EditionContent, own_urls: Iterable[str]
) -> tuple[LinkedHost, ...]:
    """Return the hosts of links in an edition's texts, new ones first.

    `own_urls` are the publication's own pages.
    """
    articles = _find_article_hosts(session, edition)
    known_hosts = articles | {find_url_host(url) for url in own_urls}
    places: dict[str, dict[str, None]] = defaultdict(dict)
    for place, urls in _list_links(content, articles):
        for host in map(find_url_host, urls):
            places[host][place] = None
    known_hosts |= _find_past_hosts(session, edition, places.keys() - known_hosts)
    hosts = (LinkedHost(host, tuple(places[host]), host not in known_hosts) for host in places)
    return tuple(sorted(hosts, key=lambda host: not host.is_new))


def find_url_host(url: str) -> str:
    """Return the host that a URL leads to, as A-labels without "www.".

    If the URL can't be read, return its first 80 characters.
    """
    written = url.strip().rstrip(_PUNCTUATION).replace("\\", "/")
    try:
        if written.lower().startswith("mailto:"):
            name = written.partition("?")[0].rpartition("@")[2]
        else:
            name = urlsplit(written if "//" in written else f"//{written}").hostname or ""
        return ascii_host(name).lower().removeprefix("www.")
    except ValueError:
        return url[:_MAX_SHOWN]


def _list_links(
    content: EditionContent,
    articles: Collection[str],
) -> Iterator[tuple[str, list[str]]]:
    """Yield each place in an edition, paired with the URLs in its texts.

    Stories' links to hosts other than those of the articles are included.
    """
    intro, urls = split_links(content.intro)
    yield "Intro", list(urls)
    yield "Subject", _find_written_urls(content.subject)
    yield "Preheader", _find_written_urls(content.preheader)
    yield "Intro", _find_written_urls(intro)
    yield "Signature", _find_written_urls(content.editor)
    for section in content.sections:
        yield section.title, _find_written_urls(section.title, section.note)
        for entry in section.entries:
            yield f"“{entry.headline}”", _list_entry_links(entry, articles)
    for block in content.blocks:
        written = _find_written_urls(block.headline, block.name, block.text)
        yield f"Labeled block “{block.headline}”", [block.url, *written] if block.url else written


def _find_written_urls(*texts: str) -> list[str]:
    return [url for text in texts for url in _WRITTEN_URL.findall(text)]


def _list_entry_links(entry: SectionEntry, articles: Collection[str]) -> list[str]:
    links = (*entry.also, *entry.related)
    texts = [entry.headline, entry.kicker, entry.summary, entry.source]
    texts += [entry.credit, entry.note, entry.why, *entry.details]
    texts += [text for link in links for text in (link.text, link.note, link.headline)]
    linked = filter(None, (entry.url, *(link.url for link in links)))
    return _find_written_urls(*texts) + [url for url in linked if find_url_host(url) not in articles]


def _find_article_hosts(session: Session, edition: Edition) -> frozenset[str]:
    """Return the hosts of the collected articles in an edition's stories."""
    placed = (EditionStory.edition_id == edition.id) & EditionStory.section.is_not(None)
    stories = session.scalars(select(EditionStory.members).where(placed))
    is_member = Article.url.in_(set(chain(*stories)))
    articles = session.execute(select(Article.url, Article.link).where(is_member))
    return frozenset(map(find_url_host, chain(*articles)))


def _find_past_hosts(session: Session, edition: Edition, hosts: Collection[str]) -> frozenset[str]:
    """Return the `hosts` that earlier editions have linked to.

    Editions imported from another system count, too.
    """
    missing = set(hosts)
    if not missing:
        return frozenset()
    is_earlier = Edition.state.in_(PUBLIC_STATES) & (Edition.release_at < edition.release_at)
    content = cast(Edition.content, Text)
    for column, condition in ((content, is_earlier), (ImportedStory.url, true())):
        mentions = or_(*(column.icontains(host, autoescape=True) for host in hosts))
        query = select(column).where(condition, mentions)
        # Closed explicitly because the loop may end early.
        with session.scalars(query.execution_options(yield_per=10)) as texts:
            for text in texts:
                lowered = text.lower()
                if any(f"{before}{host}" in lowered for host in missing for before in _BEFORE_HOST):
                    missing.difference_update(map(find_url_host, _WRITTEN_URL.findall(text)))
                if not missing:
                    return frozenset(hosts)
    return frozenset(hosts) - missing
