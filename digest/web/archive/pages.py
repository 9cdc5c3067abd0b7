"""Public pages: sent editions, topics, search, feeds, calendars, images, style sheets, and scripts."""

import gzip
import json
import re
import struct
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

from flask import Blueprint, Response, abort, redirect, render_template, request
from markupsafe import Markup, escape
from werkzeug.wrappers import Response as AnyResponse

from digest.app.editions import edition_views, web_editions
from digest.app.editions.edition_dates import build_calendar_feed, build_edition_calendar
from digest.app.site import archive
from digest.app.site.icon import draw_site_icon, find_icon_letter
from digest.app.site.page_metadata import build_page_metadata, build_website_data, find_home_image
from digest.app.sources import past_editions
from digest.settings import PublicationSettings, Settings
from digest.web.app_state import get_app_state
from digest.web.archive import feeds
from subscribers.subscriber_language import SubscriberLanguage

archive_pages = Blueprint("archive", __name__)

MAX_TYPED_LENGTH = 200  # characters of a search
CACHE_FOREVER = "public, max-age=31536000, immutable"  # for files whose names contain a hash of their bytes
# See XML 1.0, section 2.2.
_INVALID_XML_CHARACTERS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_IMAGE_SOURCE = re.compile(r'(\ssrc=")[^"]*/media/([0-9a-f]{64})"')
# The letter is in ink on paper, or inverted in dark mode. The dot always has the color of labels.
_ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64">'
    "<style>rect{{fill:#14181E}}text{{fill:#FFFFFF}}circle{{fill:{label_dark}}}"
    "@media (prefers-color-scheme:dark){{rect{{fill:#F2F4F6}}text{{fill:#12161C}}circle{{fill:{label}}}}}</style>"
    '<rect width="64" height="64" rx="8"/><text x="28" y="47" text-anchor="middle" '
    'font-family="Georgia,serif" font-weight="bold" font-size="44">{letter}</text>'
    '<circle cx="50" cy="43" r="5"/></svg>'
)


@archive_pages.get("/")
def index() -> AnyResponse:
    """Show the home page: the latest edition, recent ones, and the sign-up field."""
    app_state = get_app_state()
    home = archive.read_home_page(app_state.installation, now=app_state.clock())
    picture = find_home_image(home.layout)
    publication, base, _ = _page_terms(app_state.settings)
    website = {"@context": "https://schema.org"} | build_website_data(publication, base)
    page = render_template("web/home.html", home=home, picture=picture, layout=home.layout, website=website)
    return _cacheable_page(page)


@archive_pages.get("/editions")
def editions() -> AnyResponse:
    """Show one page of the list of sent editions, newest first."""
    listed = archive.read_archive_page(get_app_state().installation, before=_read_number("before"))
    page = render_template("web/archive.html", listed=listed, before=_read_number("before"))
    return _cacheable_page(page)


@archive_pages.get("/topics")
def topics() -> AnyResponse:
    """List the topics of stories."""
    page = render_template("web/topics.html", topics=archive.list_topics(get_app_state().installation))
    return _cacheable_page(page)


@archive_pages.get("/topics/<key>")
def topic(key: str) -> AnyResponse:
    """List the stories of a topic, newest first."""
    before = _read_number("before")
    page = archive.read_topic_page(get_app_state().installation, key, before=before)
    if page is None:
        abort(404)
    html = render_template("web/topic.html", page=page, before=before)
    return _cacheable_page(html)


@archive_pages.get("/topics/<key>.atom")
def topic_feed(key: str) -> AnyResponse:
    """Return the stories of a topic as an Atom feed."""
    app_state = get_app_state()
    page = archive.read_topic_page(app_state.installation, key, limit=archive.FEED_STORIES)
    if page is None:
        abort(404)
    publication, base, _ = terms = _page_terms(app_state.settings)
    title, address = f"{publication.name}: {page.topic.name}", f"{base}/topics/{key}"
    return _atom_feed(feeds.list_topic_entries(page, *terms), title, page=address, address=f"{address}.atom")


@archive_pages.get("/search")
def search() -> Response:
    """Show the public stories that match a search.

    Searches are neither stored nor logged.
    """
    app_state = get_app_state()
    typed = request.args.get("q", "")[:MAX_TYPED_LENGTH]
    search_page = archive.search_archive(
        app_state.installation,
        typed,
        topic=request.args.get("topic", "")[:100],
        year=_read_number("year", 1970, 9998),
        newest_first=request.args.get("sort") == "new",
        page=_read_number("page") or 1,
        now=app_state.clock(),
    )
    response = Response(render_template("web/search.html", typed=typed, found=search_page), mimetype="text/html")
    response.headers["X-Robots-Tag"] = "noindex"
    response.headers["Cache-Control"] = "no-store"  # so that proxies don't store the search
    return response


def _read_number(name: str, least: int = 1, most: int = 999_999) -> int | None:
    """Return a number from the query, or None if it's missing or invalid."""
    text = request.args.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 7 and least <= int(text) <= most else None


@archive_pages.get("/robots.txt")
def robots() -> AnyResponse:
    """Return the paths that crawlers shouldn't visit, and the URL of the sitemap (RFC 9309, section 2.2)."""
    closed = ("/desk", "/admin", "/staff", "/search", "/u/", "/confirm/", "/preferences", "/my-data", "/hooks/")
    prefix, base = request.script_root, get_app_state().settings.link_base
    lines = ["User-agent: *", *(f"Disallow: {prefix}{path}" for path in closed), "", f"Sitemap: {base}/sitemap.xml", ""]
    return _cacheable_response(Response("\n".join(lines), mimetype="text/plain"), seconds=86400)


@archive_pages.get("/sitemap.xml")
def site_map() -> AnyResponse:
    """Return the sitemap, which lists the URLs of all public pages for search engines."""
    app_state = get_app_state()
    lines = archive.list_sitemap_editions(app_state.installation)
    keys = [topic.key for topic in archive.list_topics(app_state.installation)]
    pages = ("/", "/editions", "/topics", "/subscribe", "/privacy", "/contact")
    paths = [*pages, *(f"/topics/{key}" for key in keys)]
    body = render_template("web/sitemap.xml", paths=paths, lines=lines)
    return _cacheable_response(Response(body, mimetype="application/xml"), seconds=3600)


@archive_pages.get("/editions/<name>")
def edition(name: str) -> AnyResponse:
    """Show the page of a sent edition or one that's being sent, or redirect to the URL of an imported past edition."""
    app_state = get_app_state()
    page = web_editions.read_edition_page(app_state.installation, name, now=app_state.clock())
    if page is None:
        # Stories continued from an edition that's older than this installation link here.
        address = past_editions.find_past_edition_url(app_state.installation, name)
        return redirect(address, 302) if address else abort(404)
    meta = build_page_metadata(page, *_page_terms(app_state.settings))
    response = Response(render_template("web/edition.html", page=page, meta=meta), mimetype="text/html")
    response.last_modified = page.changed_at
    return _cacheable_response(response, seconds=300)


@archive_pages.get("/editions/<name>/as-sent")
def edition_as_sent(name: str) -> AnyResponse:
    """Show the email of an edition with its corrections and no personal links."""
    html = edition_views.read_public_edition_html(get_app_state().installation, name)
    if html is None:
        abort(404)
    response = Response(make_image_urls_local(html), mimetype="text/html")
    response.headers["Content-Security-Policy"] = build_email_content_policy()
    response.headers["X-Robots-Tag"] = "noindex"  # search engines should find the edition's page instead
    return _cacheable_response(response, seconds=300)


@archive_pages.get("/icon.svg")
def icon() -> AnyResponse:
    """Return the site's icon, which shows the first letter of the publication's name."""
    settings = get_app_state().settings
    letter = escape(find_icon_letter(settings) or "•")
    branding = settings.file.branding
    svg = _ICON.format(letter=letter, label=branding.label, label_dark=branding.label_dark)
    response = Response(svg, mimetype="image/svg+xml")
    response.headers["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'"
    return _cacheable_response(response, seconds=86400)


@archive_pages.get("/favicon.ico")
def small_icon() -> AnyResponse:
    """Return the icon for browsers that don't support SVG, as an ICO file with one PNG image."""
    png = draw_site_icon(get_app_state().settings, 32)
    if png is None:
        return _missing_icon()
    size, depth = (32, 32, 0, 0), (1, 24)  # in pixels; planes and bits
    entry = struct.pack("<BBBBHHII", *size, *depth, len(png), 22)
    body = struct.pack("<HHH", 0, 1, 1) + entry + png
    return _cacheable_response(Response(body, mimetype="image/x-icon"), seconds=86400)


@archive_pages.get("/apple-touch-icon.png")
def touch_icon() -> AnyResponse:
    """Return the icon for the home screens of phones."""
    png = draw_site_icon(get_app_state().settings, 180)
    if png is None:
        return _missing_icon()
    return _cacheable_response(Response(png, mimetype="image/png"), seconds=86400)


def _missing_icon() -> Response:
    return Response(status=404, headers={"Cache-Control": "no-store"})


@archive_pages.get("/editions/<name>.ics")
def serve_edition_dates_calendar(name: str) -> AnyResponse:
    """Return the dates listed before an edition's sections as an iCalendar file (RFC 5545, section 3.4)."""
    body = build_edition_calendar(get_app_state().installation, name)
    if body is None:
        abort(404)
    return _cacheable_response(_calendar_response(body), seconds=300)


@archive_pages.get("/calendar.ics")
def serve_deadline_and_event_calendar() -> AnyResponse:
    """Return the deadlines and events of the latest editions as an iCalendar feed."""
    body = build_calendar_feed(get_app_state().installation)
    return _cacheable_response(_calendar_response(body), seconds=900)


def _calendar_response(body: bytes) -> Response:
    return Response(body, content_type="text/calendar; charset=utf-8; method=PUBLISH")


@archive_pages.get("/feed.atom")
def feed() -> AnyResponse:
    """Return the sent editions as an Atom feed (RFC 4287, section 4.1.1)."""
    app_state = get_app_state()
    editions = archive.read_feed_editions(app_state.installation)
    publication, base, _ = terms = _page_terms(app_state.settings)
    entries = feeds.list_edition_entries(editions, *terms)
    return _atom_feed(
        entries, publication.name, subtitle=publication.tagline, page=f"{base}/", address=f"{base}/feed.atom"
    )


def _atom_feed(
    entries: list[feeds.FeedEntry], title: str, *, page: str, address: str, subtitle: str = ""
) -> AnyResponse:
    body = render_template(
        "web/feed.xml",
        entries=entries,
        title=title,
        subtitle=subtitle,
        page=page,
        address=address,
        updated=feeds.find_last_update(entries),
    )
    sound = _INVALID_XML_CHARACTERS.sub("", body)
    return _cacheable_response(Response(sound, mimetype="application/atom+xml"), seconds=900)


@archive_pages.get("/feed.json")
def json_feed() -> AnyResponse:
    """Return the sent editions as a JSON Feed."""
    app_state = get_app_state()
    editions = archive.read_feed_editions(app_state.installation)
    publication, base, _ = terms = _page_terms(app_state.settings)
    feed = {
        "version": "https://jsonfeed.org/version/1.1",
        "title": publication.name,
        "description": publication.tagline,
        "home_page_url": f"{base}/",
        "feed_url": f"{base}/feed.json",
        "icon": f"{base}/icon.svg",
        "language": publication.language,
        "authors": [{"name": publication.name, "url": publication.site}],
        "items": [entry.as_json() for entry in feeds.list_edition_entries(editions, *terms)],
    }
    body = json.dumps(feed, ensure_ascii=False, indent=1) + "\n"
    return _cacheable_response(Response(body, mimetype="application/feed+json"), seconds=900)


@archive_pages.get("/media/<name>")
def image_file(name: str) -> AnyResponse:
    """Return a stored image by its name.

    Its name is the hash of its bytes, so it never changes.
    """
    picture = edition_views.find_image(get_app_state().installation, name) if len(name) == 64 else None
    if picture is None:
        abort(404)
    response = Response(picture.body, mimetype=picture.content_type)
    response.headers["Cache-Control"] = CACHE_FOREVER
    response.headers["Content-Security-Policy"] = "default-src 'none'"
    # Email apps and their proxies show these images on their own pages.
    response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    response.set_etag(name)
    return response.make_conditional(request)


@archive_pages.get("/style/<name>")
def style_sheet(name: str) -> Response:
    """Return a style sheet by its public name, which contains the hash of its text."""
    return _give_named_text(get_app_state().styles.text(name), "text/css")


@archive_pages.get("/script/<name>")
def script_file(name: str) -> Response:
    """Return a script by its public name, which contains the hash of its text."""
    return _give_named_text(get_app_state().scripts.text(name), "text/javascript")


def _give_named_text(text: str | None, mimetype: str) -> Response:
    if text is None:
        abort(404)
    # Only responses that are the same for everyone are compressed. See
    # docs/decisions/0050-compressed-answers.md.
    is_compressed = request.accept_encodings["gzip"] > 0
    response = Response(_compress_text(text) if is_compressed else text, mimetype=mimetype)
    if is_compressed:
        response.headers["Content-Encoding"] = "gzip"
    response.headers["Vary"] = "Accept-Encoding"
    response.headers["Cache-Control"] = CACHE_FOREVER
    return response


@lru_cache(maxsize=16)  # more than the number of style sheets and scripts
def _compress_text(text: str) -> bytes:
    return gzip.compress(text.encode(), mtime=0)


def make_image_urls_local(html: str) -> str:
    """Return a page made from an email with the URLs of its images changed to the current host.

    An email contains the base URL at the time when it was made, but the page must work after the
    base URL changes.
    """
    return _IMAGE_SOURCE.sub(rf'\g<1>{request.script_root}/media/\g<2>"', html)


def make_safe_html_with_local_images(html: str) -> Markup:
    """Return part of an approved page as safe HTML with local image URLs."""
    return Markup(make_image_urls_local(html))  # noqa: S704 - rendered by us, and signed


def build_email_content_policy(*, images: bool = True, framed: bool = False) -> str:
    """Return the content security policy of a page made from an email.

    Email apps only support inline styles, so they're allowed here, but nowhere else.
    """
    pictures = "'self'" if images else "'none'"
    ancestors = "'self'" if framed else "'none'"
    return (
        f"default-src 'none'; style-src 'unsafe-inline'; img-src {pictures}; form-action 'none'; "
        f"base-uri 'none'; frame-ancestors {ancestors}"
    )


def _page_terms(settings: Settings) -> tuple[PublicationSettings, str, SubscriberLanguage]:
    """Return the publication, the base URL, and the language of the pages."""
    return settings.file.publication, settings.link_base, settings.subscriber_language


def _cacheable_page(html: str) -> AnyResponse:
    return _cacheable_response(Response(html, mimetype="text/html"), seconds=300)


def _cacheable_response(response: Response, *, seconds: int) -> AnyResponse:
    response.headers["Cache-Control"] = f"public, max-age={seconds}"
    response.add_etag()
    return response.make_conditional(request)


_WORD = re.compile(r"\w+")
_ENDINGS = ("ings", "ing", "ies", "ied", "ers", "es", "ed", "er", "s", "y", "e")
_MIN_STEM = 3  # letters


def mark_words(text: str, words: Iterable[str]) -> Markup:
    """Return a text as HTML in which matching words are in `mark` elements.

    A word also matches with a different ending.
    """
    stems = {_stem(word) for word in words}
    marked, end = [], 0
    for match in _WORD.finditer(text):
        if _stem(match[0]) in stems:
            marked += [escape(text[end : match.start()]), Markup("<mark>{}</mark>").format(match[0])]
            end = match.end()
    return Markup("").join([*marked, escape(text[end:])])


def _stem(word: str) -> str:
    plain = "".join(c for c in unicodedata.normalize("NFD", word.casefold()) if not unicodedata.combining(c))
    ending = next((e for e in _ENDINGS if plain.endswith(e) and len(plain) - len(e) >= _MIN_STEM), "")
    return plain.removesuffix(ending) if ending else plain
