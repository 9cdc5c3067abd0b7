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
from digest.collect.dates import read_date
from digest.collect.items import DateBasis, Feed, Item, Kind, ParseError, Reading
from digest.collect.parsers.found import Found, Place, language, take
from digest.collect.parsers.lead import MOST_WORDS, lead
from digest.collect.parsers.linkeddata import Linked, linked_data
from digest.collect.parsers.plaintext import Article, find_article
from digest.collect.urls import absolute

for _name in (
    "trafilatura",
    "htmldate",
    "courlan",
):  # what they can't read is our finding, not a line on stderr
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
        title=text.title(_first(root, "//title/text()")),
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


def _first(root: Any, path: str) -> str:
    """Give the first text that an XPath finds, "" where there is none."""
    return next((str(value).strip() for value in root.xpath(path) if str(value).strip()), "")


def _base(root: Any, url: str) -> str:
    try:
        return absolute(_first(root, "//base/@href"), url)
    except ValueError:
        return url


def _meta(root: Any) -> dict[str, str]:
    """Give the page's meta elements by name, property or itemprop; the first of each counts."""
    metas: dict[str, str] = {}
    for element in root.iter("meta"):
        name = element.get("property") or element.get("name") or element.get("itemprop") or ""
        if (value := (element.get("content") or "").strip()) and name:
            metas.setdefault(name.strip().lower(), value)
    return metas


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
    meta, linked = (
        _meta(root),
        linked_data([str(s) for s in root.xpath("//script[contains(@type, 'ld+json')]/text()")]),
    )
    named = linked.is_article or linked.is_event or meta.get("og:type", "").lower() in {"article", "event"}
    if not named and "article:published_time" not in meta and urlsplit(where.url).path in {"", "/"}:
        return None
    credit, title = _credit(root), _title(root, meta, linked)
    main = _main(root, where)
    published = _published(root, meta, linked, main.date, where)
    if names_feeds and not named and not published:
        return None
    paragraphs = [line for raw in (main.text or "").splitlines() if (line := text.tidy(raw).lstrip("-# "))]
    description = _description(meta, linked, title) or lead(title, paragraphs)
    if not title or not (description or paragraphs):
        return None
    image = meta.get("og:image") or meta.get("og:image:url") or linked.image or meta.get("twitter:image")
    return Found(
        link=_own_address(root, base, where.url),
        title=escape(title, quote=False),
        summary=escape(description, quote=False),
        content=escape("\n".join(paragraphs), quote=False),
        base=base,
        authors=linked.authors or (main.author or "").split(";"),
        categories=[section] if (section := meta.get("article:section")) else (),
        language=root.get("lang") or root.get("xml:lang") or meta.get("og:locale"),
        image=image,
        image_alt=meta.get("og:image:alt") or meta.get("twitter:image:alt") or _alt(root, image),
        published=published,
        updated=linked.updated or meta.get("article:modified_time"),
        starts=linked.starts,
        ends=linked.ends,
        place=linked.place,
        credit=credit or next((c for line in reversed(paragraphs[-4:]) if (c := text.credit(line))), None),
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


def _title(root: Any, meta: dict[str, str], linked: Linked) -> str:
    """Choose the title: the one heading that readers see, if the head agrees; else what the head says."""
    site = meta.get("og:site_name", "")
    said = [
        t
        for t in (
            meta.get("og:title"),
            linked.title,
            meta.get("twitter:title"),
            _first(root, "//head/title/text()"),
        )
        if t
    ]
    head = _without_site(text.title(escape(said[0], quote=False)), site) if said else ""
    headings = [h for e in root.iter("h1") if (h := text.title(escape(e.text_content(), quote=False)))]
    words = set(head.lower().split())
    agreeing = [h for h in headings if len(words & set(h.lower().split())) * 2 >= len(words)]
    if len(agreeing) == 1 and len(agreeing[0].split()) >= 3:
        return agreeing[0]
    return head or (headings[0] if headings else "")


def _without_site(title: str, site: str) -> str:
    """Drop the site's name from the end of a title: after a bar always, after other signs when it is named."""
    head, bar, tail = title.rpartition(" | ")
    if bar and len(tail.split()) <= 5 and len(head.split()) >= 3:
        return _without_site(head.strip(), site)
    matched = re.search(r"\s+[-–—·•:»]\s+([^-–—·•:»]{2,40})$", title)  # noqa: RUF001  dashes of every width
    if matched and site and (matched[1].lower() in site.lower() or site.lower() in matched[1].lower()):
        return title[: matched.start()]
    return title


def _description(meta: dict[str, str], linked: Linked, title: str) -> str:
    """Give the publisher's own description if it reads well: whole sentences, and not the title again."""
    for given in (
        meta.get("og:description"),
        meta.get("description"),
        linked.description,
        meta.get("twitter:description"),
    ):
        said = text.summary(escape(text.plain(given or ""), quote=False))
        if said.endswith(("…", "...")):
            whole = list(text.sentences(said))[:-1]
            said = " ".join(whole)
        if len(said.split()) >= 7 and said.rstrip(".") != title.rstrip("."):
            return text.shorten(said, MOST_WORDS)
    return ""


def _published(
    root: Any, meta: dict[str, str], linked: Linked, guessed: str | None, where: Place
) -> str | None:
    given = [
        linked.published,
        *(meta.get(name, "") for name in _DATE_NAMES),
        _first(root, "//article//time/@datetime | //time[@itemprop='datePublished' or @pubdate]/@datetime"),
        guessed or "",
    ]
    said = [value for value in given if value]
    return next((value for value in said if read_date(value, where.now)[0]), said[0] if said else None)


_DATE_NAMES = (
    "article:published_time",
    "og:article:published_time",
    "datepublished",
    "parsely-pub-date",
    "sailthru.date",
    "dc.date.issued",
    "dcterms.created",
    "dc.date",
    "pubdate",
    "publish-date",
    "date",
)


def _own_address(root: Any, base: str, url: str) -> str:
    """Give the address that a page calls its own, if that is on its host and not the front page; else where it was."""
    try:
        own = absolute(_first(root, "//link[@rel='canonical']/@href"), base)
    except ValueError:
        return url
    mine, its = (urlsplit(a) for a in (url, own))
    same_host = _bare(mine.hostname) == _bare(its.hostname)
    return own if same_host and (its.path not in {"", "/"} or its.query) else url


def _bare(host: str | None) -> str:
    return re.sub(r"^(?:www|amp|m|mobile)\.", "", host or "")


def _alt(root: Any, image: str | None) -> str:
    name = (image or "").partition("?")[0].rpartition("/")[2]
    if not name:
        return ""
    return next(
        (alt for e in root.iter("img") if name in (e.get("src") or "") and (alt := e.get("alt") or "")), ""
    )


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
