"""The cookies of the desk, for the session, the form token, and counting a browser's sign-in attempts.

With https, they're `Secure` and named `__Host-…`, so browsers only accept them from this host, for all paths.
"""

from dataclasses import dataclass
from urllib.parse import urlsplit

from flask import Response, request

from digest.app.accounts.sign_in import NewStaffSession
from digest.settings import Settings
from digest.store.staff_sessions import SESSION_LIFETIME
from digest.web.app_state import get_app_state

DEVICE_SECONDS = 365 * 24 * 3600


@dataclass(frozen=True, slots=True)
class CookieScope:
    """The names of the cookies, their path, and whether they're only sent with https."""

    session: str
    device: str
    form: str
    path: str
    secure: bool

    @classmethod
    def from_settings(cls, settings: Settings) -> "CookieScope":
        """Return the cookie scope for the base URL in the settings."""
        base = urlsplit(settings.link_base)
        secure = base.scheme == "https"
        prefix = "__Host-" if secure else ""
        path = "/" if secure else f"{base.path.rstrip('/')}/"
        return cls(f"{prefix}desk", f"{prefix}desk-known", f"{prefix}desk-form", path, secure)


def read_session_cookie() -> str:
    """Return the session token sent by the browser."""
    return request.cookies.get(CookieScope.from_settings(get_app_state().settings).session, "")


def read_device_cookie() -> str:
    """Return the device token from an earlier sign-in, as sent by the browser."""
    return request.cookies.get(CookieScope.from_settings(get_app_state().settings).device, "")


def set_session_cookie(response: Response, token: str) -> Response:
    """Set the session cookie."""
    scope = CookieScope.from_settings(get_app_state().settings)
    return _set_cookie(response, scope, scope.session, token, int(SESSION_LIFETIME.total_seconds()))


def set_sign_in_cookies(response: Response, new_session: NewStaffSession) -> Response:
    """Set the cookies of a new sign-in."""
    scope = CookieScope.from_settings(get_app_state().settings)
    set_session_cookie(response, new_session.token)
    return _set_cookie(response, scope, scope.device, new_session.device, DEVICE_SECONDS)


def delete_session_cookie(response: Response) -> Response:
    """Delete the session cookie."""
    scope = CookieScope.from_settings(get_app_state().settings)
    return _set_cookie(response, scope, scope.session, "", 0)


def _set_cookie(response: Response, scope: CookieScope, name: str, value: str, seconds: int) -> Response:
    response.set_cookie(
        name, value, max_age=seconds, path=scope.path, secure=scope.secure, httponly=True, samesite="Lax"
    )
    return response
