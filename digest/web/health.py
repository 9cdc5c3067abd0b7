"""Monitoring endpoints: liveness, readiness, and metrics."""

import hmac

from flask import Blueprint, Response, request
from flask.typing import ResponseReturnValue

from digest.app.alerts.metrics import METRICS_CONTENT_TYPE
from digest.app.doctor.network_access import FORWARDED_COUNT_HEADER
from digest.app.editions.edition_views import explain_unusable_database
from digest.web.app_state import get_app_state

health_pages = Blueprint("health", __name__)


@health_pages.get("/healthz")
def report_liveness() -> Response:
    """Report that the process responds.

    Nothing else is checked, so that a slow disk doesn't cause restarts. `digest doctor --online`
    compares the number of proxies in the request with the settings.
    """
    response = _plain_response("alive")
    forwarded = request.headers.get("X-Forwarded-For", "").split(",")
    response.headers[FORWARDED_COUNT_HEADER] = str(sum(bool(client.strip()) for client in forwarded))
    return response


@health_pages.get("/readyz")
def report_readiness() -> Response:
    """Report whether the database responds and its schema belongs to this version."""
    problem = explain_unusable_database(get_app_state().installation)
    return _plain_response(f"not ready: {problem}", 503) if problem else _plain_response("ready")


@health_pages.get("/metrics")
def report_metrics() -> ResponseReturnValue:
    """Return the metrics, or a 401 response if the request doesn't have the token.

    That applies to requests from this machine, too.
    """
    app_state = get_app_state()
    if not _has_metrics_token():
        refusal = _plain_response("Send the value of DIGEST_METRICS_TOKEN as a bearer token.", 401)
        refusal.headers["WWW-Authenticate"] = "Bearer"
        return refusal
    text = app_state.metrics.render_cached(app_state.installation, now=app_state.clock())
    response = Response(text, content_type=METRICS_CONTENT_TYPE)
    response.headers["Cache-Control"] = "no-store"
    return response


def _has_metrics_token() -> bool:
    """Return True if the request has the token.

    A loopback address proves nothing, because requests from a local proxy have one, too.
    """
    token = get_app_state().settings.metrics_token
    scheme, _, sent = request.headers.get("Authorization", "").partition(" ")
    if token is None or scheme.lower() != "bearer":
        return False
    return hmac.compare_digest(sent.encode(), token.get_secret_value().encode())


def _plain_response(text: str, status: int = 200) -> Response:
    response = Response(f"{text}\n", status, mimetype="text/plain")
    response.headers["Cache-Control"] = "no-store"
    return response
