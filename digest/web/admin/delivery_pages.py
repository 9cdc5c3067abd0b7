"""What left, for admins: editions and notices with their counts, doubts that wait for a word, the hold."""

from typing import Any

from flask import redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from digest.app import delivery_views, hold, sending
from digest.app.reasons import ReasonError, read_reason
from digest.deliver.control.edition_control import EditionControlError
from digest.deliver.send.uncertain_deliveries import UncertainResolution
from digest.web.admin import reader_words
from digest.web.admin.blueprint import admin_pages
from digest.web.auth.access import current_actor
from digest.web.context import web_context
from subscribers.errors import ApplicationError

_WORDS = {"arrived": UncertainResolution.ACCEPTED, "again": UncertainResolution.SEND_AGAIN}
_FIELD_PREFIX = "word-"


@admin_pages.get("/deliveries")
def list_deliveries() -> ResponseReturnValue:
    """Show what left: a page of editions, and what came of one of them."""
    return _deliveries_page(request.args.get("edition", ""))


@admin_pages.post("/deliveries/<name>/doubts")
def settle_doubts(name: str) -> ResponseReturnValue:
    """Settle uncertain deliveries of an edition by the member's word; the rest stays in doubt."""
    context, actor = web_context(), current_actor()
    try:
        reason = read_reason(request.form.get("reason", ""))
        settled = 0
        for word, resolution in _WORDS.items():
            ids = [
                field.removeprefix(_FIELD_PREFIX) for field, value in request.form.items() if _says(field, value, word)
            ]
            if ids:
                settled += sending.resolve_uncertain(
                    context.installation, name, ids, resolution, reason=reason, actor=actor, clock=context.clock
                )
    except (ReasonError, EditionControlError) as exc:
        return _deliveries_page(name, refusal=exc), 409 if isinstance(exc, EditionControlError) else 400
    return redirect(url_for("admin.list_deliveries", edition=name, settled=settled), 303)


def _says(field: str, value: str, word: str) -> bool:
    return field.startswith(_FIELD_PREFIX) and value == word


@admin_pages.post("/deliveries/<any(hold, release):act>")
def hold_or_release(act: str) -> ResponseReturnValue:
    """Let nothing leave the installation, or let mail leave again."""
    context, actor = web_context(), current_actor()
    if act == "hold":
        try:
            reason = read_reason(request.form.get("reason", ""))
        except ReasonError as exc:
            return _deliveries_page("", refusal=exc), 400
        hold.hold_installation(context.installation, reason=reason, actor=actor, now=context.clock())
    else:
        hold.release_installation(context.installation, actor=actor, now=context.clock())
    return redirect(url_for("admin.list_deliveries", _anchor="hold"), 303)


def _deliveries_page(name: str, *, refusal: ApplicationError | None = None) -> str:
    context, below, settled = web_context(), request.args.get("below", ""), request.args.get("settled", "")
    digits: dict[str, Any] = {
        field: int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None
        for field, text in (("below", below), ("settled", settled))
    }
    view = delivery_views.view_deliveries(
        context.installation, current_actor(), name, below=digits["below"], now=context.clock()
    )
    return render_template(
        "web/admin/deliveries.html", view=view, words=reader_words, refusal=refusal, settled=digits["settled"]
    )
