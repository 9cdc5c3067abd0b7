"""The page of an article or advisory: its head, main text, image, credit, and feeds."""

import logging
import re
from dataclasses import dataclass, replace
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
    ParseError,
    RejectedEntry,
    SummaryBasis,
)
from digest.collect.parsers import page_head
from digest.collect.parsers.markup.charset import decode_document_text
from digest.collect.parsers.markup.json_ld import LinkedData, parse_linked_data
from digest.collect.parsers.markup.plain_text_article import extract_article, extract_lead
from digest.collect.parsers.raw_item import ParseContext, RawItem, clean_document, normalize_language
from digest.collect.parsers.visitor_access_checks import explain_page_barrier
from digest.collect.texts import text_cleanup
from digest.collect.texts.advisory_numbers import extract_advisory_numbers
from digest.collect.texts.urls import usable_canonical_url, usable_url

# These libraries' parse failures become our results, so they don't belong on stderr.
for _name in ("trafilatura", "htmldate", "courlan"):
    logging.getLogger(_name).addHandler(logging.NullHandler())

_FEED_TYPES = {"application/rss+xml", "application/atom+xml", "application/feed+json", "application/rdf+xml"}
_HTML_TAG = re.compile(r"<(?:!doctype|html|head|body|meta|article|main|div|p|h1|section|a|title)\b", re.IGNORECASE)
_MAX_FEEDS = 50
_MAX_CHARACTERS = 4_000_000  # twice the size of the largest page seen so far
_MAX_ELEMENTS = 60_000  # maximum for an article's page; with more, trafilatura would take minutes
_MAX_SCRIPT_STEPS = 50_000_000  # length times the number of tags; this takes about a second
_MAX_CREDIT_CHARACTERS = 140  # maximum length of a line that's only a credit


def parse(document: str, kind: DocumentKind, context: ParseContext) -> ParsedDocument:
    """Parse a page with an article, as HTML or plain text.

    For a site's front page, return only its feeds.

    An article that visitors can't read is in `rejected`, with the reason.

    Raises:
        ParseError: the page has neither an article nor a feed.
    """
    if not _HTML_TAG.search(document[:20_000]):
        return _parse_plain_text(document, kind, context)
    page = _read_page(document, context.url)
    feeds = _feed_links(page)
    if barrier := page.find_barrier():
        # The canonical link of a sign-in or not-found page is that page's own, not the article's.
        withheld = RejectedEntry(1, f"{NOT_PUBLIC}{barrier}", usable_canonical_url(context.url))
        return ParsedDocument(kind, (), (withheld,), feeds=feeds)
    item = _page_item(page, context, names_feeds=bool(feeds))
    if not item and not feeds:
        raise ParseError("The page has no recognizable article and no link to a feed. Use the feed's URL.")
    return _clean_page(
        kind,
        [item] if item else [],
        context,
        title=text_cleanup.clean_title(page_head.find_xpath_text(page.root, "//title/text()")),
        site=page_head.read_site_name(page.meta, page.linked),
        language=normalize_language(page.language),
        feeds=feeds,
    )


def explain_unreadable_page(
    body: bytes,
    *,
    charset: str | None = None,
) -> str:
    """Return why a visitor can't read a page, or "" if they can or the body isn't a page."""
    page = _read_page_body(body, charset)
    return page.find_barrier() if page else ""


def read_page_publisher(body: bytes, *, charset: str | None = None) -> str:
    """Return the site name that a page's head gives, or "" if there's none or the body isn't HTML."""
    page = _read_page_body(body, charset)
    return text_cleanup.clean_name(page_head.read_site_name(page.meta, page.linked)) if page else ""


def _read_page_body(body: bytes, charset: str | None) -> "_Page | None":
    document = decode_document_text(body, charset)
    if not _HTML_TAG.search(document[:20_000]):
        return None
    try:
        return _read_page(document, "")
    except ParseError:
        return None


@dataclass(frozen=True, slots=True)
class _Page:
    """A page with the data from its head. `base` is the URL against which links are resolved."""

    root: Any
    url: str
    base: str
    meta: dict[str, str]
    linked: LinkedData

    @property
    def declares_article(self) -> bool:
        kind = self.meta.get("og:type", "").lower()
        return self.linked.is_article or self.linked.is_event or kind in {"article", "event"}

    @property
    def may_have_article(self) -> bool:
        """True if the page declares an article or isn't at the root of its site."""
        is_declared = self.declares_article or "article:published_time" in self.meta
        return is_declared or urlsplit(self.url).path not in {"", "/"}

    @property
    def language(self) -> str | None:
        spoken: str | None = self.root.get("lang") or self.root.get("xml:lang")
        return spoken

    def find_barrier(self) -> str:
        return explain_page_barrier(self.root, is_article=self.declares_article)


def _read_page(document: str, url: str) -> _Page:
    root = read_html_tree(document[:_MAX_CHARACTERS])
    base = usable_url(page_head.find_xpath_text(root, "//base/@href"), url) or url
    linked = parse_linked_data(_linked_data_scripts(root))
    return _Page(root, url, base, page_head.read_meta_elements(root), linked)


def _parse_plain_text(document: str, kind: DocumentKind, context: ParseContext) -> ParsedDocument:
    article = extract_article(document)
    if article is None:
        raise ParseError("The response is plain text without an article. Use the URL of a feed or a page.")
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
    return _clean_page(kind, [item], context, title=article.title)


def _clean_page(*contents: Any, **details: Any) -> ParsedDocument:
    document = clean_document(*contents, **details)
    items = list(document.items)
    if items and items[0].published:  # a page has only one item
        items[0] = replace(items[0], date_basis=DateBasis.PAGE)
    return replace(document, items=tuple(items))


def read_html_tree(document: str) -> Any:
    """Return the root element of an HTML document.

    Raises:
        ParseError: the document can't be parsed as HTML.
    """
    parser = lxml.html.HTMLParser(encoding="utf-8", no_network=True, huge_tree=False)
    try:
        root = lxml.html.document_fromstring(document.encode("utf-8", "replace"), parser=parser)
    except (etree.LxmlError, ValueError, AssertionError) as exc:
        raise ParseError(f"Can't read the page as HTML: {str(exc)[:200]}. Open the page in a browser.") from exc
    return root


def _feed_links(page: _Page) -> tuple[FeedLink, ...]:
    """Return the distinct feeds that a page links to, including WordPress's REST posts."""
    feeds: dict[str, FeedLink] = {}
    for href, title in filter(None, map(_feed_of_link, page.root.iter("link"))):
        if url := usable_url(href, page.base):
            feeds.setdefault(url, FeedLink(url, title))
    return tuple(feeds.values())[:_MAX_FEEDS]


def _feed_of_link(element: Any) -> tuple[str, str] | None:
    """Return the URL and title of the feed in a link element, or None if it isn't for a feed."""
    relations = element.get("rel", "").lower().split()
    kind, *_ = element.get("type", "").lower().split(";")
    href = element.get("href", "").strip()
    if "https://api.w.org/" in relations and href:
        # Href is "https://example.org/wp-json/" or "…/index.php?rest_route=/".
        posts = f"{href.rstrip('/')}/wp/v2/posts"
        return f"{posts}{'&' if '?' in posts else '?'}per_page=100&_embed", "WordPress"
    if "alternate" in relations and kind.strip() in _FEED_TYPES:
        return href, text_cleanup.clean_title(element.get("title", ""))
    return None


def _page_item(page: _Page, context: ParseContext, *, names_feeds: bool) -> RawItem | None:
    """Return the article on a page, or None for a front page.

    A front page either is at the root of its site without declaring an article, or lists feeds
    without having a date.
    """
    if not page.may_have_article:
        return None
    credit = _find_page_credit(page.root)
    head = _head_item(page)  # before trafilatura changes the tree
    main = _extract_main_text(page.root, context)
    paragraphs = _split_paragraphs(main.text)
    summary, basis = _find_summary(page, head.title, paragraphs)
    published = page_head.choose_publication_date(page.root, page.meta, page.linked, main.date, context)
    is_empty = not head.title or not (summary or paragraphs)
    if is_empty or (names_feeds and not _may_name_feeds(page, published)):
        return None
    return replace(
        head,
        title=escape(head.title, quote=False),
        summary=escape(summary, quote=False),
        summary_basis=basis,
        content=escape("\n".join(paragraphs), quote=False),
        authors=page.linked.authors or (main.author or "").split(";"),
        published=published,
        credit=credit or _find_last_credit(paragraphs),
    )


def _may_name_feeds(page: _Page, published: str | None) -> bool:
    """Return True if a page with feeds may be an article: it declares one, or has a date."""
    return bool(page.declares_article or published)


def _find_last_credit(paragraphs: list[str]) -> str | None:
    credited = map(text_cleanup.find_source_credit, reversed(paragraphs[-4:]))
    return next(filter(None, credited), None)


def _split_paragraphs(text: str | None) -> list[str]:
    lines = map(text_cleanup.normalize_text, (text or "").splitlines())
    return list(filter(None, (line.lstrip("-# ") for line in lines)))


def _find_summary(
    page: _Page,
    title: str,
    paragraphs: list[str],
) -> tuple[str, SummaryBasis]:
    """Return an article's summary (the publisher's description, or else the article's opening) and its basis."""
    if described := page_head.choose_description(page.meta, page.linked, title):
        return described, SummaryBasis.UNKNOWN
    return extract_lead(title, paragraphs), SummaryBasis.OPENING


def _head_item(page: _Page) -> RawItem:
    """Return the item described by a page's head, without its text or date. The title isn't HTML yet."""
    meta, linked = page.meta, page.linked
    own_image = meta.get("og:image") or meta.get("og:image:url")
    image = own_image or linked.image or meta.get("twitter:image")
    alt = meta.get("og:image:alt") or meta.get("twitter:image:alt")
    return RawItem(
        link=page_head.choose_page_url(page.root, page.base, page.url),
        title=page_head.choose_page_title(page.root, meta, linked),
        base=page.base,
        categories=(meta.get("article:section", ""),),
        language=page.language or meta.get("og:locale"),
        image=image,
        image_alt=alt or page_head.find_image_alt_text(page.root, image),
        updated=linked.updated or meta.get("article:modified_time"),
        starts=linked.starts,
        ends=linked.ends,
        place=linked.place,
    )


def _linked_data_scripts(root: Any) -> list[str]:
    """Return the texts of the page's JSON-LD scripts. A script full of markup is emptied.

    Trafilatura also reads these scripts, with a pattern that takes quadratic time if tags don't end.
    """
    scripts = root.xpath("//script[contains(@type, 'ld+json')]")
    for script in scripts:
        text = script.text or ""
        if len(text) * text.count("<") > _MAX_SCRIPT_STEPS:
            script.text = None
    return [str(script.text) for script in scripts if script.text]


def _extract_main_text(root: Any, context: ParseContext) -> Any:
    """Return trafilatura's result, in which the main text, author, and date may be None."""
    if sum(1 for _ in root.iter()) > _MAX_ELEMENTS:
        return trafilatura.settings.Document()
    today = context.now.date().isoformat()
    dates = {"original_date": True, "extensive_search": False, "max_date": today}
    try:
        extracted = trafilatura.bare_extraction(
            root, url=context.url, fast=True, with_metadata=True, include_comments=False, date_extraction_params=dates
        )
    except Exception as exc:  # trafilatura doesn't catch errors of its dependencies
        raise ParseError(f"Can't read the page: {type(exc).__name__}: {str(exc)[:200]}.") from exc
    return extracted or trafilatura.settings.Document()


def _find_page_credit(root: Any) -> str | None:
    """Return the credit in the last paragraph that has one, such as "Source: INTERPOL".

    Image captions are ignored.
    """
    last_credit = None
    for element in root.iter("p", "em", "div", "span"):
        text = "".join(element.itertext())
        own = element.text or "" if element.tag in {"div", "span"} else text
        if len(own) > _MAX_CREDIT_CHARACTERS or "ource" not in own:
            continue
        captions = element.iterancestors("figure", "figcaption", "aside", "nav", "footer")
        credit = text_cleanup.find_source_credit(text_cleanup.normalize_text(text[:300]))
        if credit and next(captions, None) is None:
            last_credit = credit
    return last_credit


_NOTICES = (
    re.compile(
        r"\bthis (?:[\w()-]+ ){0,4}(?:advisory|alert|bulletin|notice|document) (?:[\w-]+ ){0,3}"
        r"(?:superseded|replaced|withdrawn|rescinded|retired)\b(?: by\b)?",
        re.IGNORECASE,
    ),
    re.compile(r"\bsuperseded by:?(?= )", re.IGNORECASE),
)
_DENIAL = re.compile(r"\b(?:not|never)\b", re.IGNORECASE)
_NEAR = 160  # number of characters after the words in which to look for the other advisory's number


def read_supersession(
    body: bytes,
    *,
    charset: str | None = None,
) -> str:
    """Return the status of the advisory on a page, or "" if it's current.

    The status is "superseded by ICSA-26-330-01" or "superseded". "Superseded by" must be followed
    by a number or preceded by "this advisory", because pages also mention superseded software.
    """
    text = text_cleanup.html_to_text(decode_document_text(body, charset))
    for notice in _NOTICES:
        for match in notice.finditer(text):
            numbers = extract_advisory_numbers(text[match.end() : match.end() + _NEAR])
            says_this = match.group().lower().startswith("this")
            if _DENIAL.search(match.group()) or not (numbers or says_this):
                continue
            return f"superseded by {numbers[0]}" if numbers else "superseded"
    return ""
