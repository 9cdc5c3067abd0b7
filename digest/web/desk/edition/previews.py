"""Previews of the current edition for the desk: the bytes that subscribers receive, in several views.

The bytes are assembled from the stored fragments. A view only makes the changes that the preview
requires. It sets a fixed color scheme instead of the editor's own, takes images from this process,
because the public URL may not lead here yet, and adds IDs, so that links can target a story.
Personal data in the email is fictitious.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from flask import Response

from digest.edition.content.edition_content import EditionContent
from digest.edition.preflight.message_rules import CLIP_WARNING_SIZE, GMAIL_CLIP_SIZE
from digest.web.archive.pages import build_email_content_policy, make_image_urls_local
from digest.web.desk.outline.preview_anchors import insert_preview_anchors
from digest.web.filters import kilobytes

_DARK_QUERY = re.compile(r"\(\s*prefers-color-scheme\s*:\s*dark\s*\)")
_LIGHT_QUERY = re.compile(r"\(\s*prefers-color-scheme\s*:\s*light\s*\)")
_SCHEME_META = re.compile(r'(<meta\s+name="(?:supported-)?color-schemes?"\s+content=")[^"]*"')
_ALWAYS_TRUE_QUERY, _NEVER_TRUE_QUERY = "(min-width:0)", "(max-width:0)"

# The permissions of a frame whose stories link to their forms. Scripts aren't permitted, because
# one with our origin could remove the sandbox.
LINKED_SANDBOX = "allow-popups allow-same-origin allow-top-navigation-by-user-activation"


@dataclass(frozen=True, slots=True)
class PreviewMode:
    """One of the views in which an edition can be previewed.

    `description` is shown next to the preview. If `has_places` is set, the preview can scroll to a story.
    """

    key: str
    title: str
    description: str
    has_places: bool = True


PREVIEW_MODES = (
    PreviewMode("phone", "Phone", "On a phone"),
    PreviewMode("wide", "Wide", "On a desktop"),
    PreviewMode("dark", "Dark", "On a phone in dark mode"),
    PreviewMode("noimages", "No images", "With images blocked, as in many email apps"),
    PreviewMode("text", "Text", "As plain text, for subscribers who prefer it", has_places=False),
    PreviewMode("inbox", "Inbox", "Subject and preheader in an inbox", has_places=False),
)


@dataclass(frozen=True, slots=True)
class MailSize:
    """The size of an email's HTML in bytes, Gmail's clipping limit, and the size at which the desk warns."""

    octets: int
    limit: int = GMAIL_CLIP_SIZE
    warning: int = CLIP_WARNING_SIZE

    @property
    def sentence(self) -> str:
        """A sentence about the size and its consequences."""
        size = kilobytes(self.octets)
        if self.octets >= self.limit:
            return f"{size}. Gmail hides everything after {kilobytes(self.limit)}, including the unsubscribe link. Remove some stories."
        if self.octets >= self.warning:
            return f"{size}, close to the {kilobytes(self.limit)} after which Gmail hides the rest."
        return f"{size}. Gmail hides everything after {kilobytes(self.limit)}."

    @property
    def tone(self) -> str:
        """The tone of the size bar's color: "ok", "warn", or "bad"."""
        return "bad" if self.octets >= self.limit else "warn" if self.octets >= self.warning else "ok"

    @property
    def share(self) -> float:
        """The filled part of the bar, in percent of the limit."""
        return round(min(100.0, 100 * self.octets / self.limit), 1)

    @property
    def warning_share(self) -> float:
        """The position of the warning mark, in percent of the limit."""
        return round(100 * self.warning / self.limit, 1)


def find_preview_mode(key: str | None) -> PreviewMode:
    """Return a view by its key, or the first one if the key is unknown."""
    return next((v for v in PREVIEW_MODES if v.key == key), PREVIEW_MODES[0])


def build_preview_response(
    body: str,
    view_key: str,
    content: EditionContent | None = None,
    edit_url: Callable[[str], str] | None = None,
) -> Response:
    """Return the text or HTML of an edition in a view, to be shown in a frame at the desk.

    With the edition's `content`, its stories have IDs. With `edit_url`, each story links to its
    form (see `insert_preview_anchors`), and the desk's script may listen to clicks in the frame,
    which doesn't run any scripts itself.
    """
    if view_key == "text":
        response = Response(body, mimetype="text/plain")
    else:
        html = prepare_preview_html(make_image_urls_local(body), dark=view_key == "dark")
        html = insert_preview_anchors(html, content, edit_url) if content else html
        response = Response(html, mimetype="text/html")
    # Images are blocked by the policy, so that the bytes are still those that a subscriber's app renders.
    policy = build_email_content_policy(images=view_key != "noimages", framed=True)
    sandbox = LINKED_SANDBOX if edit_url else "allow-popups"
    response.headers["Content-Security-Policy"] = f"{policy}; sandbox {sandbox}"
    response.headers["X-Frame-Options"] = "SAMEORIGIN"
    return response


def prepare_preview_html(html: str, *, dark: bool) -> str:
    """Force the light or dark color scheme, and make links open outside the frame."""
    always, never = (_DARK_QUERY, _LIGHT_QUERY) if dark else (_LIGHT_QUERY, _DARK_QUERY)
    html = never.sub(_NEVER_TRUE_QUERY, always.sub(_ALWAYS_TRUE_QUERY, html))
    html = _SCHEME_META.sub(rf'\g<1>{"dark" if dark else "light"}"', html)
    return html.replace("<head>", '<head><base target="_blank">', 1)
