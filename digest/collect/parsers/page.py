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

from digest.collect.documents.parsed_document import (
    NOT_PUBLIC,
    DateBasis,
    DocumentKind,
    FeedLink,
    ParsedDocument,
    ParsedItem,
    ParseError,
    RejectedEntry,
    SummaryBasis,
)
from digest.collect.parsers import page_head
from digest.collect.parsers.markup.charset import decode_document
from digest.collect.parsers.markup.json_ld import LinkedData, parse_linked_data
from digest.collect.parsers.markup.plain_text import extract_article, extract_lead
from digest.collect.parsers.public_access import explain_page_barrier
from digest.collect.parsers.raw_item import ParseContext, RawItem, clean_items, normalise_language
from digest.collect.texts import text_cleanup
from digest.collect.texts.urls import usable_canonical_url, usable_url

# What they can't read is our finding, not a line on stderr.
for _name in ("trafilatura", "htmldate", "courlan"):
    logging.getLogger(_name).addHandler(logging.NullHandler())

_FEED_TYPES = {"application/rss+xml", "application/atom+xml", "application/feed+json", "application/rdf+xml"}
_HTML_TAG = re.compile(r"<(?:!doctype|html|head|body|meta|article|main|div|p|h1|section|a|title)\b", re.IGNORECASE)
_MAX_FEEDS = 50
_MAX_CHARACTERS = 4_000_000  # twice the largest page that we have seen
_MAX_ELEMENTS = 60_000  # a page with more has no article; trafilatura would take minutes
_MAX_SCRIPT_STEPS = 50_000_000  # a second's
_MAX_CREDIT_CHARACTERS = 140  # of a line that is only a credit


def parse(document: str, kind: DocumentKind, context: ParseContext) -> ParsedDocument:
    """Read a page with an article, as HTML or as plain text; a site's front page only names its feeds.

    Raises:
        ParseError: there is neither an article nor a feed.
    """
    if not _HTML_TAG.search(document[:20_000]):
        return _parse_plain_text(document, kind, context)
    root = read_html_tree(document[:_MAX_CHARACTERS])
    base = usable_url(page_head.first_xpath_text(root, "//base/@href"), context.url) or context.url
    feeds = tuple(_feed_links(root, base))
    if barrier := _find_barrier(root):
        # The canonical link of a sign-in or not-found page is its own, not the article's.
        withheld = RejectedEntry(1, f"{NOT_PUBLIC}{barrier}", usable_canonical_url(context.url))
        return ParsedDocument(kind, (), (withheld,), feeds=feeds)
    item = _page_item(root, base, context, names_feeds=bool(feeds))
    if not item and not feeds:
        raise ParseError("The page holds no article that can be made out, and names no feed. Give the feed's address.")
    items, rejected = clean_items([item] if item else [], context)
    items = tuple(_with_page_date_basis(plain_item) for plain_item in items)
    return ParsedDocument(
        kind=kind,
        items=items,
        rejected=rejected,
        title=text_cleanup.clean_title(page_head.first_xpath_text(root, "//title/text()")),
        site=page_head.name_site(page_head.read_meta_elements(root)),
        language=normalise_language(root.get("lang") or root.get("xml:lang")),
        feeds=feeds,
    )


def read_page_barrier(body: bytes, *, content_type: str | None = None, charset: str | None = None) -> str:
    """Return why a visitor can't read a page; empty where nothing says so, and where the body isn't a page."""
    document = decode_document(body, charset, content_type)
    if not _HTML_TAG.search(document[:20_000]):
        return ""
    try:
        return _find_barrier(read_html_tree(document[:_MAX_CHARACTERS]))
    except ParseError:
        return ""


def _find_barrier(root: Any) -> str:
    linked = parse_linked_data([str(s) for s in _linked_data_scripts(root)])
    return explain_page_barrier(root, is_article=_declares_article(page_head.read_meta_elements(root), linked))


def _declares_article(meta: dict[str, str], linked: LinkedData) -> bool:
    return linked.is_article or linked.is_event or meta.get("og:type", "").lower() in {"article", "event"}


def _parse_plain_text(document: str, kind: DocumentKind, context: ParseContext) -> ParsedDocument:
    article = extract_article(document)
    if article is None:
        raise ParseError("The answer is plain text without an article. Give the address of a feed or a page.")
    item = RawItem(
        link=context.url,
        title=escape(article.title, quote=False),
        summary=escape(extract_lead(article.title, article.paragraphs), quote=False),
        summary_basis=SummaryBasis.OPENING,
        content=escape(" ".join(article.paragraphs), quote=False),
        authors=[article.author] if article.author else (),
        published=article.date,
        credit=article.credit,
    )
    items, rejected = clean_items([item], context)
    return ParsedDocument(kind, tuple(_with_page_date_basis(item) for item in items), rejected, title=article.title)


def _with_page_date_basis(item: ParsedItem) -> ParsedItem:
    return replace(item, date_basis=DateBasis.PAGE) if item.published else item


def read_html_tree(document: str) -> Any:
    """Return the root of a document's elements.

    Raises:
        ParseError: it can't be read as HTML.
    """
    parser = lxml.html.HTMLParser(encoding="utf-8", no_network=True, huge_tree=False)
    try:
        root = lxml.html.document_fromstring(document.encode("utf-8", "replace"), parser=parser)
    except (etree.LxmlError, ValueError, AssertionError) as exc:
        raise ParseError(f"The page can't be read as HTML: {str(exc)[:200]}. Open it in a browser.") from exc
    return root


def _feed_links(root: Any, base: str) -> Iterator[FeedLink]:
    """Return the feeds that a page names, WordPress's REST posts among them, each once."""
    seen: set[str] = set()
    for element in root.iter("link"):
        relations = (element.get("rel") or "").lower().split()
        kind = (element.get("type") or "").partition(";")[0].strip().lower()
        href = (element.get("href") or "").strip()
        if "https://api.w.org/" in relations and href:
            href, title = f"{href.rstrip('/')}/wp/v2/posts?_embed", "WordPress"
        elif "alternate" in relations and kind in _FEED_TYPES:
            title = text_cleanup.clean_title(element.get("title") or "")
        else:
            continue
        url = usable_url(href, base)
        if url and url not in seen and len(seen) < _MAX_FEEDS:
            seen.add(url)
            yield FeedLink(url, title)


def _page_item(root: Any, base: str, context: ParseContext, *, names_feeds: bool) -> RawItem | None:
    """Find the article of a page.

    None on a front page: it stands at the root of its site and doesn't call itself an article, or names feeds
    and has no date.
    """
    meta = page_head.read_meta_elements(root)
    linked = parse_linked_data([str(s) for s in _linked_data_scripts(root)])
    is_declared = _declares_article(meta, linked)
    if not is_declared and "article:published_time" not in meta and urlsplit(context.url).path in {"", "/"}:
        return None
    credit, title = _find_page_credit(root), page_head.page_title(root, meta, linked)
    head = _head_item(root, base, context, (meta, linked))
    main = _extract_main_text(root, context)
    paragraphs = [
        line for raw in (main.text or "").splitlines() if (line := text_cleanup.normalise_text(raw).lstrip("-# "))
    ]
    described = page_head.publisher_description(meta, linked, title)
    summary = described or extract_lead(title, paragraphs)
    published = page_head.publication_date(root, meta, linked, main.date, context)
    front = names_feeds and not is_declared and not published
    if front or not title or not (summary or paragraphs):
        return None
    return replace(
        head,
        title=escape(title, quote=False),
        summary=escape(summary, quote=False),
        summary_basis=SummaryBasis.UNKNOWN if described else SummaryBasis.OPENING,
        content=escape("\n".join(paragraphs), quote=False),
        authors=linked.authors or (main.author or "").split(";"),
        published=published,
        credit=credit or next((c for line in reversed(paragraphs[-4:]) if (c := text_cleanup.find_credit(line))), None),
    )


def _head_item(root: Any, base: str, context: ParseContext, metadata: tuple[dict[str, str], LinkedData]) -> RawItem:
    """Return what a page's head says beside title, text and date."""
    meta, linked = metadata
    image = meta.get("og:image") or meta.get("og:image:url") or linked.image or meta.get("twitter:image")
    return RawItem(
        link=page_head.canonical_page_url(root, base, context.url),
        base=base,
        categories=[section] if (section := meta.get("article:section")) else (),
        language=root.get("lang") or root.get("xml:lang") or meta.get("og:locale"),
        image=image,
        image_alt=meta.get("og:image:alt") or meta.get("twitter:image:alt") or page_head.image_alt_text(root, image),
        updated=linked.updated or meta.get("article:modified_time"),
        starts=linked.starts,
        ends=linked.ends,
        place=linked.place,
    )


def _linked_data_scripts(root: Any) -> list[str]:
    """Give the texts of the page's JSON-LD; one that is full of mark-up is emptied.

    Trafilatura reads them too, with a pattern that takes quadratic time where tags don't end.
    """
    scripts = root.xpath("//script[contains(@type, 'ld+json')]")
    for script in scripts:
        text = script.text or ""
        if len(text) * text.count("<") > _MAX_SCRIPT_STEPS:
            script.text = None
    return [script.text for script in scripts if script.text]


def _extract_main_text(root: Any, context: ParseContext) -> Any:
    """Find the main text, the author and the day with trafilatura, whose result may have None for each."""
    if sum(1 for _ in root.iter()) > _MAX_ELEMENTS:
        return trafilatura.settings.Document()
    dates = {"original_date": True, "extensive_search": False, "max_date": context.now.date().isoformat()}
    try:
        extracted = trafilatura.bare_extraction(
            root, url=context.url, fast=True, with_metadata=True, include_comments=False, date_extraction_params=dates
        )
    except Exception as exc:  # it lets the errors of its many parts through
        raise ParseError(f"The page can't be read: {type(exc).__name__}: {str(exc)[:200]}.") from exc
    return extracted or trafilatura.settings.Document()


def _find_page_credit(root: Any) -> str | None:
    """Find the last paragraph such as "Source: INTERPOL"; captions of pictures are not meant."""
    last_credit = None
    for element in root.iter("p", "em", "div", "span"):
        own = element.text or "" if element.tag in {"div", "span"} else "".join(element.itertext())
        if len(own) > _MAX_CREDIT_CHARACTERS or "ource" not in own:
            continue
        captions = element.iterancestors("figure", "figcaption", "aside", "nav", "footer")
        if (
            credit := text_cleanup.find_credit(text_cleanup.normalise_text("".join(element.itertext())[:300]))
        ) and next(captions, None) is None:
            last_credit = credit
    return last_credit
