"""For machines that watch this one: is the process alive, can it do its work, and what are its numbers?"""

import hmac

from flask import Blueprint, Response, request
from flask.typing import ResponseReturnValue

from digest.app.metrics import METRICS_CONTENT_TYPE
from digest.app.page_views import readiness_problem
from digest.settings import is_loopback
from digest.web.context import web_context

health_pages = Blueprint("health", __name__)


@health_pages.get("/healthz")
def report_liveness() -> Response:
    """Say that the process answers; it looks at nothing else, so that a slow disk causes no restart."""
    return _plain_response("alive")


@health_pages.get("/readyz")
def report_readiness() -> Response:
    """Say whether the database answers and its schema is the one that this version knows."""
    problem = readiness_problem(web_context().installation)
    return _plain_response(f"not ready: {problem}", 503) if problem else _plain_response("ready")


@health_pages.get("/metrics")
def report_metrics() -> ResponseReturnValue:
    """Give the metrics to whoever has the token, or asks from this machine itself and through no proxy."""
    context = web_context()
    if not _may_read_metrics():
        return _plain_response("metrics: from this machine alone, or with the token of DIGEST_METRICS_TOKEN", 403)
    text = context.metrics.write_or_recall(context.installation, now=context.clock())
    response = Response(text, content_type=METRICS_CONTENT_TYPE)
    response.headers["Cache-Control"] = "no-store"
    return response


def _may_read_metrics() -> bool:
    token = web_context().settings.metrics_token
    if token is not None:
        said = request.headers.get("Authorization", "").removeprefix("Bearer ")
        return hmac.compare_digest(said.encode(), token.get_secret_value().encode())
    # A proxy on this machine asks from loopback too; it says for whom.
    is_forwarded = any(request.headers.get(name) for name in ("Forwarded", "X-Forwarded-For", "Via"))
    return is_loopback(request.remote_addr or "") and not is_forwarded


def _plain_response(text: str, status: int = 200) -> Response:
    response = Response(f"{text}\n", status, mimetype="text/plain")
    response.headers["Cache-Control"] = "no-store"
    return response
