"""What everybody may read: the editions that went out, their feed, their pictures, our style sheets."""

import re
from collections.abc import Iterable
from datetime import datetime
from xml.etree import ElementTree as ET

from flask import Blueprint, Response, abort, render_template, request
from sqlalchemy import select
from sqlalchemy.orm import Session, undefer
from werkzeug.wrappers import Response as AnyResponse

from digest.db import Edition, EditionState, Media
from digest.edition.content import Content
from digest.edition.editions import pieces_of
from digest.edition.rendering import page
from digest.web.ground import Ground, ground

archive = Blueprint("archive", __name__)

PUBLIC = (EditionState.SENDING, EditionState.SENT)
IN_FEED = 20  # editions
FOREVER = "public, max-age=31536000, immutable"  # for what is named by the hash of its bytes
_ATOM = "http://www.w3.org/2005/Atom"
_PICTURE = re.compile(r'(\ssrc=")[^"]*/media/([0-9a-f]{64})"')
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")  # XML 1.0, 2.2


@archive.get("/")
def index() -> str:
    """List the editions that went out, the newest first."""
    with ground().database.read() as session:
        return render_template("web/archive.html", editions=public_editions(session))


@archive.get("/editions/<name>")
def edition(name: str) -> AnyResponse:
    """Show the web copy of an edition that is going out, or went."""
    with ground().database.read() as session:
        found = session.scalar(select(Edition).where(Edition.name == name, Edition.state.in_(PUBLIC)))
        if found is None:
            abort(404)
        body = pictures_from_here(page(pieces_of(session, found), "web"))
    response = Response(body, mimetype="text/html")
    response.headers["Content-Security-Policy"] = mail_policy()
    return _revalidated(response, seconds=300)


@archive.get("/feed.atom")
def feed() -> AnyResponse:
    """Give the editions that went out as an Atom feed (RFC 4287)."""
    with ground().database.read() as session:
        body = atom(ground(), public_editions(session)[:IN_FEED])
    return _revalidated(Response(body, mimetype="application/atom+xml"), seconds=900)


@archive.get("/media/<name>")
def media(name: str) -> AnyResponse:
    """Give a picture. Its name is the hash of its bytes, so it never changes."""
    with ground().database.read() as session:
        found = session.get(Media, name, options=[undefer(Media.body)]) if len(name) == 64 else None
        if found is None:
            abort(404)
        response = Response(found.body, mimetype=found.content_type)
    response.headers["Cache-Control"] = FOREVER
    response.headers["Content-Security-Policy"] = "default-src 'none'"
    # Mail programs and their proxies show these pictures on pages of their own.
    response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    response.set_etag(name)
    return response.make_conditional(request)


@archive.get("/style/<name>")
def style(name: str) -> Response:
    """Give a style sheet; its name holds the hash of its text."""
    text = ground().styles.text(name)
    if text is None:
        abort(404)
    response = Response(text, mimetype="text/css")
    response.headers["Cache-Control"] = FOREVER
    return response


def public_editions(session: Session) -> list[Edition]:
    """List the editions that anybody may read, the newest first."""
    query = (
        select(Edition)
        .where(Edition.state.in_(PUBLIC))
        .order_by(Edition.release_at.desc(), Edition.id.desc())
    )
    return list(session.scalars(query))


def pictures_from_here(html: str) -> str:
    """Take the pictures of a page that was made as a mail from where the page itself is.

    A mail names them by the public address of the day it was made; a page outlives a change of address.
    """
    return _PICTURE.sub(rf'\g<1>{request.script_root}/media/\g<2>"', html)


def mail_policy(*, images: bool = True, framed: bool = False) -> str:
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


def _revalidated(response: Response, *, seconds: int) -> AnyResponse:
    response.headers["Cache-Control"] = f"public, max-age={seconds}"
    response.add_etag()
    return response.make_conditional(request)


def atom(here: Ground, editions: Iterable[Edition]) -> bytes:
    """Write the feed. Ids are the editions' public addresses, which never change."""
    publication, base = here.settings.file.publication, here.settings.base
    shown = list(editions)
    root = ET.Element("feed", {"xmlns": _ATOM, "xml:lang": publication.language})
    _add(root, "id", f"{base}/")
    _add(root, "title", publication.name)
    _add(root, "subtitle", publication.tagline)
    _add(
        root,
        "updated",
        _stamp(max((_went_out(e) for e in shown), default=datetime.fromisoformat("2000-01-01T00:00:00Z"))),
    )
    _add(root, "author/name", publication.name)
    ET.SubElement(root, "link", rel="self", type="application/atom+xml", href=f"{base}/feed.atom")
    ET.SubElement(root, "link", rel="alternate", type="text/html", href=f"{base}/")
    for issue in shown:
        _add_entry(root, issue, f"{base}/editions/{issue.name}")
    written: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return written


def _add_entry(root: ET.Element, issue: Edition, address: str) -> None:
    entry = ET.SubElement(root, "entry")
    _add(entry, "id", address)
    _add(entry, "title", issue.subject)
    _add(entry, "published", _stamp(issue.release_at))
    _add(entry, "updated", _stamp(_went_out(issue)))
    ET.SubElement(entry, "link", rel="alternate", type="text/html", href=address)
    headlines = [e.headline for s in Content.from_json(issue.content).sections for e in s.entries]
    _add(entry, "summary", "\n".join([issue.preheader, *headlines]).strip())


def _add(parent: ET.Element, path: str, text: str) -> None:
    for tag in path.split("/"):
        parent = ET.SubElement(parent, tag)
    parent.text = _NOT_XML.sub("", text)


def _went_out(issue: Edition) -> datetime:
    return issue.sent_at or issue.release_at


def _stamp(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
