"""What left, for admins: editions and notices with their counts, doubts that wait for a word, the hold."""

from collections.abc import Mapping
from datetime import UTC
from typing import Any

from flask import abort, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from digest.app.accounts import staff
from digest.app.sending import delivery_views, uncertain_acts
from digest.app.sending.examined_logs import LogUploadError
from digest.deliver.control.edition_control import EditionControlError
from digest.deliver.send.uncertain.log_evidence import LogVerdict
from digest.deliver.send.uncertain.uncertain_deliveries import NOTICES, UncertainResolution
from digest.edition.queries import UnknownEditionError
from digest.installation import hold
from digest.installation.reasons import ReasonError, read_reason
from digest.web.admin.blueprint import admin_pages
from digest.web.auth.access import current_actor, current_staff
from digest.web.context import web_context
from subscribers.errors import ApplicationError

_WORDS = {"arrived": UncertainResolution.ACCEPTED, "again": UncertainResolution.SEND_AGAIN}
_NOTICE_WORDS = {"arrived": UncertainResolution.ACCEPTED, "lost": UncertainResolution.LOST}
_FIELD_PREFIX = "word-"
MAX_FILE_NAME = 100  # characters of an upload's name that an answer shows


@admin_pages.get("/deliveries")
def list_deliveries() -> ResponseReturnValue:
    """Show what left: a page of editions, and what came of one of them."""
    return _deliveries_page(request.args.get("edition", ""))


@admin_pages.post("/deliveries/<name>/doubts")
def settle_doubts(name: str) -> ResponseReturnValue:
    """Settle uncertain deliveries of an edition by the member's word; the rest stays uncertain."""
    context, actor = web_context(), current_actor()
    try:
        reason = read_reason(request.form.get("reason", ""))
        settled = 0
        for word, resolution in _WORDS.items():
            if ids := _read_ids(word):
                settled += uncertain_acts.resolve_uncertain(
                    context.installation, name, ids, resolution, reason=reason, actor=actor, clock=context.clock
                )
    except (ReasonError, EditionControlError) as exc:
        return _deliveries_page(name, typed=request.form, refusal=exc), 409 if isinstance(
            exc, EditionControlError
        ) else 400
    return redirect(url_for("admin.list_deliveries", edition=name, settled=settled), 303)


@admin_pages.post("/deliveries/notices/doubts")
def settle_notice_doubts() -> ResponseReturnValue:
    """Settle uncertain notices by the member's word; the rest stays uncertain."""
    context, actor = web_context(), current_actor()
    try:
        reason = read_reason(request.form.get("reason", ""))
    except ReasonError as exc:
        return _deliveries_page("", typed=request.form, refusal=exc), 400
    settled = 0
    for word, resolution in _NOTICE_WORDS.items():
        if ids := _read_ids(word):
            settled += uncertain_acts.resolve_uncertain(
                context.installation, NOTICES, ids, resolution, reason=reason, actor=actor, clock=context.clock
            )
    return redirect(url_for("admin.list_deliveries", settled=settled), 303)


@admin_pages.post("/deliveries/<name>/silence")
def send_silent_again(name: str) -> ResponseReturnValue:
    """Send again all of which nothing was heard for a day, though others that were sent beside them were reported."""
    context, actor = web_context(), current_actor()
    try:
        reason = read_reason(request.form.get("reason", ""))
        silent = delivery_views.list_silent_doubts(context.installation, actor, name, now=context.clock())
        again = UncertainResolution.SEND_AGAIN
        settled = uncertain_acts.resolve_uncertain(
            context.installation, name, silent, again, reason=reason, actor=actor, clock=context.clock
        )
    except (ReasonError, EditionControlError) as exc:
        return _deliveries_page(name, typed=request.form, refusal=exc), 409 if isinstance(
            exc, EditionControlError
        ) else 400
    return redirect(url_for("admin.list_deliveries", edition=name, settled=settled), 303)


@admin_pages.post("/deliveries/<name>/log")
def examine_log(name: str) -> ResponseReturnValue:
    """Take a mail server's log, and lead to what it says; nothing is settled yet."""
    context = web_context()
    zone = {"utc": UTC, "publication": context.zone}.get(request.form.get("zone", ""))
    files = [(file.filename[:MAX_FILE_NAME], file.stream) for file in request.files.getlist("file") if file.filename]
    try:
        log = context.logs.examine(context.installation, current_staff(), name, files, zone=zone, now=context.clock())
    except (LogUploadError, UnknownEditionError) as exc:
        return _deliveries_page("" if isinstance(exc, UnknownEditionError) else name, refusal=exc), 400
    return redirect(url_for("admin.show_log_evidence", name=log), 303)


@admin_pages.get("/deliveries/logs/<name>")
def show_log_evidence(name: str) -> ResponseReturnValue:
    """Show what a log says of an edition's doubts, without any address."""
    return _log_page(name)


@admin_pages.post("/deliveries/logs/<name>")
def settle_by_log(name: str) -> ResponseReturnValue:
    """Settle an edition's doubts by what a log says."""
    context = web_context()
    try:
        reason = read_reason(request.form.get("reason", ""))
        edition, settled = context.logs.settle(context.installation, current_staff(), name, reason, clock=context.clock)
    except (ReasonError, LogUploadError, EditionControlError) as exc:
        return _log_page(name, refusal=exc), 409 if isinstance(exc, EditionControlError) else 400
    return redirect(url_for("admin.list_deliveries", edition=edition, settled=settled), 303)


def _log_page(name: str, *, refusal: ApplicationError | None = None) -> str:
    context = web_context()
    log = context.logs.find(name, current_staff(), now=context.clock())
    if log is None:
        abort(404, "What a log said is kept for 15 minutes, for the browser that uploaded it. Upload it again.")
    return render_template(
        "web/admin/sending/log_evidence.html", name=name, log=log, verdicts=list(LogVerdict), refusal=refusal
    )


def _read_ids(word: str) -> list[str]:
    """Return the deliveries of the form of which the member said this word."""
    chosen = [field for field, value in request.form.items() if field.startswith(_FIELD_PREFIX) and value == word]
    return [field.removeprefix(_FIELD_PREFIX) for field in chosen]


@admin_pages.post("/deliveries/<any(hold, release):act>")
def hold_or_release(act: str) -> ResponseReturnValue:
    """Let nothing leave the installation, or let mail leave again."""
    context, actor = web_context(), current_actor()
    if act == "hold":
        try:
            reason = read_reason(request.form.get("reason", ""))
        except ReasonError as exc:
            return _deliveries_page("", typed=request.form, refusal=exc), 400
        hold.hold_installation(context.installation, reason=reason, actor=actor, now=context.clock())
    else:
        hold.release_installation(context.installation, actor=actor, now=context.clock())
    return redirect(url_for("admin.list_deliveries", _anchor="hold"), 303)


def _deliveries_page(
    name: str, *, typed: Mapping[str, str] | None = None, refusal: ApplicationError | None = None
) -> str:
    context, below, settled = web_context(), request.args.get("below", ""), request.args.get("settled", "")
    digits: dict[str, Any] = {
        field: int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None
        for field, text in (("below", below), ("settled", settled))
    }
    view = delivery_views.view_deliveries(
        context.installation,
        current_actor(),
        name,
        below=digits["below"],
        recent=context.recent_counts,
        now=context.clock(),
    )
    return render_template(
        "web/admin/sending/deliveries.html",
        view=view,
        names=staff.read_display_names(context.installation) if view.hold else {},
        typed=typed or {},
        refusal=refusal,
        max_doubts=delivery_views.MAX_DOUBTS,
        settled=digits["settled"],
        fresh=current_staff().is_fresh(context.clock()),
    )
