"""Where machines report: SendGrid's signed Event Webhook. A post is proved, kept as it came, and answered at once.

Applying is somebody else's work (`errands.apply_inbound_events`). Whatever is wrong with a post gets one and the same
answer: who guesses learns nothing.
"""

import structlog
from flask import Blueprint, Response, request
from werkzeug.exceptions import RequestEntityTooLarge

from digest.deliver.events.payloads import store_payload
from digest.deliver.providers.sendgrid.webhook_signature import load_webhook_key, webhook_refusal_reason
from digest.web.context import web_context

MAX_POST_BYTES = 2_000_000  # octets; SendGrid posts at most 768 KB
SIGNATURE_HEADER = "X-Twilio-Email-Event-Webhook-Signature"
TIMESTAMP_HEADER = "X-Twilio-Email-Event-Webhook-Timestamp"

webhook_pages = Blueprint("hooks", __name__)
log = structlog.get_logger("digest.web")


@webhook_pages.post("/hooks/sendgrid")
def receive_sendgrid_events() -> Response:
    """Take a post of events: 200 once it is durably kept, or was before; 403 for all that is not signed by SendGrid."""
    here = web_context()
    request.max_content_length = MAX_POST_BYTES
    try:
        body = request.get_data(cache=False)
    except RequestEntityTooLarge:
        return _webhook_response("too large", 413)
    keys = [load_webhook_key(der) for der in here.settings.sendgrid_webhook_keys]
    signature, timestamp = request.headers.get(SIGNATURE_HEADER), request.headers.get(TIMESTAMP_HEADER)
    why = webhook_refusal_reason(keys, body, signature=signature, timestamp=timestamp, now=here.clock())
    if why:
        log.warning("a post of events is refused", why=why)
        return _webhook_response("refused", 403)
    store_payload(here.database, here.install.keys, body, now=here.clock())
    return _webhook_response("taken", 200)


def _webhook_response(text: str, status: int) -> Response:
    return Response(f"{text}\n", status, mimetype="text/plain")
