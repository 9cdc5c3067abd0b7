"""Metadata from a page's head: the best title, description, date, URL, and image."""

import itertools
import re
from html import escape
from typing import Any
from urllib.parse import urlsplit

from digest.collect.parsers.markup.json_ld import LinkedData
from digest.collect.parsers.markup.plain_text_article import MAX_LEAD_WORDS
from digest.collect.parsers.raw_item import ParseContext
from digest.collect.texts import text_cleanup
from digest.collect.texts.dates import parse_date
from digest.collect.texts.urls import usable_url

_DATE_NAMES = """
article:published_time og:article:published_time datepublished parsely-pub-date sailthru.date
dc.date.issued dcterms.created dc.date pubdate publish-date date
"""
_MAX_SITE_CHARACTERS = 100


def find_xpath_text(root: Any, path: str) -> str:
    """Return the first nonempty text that an XPath expression finds, or ""."""
    values = (str(value).strip() for value in root.xpath(path))
    return next(filter(None, values), "")


def read_meta_elements(root: Any) -> dict[str, str]:
    """Return the content of a page's meta elements by property, name, or itemprop.

    If a name occurs more than once, the first value applies.
    """
    metas: dict[str, str] = {}
    for element in root.iter("meta"):
        name = element.get("property") or element.get("name") or element.get("itemprop") or ""
        if (value := (element.get("content") or "").strip()) and name:
            metas.setdefault(name.strip().lower(), value)
    return metas


def read_site_name(meta: dict[str, str], linked: LinkedData) -> str:
    """Return the name that a page gives for its publisher, or else for its site, or "" if it gives neither."""
    name = linked.publisher or meta.get("og:site_name") or meta.get("application-name") or ""
    return _clean_plain_title(name)[:_MAX_SITE_CHARACTERS]


def choose_page_title(root: Any, meta: dict[str, str], linked: LinkedData) -> str:
    """Return a page's title.

    It's the only h1 that agrees with the title in the head, or else the latter, or else the first h1.
    """
    candidate = meta.get("og:title") or linked.title or meta.get("twitter:title")
    candidate = candidate or find_xpath_text(root, "//head/title/text()")
    head = _strip_site_name(_clean_plain_title(candidate), meta.get("og:site_name", ""))
    cleaned = (_clean_plain_title(element.text_content()) for element in root.iter("h1"))
    headings = list(filter(None, cleaned))
    words = set(head.lower().split())
    agreeing = []
    for heading in headings:
        shared = words.intersection(heading.lower().split())
        if 2 * len(shared) >= len(words):
            agreeing.append(heading)
    if len(agreeing) == 1 and len(agreeing[0].split()) >= 3:
        return agreeing[0]
    return head or next(iter(headings), "")


def _clean_plain_title(text: str) -> str:
    return text_cleanup.clean_title(escape(text, quote=False))


def _strip_site_name(title: str, site: str) -> str:
    """Remove the site's name from the end of a title.

    After a bar, the last part is always removed; after other separators, only if it's the site's name.
    """
    head, bar, tail = title.rpartition(" | ")
    if bar and len(tail.split()) <= 5 and len(head.split()) >= 3:
        return _strip_site_name(head.strip(), site)
    matched = re.search(r"\s+[-–—·•:»]\s+([^-–—·•:»]{2,40})$", title)  # noqa: RUF001  dashes of every width
    if not matched or not site:
        return title
    ending, name = matched[1].lower(), site.lower()
    return title[: matched.start()] if ending in name or name in ending else title


def choose_description(meta: dict[str, str], linked: LinkedData, title: str) -> str:
    """Return the publisher's description, with at most 60 words.

    Return "" if it's too short or repeats the title.
    """
    offered = {**meta, "json-ld": linked.description}
    for name in ("og:description", "description", "json-ld", "twitter:description"):
        text = text_cleanup.html_to_text(offered.get(name, ""))
        description = text_cleanup.clean_summary(escape(text, quote=False))
        if description.endswith(("…", "...")):
            *sentences, _ = text_cleanup.split_sentences(description)
            description = " ".join(sentences)
        is_title = description.rstrip(".") == title.rstrip(".")
        if len(description.split()) >= 7 and not is_title:
            return text_cleanup.shorten_text(description, MAX_LEAD_WORDS)
    return ""


def choose_publication_date(
    root: Any,
    meta: dict[str, str],
    linked: LinkedData,
    fallback: str | None,
    context: ParseContext,
) -> str | None:
    """Return the publication date as written, or None if there's none.

    It's the page's first readable date, or else its first date.
    """
    candidates = [
        linked.published,
        *(meta.get(name, "") for name in _DATE_NAMES.split()),
        find_xpath_text(root, "//article//time/@datetime | //time[@itemprop='datePublished' or @pubdate]/@datetime"),
        fallback or "",
    ]
    dates = list(filter(None, candidates))
    readable = (value for value in dates if parse_date(value, context.now)[0])
    return next(itertools.chain(readable, dates), None)


def choose_page_url(root: Any, base: str, url: str) -> str:
    """Return a page's declared canonical URL, or else its own URL.

    The canonical URL must be on the same host, and must not be the front page.
    """
    own = usable_url(find_xpath_text(root, "//link[@rel='canonical']/@href"), base) or url
    claimed = urlsplit(own)
    is_front = claimed.path in {"", "/"} and not claimed.query
    return own if _bare_host(url) == _bare_host(own) and not is_front else url


def _bare_host(url: str) -> str:
    return re.sub(r"^(?:www|amp|m|mobile)\.", "", urlsplit(url).hostname or "")


def find_image_alt_text(root: Any, image: str | None) -> str:
    """Return the alt text of the image on the page whose file name is the same as in a URL, or ""."""
    name = (image or "").partition("?")[0].rpartition("/")[2]
    for element in root.iter("img") if name else ():
        if name in element.get("src", "") and (alt := element.get("alt")):
            return str(alt)
    return ""
