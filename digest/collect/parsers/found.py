"""What a document says of one item, before cleaning; cleaning it is the same for every kind of document."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from html import unescape

from digest.collect import text
from digest.collect.dates import find_deadline, read_moment, settle
from digest.collect.items import DateBasis, Item, Rejected
from digest.collect.urls import absolute, canonical

_TITLE_WORDS = 14  # of a title that is made from a text without one
_THIN = 25  # characters: a description shorter than this gives way to the content
_MOST_CATEGORIES = 30
_LANGUAGE = re.compile(r"([A-Za-z]{2,3})(?:[-_]([A-Za-z]{4}))?(?:[-_]([A-Za-z]{2}|\d{3}))?\b")


@dataclass(frozen=True, slots=True)
class Place:
    """Where and when a document was read: its address, the present (UTC), and what it says of all its items."""

    url: str
    now: datetime
    language: str | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """One item as its document has it: texts may hold HTML, dates are as written, links may be relative to `base`.

    `starts` and `ends` of an event are as written too; a day without a time is a day-long event's.
    """

    guid: str = ""
    link: str = ""
    title: str = ""
    summary: str = ""
    content: str = ""
    base: str | None = None
    authors: Sequence[str] = ()
    categories: Sequence[str] = ()
    language: str | None = None
    image: str | None = None
    image_alt: str = ""
    published: str | None = None
    updated: str | None = None
    starts: str | None = None
    ends: str | None = None
    floating: bool = False  # the start names no zone, and was taken for UTC
    place: str = ""
    credit: str | None = None
    featured: bool = False


class Unusable(Exception):  # noqa: N818  a finding about an item, turned into `Rejected` by `take`
    """One item can't be taken in; the message says why."""


def take(found: Iterable[Found | Rejected], where: Place) -> tuple[tuple[Item, ...], tuple[Rejected, ...]]:
    """Clean all items of a document; those that can't be taken are named with their place and the reason."""
    items: list[Item] = []
    rejected: list[Rejected] = []
    for place, one in enumerate(found, start=1):
        if isinstance(one, Rejected):
            rejected.append(replace(one, place=place))
            continue
        try:
            items.append(item(one, where))
        except Unusable as exc:
            rejected.append(Rejected(place, str(exc)))
    return tuple(items), tuple(rejected)


def item(found: Found, where: Place) -> Item:
    """Clean one item.

    Raises:
        Unusable: it has no usable address, or no title and no text to make one from.
    """
    base = found.base or where.url
    link, url = _addresses(found, base)
    summary, content_text = _summary(found)
    title = text.title(found.title) or _made_title(summary)
    if not title:
        raise Unusable("no title, and no text to make one from")
    published, updated, basis = settle(found.published, found.updated, where.now)
    image, alt = _image(found, base)
    starts_at, all_day = read_moment(found.starts)
    ends_at, _ = read_moment(found.ends)
    return Item(
        guid=text.tidy(found.guid)[:1_000] or None,
        url=url,
        link=link,
        title=title,
        summary="" if summary == title else summary,
        author=_author(found.authors),
        credit=found.credit or _credit(summary, content_text),
        categories=_categories(found.categories),
        language=language(found.language) or where.language,
        image_url=image,
        image_alt=alt,
        published=published,
        updated=updated,
        basis=DateBasis.NO_ZONE if found.floating else basis,
        starts_at=starts_at,
        ends_at=ends_at if starts_at and ends_at and ends_at > starts_at else None,
        all_day=all_day,
        place=text.name(found.place) or None,
        closes_on=find_deadline(f"{title}. {content_text or summary}", published or updated),
        featured=found.featured,
    )


def language(tag: str | None) -> str | None:
    """Settle a language tag: "en_us" gives "en-US"; None where it is none (BCP 47)."""
    matched = _LANGUAGE.match((tag or "").strip())
    if not matched:
        return None
    primary, script, region = matched.groups()
    return "-".join(p for p in (primary.lower(), (script or "").title(), (region or "").upper()) if p)


def _addresses(found: Found, base: str) -> tuple[str, str]:
    """Give the link as published and its canonical form; a GUID that is an address stands in for a missing link."""
    link = found.link.strip()
    if not link and re.match(r"https?://", found.guid.strip(), re.IGNORECASE):
        link = found.guid
    if not link:
        raise Unusable("no link, and its id is no address either")
    try:
        return absolute(link, base), canonical(link, base)
    except ValueError as exc:
        raise Unusable(f"its link can't be used: {exc}") from exc


def _summary(found: Found) -> tuple[str, str]:
    """Give the summary and, where the content was read too, the content's text: the description goes first."""
    described = text.summary(found.summary)
    if len(described) >= _THIN and described != text.title(found.title):
        return described, text.plain(found.content) if _may_credit(found.content) else ""
    content = text.plain(found.content)
    if len(content) <= len(described):
        return described, content
    return text.summary(found.content), content


def _may_credit(content: str) -> bool:
    """Say whether the content is worth cleaning beside a good description: a credit or a deadline may be in it."""
    return bool(
        re.search(
            r"source|credit|via|deadline|closes|closing|due|apply|submi|regist|no later",
            content,
            re.IGNORECASE,
        )
    )


def _made_title(summary: str) -> str:
    first = next(text.sentences(summary), "")
    return text.shorten(first, _TITLE_WORDS)


def _author(names: Sequence[str]) -> str | None:
    people = [name for given in names[:20] if (name := text.person(given))]
    once = {
        name.replace("-", " ").lower(): name for name in reversed(people)
    }  # "Jane Roe" and the slug "Jane-Roe"
    return text.name(", ".join(reversed(once.values()))) or None


def _credit(summary: str, content: str) -> str | None:
    return text.credit(content) or text.credit(summary)


def _categories(given: Sequence[str]) -> tuple[str, ...]:
    names = (text.name(category) for category in given[: _MOST_CATEGORIES * 4])
    return tuple(dict.fromkeys(n for n in names if n))[:_MOST_CATEGORIES]


_IMG = re.compile(r"<img\b[^>]{0,4000}>", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"([a-z-]{1,30})\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'>]+))", re.IGNORECASE)
_NO_PICTURE = re.compile(
    r"feedburner|doubleclick|/pixel|[/_.-](?:spacer|blank|beacon|tracking|1x1)\b|s\.w\.org/images/core/emoji|gravatar\.com|"
    r"stats?\.(?:wordpress|wp)\.com|pixel\.wp\.com|wp-smiley|/smilies/|feedsportal|count(?:er)?\.gif|"
    r"(?:facebook|twitter|linkedin|google|email|digg|share|rss|icon)[\w-]*\.(?:gif|png|svg)",
    re.IGNORECASE,
)


def _image(found: Found, base: str) -> tuple[str | None, str | None]:
    """Give the item's picture with its text: the one it names, else the first of its content that can be seen."""
    named = (found.image, found.image_alt) if found.image else None
    for address, alt in [*([named] if named else []), *_pictures(found.content), *_pictures(found.summary)]:
        if not address or address.startswith("data:") or _NO_PICTURE.search(address):
            continue
        try:
            return absolute(unescape(address), base), text.tidy(text.plain(alt))[:500] or None
        except ValueError:
            continue
    return None, None


def _pictures(markup: str) -> Iterable[tuple[str, str]]:
    for tag in _IMG.findall(markup[: text.HTML_CHARACTERS]) if "<" in markup else ():
        has = {m[1].lower(): m[2] or m[3] or m[4] or "" for m in _ATTRIBUTE.finditer(tag)}
        if has.get("width", "").strip() in {"0", "1", "2"} or has.get("height", "").strip() in {
            "0",
            "1",
            "2",
        }:
            continue  # a counter of readers
        src = has.get("src", "")
        late = has.get("data-src") or has.get("data-lazy-src") or has.get("data-original")
        yield (late if late and (not src or src.startswith("data:")) else src), has.get("alt", "")
