"""Webhooks to which providers post events.

A post is verified, stored unchanged, and answered immediately. Another job applies the events
(`background.apply_inbound_events`). Every invalid post gets the same response, so that guessing
reveals nothing.
"""

from flask import Blueprint, Response, abort, request
from werkzeug.exceptions import RequestEntityTooLarge

from digest.app.sending import background_tasks
from digest.web.app_state import get_app_state
from subscribers.loggers import get_logger

MAX_POST_BYTES = 2_000_000  # in bytes; providers post less than half of this

webhook_pages = Blueprint("hooks", __name__)
log = get_logger("digest.web")


@webhook_pages.post("/hooks/<provider_name>")
def receive_events(provider_name: str) -> Response:
    """Store the events that a provider posted.

    The status is 200 if they're durably stored, including when they already were, or 403 if the
    provider can't be verified.
    """
    if not background_tasks.has_webhook(provider_name):
        abort(404)
    app_state = get_app_state()
    request.max_content_length = MAX_POST_BYTES
    try:
        body = request.get_data(cache=False)
    except RequestEntityTooLarge:
        return _webhook_response("too large", 413)
    reason = background_tasks.receive_webhook(
        app_state.installation, provider_name, request.headers.get, body, now=app_state.clock()
    )
    if reason:
        log.warning("refused a post of events", why=reason)
        return _webhook_response("refused", 403)
    return _webhook_response("taken", 200)


def _webhook_response(text: str, status: int) -> Response:
    return Response(f"{text}\n", status, mimetype="text/plain")
