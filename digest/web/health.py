"""For machines that watch this one: is the process alive, and can it do its work?"""

from flask import Blueprint, Response
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from digest.store.engine import newest_schema_revision
from digest.web.context import web_context

health_pages = Blueprint("health", __name__)


@health_pages.get("/healthz")
def report_liveness() -> Response:
    """Say that the process answers; it looks at nothing else, so that a slow disk causes no restart."""
    return _plain_response("alive")


@health_pages.get("/readyz")
def report_readiness() -> Response:
    """Say whether the database answers and its schema is the one that this version knows."""
    try:
        with web_context().database.engine.connect() as connection:
            revision = str(connection.scalar(text("SELECT version_num FROM alembic_version")) or "empty")
    except DBAPIError:
        return _plain_response(
            "not ready: the database does not answer, or was never migrated; run 'digest doctor'", 503
        )
    needed = newest_schema_revision()
    if revision != needed:
        advice = (
            "run 'digest status' with this version: every command brings the schema up to date"
            if revision < needed or revision == "empty"
            else "start this process again with the version that the database was brought up to"
        )
        return _plain_response(f"not ready: the schema is {revision}, this version needs {needed}; {advice}", 503)
    return _plain_response("ready")


def _plain_response(text: str, status: int = 200) -> Response:
    response = Response(f"{text}\n", status, mimetype="text/plain")
    response.headers["Cache-Control"] = "no-store"
    return response
