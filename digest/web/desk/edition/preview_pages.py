"""The mail at full size: in every view, as a reader of some of its sections gets it, and as a screen reader walks through it."""

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from digest.app.editions import drafting as editions
from digest.app.editions import page_views
from digest.edition.content.edition_content import EditionContent
from digest.web.context import web_context
from digest.web.desk.edition.previews import PREVIEW_VIEWS, MailSize, PreviewView, find_preview_view
from digest.web.desk.edition.read_aloud import list_spoken_passages

preview_pages = Blueprint("previews", __name__, url_prefix="/desk/editions/<name>")

READ_ALOUD_VIEW = PreviewView("aloud", "Read aloud", "What a screen reader speaks, in order")


@preview_pages.get("/preview")
def show_preview(name: str) -> ResponseReturnValue:
    """Show the mail in one view, as a reader gets it who left some sections out."""
    installation = web_context().installation
    edition = page_views.read_edition(installation, name)
    content = EditionContent.from_json(edition.content)
    sections = tuple((section.key, section.title) for section in content.sections)
    omitted = tuple(key for key, _ in sections if key in request.args.getlist("omit"))
    is_short = request.args.get("short") == "yes"
    is_spoken = request.args.get("view") == READ_ALOUD_VIEW.key
    html = editions.edition_bytes(installation, edition.name, "html", omit=omitted, short=is_short)
    return render_template(
        "web/desk/edition/preview.html",
        edition=edition,
        sections=sections,
        omitted=omitted,
        short="yes" if is_short else None,
        gets_nothing=bool(sections) and len(omitted) == len(sections),
        views=(*PREVIEW_VIEWS, READ_ALOUD_VIEW),
        view=READ_ALOUD_VIEW if is_spoken else find_preview_view(request.args.get("view")),
        passages=list_spoken_passages(html.decode()) if is_spoken else (),
        size=MailSize(len(html)),
        # A count over the whole list, so only for who asks.
        variants=editions.count_variants(installation, edition.name) if request.args.get("variants") == "yes" else None,
    )
