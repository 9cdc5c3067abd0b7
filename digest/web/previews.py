"""An edition as it stands, for the desk to look at: the bytes readers get, seen in several ways.

The bytes are the stored fragments, put together. What a view changes is only what the looking needs: a
colour scheme without asking the editor's own system, and pictures from this process, since the public
address may not lead here yet. The marks for one reader's tokens stay as they are.
"""

import re
from dataclasses import dataclass
from typing import Literal

from flask import Response
from sqlalchemy.orm import Session

from digest.db import Edition
from digest.edition.editions import pieces_of
from digest.edition.rendering import page
from digest.web.archive import mail_policy, pictures_from_here

_DARK = re.compile(r"\(\s*prefers-color-scheme\s*:\s*dark\s*\)")
_LIGHT = re.compile(r"\(\s*prefers-color-scheme\s*:\s*light\s*\)")
_SCHEME = re.compile(r'(<meta\s+name="(?:supported-)?color-schemes?"\s+content=")[^"]*"')
_ALWAYS, _NEVER = "(min-width:0)", "(max-width:0)"


@dataclass(frozen=True, slots=True)
class View:
    """One way to look at an edition; `says` explains it beside the picture."""

    key: str
    title: str
    says: str


VIEWS = (
    View("phone", "Phone", "As a phone shows it"),
    View("wide", "Wide", "As a desktop program shows it, smaller"),
    View("dark", "Dark", "As a phone set to dark shows it"),
    View("noimages", "No images", "With pictures blocked, as many programs do at first"),
    View("text", "Text", "The text part, whole"),
    View("inbox", "Inbox", "The two lines in a list of mails"),
)


def view_of(key: str | None) -> View:
    """Find a view by its key; anything unknown is the first."""
    return next((v for v in VIEWS if v.key == key), VIEWS[0])


def preview(session: Session, edition: Edition, view: str) -> Response:
    """Give an edition's bytes for one view, to be framed by the desk."""
    if view == "text":
        response = Response(body_of(session, edition, "text"), mimetype="text/plain")
    else:
        html = to_look_at(pictures_from_here(body_of(session, edition, "html")), dark=view == "dark")
        response = Response(html, mimetype="text/html")
    # Blocking the pictures by policy leaves the bytes alone: what shows is what a reader's program shows.
    policy = mail_policy(images=view != "noimages", framed=True)
    response.headers["Content-Security-Policy"] = f"{policy}; sandbox allow-popups"
    response.headers["X-Frame-Options"] = "SAMEORIGIN"
    return response


def body_of(session: Session, edition: Edition, kind: Literal["html", "text"]) -> str:
    """Put one part of an edition together, with every section."""
    return page(pieces_of(session, edition), kind, omit=())


def octets_of(session: Session, edition: Edition) -> int:
    """Count the HTML part as a receiver does."""
    return len(body_of(session, edition, "html").encode())


def to_look_at(html: str, *, dark: bool) -> str:
    """Fix the colour scheme, and open links beside the desk."""
    always, never = (_DARK, _LIGHT) if dark else (_LIGHT, _DARK)
    html = never.sub(_NEVER, always.sub(_ALWAYS, html))
    html = _SCHEME.sub(rf'\g<1>{"dark" if dark else "light"}"', html)
    return html.replace("<head>", '<head><base target="_blank">', 1)
