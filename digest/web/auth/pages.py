"""Signing in, confirming one's identity, and signing out.

GET requests change nothing, and all forms require the form token.
"""

from flask import Blueprint, Response, flash, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue

from digest.app.accounts import own_account, sign_in, staff
from digest.app.accounts.attempt_limits import SignInRefusedError, TooManyAttemptsError
from digest.app.accounts.passkeys import ChallengePurpose, PasskeyError, RelyingParty
from digest.app.accounts.sign_in import SessionEndedError
from digest.store.staff import StaffError, VerificationLink, VerificationLinkState
from digest.web.app_state import get_app_state
from digest.web.auth.access import (
    FIRST_PAGE,
    build_next_url,
    current_staff,
    find_current_staff,
    find_page_to_cancel_to,
    read_request_visitor,
    sanitize_next_path,
)
from digest.web.auth.cookies import delete_session_cookie, read_session_cookie, set_session_cookie, set_sign_in_cookies
from digest.web.kept_forms import KeptForm

auth_pages = Blueprint("auth", __name__)
_NEXT_PAGE = "next"  # the key in the browser's session cookie


@auth_pages.get("/desk/sign-in")
def show_sign_in() -> ResponseReturnValue:
    """Show the ways to sign in, or redirect if someone is already signed in."""
    if find_current_staff() is not None:
        return redirect(build_next_url(request.args.get("next")), 303)
    return _sign_in_page(request.args.get("next"))


@auth_pages.post("/desk/sign-in")
def submit_password() -> ResponseReturnValue:
    """Sign in with a password and a code."""
    app_state, form = get_app_state(), request.form
    try:
        new_session = sign_in.sign_in_by_password(
            app_state.installation,
            form.get("email", ""),
            form.get("password", ""),
            form.get("code", ""),
            read_request_visitor(),
            now=app_state.clock(),
        )
    except (SignInRefusedError, TooManyAttemptsError) as exc:
        return _sign_in_page(form.get("next"), email=form.get("email", "")[:320], refusal=exc), find_refusal_status(exc)
    return finish_sign_in(new_session, form.get("next"))


@auth_pages.post("/desk/sign-in/passkey")
def submit_passkey_sign_in() -> ResponseReturnValue:
    """Sign in with a passkey."""
    app_state, form = get_app_state(), request.form
    try:
        new_session = sign_in.sign_in_by_passkey(
            app_state.installation, form.get("answer", ""), read_request_visitor(), now=app_state.clock()
        )
    except PasskeyError as exc:
        return _sign_in_page(form.get("next"), refusal=exc), 401
    return finish_sign_in(new_session, form.get("next"))


def _remember_next_page(path: str | None) -> str:
    """Return the page that follows signing in, and remember it in the browser in case that's done with a link."""
    session[_NEXT_PAGE] = page = sanitize_next_path(path)
    return page


def _find_remembered_page() -> str:
    """Return the page that was asked for before a sign-in link was opened, or an empty string."""
    page = sanitize_next_path(session.get(_NEXT_PAGE))
    return "" if page == FIRST_PAGE else page


def _sign_in_page(next_path: str | None, *, email: str = "", refusal: Exception | None = None) -> str:
    return render_template(
        "web/auth/sign_in.html",
        next=_remember_next_page(next_path),
        email=email,
        refusal=refusal,
        was_signed_in=refusal is None and bool(read_session_cookie()),
        code_at_fault=isinstance(refusal, SignInRefusedError) and refusal.field == "code",
        challenge=_offer_challenge("sign in", None),
        party=_relying_party(),
    )


def _offer_challenge(purpose: ChallengePurpose, signed_in: sign_in.SignedInStaff | None) -> str:
    app_state = get_app_state()
    return sign_in.make_passkey_challenge(app_state.installation, purpose, signed_in, now=app_state.clock())


def _relying_party() -> RelyingParty:
    return RelyingParty.from_base_url(get_app_state().settings.link_base)


def find_refusal_status(refusal: Exception) -> int:
    """Return the HTTP status for a refused sign-in."""
    return 429 if isinstance(refusal, TooManyAttemptsError) else 401


def finish_sign_in(new_session: sign_in.NewStaffSession, next_path: str | None) -> Response:
    """Set the cookies of a new session, reset the form token, and redirect."""
    session.clear()
    response = Response(status=303, headers={"Location": build_next_url(next_path)})
    return set_sign_in_cookies(response, new_session)


@auth_pages.get("/desk/link/<token>")
def show_sign_in_link(token: str) -> ResponseReturnValue:
    """Show whom a sign-in link is for, and the button for signing in."""
    app_state = get_app_state()
    link = sign_in.look_up_sign_in_link(app_state.installation, token, now=app_state.clock())
    page = render_template("web/auth/sign_in_link.html", link=link, returns=bool(_find_remembered_page()))
    return page, 200 if link.until else 410


@auth_pages.post("/desk/link/<token>")
def submit_sign_in_link(token: str) -> ResponseReturnValue:
    """Sign in with a link and use it up."""
    app_state = get_app_state()
    new_session = sign_in.sign_in_by_link(app_state.installation, token, read_request_visitor(), now=app_state.clock())
    if new_session is None:
        return render_template("web/auth/sign_in_link.html", link=sign_in.SignInLink()), 410
    return _finish_sign_in_by_link(new_session, _find_remembered_page())


@auth_pages.get("/staff/<token>")
def show_invitation(token: str) -> ResponseReturnValue:
    """Show the address that the link would verify, and the button for verifying it."""
    app_state = get_app_state()
    return _invitation_page(
        staff.look_up_address_verification_link(app_state.installation, token, now=app_state.clock())
    )


@auth_pages.post("/staff/<token>")
def submit_invitation(token: str) -> ResponseReturnValue:
    """Verify the address and sign in its staff member.

    If the button is pressed again, the page only says that the address is verified.
    """
    app_state = get_app_state()
    link, new_session = sign_in.accept_invitation(
        app_state.installation, token, read_request_visitor(), now=app_state.clock()
    )
    if new_session is None:
        return _invitation_page(link)
    edition = request.args.get("edition")
    if not edition:
        return _finish_sign_in_by_link(new_session, _find_remembered_page())
    # Whoever requested the link was signed in already, and was offered another way to sign in then.
    response = finish_sign_in(new_session, url_for("desk.show_test_email_form", name=edition))
    flash("verified", "link")
    return response


def _finish_sign_in_by_link(new_session: sign_in.NewStaffSession, next_path: str) -> Response:
    """Finish signing in with a link, which works once.

    The next page offers to set up another way to sign in if there's none yet.
    """
    response = finish_sign_in(new_session, next_path)
    if not new_session.can_sign_in_without_link:
        flash("offered", "sign-in method")
    return response


def _invitation_page(link: VerificationLink) -> ResponseReturnValue:
    if link.member is None:
        return render_template("web/auth/unknown_link.html"), 404
    page = render_template("web/auth/invitation.html", link=link, member=link.member, masked=link.masked_email)
    return page, 410 if link.stage is VerificationLinkState.ENDED else 200


@auth_pages.get("/desk/confirm")
def show_identity_confirmation() -> ResponseReturnValue:
    """Ask the signed-in staff member to confirm their identity."""
    return _confirm_page(request.args.get("next"))


@auth_pages.post("/desk/confirm")
def confirm_identity_by_password() -> ResponseReturnValue:
    """Confirm the staff member's identity with a password and a code."""
    app_state, form = get_app_state(), request.form
    try:
        token = sign_in.reauthenticate_by_password(
            app_state.installation,
            current_staff(),
            form.get("password", ""),
            form.get("code", ""),
            read_request_visitor(),
            now=app_state.clock(),
        )
    except (SignInRefusedError, TooManyAttemptsError, SessionEndedError) as exc:
        return _confirm_page(form.get("next"), refusal=exc), find_refusal_status(exc)
    return _redirect_after_confirmation(token, form.get("next"))


@auth_pages.post("/desk/confirm/passkey")
def confirm_identity_by_passkey() -> ResponseReturnValue:
    """Confirm the staff member's identity with a passkey."""
    app_state, form = get_app_state(), request.form
    try:
        token = sign_in.reauthenticate_by_passkey(
            app_state.installation,
            current_staff(),
            form.get("answer", ""),
            read_request_visitor(),
            now=app_state.clock(),
        )
    except (PasskeyError, SessionEndedError) as exc:
        return _confirm_page(form.get("next"), refusal=exc), 401
    return _redirect_after_confirmation(token, form.get("next"))


def _redirect_after_confirmation(token: str, next_path: str | None) -> Response:
    """Redirect to the form that was kept for the next page, or to the page itself if there's none."""
    form = _find_kept_form(sanitize_next_path(next_path))
    location = url_for("auth.show_kept_form") if form else build_next_url(next_path)
    return set_session_cookie(Response(status=303, headers={"Location": location}), token)


def _find_kept_form(back: str = "") -> KeptForm | None:
    """Return the form that was kept for this sign-in, or None.

    With `back`, it's only returned if it belongs to that page.
    """
    app_state = get_app_state()
    form = app_state.kept_forms.find(current_staff().sign_in, now=app_state.clock())
    return form if form is not None and back in ("", form.back) else None


@auth_pages.get("/desk/confirm/form")
def show_kept_form() -> ResponseReturnValue:
    """Show the form that was kept during the confirmation, so that it can be submitted unchanged."""
    form = _find_kept_form()
    if form is None:
        return redirect(url_for("desk.index"), 303)
    return render_template("web/auth/kept_form.html", form=form)


@auth_pages.post("/desk/confirm/form/discard")
def discard_kept_form() -> ResponseReturnValue:
    """Discard the kept form, and redirect to its page."""
    form = _find_kept_form()
    get_app_state().kept_forms.drop(current_staff().sign_in)
    return redirect(build_next_url(form.back if form else None), 303)


def _confirm_page(next_path: str | None, *, refusal: Exception | None = None) -> str:
    app_state = get_app_state()
    minutes = int((app_state.clock() - current_staff().fresh_at).total_seconds()) // 60
    account = own_account.view_own_account(app_state.installation, current_staff(), now=app_state.clock())
    return render_template(
        "web/auth/confirm.html",
        next=_remember_next_page(next_path),
        cancel=find_page_to_cancel_to(next_path or ""),
        keeps_form=_find_kept_form(sanitize_next_path(next_path)) is not None,
        minutes=minutes,
        account=account,
        refusal=refusal,
        code_at_fault=isinstance(refusal, SignInRefusedError) and refusal.field == "code",
        challenge=_offer_challenge("confirm", current_staff()),
        party=_relying_party(),
    )


@auth_pages.post("/desk/confirm/link")
def request_sign_in_link() -> ResponseReturnValue:
    """Email another sign-in link to a staff member without a passkey or password."""
    app_state = get_app_state()
    try:
        sign_in.email_own_sign_in_link(app_state.installation, current_staff(), now=app_state.clock())
    except (StaffError, TooManyAttemptsError) as exc:
        return _confirm_page(request.form.get("next"), refusal=exc), 429 if isinstance(
            exc, TooManyAttemptsError
        ) else 409
    flash("sent", "link")
    return redirect(url_for("auth.show_identity_confirmation", next=sanitize_next_path(request.form.get("next"))), 303)


@auth_pages.post("/desk/sign-out")
def sign_out() -> ResponseReturnValue:
    """End this session."""
    app_state = get_app_state()
    sign_in.sign_out(app_state.installation, current_staff())
    app_state.kept_forms.drop(current_staff().sign_in)
    session.clear()
    return delete_session_cookie(Response(status=303, headers={"Location": url_for("auth.show_sign_in")}))
