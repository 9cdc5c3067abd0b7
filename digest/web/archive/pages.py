"""What everybody may read: the editions that went out, their feed, their pictures, our style sheets."""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Protocol
from xml.etree import ElementTree as ET
from zoneinfo import ZoneInfo

from flask import Blueprint, Response, abort, redirect, render_template, request
from markupsafe import Markup, escape
from werkzeug.wrappers import Response as AnyResponse

from digest.app import page_views, past_editions, web_editions
from digest.app.edition_dates import build_calendar_feed, build_edition_calendar
from digest.app.page_metadata import describe_edition_page
from digest.edition.content import EditionContent
from digest.store.models import Edition
from digest.web.context import WebContext, web_context
from digest.web.filters import date_of

archive_pages = Blueprint("archive", __name__)

MAX_FEED_EDITIONS = 20  # editions
CACHE_FOREVER = "public, max-age=31536000, immutable"  # for what is named by the hash of its bytes
_ATOM_NAMESPACE = "http://www.w3.org/2005/Atom"
_PICTURE_SOURCE = re.compile(r'(\ssrc=")[^"]*/media/([0-9a-f]{64})"')
# The letter in ink on paper, and turned round in the dark; the dot is the pages' signal colour.
_ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64">'
    "<style>rect{{fill:#14181E}}text{{fill:#FFFFFF}}"
    "@media (prefers-color-scheme:dark){{rect{{fill:#F2F4F6}}text{{fill:#12161C}}}}</style>"
    '<rect width="64" height="64" rx="8"/><text x="28" y="47" text-anchor="middle" '
    'font-family="Georgia,serif" font-weight="bold" font-size="44">{letter}</text>'
    '<circle cx="50" cy="43" r="5" fill="#E0562B"/></svg>'
)
_INVALID_XML_CHARACTERS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")  # XML 1.0, 2.2


@archive_pages.get("/")
def index() -> str:
    """List the editions that went out, the newest first."""
    return render_template("web/archive.html", editions=page_views.list_public_editions(web_context().installation))


@archive_pages.get("/editions/<name>")
def edition(name: str) -> AnyResponse:
    """Show the web edition of an edition that is going out, or went."""
    context = web_context()
    page = web_editions.read_edition_page(context.installation, name, now=context.clock())
    if page is None:
        # A story that goes on from an edition of before this installation leads here.
        address = past_editions.find_past_address(context.installation, name)
        return redirect(address, 302) if address else abort(404)
    if not page.pieces:  # approved by a version that made none
        return edition_as_sent(name)
    meta = describe_edition_page(page, context.settings.file.publication, context.settings.link_base)
    response = Response(render_template("web/edition.html", page=page, meta=meta), mimetype="text/html")
    response.last_modified = page.changed_at
    return _cacheable_response(response, seconds=300)


@archive_pages.get("/editions/<name>/as-sent")
def edition_as_sent(name: str) -> AnyResponse:
    """Show an edition as it was mailed, without what is one reader's; its corrections stand in it too."""
    html = page_views.public_edition_html(web_context().installation, name)
    if html is None:
        abort(404)
    response = Response(use_local_picture_urls(html), mimetype="text/html")
    response.headers["Content-Security-Policy"] = mail_content_policy()
    if request.endpoint == "archive.edition_as_sent":
        # Search engines are to find the page, not this.
        response.headers["X-Robots-Tag"] = "noindex"
    return _cacheable_response(response, seconds=300)


@archive_pages.get("/icon.svg")
def icon() -> AnyResponse:
    """Give the icon of the site: the first letter of the publication's name."""
    letter = escape(web_context().settings.file.publication.name[:1] or "•")
    response = Response(_ICON.format(letter=letter), mimetype="image/svg+xml")
    response.headers["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'"
    return _cacheable_response(response, seconds=86400)


@archive_pages.get("/editions/<name>.ics")
def edition_calendar(name: str) -> AnyResponse:
    """Give the dates that stand early in an edition as a calendar file (RFC 5545)."""
    body = build_edition_calendar(web_context().installation, name)
    if body is None:
        abort(404)
    return _cacheable_response(_calendar_response(body), seconds=300)


@archive_pages.get("/calendar.ics")
def calendar() -> AnyResponse:
    """Give the deadlines and events of the newest editions as a calendar to follow."""
    body = build_calendar_feed(web_context().installation, MAX_FEED_EDITIONS)
    return _cacheable_response(_calendar_response(body), seconds=900)


def _calendar_response(body: bytes) -> Response:
    return Response(body, content_type="text/calendar; charset=utf-8; method=PUBLISH")


@archive_pages.get("/feed.atom")
def feed() -> AnyResponse:
    """Give the editions that went out as an Atom feed (RFC 4287)."""
    context = web_context()
    editions = page_views.list_public_editions(context.installation)[:MAX_FEED_EDITIONS]
    body = build_atom_feed(context, editions, page_views.list_public_corrections(context.installation))
    return _cacheable_response(Response(body, mimetype="application/atom+xml"), seconds=900)


@archive_pages.get("/media/<name>")
def picture_file(name: str) -> AnyResponse:
    """Give a picture. Its name is the hash of its bytes, so it never changes."""
    picture = page_views.find_picture(web_context().installation, name) if len(name) == 64 else None
    if picture is None:
        abort(404)
    response = Response(picture.body, mimetype=picture.content_type)
    response.headers["Cache-Control"] = CACHE_FOREVER
    response.headers["Content-Security-Policy"] = "default-src 'none'"
    # Mail programs and their proxies show these pictures on pages of their own.
    response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    response.set_etag(name)
    return response.make_conditional(request)


@archive_pages.get("/style/<name>")
def style_sheet(name: str) -> Response:
    """Give a style sheet; its name holds the hash of its text."""
    text = web_context().styles.text(name)
    if text is None:
        abort(404)
    response = Response(text, mimetype="text/css")
    response.headers["Cache-Control"] = CACHE_FOREVER
    return response


@archive_pages.get("/script/<name>")
def script_file(name: str) -> Response:
    """Give a script; its name holds the hash of its text."""
    text = web_context().scripts.text(name)
    if text is None:
        abort(404)
    response = Response(text, mimetype="text/javascript")
    response.headers["Cache-Control"] = CACHE_FOREVER
    return response


def use_local_picture_urls(html: str) -> str:
    """Take the pictures of a page that was made as a mail from where the page itself is.

    A mail names them by the public address of the day it was made; a page outlives a change of address.
    """
    return _PICTURE_SOURCE.sub(rf'\g<1>{request.script_root}/media/\g<2>"', html)


def local_pictures(html: str) -> Markup:
    """Mark a piece of an approved page as the HTML that it is, with its pictures from here."""
    return Markup(use_local_picture_urls(html))  # noqa: S704 - rendered by us, and signed


def mail_content_policy(*, images: bool = True, framed: bool = False) -> str:
    """Write the policy for a page that was made as a mail.

    Its styles stand in attributes, since mail programs read nothing else: so they are allowed here, and
    only here.
    """
    pictures = "'self'" if images else "'none'"
    ancestors = "'self'" if framed else "'none'"
    return (
        f"default-src 'none'; style-src 'unsafe-inline'; img-src {pictures}; form-action 'none'; "
        f"base-uri 'none'; frame-ancestors {ancestors}"
    )


def _cacheable_response(response: Response, *, seconds: int) -> AnyResponse:
    response.headers["Cache-Control"] = f"public, max-age={seconds}"
    response.add_etag()
    return response.make_conditional(request)


class FeedCorrection(Protocol):
    """What the feed says of a correction."""

    at: datetime
    signed: str
    headline: str
    was: str
    becomes: str
    note: str


def build_atom_feed(
    context: WebContext, editions: Iterable[Edition], corrections: Mapping[str, Sequence[FeedCorrection]]
) -> bytes:
    """Write the feed. Ids are the editions' public addresses, which never change; a correction updates its edition's entry."""
    publication, base = context.settings.file.publication, context.settings.link_base
    entries = list(editions)
    root = ET.Element("feed", {"xmlns": _ATOM_NAMESPACE, "xml:lang": publication.language})
    _add_text_element(root, "id", f"{base}/")
    _add_text_element(root, "title", publication.name)
    _add_text_element(root, "subtitle", publication.tagline)
    _add_text_element(
        root,
        "updated",
        _atom_timestamp(
            max(
                (_updated_at(e, corrections.get(e.name, ())) for e in entries),
                default=datetime.fromisoformat("2000-01-01T00:00:00Z"),
            )
        ),
    )
    _add_text_element(root, "author/name", publication.name)
    ET.SubElement(root, "link", rel="self", type="application/atom+xml", href=f"{base}/feed.atom")
    ET.SubElement(root, "link", rel="alternate", type="text/html", href=f"{base}/")
    for entry in entries:
        _add_atom_entry(root, entry, f"{base}/editions/{entry.name}", corrections.get(entry.name, ()), context.zone)
    document: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return document


def _add_atom_entry(
    root: ET.Element, edition: Edition, address: str, corrections: Sequence[FeedCorrection], zone: ZoneInfo
) -> None:
    entry = ET.SubElement(root, "entry")
    _add_text_element(entry, "id", address)
    _add_text_element(entry, "title", edition.subject)
    _add_text_element(entry, "published", _atom_timestamp(edition.release_at))
    _add_text_element(entry, "updated", _atom_timestamp(_updated_at(edition, corrections)))
    ET.SubElement(entry, "link", rel="alternate", type="text/html", href=address)
    headlines = [e.headline for s in EditionContent.from_json(edition.content).sections for e in s.entries]
    corrected = [
        f"Corrected {date_of(c.at, zone)}, {c.signed}: in “{c.headline}” we wrote “{c.was}”; it is “{c.becomes}”. {c.note}"
        for c in corrections
    ]
    _add_text_element(entry, "summary", "\n".join([*corrected, edition.preheader, *headlines]).strip())


def _add_text_element(parent: ET.Element, path: str, text: str) -> None:
    for tag in path.split("/"):
        parent = ET.SubElement(parent, tag)
    parent.text = _INVALID_XML_CHARACTERS.sub("", text)


def _published_at(edition: Edition) -> datetime:
    return edition.sent_at or edition.release_at


def _updated_at(edition: Edition, corrections: Sequence[FeedCorrection]) -> datetime:
    return max([_published_at(edition), *(correction.at for correction in corrections)])


def _atom_timestamp(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
