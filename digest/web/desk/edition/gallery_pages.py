"""Every mail that readers and staff can get, made with invented facts, as editors look at it before anybody gets one."""

from flask import Blueprint, Response, abort, render_template, request
from flask.typing import ResponseReturnValue

from digest.app.editions import mail_gallery
from digest.app.editions.mail_gallery import GalleryMail
from digest.web.context import web_context
from digest.web.desk.edition.previews import PREVIEW_VIEWS, find_preview_view, preview_response

gallery_pages = Blueprint("gallery", __name__, url_prefix="/desk/mails")

GALLERY_VIEWS = tuple(view for view in PREVIEW_VIEWS if view.key != "inbox")


@gallery_pages.get("/")
def show_first_mail() -> ResponseReturnValue:
    """Show the first mail of the gallery beside the list of all."""
    return show_mail(mail_gallery.READER_MAILS[0].key)


@gallery_pages.get("/<key>")
def show_mail(key: str) -> ResponseReturnValue:
    """Show one mail in one view beside the list of all."""
    mail = _find_mail(key)
    return render_template(
        "web/desk/edition/mails.html",
        mail=mail,
        subject=mail_gallery.compose_subject(web_context().settings, mail.key),
        groups=(("Readers", mail_gallery.READER_MAILS), ("Staff", mail_gallery.STAFF_MAILS)),
        views=GALLERY_VIEWS,
        view=find_preview_view(request.args.get("view")),
    )


@gallery_pages.get("/<key>/frame")
def show_frame(key: str) -> Response:
    """Give one mail in one view, to be framed."""
    made = mail_gallery.compose_gallery_mail(web_context().settings, _find_mail(key).key)
    view = find_preview_view(request.args.get("view"))
    return preview_response(made.text if view.key == "text" else made.html, view.key)


def _find_mail(key: str) -> GalleryMail:
    return mail_gallery.find_gallery_mail(key) or abort(404, "There is no such mail in the gallery.")
