"""Security headers of all responses, and the content of log lines."""

import traceback
from types import TracebackType
from urllib.parse import urlsplit

from flask import Flask, Response, request

from digest.web.app_state import get_app_state
from digest.web.url_rules import LazyRule, RowNumberUrlMap
from subscribers.loggers import get_logger

log = get_logger("digest.web")

HSTS_SECONDS = 365 * 24 * 3600

# Only our own style sheet, images, and forms are allowed, and no scripts. Without scripts,
# `connect-src` has no effect, except that Lighthouse fetches robots.txt through the page and would
# report it as missing.
STRICT_POLICY = "default-src 'none'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
# The desk frames its own previews, and only runs our own scripts from files, never inline ones.
DESK_POLICY = STRICT_POLICY + "; frame-src 'self'; script-src 'self'"


class RedactingFlask(Flask):
    """A Flask application whose error log contains no addresses or tokens."""

    url_rule_class = LazyRule
    url_map_class = RowNumberUrlMap

    def log_exception(self, exc_info: tuple[type, BaseException, TracebackType] | tuple[None, None, None]) -> None:
        """Log where a request failed.

        Flask would log the path, which may contain a subscriber's token, and the exception's text,
        which may quote a row. The route, the type, and the frames are enough to find the error.
        """
        kind, _, frames = exc_info
        frame_lines = [f"{f.filename}:{f.lineno} {f.name}" for f in traceback.extract_tb(frames)]
        log.error(
            "page failed", route=find_route_pattern(), error=kind.__name__ if kind else "", frames=frame_lines[-12:]
        )


def find_route_pattern() -> str:
    """Return the URL pattern of the requested route, with placeholders instead of a subscriber's values."""
    return str(request.url_rule) if request.url_rule else "no such page"


def log_response(response: Response) -> Response:
    """Write one log line for a response, without the path, IP address, or user agent."""
    log.info("page", method=request.method, route=find_route_pattern(), status=response.status_code)
    return response


def add_default_headers(response: Response) -> Response:
    """Add the headers that the view hasn't set."""
    headers = response.headers
    headers.setdefault("Content-Security-Policy", STRICT_POLICY)
    headers.setdefault("X-Frame-Options", "DENY")
    headers.setdefault("X-Content-Type-Options", "nosniff")
    headers.setdefault("Referrer-Policy", "no-referrer")
    headers.setdefault("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
    headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
    settings = get_app_state().settings
    if settings.link_base.startswith("https:"):
        subdomains = "; includeSubDomains" if settings.hsts_subdomains else ""
        headers.setdefault("Strict-Transport-Security", f"max-age={HSTS_SECONDS}{subdomains}")
    if response.status_code >= 400:
        mark_response_private(response)
    headers.setdefault("Cache-Control", "no-cache")
    return _without_request_host(response)


def _without_request_host(response: Response) -> Response:
    """Make a redirect to the request's host relative, because a client can send any host name."""
    target = urlsplit(response.location or "")
    if target.netloc and target.netloc == request.host:
        response.location = target._replace(scheme="", netloc="").geturl()
        response.set_data(b"")  # Werkzeug's page about the redirect contains the host, too
    return response


def mark_response_private(response: Response) -> Response:
    """Mark a response as private to a subscriber or the desk.

    It must not be stored or indexed.
    """
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Robots-Tag"] = "noindex, nofollow"
    return response
