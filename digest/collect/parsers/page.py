"""An article's page: what its head says, its main text, its picture, its credit, and the feeds it names."""

import logging
import re
from collections.abc import Iterator
from dataclasses import replace
from html import escape
from typing import Any
from urllib.parse import urlsplit

import lxml.html
import trafilatura
from lxml import etree

from digest.collect import text
from digest.collect.items import DateBasis, Feed, Item, Kind, ParseError, Reading
from digest.collect.parsers.found import Found, Place, language, take
from digest.collect.parsers.head import (
    first_text,
    meta_elements,
    own_address,
    own_description,
    page_title,
    picture_text,
    published_on,
)
from digest.collect.parsers.lead import lead
from digest.collect.parsers.linkeddata import Linked, linked_data
from digest.collect.parsers.plaintext import Article, find_article
from digest.collect.urls import absolute

# What they can't read is our finding, not a line on stderr.
for _name in ("trafilatura", "htmldate", "courlan"):
    logging.getLogger(_name).addHandler(logging.NullHandler())

_FEED_TYPES = {"application/rss+xml", "application/atom+xml", "application/feed+json", "application/rdf+xml"}
_MARKUP = re.compile(
    r"<(?:!doctype|html|head|body|meta|article|main|div|p|h1|section|a|title)\b", re.IGNORECASE
)
_MOST_FEEDS = 50
_MOST_CHARACTERS = 4_000_000  # twice the largest page that we have seen
_MOST_ELEMENTS = 60_000  # a page with more has no article; trafilatura would take minutes
_CREDIT_CHARACTERS = 140  # of a line that is only a credit


def read_page(document: str, where: Place) -> Reading:
    """Read a page with an article, as HTML or as plain text; a site's front page only names its feeds.

    Raises:
        ParseError: there is neither an article nor a feed.
    """
    if not _MARKUP.search(document[:20_000]):
        return _read_text(document, where)
    root = _tree(document[:_MOST_CHARACTERS])
    base = _base(root, where.url)
    feeds = tuple(_feeds(root, base))
    found = _article(root, base, where, names_feeds=bool(feeds))
    if not found and not feeds:
        raise ParseError(
            "The page holds no article that can be made out, and names no feed. Give the feed's address."
        )
    items, rejected = take([found] if found else [], where)
    items = tuple(_as_page_date(one) for one in items)
    return Reading(
        kind=Kind.PAGE,
        items=items,
        rejected=rejected,
        title=text.title(first_text(root, "//title/text()")),
        language=language(root.get("lang") or root.get("xml:lang")),
        feeds=feeds,
    )


def _read_text(document: str, where: Place) -> Reading:
    article = find_article(document)
    if article is None:
        raise ParseError("The answer is plain text without an article. Give the address of a feed or a page.")
    items, rejected = take([_found_in_text(article, where)], where)
    return Reading(Kind.PAGE, tuple(_as_page_date(one) for one in items), rejected, title=article.title)


def _found_in_text(article: Article, where: Place) -> Found:
    return Found(
        link=where.url,
        title=escape(article.title, quote=False),
        summary=escape(lead(article.title, article.paragraphs), quote=False),
        content=escape(" ".join(article.paragraphs), quote=False),
        authors=[article.author] if article.author else (),
        published=article.date,
        credit=article.credit,
    )


def _as_page_date(item: Item) -> Item:
    return replace(item, basis=DateBasis.PAGE) if item.published else item


def _tree(document: str) -> Any:
    parser = lxml.html.HTMLParser(encoding="utf-8", no_network=True, huge_tree=False)
    try:
        root = lxml.html.document_fromstring(document.encode("utf-8", "replace"), parser=parser)
    except (etree.LxmlError, ValueError, AssertionError) as exc:
        raise ParseError(f"The page can't be read as HTML: {str(exc)[:200]}. Open it in a browser.") from exc
    return root


def _base(root: Any, url: str) -> str:
    try:
        return absolute(first_text(root, "//base/@href"), url)
    except ValueError:
        return url


def _feeds(root: Any, base: str) -> Iterator[Feed]:
    """Give the feeds that a page names, WordPress's REST posts among them, each once."""
    seen: set[str] = set()
    for element in root.iter("link"):
        relations = (element.get("rel") or "").lower().split()
        kind = (element.get("type") or "").partition(";")[0].strip().lower()
        href = (element.get("href") or "").strip()
        if "https://api.w.org/" in relations and href:
            href, title = f"{href.rstrip('/')}/wp/v2/posts?_embed", "WordPress"
        elif "alternate" in relations and kind in _FEED_TYPES:
            title = text.title(element.get("title") or "")
        else:
            continue
        try:
            url = absolute(href, base)
        except ValueError:
            continue
        if url not in seen and len(seen) < _MOST_FEEDS:
            seen.add(url)
            yield Feed(url, title)


def _article(root: Any, base: str, where: Place, *, names_feeds: bool) -> Found | None:
    """Find the article of a page.

    None on a front page: it stands at the root of its site and doesn't call itself an article, or names feeds
    and has no date.
    """
    meta = meta_elements(root)
    linked = linked_data([str(s) for s in root.xpath("//script[contains(@type, 'ld+json')]/text()")])
    named = linked.is_article or linked.is_event or meta.get("og:type", "").lower() in {"article", "event"}
    if not named and "article:published_time" not in meta and urlsplit(where.url).path in {"", "/"}:
        return None
    credit, title = _credit(root), page_title(root, meta, linked)
    head = _head(root, base, where, (meta, linked))
    main = _main(root, where)
    paragraphs = [line for raw in (main.text or "").splitlines() if (line := text.tidy(raw).lstrip("-# "))]
    description = own_description(meta, linked, title) or lead(title, paragraphs)
    published = published_on(root, meta, linked, main.date, where)
    front = names_feeds and not named and not published
    if front or not title or not (description or paragraphs):
        return None
    return replace(
        head,
        title=escape(title, quote=False),
        summary=escape(description, quote=False),
        content=escape("\n".join(paragraphs), quote=False),
        authors=linked.authors or (main.author or "").split(";"),
        published=published,
        credit=credit or next((c for line in reversed(paragraphs[-4:]) if (c := text.credit(line))), None),
    )


def _head(root: Any, base: str, where: Place, said: tuple[dict[str, str], Linked]) -> Found:
    """Give what a page's head says beside title, text and date."""
    meta, linked = said
    image = meta.get("og:image") or meta.get("og:image:url") or linked.image or meta.get("twitter:image")
    return Found(
        link=own_address(root, base, where.url),
        base=base,
        categories=[section] if (section := meta.get("article:section")) else (),
        language=root.get("lang") or root.get("xml:lang") or meta.get("og:locale"),
        image=image,
        image_alt=meta.get("og:image:alt") or meta.get("twitter:image:alt") or picture_text(root, image),
        updated=linked.updated or meta.get("article:modified_time"),
        starts=linked.starts,
        ends=linked.ends,
        place=linked.place,
    )


def _main(root: Any, where: Place) -> Any:
    """Find the main text, the author and the day with trafilatura, whose result may have None for each."""
    if sum(1 for _ in root.iter()) > _MOST_ELEMENTS:
        return trafilatura.settings.Document()
    dates = {"original_date": True, "extensive_search": False, "max_date": where.now.date().isoformat()}
    try:
        found = trafilatura.bare_extraction(
            root,
            url=where.url,
            fast=True,
            with_metadata=True,
            include_comments=False,
            date_extraction_params=dates,
        )
    except Exception as exc:  # it lets the errors of its many parts through
        raise ParseError(f"The page can't be read: {type(exc).__name__}: {str(exc)[:200]}.") from exc
    return found or trafilatura.settings.Document()


def _credit(root: Any) -> str | None:
    """Find the last paragraph such as "Source: INTERPOL"; captions of pictures are not meant."""
    found = None
    for element in root.iter("p", "em", "div", "span"):
        own = element.text or "" if element.tag in {"div", "span"} else "".join(element.itertext())
        if len(own) > _CREDIT_CHARACTERS or "ource" not in own:
            continue
        captions = element.iterancestors("figure", "figcaption", "aside", "nav", "footer")
        if (credit := text.credit(text.tidy("".join(element.itertext())[:300]))) and next(
            captions, None
        ) is None:
            found = credit
    return found
