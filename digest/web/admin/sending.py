"""Admin pages about sending: delivery counts, deliveries with unknown status, and pausing."""

from collections.abc import Iterator, Mapping
from datetime import UTC
from functools import partial

from flask import abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from digest.app.accounts import staff
from digest.app.sending import delivery_views, refusal_actions, uncertain_delivery_actions
from digest.app.sending.delivery_views import DeliveryRecipients
from digest.app.sending.uploaded_logs import LogUploadError
from digest.app.subscribers import subscriber_records
from digest.app.subscribers.subscriber_actions import UnknownPersonError
from digest.deliver.control.edition_control import EditionControlError
from digest.deliver.send.uncertain.log_evidence import LogVerdict
from digest.deliver.send.uncertain.uncertain_deliveries import NOTICES, UncertainResolution
from digest.edition.edition_queries import UnknownEditionError
from digest.installation import sending_pause
from digest.web.admin.blueprint import admin_pages, get_installation_actor_and_time
from digest.web.admin.subscribers.address_access_reasons import read_address_access_reason
from digest.web.app_state import get_app_state
from digest.web.auth.access import current_actor, current_staff
from digest.web.forms import Count, FormOrQueryModel, ReasonForm, read_form, read_query
from subscribers.errors import ApplicationError
from subscribers.pages.forms import FormError

_WORDS = {"arrived": UncertainResolution.ACCEPTED, "again": UncertainResolution.SEND_AGAIN}
_NOTICE_WORDS = {**_WORDS, "lost": UncertainResolution.LOST}
_FIELD_PREFIX = "word-"
MAX_FILE_NAME = 100  # the number of characters of an upload's name shown in a response


class DeliveriesQuery(FormOrQueryModel):
    """The edition to show, where the list of editions continues, and how many deliveries were just resolved."""

    edition: str = ""
    below: Count | None = None
    settled: Count | None = None


@admin_pages.get("/deliveries")
def list_deliveries() -> ResponseReturnValue:
    """Show a page of sent editions, and the results of one of them."""
    return _deliveries_page(read_query(DeliveriesQuery).edition)


class RecipientsQuery(FormOrQueryModel):
    """The deliveries of an edition to list, by result or refusal group.

    These are the deliveries with a result or, if `group` is set, those in the refusal group with this key.
    """

    result: str = "planned"
    group: str = ""
    below: Count | None = None


@admin_pages.get("/deliveries/<name>/recipients")
def list_delivery_recipients(name: str) -> ResponseReturnValue:
    """List the subscribers counted in an edition's delivery results.

    Addresses are only shown while access to them is valid.
    """
    return _recipients_page(name)


@admin_pages.post("/deliveries/<name>/recipients")
def show_recipient_addresses(name: str) -> ResponseReturnValue:
    """Grant access to the addresses on the page.

    Each owner can see the access and its reason.
    """
    app_state = get_app_state()
    try:
        reason = read_address_access_reason()
        numbers = [recipient.subscriber.number for recipient in _read_recipients(name).recipients]
        if numbers:
            subscriber_records.reveal_addresses(
                app_state.installation, current_staff(), numbers, reason, now=app_state.clock()
            )
    except FormError as exc:
        return _recipients_page(name, refusal=exc), 400
    except UnknownPersonError as exc:
        return _recipients_page(name, refusal=exc), 409
    return redirect(request.full_path.rstrip("?"), 303)


def _read_recipients(name: str) -> DeliveryRecipients:
    installation, actor, now = get_installation_actor_and_time()
    query = read_query(RecipientsQuery)
    if not query.group and query.result not in delivery_views.RESULT_STATES:
        abort(404)
    return delivery_views.view_delivery_recipients(
        installation,
        actor,
        name,
        result=query.result,
        group=query.group,
        below=query.below,
        recent=get_app_state().recent_counts,
        now=now,
    )


def _recipients_page(name: str, *, refusal: ApplicationError | None = None) -> str:
    app_state, now = get_app_state(), get_app_state().clock()
    view = _read_recipients(name)
    numbers = [recipient.subscriber.number for recipient in view.recipients]
    shown = subscriber_records.find_revealed_addresses(app_state.installation, current_staff(), numbers, now=now)
    return render_template(
        "web/admin/sending/recipients.html",
        view=view,
        query=read_query(RecipientsQuery),
        shown=shown,
        kept_days=app_state.installation.settings.file.retention.delivery_days,
        contact_of=refusal_actions.find_provider_contact,
        now=now,
        zone=app_state.zone,
        fresh=current_staff().is_fresh(now),
        refusal=refusal,
    )


@admin_pages.post("/deliveries/<name>/doubts")
def resolve_uncertain_deliveries(name: str) -> ResponseReturnValue:
    """Resolve an edition's deliveries with unknown status as chosen in the form.

    The others remain unresolved.
    """
    app_state = get_app_state()
    resolve = partial(
        uncertain_delivery_actions.resolve_uncertain,
        app_state.installation,
        name,
        actor=current_actor(),
        clock=app_state.clock,
    )
    try:
        reason = read_form(ReasonForm).reason
        resolved_count = sum(resolve(ids, resolution, reason=reason) for ids, resolution in _read_words(_WORDS))
    except (FormError, EditionControlError) as exc:
        return _refuse(name, exc)
    return redirect(url_for("admin.list_deliveries", edition=name, settled=resolved_count), 303)


@admin_pages.post("/deliveries/notices/doubts")
def resolve_uncertain_notices() -> ResponseReturnValue:
    """Resolve transactional emails with unknown status as chosen in the form.

    The others remain unresolved.
    """
    app_state = get_app_state()
    resolve = partial(
        uncertain_delivery_actions.resolve_uncertain,
        app_state.installation,
        NOTICES,
        actor=current_actor(),
        clock=app_state.clock,
    )
    try:
        reason = read_form(ReasonForm).reason
        resolved_count = sum(resolve(ids, resolution, reason=reason) for ids, resolution in _read_words(_NOTICE_WORDS))
    except FormError as exc:
        return _refuse("", exc)
    return redirect(url_for("admin.list_deliveries", settled=resolved_count), 303)


@admin_pages.post("/deliveries/<name>/silence")
def resend_unreported(name: str) -> ResponseReturnValue:
    """Resend deliveries that the provider hasn't reported on for a day.

    It has reported on others that were sent at the same time.
    """
    installation, actor, now = get_installation_actor_and_time()
    try:
        reason = read_form(ReasonForm).reason
        silent = delivery_views.list_uncertain_ids_without_report(installation, actor, name, now=now)
        send_again, clock = UncertainResolution.SEND_AGAIN, get_app_state().clock
        resolved_count = uncertain_delivery_actions.resolve_uncertain(
            installation, name, silent, send_again, reason=reason, actor=actor, clock=clock
        )
    except (FormError, EditionControlError) as exc:
        return _refuse(name, exc)
    return redirect(url_for("admin.list_deliveries", edition=name, settled=resolved_count), 303)


def _refuse(name: str, refusal: ApplicationError) -> tuple[str, int]:
    return _deliveries_page(name, refusal=refusal), 409 if isinstance(refusal, EditionControlError) else 400


@admin_pages.post("/deliveries/<name>/log")
def upload_mail_log(name: str) -> ResponseReturnValue:
    """Examine an uploaded mail server log, and redirect to the results.

    Nothing is resolved yet.
    """
    app_state = get_app_state()
    installation, _, now = get_installation_actor_and_time()
    zones = {"utc": UTC, "publication": app_state.zone}
    zone = zones.get(request.form.get("zone", ""))
    uploads = [file for file in request.files.getlist("file") if file.filename]
    files = [(str(file.filename)[:MAX_FILE_NAME], file.stream) for file in uploads]
    try:
        log = app_state.logs.examine(installation, current_staff(), name, files, zone=zone, now=now)
    except UnknownEditionError as exc:
        return _refuse("", exc)
    except LogUploadError as exc:
        return _refuse(name, exc)
    return redirect(url_for("admin.show_log_evidence", name=log), 303)


@admin_pages.get("/deliveries/logs/<name>")
def show_log_evidence(name: str) -> ResponseReturnValue:
    """Show what a log says about an edition's deliveries with unknown status.

    No addresses are shown.
    """
    return _log_page(name)


@admin_pages.post("/deliveries/logs/<name>")
def resolve_deliveries_by_mail_log(name: str) -> ResponseReturnValue:
    """Resolve an edition's deliveries with unknown status according to a log."""
    app_state = get_app_state()
    try:
        reason = read_form(ReasonForm).reason
        edition, resolved_count = app_state.logs.resolve(
            app_state.installation, current_staff(), name, reason, clock=app_state.clock
        )
    except EditionControlError as exc:
        return _log_page(name, refusal=exc), 409
    except (FormError, LogUploadError) as exc:
        return _log_page(name, refusal=exc), 400
    return redirect(url_for("admin.list_deliveries", edition=edition, settled=resolved_count), 303)


def _log_page(name: str, *, refusal: ApplicationError | None = None) -> str:
    app_state = get_app_state()
    log = app_state.logs.find(name, current_staff(), now=app_state.clock())
    if log is None:
        abort(
            404, "Log results are available for 15 minutes in the browser that uploaded the log. Upload the log again."
        )
    return render_template(
        "web/admin/sending/log_evidence.html", name=name, log=log, verdicts=list(LogVerdict), refusal=refusal
    )


def _read_words(words: Mapping[str, UncertainResolution]) -> Iterator[tuple[list[str], UncertainResolution]]:
    """Yield the form's delivery IDs for each chosen resolution."""
    resolutions = [
        (field.removeprefix(_FIELD_PREFIX), word)
        for field, word in request.form.items()
        if field.startswith(_FIELD_PREFIX)
    ]
    for word, resolution in words.items():
        if ids := [delivery for delivery, said_word in resolutions if said_word == word]:
            yield ids, resolution


@admin_pages.post("/deliveries/<any(hold, release):act>")
def pause_or_resume_all(act: str) -> ResponseReturnValue:
    """Pause or resume all sending from the installation."""
    installation, actor, now = get_installation_actor_and_time()
    if act == "release":
        sending_pause.resume_all_sending(installation, actor=actor, now=now)
        flash("resumed", "sending")
    else:
        try:
            reason = read_form(ReasonForm).reason
        except FormError as exc:
            return _refuse("", exc)
        sending_pause.pause_all_sending(installation, reason=reason, actor=actor, now=now)
    return redirect(url_for("admin.list_deliveries", _anchor="hold"), 303)


def _deliveries_page(name: str, *, refusal: ApplicationError | None = None) -> str:
    app_state, query = get_app_state(), read_query(DeliveriesQuery)
    installation, actor, now = get_installation_actor_and_time()
    view = delivery_views.view_deliveries(
        installation, actor, name, below=query.below, recent=app_state.recent_counts, now=now
    )
    return render_template(
        "web/admin/sending/deliveries.html",
        view=view,
        names=staff.read_display_names(installation) if view.hold else {},
        refusal=refusal,
        contact_of=refusal_actions.find_provider_contact,
        max_doubts=delivery_views.MAX_DOUBTS,
        settled=query.settled,
        fresh=current_staff().is_fresh(now),
    )
