"""Pages for signing up and staying subscribed: the sign-up form, confirmation, and lost links.

The form can be embedded in any page (docs/embedding.md), so other sites can submit it. No
protection is needed against that, because a form can only cause one email to the owner of an
address, within limits, and consent requires the link in that email. The pages here neither set nor
read cookies, so another site can't act with the rights of a visitor's browser.

The response to a form doesn't depend on the address. The form is queued without checking the
address (`request_queue`), with the same statements and the same text for everyone.
"""

import ipaddress
import re
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, Response, render_template, request
from sqlalchemy.orm import Session
from werkzeug.datastructures import MultiDict

from subscribers.address import mask_address
from subscribers.consent import consent_texts
from subscribers.consent.consent_texts import ConsentText
from subscribers.consent.evidence import RequestOrigin
from subscribers.consent.preferences import CHECKBOXES, Preferences, change_preferences, describe_preferences
from subscribers.lifecycle import inactivity_questions
from subscribers.lifecycle.inactivity_questions import StayLink
from subscribers.pages.context import (
    AddressForm,
    ask_again_if_trapped,
    build_domain_question,
    make_preferences_token,
    make_private_response,
    page_context,
    render_page,
    render_refused_form_page,
    render_unknown_link_page,
)
from subscribers.pages.forms import FormError, read_form
from subscribers.pages.preferences_form import (
    apply_topics_button,
    list_asked_preferences,
    merge_asked_preferences,
    preview_preferences,
    read_preferences_form,
)
from subscribers.signup import confirmation, request_queue
from subscribers.signup.confirmation import ConfirmationLinkState
from subscribers.signup.rate_limits import UNREADABLE_ADDRESS, SubmissionOutcome
from subscribers.signup.request_processor import CONFIRMATION_LIFETIME
from subscribers.signup.request_queue import FormSubmission
from subscribers.store.one_time_tokens import ActionLinkState
from subscribers.store.signup_models import FormKind

signup_pages = Blueprint("signup", __name__)

# An IP address, with or without a port, such as `8.8.4.4:443` or `[2606:2800::1]:443`.
_FORWARDED_ENTRY = re.compile(r"(?:\[(?P<inner>[^\]]+)\]|(?P<v4>[\d.]+(?=:)))(?::\d{1,5})?|(?P<plain>.+)", re.ASCII)
_NOTHING_CHOSEN = Preferences()
SIGNUP_PREFERENCES = frozenset({"omit_topics", "breaking_news"})


@dataclass(frozen=True, slots=True)
class _TypedForm:
    """The values to keep when a form is shown again.

    They're the address as typed, the kind of form, and the domain of the question.
    """

    email: str = field(default="", repr=False)
    form: str = ""
    kept: str = ""


_NOTHING_TYPED = _TypedForm()


@signup_pages.get("/subscribe")
def subscribe() -> Response:
    """Show the sign-up form."""
    return _signup_page("")


@signup_pages.post("/subscribe")
def submit_signup() -> Response:
    """Queue a sign-up, and respond without checking whether the address is known."""
    if unfinished := ask_again_if_trapped() or _show_checked_topics():
        return unfinished
    try:
        form = read_form(AddressForm, request.form)
    except FormError as exc:
        return _refused_signup_page(exc.words, exc.at)
    # The consent text is on the confirmation page above its button, and pressing the button is the
    # consent. A form with its own text submits the text's version.
    wording = _find_shown_consent_text(form.wording)
    if wording is None:
        return _refused_signup_page(page_context.language.gettext("This form is out of date. Use the one below."))
    try:
        chosen = _read_signup_choices()
    except FormError as exc:
        return _refused_signup_page(exc.words)
    if question := build_domain_question(form.email):
        typed = _TypedForm(form.email.mailbox, form.form, kept=form.email.domain)
        return _signup_page(question, problem_field="email", typed=typed, chosen=chosen)
    if chosen.breaking_news:
        wording = page_context.wording_with_breaking_news
    return _store_request("subscribe", form, wording, replace(chosen, breaking_news=False))


def _show_checked_topics() -> Response | None:
    """Return the form again if the button for checking all topics or none was pressed, or None if it wasn't.

    The address is kept.
    """
    if not (checked := apply_topics_button(request.form, page_context.site)):
        return None
    chosen = preview_preferences(
        _NOTHING_CHOSEN, checked, page_context.site, page_context.today(), page_context.language
    )
    return _signup_page("", typed=_read_typed_form(), chosen=chosen)


def _read_typed_form() -> _TypedForm:
    """Return a form's values that should be kept.

    Only the response to the form's own POST request, which isn't stored, repeats the address.
    """
    return _TypedForm(**{name: request.form.get(name, "") for name in ("email", "form", "kept")})


def _refused_signup_page(problem: str, problem_field: str = "") -> Response:
    """Return the form with a description of its problem, the address as typed, and the chosen topics."""
    chosen = _NOTHING_CHOSEN
    if request.form.get("asks"):  # an embedded form has no topics
        chosen = preview_preferences(
            chosen, request.form, page_context.site, page_context.today(), page_context.language
        )
    return _signup_page(problem, problem_field=problem_field, typed=_read_typed_form(), chosen=chosen)


def _read_signup_choices() -> Preferences:
    """Return the preferences chosen in the sign-up form.

    Embedded forms don't have any.

    Raises:
        FormError: a preference is invalid.
    """
    asked = SIGNUP_PREFERENCES.intersection(request.form.get("asks", "").split())
    if not asked:
        return Preferences()
    form = MultiDict([*request.form.items(multi=True)])
    form["asks"] = " ".join(asked)
    return read_preferences_form(form, page_context.site, page_context.today(), page_context.language)


@signup_pages.get("/preferences")
def lost_link() -> Response:
    """Show the form for requesting a lost preferences link."""
    return _lost_link_page()


@signup_pages.post("/preferences")
def request_lost_link() -> Response:
    """Queue a request for a lost link, and respond without checking whether the address is known."""
    if trapped := ask_again_if_trapped():
        return trapped
    try:
        form = read_form(AddressForm, request.form)
    except FormError as exc:
        return _lost_link_page(exc.words)
    if question := build_domain_question(form.email):
        return _lost_link_page(question, kept=form.email.domain)
    return _store_request("lost link", form, None)


def _lost_link_page(problem: str = "", *, kept: str = "") -> Response:
    typed = request.form.get("email", "")
    return render_page("web/lost_link.html", 400 if problem else 200, problem=problem, typed=typed, kept=kept)


# This is also the URL of the form on its page, so that a URL copied after pressing its button works.
@signup_pages.get("/confirm/<token>/preferences", endpoint="show_confirmation_again")
@signup_pages.get("/confirm/<token>")
def show_confirmation(token: str) -> Response:
    """Show the consent text and the confirmation button.

    Nothing changes until it's pressed.
    """
    with page_context.database.read() as session:
        return _confirmation_page(session, _look_up_confirmation(session, token), token)


@signup_pages.post("/confirm/<token>")
def submit_confirmation(token: str) -> Response:
    """Subscribe the person whom the link was emailed to. Idempotent."""
    now = page_context.now
    with page_context.database.write() as session:
        link = confirmation.confirm_subscription(
            session,
            page_context.keys,
            token,
            origin=_request_origin(),
            evidence_retention=page_context.evidence_retention,
            queue=page_context.queue,
            language=page_context.language,
            now=now,
        )
    with page_context.database.read() as session:
        return _confirmation_page(session, link, token)


@signup_pages.post("/confirm/<token>/preferences")
def save_first_preferences(token: str) -> Response:
    """Save the preferences from the page shown after a confirmation.

    Its link was only emailed to the owner.
    """
    now, site = page_context.now, page_context.site
    if checked := apply_topics_button(request.form, site):
        with page_context.database.read() as session:
            return _welcome_page(session, token, typed=checked)
    try:
        new = _read_signup_choices()
    except FormError as exc:
        with page_context.database.read() as session:
            return _welcome_page(session, token, problem=exc.words)
    with page_context.database.write() as session:
        person = confirmation.find_new_subscriber(session, token, now=now, for_update=True)
        if person is not None:
            asked = SIGNUP_PREFERENCES & list_asked_preferences(request.form, site)
            chosen = merge_asked_preferences(Preferences.from_stored(person.choices), new, asked)
            change_preferences(session, person.number, chosen, now, method=confirmation.CONFIRMATION_METHOD)
    with page_context.database.read() as session:
        return _welcome_page(session, token, is_saved=person is not None)


def _look_up_confirmation(session: Session, token: str) -> confirmation.ConfirmationLink:
    return confirmation.look_up_confirmation(
        session, page_context.keys, token, language=page_context.language, now=page_context.now
    )


def _welcome_page(
    session: Session,
    token: str,
    *,
    problem: str = "",
    is_saved: bool = False,
    typed: MultiDict[str, str] | None = None,
) -> Response:
    """Render the page shown after a confirmation, with saved, rejected, or typed preferences.

    After `WELCOME_PERIOD`, the page only shows the state of the link.
    """
    link = _look_up_confirmation(session, token)
    person = confirmation.find_new_subscriber(session, token, now=page_context.now)
    if person is None:
        return _confirmation_page(session, link, token)
    chosen = Preferences.from_stored(person.choices)
    if typed is not None:
        chosen = preview_preferences(chosen, typed, page_context.site, page_context.today(), page_context.language)
    saved = describe_preferences(chosen, page_context.site.parts, page_context.language) if is_saved else ""
    status = 400 if problem else 200
    return render_page(
        *("web/confirmed.html", status),
        link=link,
        chosen=chosen,
        token=token,
        preferences_token=make_preferences_token(session, person.number),
        saved=saved,
        problem=problem,
        is_typed=typed is not None,
        **_signup_form_values(),
    )


def _signup_form_values() -> dict[str, Any]:
    """Return the template values for a new subscriber's preferences."""
    asked = SIGNUP_PREFERENCES - page_context.site.hidden_preferences
    is_agreed_anyway = page_context.wording == page_context.wording_with_breaking_news
    asked -= frozenset() if page_context.site.topics else {"omit_topics"}
    return {"asked": asked - ({"breaking_news"} if is_agreed_anyway else frozenset()), "checkboxes": CHECKBOXES}


@signup_pages.get("/stay/<token>")
def ask_to_stay(token: str) -> Response:
    """Ask an inactive subscriber whether they still want the newsletter.

    Nothing changes until they press the button.
    """
    with page_context.database.read() as session:
        return _stay_page(inactivity_questions.look_up_stay_link(session, token, now=page_context.now))


@signup_pages.post("/stay/<token>")
def stay_now(token: str) -> Response:
    """Record that an inactive subscriber wants to stay. Idempotent."""
    with page_context.database.write() as session:
        link = inactivity_questions.keep_subscription(
            session,
            page_context.keys,
            token,
            origin=_request_origin(),
            evidence_retention=page_context.evidence_retention,
            now=page_context.now,
        )
    return _stay_page(link)


def _stay_page(link: StayLink) -> Response:
    if link.stage is ActionLinkState.UNKNOWN:
        return render_unknown_link_page()
    return render_page(
        "web/stay.html", 410 if link.stage is ActionLinkState.OVER else 200, link=link, stage=str(link.stage)
    )


def _find_shown_consent_text(version: str) -> ConsentText | None:
    if not version:
        return page_context.wording
    with page_context.database.read() as session:
        return consent_texts.find_consent_text(session, version, page_context.wording)


def _store_request(
    kind: FormKind, form: AddressForm, wording: ConsentText | None, chosen: Preferences = _NOTHING_CHOSEN
) -> Response:
    # The page with the form, and what a subscriber would call it. It's one of two known pages.
    page = page_context.site.home if form.form == "embedded" else f"{page_context.base_url}/subscribe"
    source = (urlsplit(page).hostname or page_context.site.name).removeprefix("www.")
    submission = FormSubmission(
        kind, form.email, page_context.now, page, source, wording, _request_origin(), chosen.as_json()
    )
    prepared = request_queue.prepare_request(page_context.keys, submission)
    # Read first, because a flood of rejected forms must not wait for the database's single writer.
    with page_context.database.read() as session:
        outcome = request_queue.decide_queue_admission(session, prepared, page_context.signup_limits).outcome
    if outcome is SubmissionOutcome.ACCEPTED:
        with page_context.database.write() as session:
            outcome = request_queue.enqueue_request(session, prepared, page_context.signup_limits)
    return _request_answer(kind, outcome)


def _request_answer(kind: FormKind, outcome: SubmissionOutcome) -> Response:
    if outcome is SubmissionOutcome.ACCEPTED:
        return render_page("web/asked.html", kind=kind, days=CONFIRMATION_LIFETIME.days)
    return render_refused_form_page(outcome)


def _signup_page(
    problem: str, *, problem_field: str = "", typed: _TypedForm = _NOTHING_TYPED, chosen: Preferences = _NOTHING_CHOSEN
) -> Response:
    """Render the sign-up form, along with the problem if a submitted form was rejected.

    A typed address is kept in its field.
    """
    values = {"days": CONFIRMATION_LIFETIME.days, "problem": problem, "problem_at": problem_field}
    values |= {"typed": typed, "chosen": chosen}
    page = render_template("web/subscribe.html", **values, **_signup_form_values())
    is_filled_in = problem or request.method == "POST"
    return (
        make_private_response(page, 400 if problem else 200) if is_filled_in else Response(page, mimetype="text/html")
    )


def _confirmation_page(session: Session, link: confirmation.ConfirmationLink, token: str) -> Response:
    match link.stage:
        case ConfirmationLinkState.UNKNOWN:
            return render_unknown_link_page()
        case ConfirmationLinkState.OPEN:
            parts, language = page_context.site.parts, page_context.language
            chosen_text = describe_preferences(link.chosen, parts, language) if link.chosen else ""
            return render_page("web/confirm.html", link=link, masked=mask_address(link.address), chosen=chosen_text)
        case ConfirmationLinkState.CONFIRMED:
            coming = page_context.describe_first_edition(session, page_context.now)
            person = confirmation.find_new_subscriber(session, token, now=page_context.now) if link.new else None
            chosen = Preferences.from_stored(person.choices) if person else None
            values = {"link": link, "coming": coming, "chosen": chosen, "token": token, "saved": "", "problem": ""}
            values["is_typed"] = False
            values["preferences_token"] = make_preferences_token(session, person.number) if person else ""
            return render_page("web/confirmed.html", 200, **values, **_signup_form_values())
    return render_page("web/expired.html", 410, link=link)


def _request_origin() -> RequestOrigin:
    return RequestOrigin(read_client_ip_address(page_context.trusted_proxies), request.headers.get("User-Agent", ""))


def read_client_ip_address(trusted_proxies: int) -> str:
    """Return the IP address that a request came from.

    Each proxy appends its client to X-Forwarded-For, so only the last entries are reliable, one for
    each of our proxies. Anyone can forge the earlier entries. Some proxies add the port. Requests
    with unreadable entries are counted together, so that none are exempt from the limits.
    """
    forwarded = [entry.strip() for header in request.headers.getlist("X-Forwarded-For") for entry in header.split(",")]
    if trusted_proxies and len(forwarded) >= trusted_proxies:
        match = _FORWARDED_ENTRY.fullmatch(forwarded[-trusted_proxies])
        try:
            return str(ipaddress.ip_address(match["inner"] or match["plain"] or match["v4"] if match else ""))
        except ValueError:
            return UNREADABLE_ADDRESS
    return request.remote_addr or ""
