"""The blueprint of the admin pages, and the functions that they share.

`digest.web.admin.pages` collects the routes.
"""

from collections.abc import Iterable
from datetime import datetime

from flask import Blueprint, Response, request

from digest.installation.audited_actions import Actor
from digest.installation.opened_installation import Installation
from digest.web.app_state import get_app_state
from digest.web.auth.access import current_actor
from subscribers.pages.forms import FormError

DownloadBody = str | bytes | Iterable[str] | Iterable[bytes]

admin_pages = Blueprint("admin", __name__, url_prefix="/admin")


def get_installation_actor_and_time() -> tuple[Installation, Actor, datetime]:
    """Return the arguments that most actions take: the installation, the actor, and the time."""
    app_state = get_app_state()
    return app_state.installation, current_actor(), app_state.clock()


def require_number_typed_to_confirm(number: int) -> None:
    """Raise an error unless this number was typed in the form to confirm an irreversible change.

    Raises:
        FormError: the `number` field is missing or wrong.
    """
    typed = request.form.get("number", "").replace(",", "")
    if typed.strip() != str(number):
        raise FormError({"number": f"Type {number} to confirm."})


def refresh_page(page: str, *, every_seconds: int) -> Response:
    """Return a page that browsers reload after `every_seconds`, even without scripts, or never if that's 0."""
    return Response(page, headers={"Refresh": str(every_seconds)} if every_seconds else {})


def make_download_response(body: DownloadBody, mimetype: str, name: str) -> Response:
    """Return a response that the browser saves as a file with the given name."""
    return Response(body, mimetype=mimetype, headers={"Content-Disposition": f'attachment; filename="{name}"'})
