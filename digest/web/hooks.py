"""Where machines report: SendGrid's signed Event Webhook. A post is proved, kept as it came, and answered at once.

Applying is somebody else's work (`errands.apply_events`). Whatever is wrong with a post gets one and the same
answer: who guesses learns nothing.
"""

import structlog
from flask import Blueprint, Response, request
from werkzeug.exceptions import RequestEntityTooLarge

from digest.deliver.inbound.payloads import store
from digest.deliver.inbound.signature import key_of, refusal
from digest.web.ground import ground

LARGEST = 2_000_000  # octets; SendGrid posts at most 768 KB
SIGNATURE = "X-Twilio-Email-Event-Webhook-Signature"
TIMESTAMP = "X-Twilio-Email-Event-Webhook-Timestamp"

hooks = Blueprint("hooks", __name__)
log = structlog.get_logger("digest.web")


@hooks.post("/hooks/sendgrid")
def sendgrid() -> Response:
    """Take a post of events: 200 once it is durably kept, or was before; 403 for all that is not signed by SendGrid."""
    here = ground()
    request.max_content_length = LARGEST
    try:
        body = request.get_data(cache=False)
    except RequestEntityTooLarge:
        return _line("too large", 413)
    keys = [key_of(der) for der in here.settings.sendgrid_webhook_keys]
    signature, timestamp = request.headers.get(SIGNATURE), request.headers.get(TIMESTAMP)
    why = refusal(keys, body, signature=signature, timestamp=timestamp, now=here.clock())
    if why:
        log.warning("a post of events is refused", why=why)
        return _line("refused", 403)
    store(here.database, here.install.keys, body, now=here.clock())
    return _line("taken", 200)


def _line(words: str, status: int) -> Response:
    return Response(f"{words}\n", status, mimetype="text/plain")
