"""Full-size emails: an edition in every view and as read by a screen reader, and a gallery of all other emails.

The emails in the gallery contain fictitious data.
"""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Final

from flask import Blueprint, Response, abort, render_template, request
from flask.typing import ResponseReturnValue

from digest.app.editions import drafting as editions
from digest.app.editions import edition_views, sample_emails
from digest.app.editions.sample_emails import SampleEmail
from digest.edition.content.edition_content import EditionContent
from digest.web.app_state import get_app_state
from digest.web.desk.edition.previews import (
    PREVIEW_MODES,
    MailSize,
    PreviewMode,
    build_preview_response,
    find_preview_mode,
)

preview_pages = Blueprint("previews", __name__, url_prefix="/desk/editions/<name>")

READ_ALOUD_VIEW = PreviewMode("aloud", "Read aloud", "In the order a screen reader reads it")


@preview_pages.get("/preview")
def show_preview(name: str) -> ResponseReturnValue:
    """Show the email of an edition in one view, with or without some sections and topics."""
    installation = get_app_state().installation
    edition = edition_views.read_edition(installation, name)
    content = EditionContent.from_json(edition.content)
    parts = editions.list_edition_part_titles(content)
    omitted = tuple(key for key in parts if key in request.args.getlist("omit"))
    is_short = request.args.get("short") == "yes"
    is_spoken = request.args.get("view") == READ_ALOUD_VIEW.key
    html = editions.render_edition_bytes(installation, edition, "html", omit=omitted, short=is_short)
    # Counting covers the whole list, so it's only done on request.
    counts_variants = request.args.get("variants") == "yes"
    return render_template(
        "web/desk/edition/preview.html",
        edition=edition,
        parts={key: title or "Other news" for key, title in parts.items()},
        omitted=omitted,
        short="yes" if is_short else None,
        gets_nothing=bool(parts) and editions.are_all_parts_omitted(parts, omitted),
        views=(*PREVIEW_MODES, READ_ALOUD_VIEW),
        view=READ_ALOUD_VIEW if is_spoken else find_preview_mode(request.args.get("view")),
        passages=list_spoken_passages(html.decode()) if is_spoken else (),
        size=MailSize(len(html)),
        variants=editions.count_subscribers_by_email_variant(installation, edition.name) if counts_variants else None,
    )


gallery_pages = Blueprint("gallery", __name__, url_prefix="/desk/mails")

GALLERY_MODES = tuple(view for view in PREVIEW_MODES if view.key != "inbox")


@gallery_pages.get("/")
def show_email_gallery() -> ResponseReturnValue:
    """Show the first email of the gallery next to the list of all emails."""
    return show_sample_email(sample_emails.SUBSCRIBER_MAILS[0].key)


@gallery_pages.get("/<key>")
def show_sample_email(key: str) -> ResponseReturnValue:
    """Show an email of the gallery in one view, next to the list of all emails."""
    mail = _find_mail(key)
    return render_template(
        "web/desk/edition/mails.html",
        mail=mail,
        subject=sample_emails.compose_sample_subject(get_app_state().settings, mail.key),
        groups=(("To subscribers", sample_emails.SUBSCRIBER_MAILS), ("To the team", sample_emails.STAFF_MAILS)),
        views=GALLERY_MODES,
        view=find_preview_mode(request.args.get("view")),
    )


@gallery_pages.get("/<key>/frame")
def show_sample_email_frame(key: str) -> Response:
    """Return an email of the gallery in one view, to be shown in a frame."""
    rendered_email = sample_emails.compose_sample_email(get_app_state().settings, _find_mail(key).key)
    view = find_preview_mode(request.args.get("view"))
    return build_preview_response(rendered_email.text if view.key == "text" else rendered_email.html, view.key)


def _find_mail(key: str) -> SampleEmail:
    return sample_emails.find_sample_email(key) or abort(404, "There's no such email in the gallery.")


NO_DESCRIPTION = "no description"
_HEAD_TAGS: Final = frozenset({"base", "link", "meta"})
_VOID: Final = _HEAD_TAGS | {"area", "br", "col", "embed", "hr", "img", "input", "source", "wbr"}
_SILENT: Final = frozenset(["head", "script", "style", "template", "title"])
_TABLE_TAGS: Final = frozenset({"table", "td", "th", "tr"})
_BLOCKS: Final = _TABLE_TAGS | {"blockquote", "body", "div", "li", "ol", "p", "section", "ul"}
_HEADINGS: Final = {f"h{level}": f"heading level {level}" for level in range(1, 7)}
_INVISIBLE: Final = str.maketrans("", "", "\u034f\u200b\u200c\u200d\ufeff\u00ad")  # spacers, which aren't spoken


@dataclass(frozen=True, slots=True)
class SpokenPassage:
    """A passage of an email that a screen reader speaks without a pause.

    Its `roles` are spoken first: "heading level 2", "link", "image", "list item".
    """

    roles: tuple[str, ...]
    text: str


def list_spoken_passages(html: str) -> tuple[SpokenPassage, ...]:
    """Return the passages of an email that a screen reader speaks, in order.

    Layout tables aren't announced, and hidden parts aren't spoken. An image without a description
    is announced as such, and one with an empty description is skipped.
    """
    listener = _MailListener()
    listener.feed(html)
    listener.close()
    listener.end_passage()
    return tuple(listener.passages)


@dataclass(slots=True)
class _OpenTag:
    name: str
    role: str
    silent: bool


@dataclass(slots=True)
class _Passage:
    roles: tuple[str, ...] = ()
    text: list[str] = field(default_factory=list)


Attributes = list[tuple[str, str | None]]


class _MailListener(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.passages: list[SpokenPassage] = []
        self._open: list[_OpenTag] = []
        self._passage = _Passage()

    def handle_starttag(self, tag: str, attrs: Attributes) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag in _VOID:
            self._hear_void(tag, values)
            return
        silent = self._is_silent() or tag in _SILENT or _is_hidden(values)
        self._open.append(_OpenTag(tag, _role_of(tag, values), silent))
        if self._open[-1].role or tag in _BLOCKS:
            self.end_passage()

    def _hear_void(self, tag: str, values: dict[str, str]) -> None:
        if tag == "br":
            self._passage.text.append(" ")
        elif tag == "img" and not self._is_silent() and not _is_hidden(values):
            description = " ".join(values.get("alt", "").split())
            if description or "alt" not in values:
                self.end_passage()
                self.passages.append(SpokenPassage((*self._roles(), "image"), description or NO_DESCRIPTION))

    def handle_endtag(self, tag: str) -> None:
        begins = [at for at, opened in enumerate(self._open) if opened.name == tag]
        if not begins:
            return
        closing = self._open[begins[-1] :]
        if any(opened.role or opened.name in _BLOCKS for opened in closing):
            self.end_passage()
        del self._open[begins[-1] :]

    def handle_data(self, data: str) -> None:
        if self._is_silent():
            return
        if not self._passage.text:
            self._passage.roles = self._roles()
        self._passage.text.append(data)

    def end_passage(self) -> None:
        spoken_text = "".join(self._passage.text).translate(_INVISIBLE)
        text = " ".join(spoken_text.split())
        # A comma between two links is a pause, not a word.
        if any(character.isalnum() for character in text):
            self.passages.append(SpokenPassage(self._passage.roles, text))
        self._passage = _Passage()

    def _is_silent(self) -> bool:
        return bool(self._open) and self._open[-1].silent

    def _roles(self) -> tuple[str, ...]:
        return tuple(opened.role for opened in self._open if opened.role)


def _role_of(tag: str, values: dict[str, str]) -> str:
    if tag in _HEADINGS:
        return _HEADINGS[tag]
    if tag == "a" and values.get("href"):
        return "link"
    if tag == "li":
        return "list item"
    # A table is announced unless it's marked as layout.
    if values.get("role") in {"presentation", "none", "list"}:
        return ""
    return "list item" if values.get("role") == "listitem" else "table" if tag == "table" else ""


def _is_hidden(values: dict[str, str]) -> bool:
    style = values.get("style", "").replace(" ", "").lower()
    return values.get("aria-hidden") == "true" or "hidden" in values or "display:none" in style
