"""Parsed items before cleaning, and the cleaning that's the same for all kinds of documents."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from html import escape
from itertools import chain
from typing import Any

from digest.collect.documents.deadlines import Deadline
from digest.collect.documents.parsed_document import (
    NOT_PUBLIC,
    DateBasis,
    DocumentKind,
    ParsedDocument,
    ParsedItem,
    RejectedEntry,
    SummaryBasis,
)
from digest.collect.parsers.prose import extract_prose, strip_shortcodes
from digest.collect.parsers.visitor_access_checks import explain_withheld_item
from digest.collect.texts import text_cleanup
from digest.collect.texts.announced_deadlines import find_deadline
from digest.collect.texts.dates import parse_event_time, parse_item_dates
from digest.collect.texts.event_texts import find_event
from digest.collect.texts.image_credits import SEPARATOR, find_image_credits
from digest.collect.texts.urls import (
    absolute_url,
    canonical_url,
    guess_registered_domain,
    site_name,
    usable_canonical_url,
    usable_url,
)
from subscribers.errors import ApplicationError

_MAX_TITLE_WORDS = 14  # maximum number of words in a title made from the text of an item without one
_MIN_SUMMARY_CHARACTERS = 25  # minimum length of a description; the content replaces a shorter one
_MAX_CATEGORIES = 30
# Limits that identify a feed of other publishers' articles: the minimum number of linked sites, and
# the maximum share of items on one site.
_MIN_SITES, _MAX_SITE_SHARE = 3, 0.5
# Limits for finding an article's opening in its content, which may start with an image and its caption.
_MARKUP_SHARE, _MAX_PRECEDING_CHARACTERS = 4, 2_000
_LANGUAGE_TAG = re.compile(r"([A-Za-z]{2,3})(?:[-_]([A-Za-z]{4}))?(?:[-_]([A-Za-z]{2}|\d{3}))?\b")


@dataclass(frozen=True, slots=True)
class ParseContext:
    """A document's URL, the current time in UTC, and the document's language, if it's known."""

    url: str
    now: datetime
    language: str | None = None


@dataclass(frozen=True, slots=True)
class RawItem:
    """An item as found in its document.

    Texts may be HTML, dates are as written, and links may be relative to `base`. The `starts` and
    `ends` of an event are also as written. If they're days without times, it's an all-day event.
    """

    guid: str = ""
    link: str = ""
    title: str = ""
    summary: str = ""
    # Set if the parser knows it; otherwise, it's determined from the content.
    summary_basis: SummaryBasis = SummaryBasis.UNKNOWN
    content: str = ""
    base: str | None = None
    authors: Sequence[str] = ()
    categories: Sequence[str] = ()
    language: str | None = None
    image: str | None = None
    image_alt: str = ""
    # Set if the document has a field for them; otherwise, they're looked for in the text.
    image_credits: Sequence[str] = ()
    published: str | None = None
    updated: str | None = None
    starts: str | None = None
    ends: str | None = None
    zone_missing: bool = False  # True if the start has no zone and was taken as UTC
    zone: str = ""  # IANA name of an event's zone
    place: str = ""
    credit: str | None = None
    publisher: str = ""  # the item's own publisher; `publisher_url` is its site
    publisher_url: str = ""
    # Set if the document has a field for it; otherwise, it's looked for in the text.
    deadline: Deadline | None = None
    featured: bool = False
    withheld: str = ""  # why the item isn't public, if the document has a field for it


class UnusableItemError(ApplicationError):
    """Raised when an item can't be used. The message explains why."""


def clean_document(
    kind: DocumentKind,
    raw_items: Iterable[RawItem | RejectedEntry],
    context: ParseContext,
    **details: Any,
) -> ParsedDocument:
    """Clean all items of a document, and list the unusable ones with their positions and the reasons.

    `details` are further fields of `ParsedDocument`.
    """
    items: list[tuple[RawItem, ParsedItem]] = []
    rejected: list[RejectedEntry] = []
    for place, raw in enumerate(raw_items, start=1):
        if isinstance(raw, RejectedEntry):
            rejected.append(replace(raw, place=place))
            continue
        if reason := raw.withheld or explain_withheld_item(raw.summary, raw.content):
            link = raw.link.strip() or raw.guid.strip()
            url = usable_canonical_url(link, raw.base or context.url)
            rejected.append(RejectedEntry(place, f"{NOT_PUBLIC}{reason}", url))
            continue
        try:
            items.append((raw, clean_item(raw, context)))
        except UnusableItemError as exc:
            rejected.append(RejectedEntry(place, str(exc)))
    details = {"language": context.language, **details}
    return ParsedDocument(kind, _name_publishers(items, context.url), tuple(rejected), **details)


def _name_publishers(items: Sequence[tuple[RawItem, ParsedItem]], feed_url: str) -> tuple[ParsedItem, ...]:
    """Set the publisher of each item in a feed that links to many sites.

    Items on the feed's own site are left alone. The item's own publisher (`<source>`,
    `dc:publisher`) takes precedence, then the host of its link.
    """
    pages = [usable_url(raw.publisher_url) or item.url for raw, item in items]
    domains = [guess_registered_domain(page) for page in pages]
    item_counts = Counter(domains)
    highest_count = max(item_counts.values(), default=0)
    if len(item_counts) < _MIN_SITES or highest_count > _MAX_SITE_SHARE * len(items):
        return tuple(item for _, item in items)
    own_domain = guess_registered_domain(feed_url)
    return tuple(
        item
        if domain == own_domain
        else replace(item, publisher=text_cleanup.clean_name(raw.publisher) or site_name(page))
        for (raw, item), page, domain in zip(items, pages, domains, strict=True)
    )


def clean_item(raw: RawItem, context: ParseContext) -> ParsedItem:
    """Return an item with plain text, canonical URLs, and UTC dates, completed from its text.

    Raises:
        UnusableItemError: the item has no usable URL, or no title and no text to make one from.
    """
    base = raw.base or context.url
    link, url = _clean_urls(raw, base)
    summary, summary_basis, content_text = _clean_summary(raw)
    text = content_text or summary
    title = _make_title(raw, summary)
    if summary in {"", title}:
        summary, summary_basis = "", SummaryBasis.UNKNOWN
    published, updated, basis = parse_item_dates(raw.published, raw.updated, context.now)
    stated_at = published or updated
    image, alt = _choose_image(raw, base)
    credits_given = map(text_cleanup.find_source_credit, (content_text, summary))
    return ParsedItem(
        guid=text_cleanup.normalize_text(raw.guid)[:1_000] or None,
        url=url,
        link=link,
        title=title,
        summary=summary,
        summary_basis=summary_basis,
        author=_join_authors(raw.authors),
        credit=raw.credit or next(filter(None, credits_given), None),
        categories=_clean_categories(raw.categories),
        language=normalize_language(raw.language) or context.language,
        image_url=image,
        image_alt=alt,
        image_credit=_find_image_credit(raw) if image else None,
        published=published,
        updated=updated,
        date_basis=DateBasis.ZONE_ASSUMED if raw.zone_missing else basis,
        deadline=raw.deadline or find_deadline(f"{title}. {text}", stated_at),
        featured=raw.featured,
        **_read_event(raw, title, text, stated_at),
    )


def _make_title(raw: RawItem, summary: str) -> str:
    first_sentence = next(text_cleanup.split_sentences(summary), "")
    title = text_cleanup.clean_title(raw.title) or text_cleanup.shorten_text(first_sentence, _MAX_TITLE_WORDS)
    if not title:
        raise UnusableItemError("no title and no text")
    return title


def _read_event(
    raw: RawItem,
    title: str,
    text: str,
    stated_at: datetime | None,
) -> dict[str, Any]:
    """Return the fields for an event's time and place, from the document or else from its text."""
    starts_at, all_day = parse_event_time(raw.starts)
    place = text_cleanup.clean_name(raw.place) or None
    event: dict[str, Any] = {"event_zone": raw.zone, "place": place}
    if starts_at:
        ends_at, _ = parse_event_time(raw.ends)
        if ends_at and ends_at <= starts_at:
            ends_at = None
        return event | {"starts_at": starts_at, "ends_at": ends_at, "all_day": all_day}
    announced = find_event(title, text, stated_at)
    if announced is None:
        return event
    return {
        "announced_at": announced.starts_at,
        "announced_until": announced.ends_at,
        "all_day": announced.all_day,
        "event_zone": announced.zone,
        "place": place or announced.place or None,
    }


def normalize_language(tag: str | None) -> str | None:
    """Return a normalized language tag (BCP 47), such as "en-US" for "en_us", or None if it isn't one."""
    matched = _LANGUAGE_TAG.match((tag or "").strip())
    if not matched:
        return None
    primary, script, region = matched.groups("")
    parts = (primary.lower(), script.title(), region.upper())
    return "-".join(filter(None, parts))


def _clean_urls(raw: RawItem, base: str) -> tuple[str, str]:
    """Return the link as published and its canonical form.

    If there's no link, a GUID that's a URL is used.
    """
    link = raw.link.strip()
    if not link and re.match(r"https?://", raw.guid.strip(), re.IGNORECASE):
        link = raw.guid
    if not link:
        raise UnusableItemError("no link, and the id isn't a URL")
    try:
        return absolute_url(link, base), canonical_url(link, base)
    except ValueError as exc:
        raise UnusableItemError(f"the link can't be used: {exc}") from exc


def _clean_summary(raw: RawItem) -> tuple[str, SummaryBasis, str]:
    """Return the summary, its basis, and the text of the content if that was also read.

    The publisher's description is preferred. If software generated it from the opening, including a
    form or a table, the content's paragraphs are used instead.
    """
    described = _clean_prose(raw.summary)
    is_good = len(described) >= _MIN_SUMMARY_CHARACTERS and described != text_cleanup.clean_title(raw.title)
    is_read = not is_good or _WORTH_CLEANING.search(raw.content)
    content = text_cleanup.html_to_text(raw.content) if is_read else ""
    if not is_good and len(content) > len(described):
        return _clean_prose(raw.content) or described, SummaryBasis.OPENING, content
    basis = _find_summary_basis(raw, described)
    if basis is SummaryBasis.OPENING and _has_more_than_prose(described, raw.content):
        described = _clean_prose(raw.content)
    return described, basis, content


def _has_more_than_prose(described: str, content: str) -> bool:
    """Return True if a description is the start of an article that includes text outside paragraphs.

    Whitespace is ignored, because blog software joins blocks without spaces.
    """
    prose, words = extract_prose(content), described.rstrip("…. ")
    if not prose or words in prose:
        return False
    return _squeeze(words) in _squeeze(strip_shortcodes(text_cleanup.html_to_text(content)))


def _squeeze(text: str) -> str:
    return "".join(text.split())


def _clean_prose(markup: str) -> str:
    return text_cleanup.clean_summary(escape(extract_prose(markup), quote=False))


def _find_summary_basis(raw: RawItem, described: str) -> SummaryBasis:
    """Return a description's basis: the publisher's own words, or the opening of the article.

    Blog software uses the opening.
    """
    if raw.summary_basis:
        return raw.summary_basis
    if text_cleanup.is_cut_off(raw.summary):
        return SummaryBasis.OPENING
    reach = _MARKUP_SHARE * len(described) + _MAX_PRECEDING_CHARACTERS
    opening = text_cleanup.html_to_text(raw.content[:reach])
    return SummaryBasis.OPENING if described.rstrip("…. ") in opening else SummaryBasis.DESCRIPTION


# A possible credit or deadline makes the content worth cleaning even if there's a good description.
_WORTH_CLEANING = re.compile(
    r"source|credit|via|deadline|clos(?:es?|ing)|due|appl[yi]|submi|regist|no later|open until|extended|comment|nominat|"
    r"propos|will (?:be held|take|meet|convene|host|hold|conduct)|takes place|when ?:",
    re.IGNORECASE,
)


def _join_authors(names: Sequence[str]) -> str | None:
    people = list(filter(None, map(text_cleanup.clean_author, names[:20])))
    # Merges "Jane Roe" and the slug "Jane-Roe".
    once = {name.replace("-", " ").lower(): name for name in reversed(people)}
    return text_cleanup.clean_name(", ".join(reversed(once.values()))) or None


def _clean_categories(labels: Sequence[str]) -> tuple[str, ...]:
    names = map(text_cleanup.clean_name, labels[: _MAX_CATEGORIES * 4])
    return tuple(dict.fromkeys(filter(None, names)))[:_MAX_CATEGORIES]


def _find_image_credit(raw: RawItem) -> str | None:
    """Return the document's credit for the item's image.

    If it has none and there's at most one image, return the credit found in the text.
    """
    credits_given = [text_cleanup.clean_name(credit) for credit in raw.image_credits]
    if not credits_given:
        images = chain.from_iterable(map(_images_in, (raw.content, raw.summary)))
        embedded = {address for address, _ in images}
        if len(embedded | {raw.image or ""} - {""}) > 1:
            return None
        markups = filter(_WITH_CREDIT.search, (raw.summary, raw.content, raw.image_alt))
        texts = map(text_cleanup.html_to_text, markups)
        credits_given = [credit for text in texts for credit in find_image_credits(text)]
    joined = SEPARATOR.join(dict.fromkeys(filter(None, credits_given)))
    # Not truncated, because the end may name another owner.
    return joined if 0 < len(joined) <= _MAX_CREDIT_CHARACTERS else None


_WITH_CREDIT = re.compile(r"photo|(?:image|graphic|illustration|map)s?(?: by|:| credit| courtesy)", re.IGNORECASE)
_MAX_CREDIT_CHARACTERS = 200


_IMG_TAG = re.compile(r"<img\b[^<>]{0,4000}>", re.IGNORECASE)
_NON_IMAGE_URL = re.compile(
    r"feedburner|doubleclick|/pixel|[/_.-](?:spacer|blank|beacon|tracking|1x1)\b|s\.w\.org/images/core/emoji|gravatar\.com|"
    r"stats?\.(?:wordpress|wp)\.com|pixel\.wp\.com|wp-smiley|/smilies/|feedsportal|count(?:er)?\.gif|"
    r"(?:facebook|twitter|linkedin|google|email|digg|share|rss|icon)[\w-]*\.(?:gif|png|svg)",
    re.IGNORECASE,
)


def _choose_image(raw: RawItem, base: str) -> tuple[str | None, str | None]:
    """Return the URL and alt text of the item's image.

    It's the declared image, or else the first visible one in the item's content.
    """
    declared = (raw.image or "", raw.image_alt)
    for address, alt in (declared, *_images_in(raw.content), *_images_in(raw.summary)):
        if not address or address.startswith("data:") or _NON_IMAGE_URL.search(address):
            continue
        if url := usable_url(text_cleanup.unescape_html(address), base):
            return url, text_cleanup.normalize_text(text_cleanup.html_to_text(alt))[:500] or None
    return None, None


def _images_in(markup: str) -> Iterable[tuple[str, str]]:
    for tag in _IMG_TAG.findall(markup[: text_cleanup.MAX_HTML_CHARACTERS]):
        attributes = defaultdict(str, text_cleanup.read_attributes(tag))
        if _COUNTER_SIZES & {attributes["width"].strip(), attributes["height"].strip()}:
            continue
        src = attributes["src"]
        if not src or src.startswith("data:"):
            src = next(filter(None, map(attributes.get, _LATE_SOURCES)), src)
        yield src, attributes["alt"]


_COUNTER_SIZES = {"0", "1", "2"}  # width or height of a tracking image, in pixels
_LATE_SOURCES = ("data-src", "data-lazy-src", "data-original")  # URLs of images that are shown by a script
