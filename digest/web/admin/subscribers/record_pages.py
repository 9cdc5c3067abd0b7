"""Admin pages about one subscriber: history, emails, disclosures, and all actions."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Literal

from flask import flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from pydantic import AfterValidator, BeforeValidator

from digest.app.subscribers import data_requests, subscriber_actions, subscriber_preferences, subscriber_records
from digest.app.subscribers.data_requests import DATA_REQUEST_REASON, AnswerForm
from digest.app.subscribers.subscriber_actions import NotRestorableError, UnknownPersonError
from digest.installation.action_reasons import might_contain_address
from digest.installation.guarded_action_notices import find_guarded_notice_recipients
from digest.web.admin.blueprint import (
    admin_pages,
    get_installation_actor_and_time,
    make_download_response,
    require_number_typed_to_confirm,
)
from digest.web.admin.subscribers.address_access_reasons import read_address_access_reason
from digest.web.app_state import get_app_state
from digest.web.auth.access import current_actor, current_staff
from digest.web.forms import FormOrQueryModel, ReasonForm, read_form
from subscribers.consent.preferences import CHECKBOXES, FREQUENCY_LABELS
from subscribers.errors import RefusalError
from subscribers.pages.forms import FormError
from subscribers.pages.preferences_form import apply_topics_button, list_zone_labels
from subscribers.signup.manual_signup import ConsentEvidence
from subscribers.store.models import ConsentKind
from subscribers.subscriber_language import ENGLISH

# The file suffix and media type of each form of answer.
_ANSWER_FILES: dict[AnswerForm, tuple[str, str]] = {
    "html": ("html", "text/html"),
    "json": ("json", "application/json"),
    "csv": ("csv", "text/csv"),
    "portable": ("portable.json", "application/json"),
}


_UNCHANGED_PREFIX = "unchanged-"
_GRAVE_ACTION = "erase"
_MAX_EVIDENCE_LENGTH = 2000  # characters


def _check_evidence(text: str) -> str:
    evidence = " ".join(text.split())
    if not evidence or might_contain_address(evidence) or len(evidence) > _MAX_EVIDENCE_LENGTH:
        raise ValueError("Describe the evidence in words. Don't include email addresses.")
    return evidence


def _read_agreed_at(text: str) -> datetime:
    try:
        day = datetime.fromisoformat(text)
        return day.replace(tzinfo=day.tzinfo or get_app_state().zone).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("Enter the date the person agreed, such as 2026-06-16.") from None


EvidenceText = Annotated[str, AfterValidator(_check_evidence)]


class ConsentEvidenceForm(FormOrQueryModel):
    """The consent text, and when, where, and how someone agreed.

    The address is checked by the action.
    """

    address: str = ""
    on: Annotated[datetime, BeforeValidator(_read_agreed_at)]
    wording: EvidenceText = ""
    where: EvidenceText = ""
    method: EvidenceText = ""
    language: str = "en"
    confirmed: bool = False


@admin_pages.errorhandler(UnknownPersonError)
def show_unknown_subscriber(_error: UnknownPersonError) -> ResponseReturnValue:
    """Show a page that explains why no subscriber has the number, and links to the search."""
    return render_template("web/admin/subscribers/unknown_subscriber.html"), 404


@admin_pages.get("/readers/<int(max=2147483647):number>")
def show_subscriber(number: int) -> ResponseReturnValue:
    """Show the record of a subscriber.

    The address is only shown while access to it is valid.
    """
    return _record_page(number)


def _lead_to_record(number: int, done: str) -> ResponseReturnValue:
    """Redirect to a record that shows a message about what was done.

    That's shown only once, because it may not be true later.
    """
    flash(done, str(number))
    return redirect(url_for("admin.show_subscriber", number=number), 303)


def _record_page(number: int, *, refusal: RefusalError | None = None) -> str:
    app_state, now = get_app_state(), get_app_state().clock()
    record = subscriber_records.view_subscriber_record(
        app_state.installation, current_staff(), number, everything="all" in request.args, now=now
    )
    today = now.astimezone(app_state.zone).date()
    return render_template(
        "web/admin/subscribers/subscriber.html",
        record=record,
        paused_until=record.preferences.drop_ended_pause(today).pause_until,
        zone=app_state.zone,
        fresh=current_staff().is_fresh(now),
        hidden=request.args.get("address") == "hidden",
        refusal=refusal,
    )


@admin_pages.get("/readers/<int(max=2147483647):number>/address")
def ask_address_access_reason(number: int) -> ResponseReturnValue:
    """Ask for the reason for viewing an address."""
    return _reason_page(number)


@admin_pages.post("/readers/<int(max=2147483647):number>/address")
def show_address(number: int) -> ResponseReturnValue:
    """Grant access to an address for 15 minutes.

    Its owner can see the access and its reason.
    """
    installation, _, now = get_installation_actor_and_time()
    try:
        reason = read_address_access_reason()
        subscriber_records.reveal_addresses(installation, current_staff(), [number], reason, now=now)
    except FormError as exc:
        return _reason_page(number, refusal=exc), 400
    except UnknownPersonError as exc:
        return _record_page(number, refusal=exc), 409
    return redirect(url_for("admin.show_subscriber", number=number), 303)


def _reason_page(number: int, *, refusal: RefusalError | None = None) -> str:
    _check_subscriber(number)
    return render_template("web/admin/subscribers/look.html", number=number, refusal=refusal)


@admin_pages.get("/readers/<int(max=2147483647):number>/<any(leave, restore, stop, links, withdraw, erase):act>")
def confirm_subscriber_action(number: int, act: str) -> ResponseReturnValue:
    """Describe an action on a subscriber, and ask for the reason."""
    return _action_page(number, act)


@admin_pages.post("/readers/<int(max=2147483647):number>/<any(leave, restore, stop, links, withdraw, erase):act>")
def change_subscriber(number: int, act: str) -> ResponseReturnValue:
    """Unsubscribe, restore, suppress, or erase a subscriber, renew their links, or withdraw an address correction."""
    installation, actor, now = get_installation_actor_and_time()
    try:
        reason = read_form(ReasonForm).reason
        if act == _GRAVE_ACTION:
            require_number_typed_to_confirm(number)
        changed = _RECORD_ACTIONS[act](installation, actor, number, reason, now=now)
    except FormError as exc:
        return _action_page(number, act, refusal=exc), 400
    except (UnknownPersonError, NotRestorableError) as exc:
        return _record_page(number, refusal=exc), 409
    # An outdated page, or a form that's submitted twice, changes nothing.
    has_changed = changed if isinstance(changed, bool) else changed[1]
    done_action = act if has_changed else f"{_UNCHANGED_PREFIX}{act}"
    return _lead_to_record(number, done_action)


_RECORD_ACTIONS: Mapping[str, Callable[..., bool | tuple[int, bool]]] = {
    "leave": subscriber_actions.unsubscribe_by_admin,
    "restore": subscriber_actions.restore_subscriber,
    "stop": subscriber_actions.suppress_address,
    "links": subscriber_actions.renew_person_links,
    "withdraw": subscriber_actions.withdraw_address_correction,
    _GRAVE_ACTION: subscriber_actions.erase_subscriber,
}


class AddressCorrectionForm(ReasonForm):
    """The new address, checked by the action, and the reason."""

    address: str = ""


@admin_pages.get("/readers/<int(max=2147483647):number>/correct")
def show_address_correction_form(number: int) -> ResponseReturnValue:
    """Ask for a subscriber's new address, and the reason for the correction."""
    return _correction_page(number)


@admin_pages.post("/readers/<int(max=2147483647):number>/correct")
def correct_address(number: int) -> ResponseReturnValue:
    """Ask the owner of a new address to confirm it.

    The old address gets a link that stops the change.
    """
    installation, actor, now = get_installation_actor_and_time()
    try:
        form = read_form(AddressCorrectionForm)
        _ask_about_domain(form.address, "enter it again")
        subscriber_actions.request_address_correction(installation, actor, number, form.address, form.reason, now=now)
    except UnknownPersonError:
        raise
    except FormError as exc:
        return _correction_page(number, refusal=exc), 400
    except RefusalError as exc:
        return _correction_page(number, refusal=FormError({"address": str(exc)})), 400
    return _lead_to_record(number, "correct")


def _correction_page(number: int, *, refusal: RefusalError | None = None) -> str:
    installation, actor, _ = get_installation_actor_and_time()
    _check_subscriber(number)
    return render_template(
        "web/admin/subscribers/correct_address.html",
        number=number,
        kept=_read_typed_domain(request.form.get("address", "")),
        notified=find_guarded_notice_recipients(installation.database, actor.name).words,
        refusal=refusal,
    )


@admin_pages.get("/readers/<int(max=2147483647):number>/<any(pause, resume, preferences):form>")
def show_preferences_form(number: int, form: str) -> ResponseReturnValue:
    """Show a form for a subscriber's preferences, or only for the pause, with a reason."""
    return _preferences_page(number, form)


@admin_pages.post("/readers/<int(max=2147483647):number>/<any(pause, resume, preferences):form>")
def submit_preferences(number: int, form: str) -> ResponseReturnValue:
    """Change a subscriber's preferences, and email them about it.

    The email has a link that undoes the change.
    """
    installation, actor, now = get_installation_actor_and_time()
    if request.form.get("check"):
        return _preferences_page(number, form)
    try:
        reason = read_form(ReasonForm).reason
        if form == "pause" and not request.form.get("pause_until"):
            raise FormError({"pause_until": "Enter the day on which emails start again."})
        _, has_changed = subscriber_preferences.change_subscriber_preferences(
            installation, actor, number, request.form, reason, now=now
        )
    except UnknownPersonError:
        raise
    except RefusalError as exc:
        return _preferences_page(number, form, refusal=exc)
    done_action = form if has_changed else f"{_UNCHANGED_PREFIX}preferences"
    return _lead_to_record(number, done_action)


def _preferences_page(number: int, form: str, *, refusal: RefusalError | None = None) -> ResponseReturnValue:
    installation, actor, now = get_installation_actor_and_time()
    try:
        undo = "undo" in request.args
        current = subscriber_preferences.view_subscriber_preferences(installation, actor, number, undo=undo, now=now)
    except UnknownPersonError:
        raise
    except RefusalError as exc:
        return _record_page(number, refusal=exc), 409
    typed = request.form if isinstance(refusal, FormError) else None
    page = render_template(
        "web/admin/subscribers/change_preferences.html",
        number=number,
        form=form,
        current=current,
        values=apply_topics_button(request.form, current.offered) or typed or current.form,
        asked=current.asked if form == "preferences" else {"pause_until"},
        frequencies=FREQUENCY_LABELS,
        checkboxes=CHECKBOXES,
        zones=list_zone_labels(ENGLISH),
        publication_zone=get_app_state().zone.key,
        refusal=refusal,
    )
    return page, 400 if refusal else 200


def _check_subscriber(number: int) -> None:
    app_state = get_app_state()
    subscriber_records.require_subscriber(app_state.installation, current_staff(), number, now=app_state.clock())


def _action_page(number: int, act: str, *, refusal: RefusalError | None = None) -> str:
    installation, actor, now = get_installation_actor_and_time()
    _check_subscriber(number)
    return render_template(
        "web/admin/subscribers/subscriber_action.html",
        notified=find_guarded_notice_recipients(installation.database, actor.name).words,
        number=number,
        act=act,
        is_final=not subscriber_records.can_be_restored(installation, current_staff(), number, now=now),
        refusal=refusal,
    )


@admin_pages.get("/readers/<int(max=2147483647):number>/request")
def show_data_request_options(number: int) -> ResponseReturnValue:
    """Show the ways to answer a subscriber's request for their data."""
    _check_subscriber(number)
    return render_template("web/admin/subscribers/data_request.html", number=number)


@admin_pages.post("/readers/<int(max=2147483647):number>/request/<any(mail, html, json, csv, portable):form>")
def answer_data_request(number: int, form: Literal["mail"] | AnswerForm) -> ResponseReturnValue:
    """Answer a subscriber's request for their data with an emailed link or a file."""
    installation, actor, now = get_installation_actor_and_time()
    if form == "mail":
        outcome = data_requests.send_data_link(installation, actor, number, DATA_REQUEST_REASON, now=now)
        return _lead_to_record(number, str(outcome))
    text = data_requests.create_data_answer(
        installation, actor, number, form, DATA_REQUEST_REASON, reference=current_staff().sign_in, now=now
    )
    suffix, media_type = _ANSWER_FILES[form]
    return make_download_response(text, media_type, f"subscriber-{number}.{suffix}")


@admin_pages.get("/readers/add")
def show_add_subscriber_form() -> ResponseReturnValue:
    """Show the form that adds a subscriber with evidence of their consent."""
    return _adding_page()


@admin_pages.post("/readers/add")
def add_subscriber() -> ResponseReturnValue:
    """Add a subscriber with evidence of their consent.

    They aren't emailed.
    """
    installation, actor, now = get_installation_actor_and_time()
    try:
        form = read_form(ConsentEvidenceForm)
        _ask_about_domain(form.address, "select the button again")
        signup = subscriber_actions.add_person(installation, actor, form.address, _read_evidence(form), now=now)
    except RefusalError as exc:
        return _adding_page(refusal=exc), 400
    outcome = "known" if signup.already_subscribed else "added"
    return _lead_to_record(signup.number, outcome)


def _ask_about_domain(address: str, way_to_keep: str) -> None:
    """Raise an error if the domain is probably a typo that hasn't been confirmed.

    The form that's submitted again says which domain to keep. `way_to_keep` says what to do with an
    address that's right.

    Raises:
        AddressError: the text isn't an address.
        FormError: the domain is probably a typo.
    """
    meant = subscriber_actions.find_intended_domain(address)
    if meant and request.form.get("kept") != _read_typed_domain(address):
        raise FormError({"address": f"Did you mean {meant}? Correct the address, or {way_to_keep} if it's right."})


def _read_typed_domain(address: str) -> str:
    return address.rpartition("@")[2].strip()


def _read_evidence(form: ConsentEvidenceForm) -> ConsentEvidence:
    return ConsentEvidence(
        wording=form.wording,
        wording_version="",
        language=form.language[:20] or "en",
        page=form.where[:200],
        method=form.method[:200],
        actor=current_actor().name,
        agreed_at=form.on,
        kind=ConsentKind.CONFIRMED if form.confirmed else ConsentKind.ATTESTED,
    )


def _adding_page(*, refusal: RefusalError | None = None) -> str:
    kept = _read_typed_domain(request.form.get("address", ""))
    return render_template("web/admin/subscribers/add_subscriber.html", kept=kept, refusal=refusal)
