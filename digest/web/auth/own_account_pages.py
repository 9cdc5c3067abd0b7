"""The account page of each staff member: sessions, passkeys, password, and log.

Changes require a recent sign-in.
"""

from flask import Response, abort, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from digest.app.accounts import own_account
from digest.app.accounts.attempt_limits import SignInRefusedError, TooManyAttemptsError
from digest.app.accounts.authenticator_apps import draw_qr_code
from digest.app.accounts.own_account import OwnAccountError
from digest.app.accounts.passkeys import PasskeyError
from digest.app.accounts.passwords import PasswordRefusedError
from digest.web.app_state import get_app_state
from digest.web.auth.access import current_staff, read_request_visitor
from digest.web.auth.pages import auth_pages
from subscribers.errors import RefusalError


@auth_pages.get("/desk/security")
def show_own_account() -> ResponseReturnValue:
    """Show a staff member's sessions, sign-in methods, and log."""
    return _own_page()


def _own_page(*, refusal: RefusalError | None = None) -> str:
    app_state = get_app_state()
    account = own_account.view_own_account(app_state.installation, current_staff(), now=app_state.clock())
    is_fresh = current_staff().is_fresh(app_state.clock())
    return render_template("web/auth/security.html", account=account, is_fresh=is_fresh, refusal=refusal)


def _back_to_own_page(anchor: str = "") -> ResponseReturnValue:
    return redirect(url_for("auth.show_own_account", _anchor=anchor or None), 303)


@auth_pages.post("/desk/security/name")
def submit_name() -> ResponseReturnValue:
    """Change the name shown to colleagues."""
    app_state = get_app_state()
    try:
        own_account.change_own_display_name(
            app_state.installation, current_staff(), request.form.get("name", ""), now=app_state.clock()
        )
    except OwnAccountError as exc:
        return _own_page(refusal=exc), 400
    return _back_to_own_page()


@auth_pages.post("/desk/security/seen")
def mark_failed_sign_ins_as_seen() -> ResponseReturnValue:
    """Record that the staff member has seen the failed sign-ins."""
    app_state = get_app_state()
    own_account.acknowledge_failed_sign_ins(app_state.installation, current_staff(), now=app_state.clock())
    return _back_to_own_page()


@auth_pages.post("/desk/security/sessions/<int:number>/end")
def end_session(number: int) -> ResponseReturnValue:
    """End one of the staff member's sessions."""
    app_state = get_app_state()
    own_account.end_own_session(app_state.installation, current_staff(), number, now=app_state.clock())
    return _back_to_own_page("sessions")


@auth_pages.post("/desk/security/sessions/end-others")
def end_other_sessions() -> ResponseReturnValue:
    """End all of the staff member's sessions except this one."""
    app_state = get_app_state()
    own_account.end_other_sessions(app_state.installation, current_staff(), now=app_state.clock())
    return _back_to_own_page("sessions")


@auth_pages.post("/desk/security/app")
def begin_authenticator_setup() -> ResponseReturnValue:
    """Create a secret for an authenticator app, and redirect to the page that shows it."""
    app_state = get_app_state()
    own_account.begin_authenticator_setup(app_state.installation, current_staff(), now=app_state.clock())
    return redirect(url_for("auth.show_password_form"), 303)


@auth_pages.get("/desk/security/password")
def show_password_form() -> ResponseReturnValue:
    """Show the form that sets a password and an authenticator app.

    It includes the authenticator app's secret if its first code hasn't been entered yet.
    """
    page = _password_page()
    return page if page is not None else _back_to_own_page("password")


@auth_pages.post("/desk/security/password")
def submit_new_password() -> ResponseReturnValue:
    """Set the password, the authenticator app, or both."""
    app_state, form = get_app_state(), request.form
    try:
        codes = own_account.set_password(
            app_state.installation,
            current_staff(),
            form.get("password", ""),
            form.get("code", ""),
            read_request_visitor(),
            current=form.get("current", ""),
            now=app_state.clock(),
        )
    except (PasswordRefusedError, OwnAccountError, SignInRefusedError, TooManyAttemptsError) as exc:
        page = _password_page(refusal=exc)
        return (page, 400) if page is not None else _back_to_own_page("password")
    return _recovery_codes_page(codes) if codes else _back_to_own_page("password")


def _password_page(*, refusal: RefusalError | None = None) -> str | None:
    """Render the password form, or return None if the authenticator app has to be set up first."""
    app_state = get_app_state()
    account = own_account.view_own_account(app_state.installation, current_staff(), now=app_state.clock())
    secret = own_account.read_unconfirmed_secret(app_state.installation, current_staff())
    if not secret and account.code_app is None:
        return None
    return render_template("web/auth/password.html", account=account, secret=secret, refusal=refusal)


@auth_pages.get("/desk/security/app.svg")
def draw_authenticator_qr_code() -> ResponseReturnValue:
    """Return a QR code with the authenticator app's secret if its first code hasn't been entered yet."""
    app_state = get_app_state()
    secret = own_account.read_unconfirmed_secret(app_state.installation, current_staff())
    if not secret:
        abort(404)
    uri = own_account.make_own_totp_uri(app_state.installation, current_staff(), secret)
    return Response(draw_qr_code(uri), mimetype="image/svg+xml")


@auth_pages.post("/desk/security/recovery-codes")
def make_new_recovery_codes() -> ResponseReturnValue:
    """Create new recovery codes, and show them once."""
    app_state = get_app_state()
    try:
        codes = own_account.replace_recovery_codes(app_state.installation, current_staff(), now=app_state.clock())
    except OwnAccountError as exc:
        return _own_page(refusal=exc), 409
    return _recovery_codes_page(codes)


def _recovery_codes_page(codes: list[str]) -> str:
    return render_template("web/auth/recovery_codes.html", codes=codes)


@auth_pages.get("/desk/security/passkeys/add")
def show_passkey_form() -> ResponseReturnValue:
    """Show the form that creates a passkey in the browser."""
    return _passkey_page()


@auth_pages.post("/desk/security/passkeys/add")
def submit_passkey() -> ResponseReturnValue:
    """Add the passkey created by the browser."""
    app_state, form = get_app_state(), request.form
    try:
        own_account.add_own_passkey(
            app_state.installation, current_staff(), form.get("answer", ""), form.get("name", ""), now=app_state.clock()
        )
    except (PasskeyError, OwnAccountError) as exc:
        return _passkey_page(refusal=exc), 400
    return _back_to_own_page("passkeys")


def _passkey_page(*, refusal: RefusalError | None = None) -> str:
    app_state = get_app_state()
    offer = own_account.begin_passkey_registration(app_state.installation, current_staff(), now=app_state.clock())
    return render_template("web/auth/add_passkey.html", offer=offer, refusal=refusal)


@auth_pages.get("/desk/security/passkeys/<int:number>")
def show_passkey(number: int) -> ResponseReturnValue:
    """Show one of the staff member's passkeys, to rename or remove it."""
    return _own_passkey_page(number)


@auth_pages.post("/desk/security/passkeys/<int:number>/rename")
def rename_passkey(number: int) -> ResponseReturnValue:
    """Rename one of the staff member's passkeys."""
    app_state = get_app_state()
    try:
        own_account.rename_own_passkey(
            app_state.installation, current_staff(), number, request.form.get("name", ""), now=app_state.clock()
        )
    except OwnAccountError as exc:
        return _own_page(refusal=exc), 409
    return _back_to_own_page("passkeys")


@auth_pages.post("/desk/security/passkeys/<int:number>/remove")
def remove_passkey(number: int) -> ResponseReturnValue:
    """Remove one of the staff member's passkeys."""
    app_state = get_app_state()
    try:
        own_account.remove_own_passkey(app_state.installation, current_staff(), number, now=app_state.clock())
    except OwnAccountError as exc:
        return _own_page(refusal=exc), 409
    return _back_to_own_page("passkeys")


def _own_passkey_page(number: int) -> str:
    app_state = get_app_state()
    account = own_account.view_own_account(app_state.installation, current_staff(), now=app_state.clock())
    passkey = next((passkey for passkey in account.passkeys if passkey.id == number), None)
    if passkey is None:
        abort(404, "This passkey no longer exists.")
    return render_template("web/auth/passkey.html", passkey=passkey)
