"""Where providers post their events. A post is proved, stored as it came, and answered at once.

Applying events is another job's work (`background.apply_inbound_events`). Every faulty post gets the same answer, so that
guessing teaches nothing.
"""

from flask import Blueprint, Response, abort, request
from werkzeug.exceptions import RequestEntityTooLarge

from digest.app.sending import background_tasks
from digest.web.context import web_context
from subscribers.loggers import get_logger

MAX_POST_BYTES = 2_000_000  # octets; providers post less than half of it

webhook_pages = Blueprint("hooks", __name__)
log = get_logger("digest.web")


@webhook_pages.post("/hooks/<provider_name>")
def receive_events(provider_name: str) -> Response:
    """Receive a post of events: 200 once it is durably stored, or was before; 403 where it is not proved to be the provider's."""
    if not background_tasks.has_webhook(provider_name):
        abort(404)
    context = web_context()
    request.max_content_length = MAX_POST_BYTES
    try:
        body = request.get_data(cache=False)
    except RequestEntityTooLarge:
        return _webhook_response("too large", 413)
    reason = background_tasks.receive_webhook(
        context.installation, provider_name, request.headers.get, body, now=context.clock()
    )
    if reason:
        log.warning("a post of events is refused", why=reason)
        return _webhook_response("refused", 403)
    return _webhook_response("taken", 200)


def _webhook_response(text: str, status: int) -> Response:
    return Response(f"{text}\n", status, mimetype="text/plain")
