"""A past edition's page or email: its date, its number, and the stories that it links to."""

import re
from collections.abc import Iterator
from datetime import datetime
from email import message_from_bytes, policy
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

from digest.collect.documents.parsed_document import ParseError
from digest.collect.documents.past_edition import PastEditionPage, PastStoryLink
from digest.collect.parsers import page_head
from digest.collect.parsers.markup.charset import decode_document_text
from digest.collect.parsers.markup.json_ld import LinkedData
from digest.collect.parsers.page import read_html_tree
from digest.collect.parsers.saved_file import find_document_url
from digest.collect.texts import text_cleanup
from digest.collect.texts.dates import parse_date
from digest.collect.texts.urls import canonical_url, remove_email_address_parameters, site_name, usable_url

MAX_STORIES = 200
_MIN_HEADLINE_WORDS = 3
_MAX_SUMMARY_CHARACTERS = 600
_NUMBER = re.compile(r"(?:\bNo\.?|\bNr\.?|#|\bIssue|\bEdition|\bNumber)\s*(\d{1,5})\b", re.IGNORECASE)
_MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"
_WRITTEN_DAY = re.compile(
    rf"\b(?:{_MONTHS})\s+\d{{1,2}},?\s+\d{{4}}\b|\b\d{{1,2}}\s+(?:{_MONTHS})\s+\d{{4}}\b|\b\d{{4}}-\d{{2}}-\d{{2}}\b"
)
_HEAD_CHARACTERS = 3_000  # number of characters in which an edition states its number and date
_SERVICE_WORDS = re.compile(
    r"\b(?:unsubscribe|preferences|view (?:this|it|in|online)|in your browser|forward|privacy|subscribe|advertis\w+|sign up|"
    r"contact us|terms|share (?:this|on)|follow us|update your|leave the list|write to (?:us|the editors?)|to your calendar)\b",
    re.IGNORECASE,
)
_MORE_WORDS = re.compile(r"^(?:read|continue|learn|see|full|more|details|go to|open)\b", re.IGNORECASE)
_COUNTERS = re.compile(
    r"list-manage\.com/track|/ls/click|rs6\.net|hubspotlinks|/track/click|cmail\d+\.com/t|mlsend\.com/link|sendibt\d|awstrack\.me"
)
_SOCIAL_NAMES = """
facebook.com twitter.com x.com linkedin.com instagram.com youtube.com
threads.net bsky.app mastodon.social pinterest.com whatsapp.com t.me
"""
_SOCIAL_SITES = frozenset(_SOCIAL_NAMES.split())
_HEADINGS = {"h1", "h2", "h3", "h4", "h5"}
_BLOCK_NAMES = "p li td th div section article dt dd blockquote body"
_BLOCKS = _HEADINGS.union(_BLOCK_NAMES.split())
_LINE_ENDS = _BLOCKS | {"br", "hr", "table", "ul", "ol"}
_MAX_PIECES_BEFORE = 20  # number of pieces of text before a link to examine
_WORDS_OF_PROSE = 3  # with at least this many words before it, a link is part of a sentence, not a headline
# The end of a label before a headline, such as "Port authority: ".
_LABEL_END = re.compile(r"[:\u2013\u2014|\u00bb\u203a-]\s*$")
_FEED_ENDINGS = (".ics", ".xml", ".rss", ".atom", ".json")
_MAIL_HEADER = re.compile(rb"\A(?:From [^\n]+\n)?(?:[A-Za-z][A-Za-z0-9-]*:[^\n]*\n(?:[ \t][^\n]*\n)*){2}")


def read_past_edition(
    body: bytes,
    *,
    url: str,
    now: datetime,
    charset: str | None = None,
) -> PastEditionPage:
    """Parse a past edition.

    In a saved file, whose `url` begins with "file:", relative links are resolved against the URL
    that the file states. A saved email may be the message as received (.eml) or only its HTML. It
    identifies its recipient, so email addresses are removed from texts and links.

    Raises:
        ParseError: the body isn't HTML, or it contains no stories.
    """
    if _MAIL_HEADER.match(body):
        body, charset = _read_mail_html(body), "utf-8"
    saved = url.startswith("file:")
    address = remove_email_address_parameters((find_document_url(body) or "") if saved else url)
    root = read_html_tree(text_cleanup.normalize_numeric_references(decode_document_text(body, charset)))
    meta = page_head.read_meta_elements(root)
    title = text_cleanup.remove_email_addresses(
        text_cleanup.clean_title(page_head.choose_page_title(root, meta, LinkedData()))
    )
    head = f"{title}\n{text_cleanup.normalize_text(' '.join(root.itertext()))[:_HEAD_CHARACTERS]}"
    links = list(_list_links(root, address or "https://invalid.example/"))
    stories = tuple(_choose_stories(links, address))
    if not stories:
        raise ParseError(
            "The page has no recognizable stories (links with headlines). Use the page of a single edition."
        )
    number = _NUMBER.search(head)
    return PastEditionPage(
        title=title,
        address=address,
        number=int(number[1]) if number else None,
        released_at=_find_date(meta, head, now),
        stories=stories,
        counted_links=sum(1 for link, _, _ in links if _COUNTERS.search(link)),
    )


def _read_mail_html(body: bytes) -> bytes:
    """Return the HTML of a message, with its Date header added as the publication date."""
    message = message_from_bytes(body, policy=policy.default)
    part = message.get_body(("html",))
    if part is None:
        raise ParseError("The email has no HTML part. Use the edition's web page.")
    payload = part.get_payload(decode=True)
    text = decode_document_text(payload if isinstance(payload, bytes) else b"", part.get_content_charset())
    if sent := getattr(message["Date"], "datetime", None):
        text = f'<meta property="article:published_time" content="{sent:%Y-%m-%dT%H:%M:%S%z}">{text}'
    return text.encode()


def _find_date(meta: dict[str, str], head: str, now: datetime) -> datetime | None:
    written = _WRITTEN_DAY.search(head)
    published, _ = parse_date(meta.get("article:published_time"), now)
    return published or parse_date(written[0] if written else None, now)[0]


def _list_links(root: Any, base: str) -> Iterator[tuple[str, str, str]]:
    """Yield each link as (URL, headline, summary).

    The headline of a link such as "Read more" is the heading above it. A link in the middle of a
    sentence has no headline.
    """
    heading = ""
    for element in root.iter(*_HEADINGS, "a"):
        if element.tag in _HEADINGS:
            heading = _text_of(element)
        elif link := usable_url(element.get("href") or "", base):
            yield link, _headline_of(element, heading), _summary_after(element)


def _headline_of(link: Any, heading: str) -> str:
    text = _text_of(link)
    is_more = _MORE_WORDS.match(text) and len(text.split()) <= _MIN_HEADLINE_WORDS + 2
    if is_more or not text:
        return heading
    return "" if _stands_in_a_sentence(link) else text


def _stands_in_a_sentence(link: Any) -> bool:
    """Return True if a link follows words of a sentence in its paragraph.

    For example, it may follow "Also reported by", but not "Ports: ".
    """
    pieces: list[str] = []
    if next(link.iterancestors(*_HEADINGS), None) is not None:
        return False
    for text in islice(_texts_before(link), _MAX_PIECES_BEFORE):
        pieces.insert(0, text)
        before = text_cleanup.normalize_text(" ".join(pieces))
        if len(before.split()) >= _WORDS_OF_PROSE:
            return not _LABEL_END.search(before)
    return False


def _texts_before(link: Any) -> Iterator[str]:
    """Yield the pieces of text before a link within its paragraph or line, nearest first."""
    element = link
    while element is not None and element.tag not in _BLOCKS:
        for sibling in element.itersiblings(preceding=True):
            yield sibling.tail or ""
            if sibling.tag in _LINE_ENDS:
                return
            yield sibling.text_content() if isinstance(sibling.tag, str) else ""
        element = element.getparent()
        if element is not None:
            yield element.text or ""


def _text_of(element: Any) -> str:
    return text_cleanup.remove_email_addresses(text_cleanup.normalize_text(" ".join(element.itertext())))


def _summary_after(element: Any) -> str:
    """Return the paragraph after a headline's block, or "" if there's none."""
    block = element.getparent()
    following = block.getnext() if block is not None else None
    if following is None or following.tag not in {"p", "div"}:
        return ""
    return _text_of(following)[:_MAX_SUMMARY_CHARACTERS]


def _choose_stories(
    links: list[tuple[str, str, str]],
    address: str,
) -> Iterator[PastStoryLink]:
    seen_urls = {canonical_url(address) if address else ""}
    for link, headline, summary in links:
        if not _may_be_story(link, headline):
            continue
        url = remove_email_address_parameters(canonical_url(link))
        if url not in seen_urls and len(seen_urls) <= MAX_STORIES:
            seen_urls.add(url)
            yield PastStoryLink(url, text_cleanup.clean_title(headline), summary)


def _may_be_story(link: str, headline: str) -> bool:
    if _SERVICE_WORDS.search(headline) or len(headline.split()) < _MIN_HEADLINE_WORDS:
        return False
    if _COUNTERS.search(link) or site_name(link) in _SOCIAL_SITES:
        return False
    path = urlsplit(link).path
    return path not in {"", "/"} and not path.endswith(_FEED_ENDINGS)
