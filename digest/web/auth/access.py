"""The signed-in staff member, and the check of every request against the access rule of its route."""

import re
from datetime import datetime
from typing import TypedDict
from urllib.parse import urlsplit

from flask import Response, current_app, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect

from digest.app.accounts import sign_in
from digest.app.accounts.sign_in import SignedInStaff
from digest.app.accounts.visitor import Visitor
from digest.installation.audited_actions import Actor, ConfirmationRequiredError, Role
from digest.web.app_state import get_app_state
from digest.web.auth.cookies import read_device_cookie, read_session_cookie
from digest.web.auth.route_rules import ROUTE_RULES
from digest.web.kept_forms import capture_kept_form, get_submitted_path
from digest.web.security import DESK_POLICY, mark_response_private
from subscribers.pages.signup import read_client_ip_address

FIRST_PAGE = "/desk/"
MAX_NEXT_LENGTH = 500  # characters of a redirect path
# Visible ASCII characters without a backslash, not beginning with two slashes.
_LOCAL_PATH = re.compile(r"/(?:[!-.0-\[\]-~][!-\[\]-~]*)?")
STAFF_BLUEPRINTS = frozenset(
    {
        *(
            "admin",
            "approvals",
            "auth",
            "breaking_news",
            "calendar",
            "corrections",
            "desk",
            "editing",
            "gallery",
            "history",
            "live",
        ),
        *("previews", "sending", "stories"),
    }
)


def find_current_staff() -> SignedInStaff | None:
    """Return the staff member who's signed in, or None.

    The session is looked up once per request.
    """
    if "signed_in" not in g:
        app_state, token = get_app_state(), read_session_cookie()
        g.signed_in = (
            sign_in.find_signed_in_member(app_state.installation, token, now=app_state.clock()) if token else None
        )
    signed_in: SignedInStaff | None = g.signed_in
    return signed_in


def current_staff() -> SignedInStaff:
    """Return the signed-in staff member.

    This is only for pages that require signing in.
    """
    signed_in = find_current_staff()
    assert signed_in is not None, "check_access() let nobody else in"
    return signed_in


def current_actor() -> Actor:
    """Return the signed-in staff member as an actor.

    This is only for pages that require signing in.
    """
    return current_staff().actor


class ActorAndTime(TypedDict):
    """An actor and the time, as keyword arguments of actions."""

    actor: Actor
    now: datetime


def get_actor_and_time() -> ActorAndTime:
    """Return the signed-in actor and the current time, as keyword arguments of actions."""
    return {"actor": current_actor(), "now": get_app_state().clock()}


def is_admin() -> bool:
    """Return True if the signed-in staff member is an admin.

    This is only for pages that require signing in.
    """
    return current_actor().role is Role.ADMIN


def read_request_visitor() -> Visitor:
    """Return the visitor who sent this request: their IP address, user agent, and device and session tokens."""
    address = read_client_ip_address(get_app_state().settings.file.limits.proxies)
    return Visitor(address, request.headers.get("User-Agent", ""), read_device_cookie(), read_session_cookie())


def provide_current_staff() -> dict[str, SignedInStaff | None]:
    """Provide the signed-in staff member, or None, to templates.

    On pages that aren't for staff, it's always None.
    """
    return {"staff": find_current_staff() if request.blueprint in STAFF_BLUEPRINTS else None}


def check_access() -> ResponseReturnValue | None:
    """Return None to allow a request, or a response that requires signing in, signing in again, or another role."""
    if request.endpoint is None:
        return None  # the page doesn't exist, as the response will say
    rule = ROUTE_RULES[request.endpoint]
    if rule.role is None:
        return None
    signed_in = find_current_staff()
    if signed_in is None:
        return _ask_to_sign_in()
    if not signed_in.actor.holds(rule.role):
        return render_template("web/auth/not_permitted.html", role=rule.role), 403
    if rule.fresh and not signed_in.is_fresh(get_app_state().clock()):
        return redirect_to_confirm_identity()
    if not _is_read_request():
        get_app_state().kept_forms.drop(signed_in.sign_in, get_submitted_path(request))
    if rule.max_bytes is not None:  # before the form token is checked, because that reads the form
        request.max_content_length = rule.max_bytes
    return None


def redirect_to_confirm_identity(_: ConfirmationRequiredError | None = None) -> ResponseReturnValue:
    """Redirect to the page that confirms a staff member's identity and then leads back here.

    If a form was submitted, it redirects to the form's page, and the form is kept if that's allowed.
    A file isn't kept, so that page says to choose it again.
    """
    if _is_read_request():
        back = _here()
    elif ROUTE_RULES[request.endpoint or ""].max_bytes is not None:
        back = f"{_find_nearest_page()}?file=again"  # without reading the form, which can be long
    else:
        back = request.form.get("back", "")
        back = back if _is_staff_path(back) else _find_nearest_page()
        _keep_form(back)
    return redirect(url_for("auth.show_identity_confirmation", next=back), 303)


def _keep_form(back: str) -> None:
    """Keep the form of this request, unless it's about the staff member's own account."""
    app_state = get_app_state()
    if request.blueprint == "auth":
        return
    form = capture_kept_form(request, back, now=app_state.clock())
    if form is not None:
        app_state.kept_forms.keep(current_staff().sign_in, form)


def _ask_to_sign_in() -> ResponseReturnValue:
    if _is_read_request():
        return redirect(url_for("auth.show_sign_in", next=_here()), 303)
    return render_template("web/auth/signed_out.html", next=_find_nearest_page()), 401


def _is_read_request() -> bool:
    return request.method in {"GET", "HEAD"}


def _here() -> str:
    """Return the requested path with its query, relative to the path of the base URL."""
    query = request.query_string.decode("ascii", "ignore")
    return f"{request.path}?{query}" if query else request.path


def _find_nearest_page() -> str:
    """Return the staff page at the path of a submitted form, or the nearest one above it."""
    path = request.path
    while path and not _is_staff_path(path):
        path = path.rpartition("/")[0]
    return path or FIRST_PAGE


def find_page_to_cancel_to(path: str) -> str:
    """Return the staff page at a path, or the nearest one above it that needs no confirmation of one's identity."""
    path = path if _is_staff_path(path) else FIRST_PAGE
    endpoint, _ = current_app.url_map.bind("").match(urlsplit(path).path, method="GET")
    while ROUTE_RULES[endpoint].fresh:
        path = urlsplit(path).path.rpartition("/")[0]
        if not path:
            return FIRST_PAGE
        if _is_staff_path(path):
            endpoint, _ = current_app.url_map.bind("").match(path, method="GET")
    return path


def sanitize_next_path(path: str | None) -> str:
    """Return the path if it leads to a staff page, or else the path of the desk's first page."""
    return path if path is not None and _is_staff_path(path) else FIRST_PAGE


def _is_staff_path(path: str) -> bool:
    """Return True if a path leads to a staff page.

    Such a path can't lead to another host, however browsers parse it.
    """
    if len(path) > MAX_NEXT_LENGTH or not _LOCAL_PATH.fullmatch(path):
        return False
    try:
        endpoint, _ = current_app.url_map.bind("").match(urlsplit(path).path, method="GET")
    except (HTTPException, RequestRedirect, ValueError):
        return False
    rule = ROUTE_RULES.get(endpoint)
    return rule is not None and rule.role is not None


def build_next_url(path: str | None) -> str:
    """Return the path to redirect to after signing in.

    It's the result of `sanitize_next_path`, with the path of the base URL.
    """
    return f"{request.script_root}{sanitize_next_path(path)}"


def keep_staff_pages_private(response: Response) -> Response:
    """Add headers that keep staff pages out of caches and search engines.

    They also let the desk frame its own previews.
    """
    if request.blueprint in STAFF_BLUEPRINTS:
        response.headers.setdefault("Content-Security-Policy", DESK_POLICY)
        mark_response_private(response)
    return response
