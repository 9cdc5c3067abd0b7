"""For machines that watch this one: is the process alive, and can it do its work?"""

from flask import Blueprint, Response

from digest.app.page_views import readiness_problem
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


def _plain_response(text: str, status: int = 200) -> Response:
    response = Response(f"{text}\n", status, mimetype="text/plain")
    response.headers["Cache-Control"] = "no-store"
    return response
