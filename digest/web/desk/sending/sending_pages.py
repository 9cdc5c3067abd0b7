"""The page of an edition that goes out, while it does and afterwards; cancelling it, and stopping everything."""

from flask import Blueprint, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from digest.app.accounts import staff
from digest.app.editions import page_views
from digest.app.sending import control as sending
from digest.app.sending import sending_view
from digest.installation import hold
from digest.installation.acts import Role
from digest.installation.reasons import ReasonError, read_optional_reason
from digest.web.auth.access import current_actor
from digest.web.context import web_context
from digest.web.desk.sending.sending_outline import (
    SendingPhase,
    draw_minutes,
    find_sending_phase,
    is_paused_by_alarm,
    list_happenings,
    list_share_parts,
    messages_a_minute,
)

sending_pages = Blueprint("sending", __name__, url_prefix="/desk")

RENEWED_PHASES = frozenset({SendingPhase.COMING, SendingPhase.GOING, SendingPhase.PAUSED, SendingPhase.HELD})


@sending_pages.get("/editions/<name>/sending")
def show_sending(name: str) -> ResponseReturnValue:
    """Show how an edition goes out, or what came of it."""
    return _sending_page(name)


def _sending_page(name: str, *, refusal: str = "") -> str:
    context, actor = web_context(), current_actor()
    installation = context.installation
    view = sending_view.view_sending(installation, name, recent=context.recent_counts, now=context.clock())
    phase, limits = find_sending_phase(view), context.settings.file.limits
    minutes = view.progress.minutes if view.progress else ()
    return render_template(
        "web/desk/sending/sending.html",
        view=view,
        edition=view.edition,
        counts=view.counts,
        names=staff.read_display_names(installation),
        now=view.counted_at,
        phase=phase,
        by_alarm=is_paused_by_alarm(view),
        parts=list_share_parts(view),
        happenings=list_happenings(view),
        chart=draw_minutes(minutes, context.zone, limits) if minutes else None,
        limit=messages_a_minute(limits),
        is_admin=actor.holds(Role.ADMIN),
        renews=phase in RENEWED_PHASES and request.args.get("renew") != "no",
        refusal=refusal,
    )


@sending_pages.post("/editions/<name>/cancel")
def cancel(name: str) -> ResponseReturnValue:
    """Cancel an edition for all who do not have it yet, once its number was typed."""
    context = web_context()
    edition = page_views.read_edition(context.installation, name)
    if request.form.get("number", "").strip().removeprefix("No.").strip() != str(edition.number):
        refusal = f"Nothing was cancelled: type {edition.number}, the number of the edition, to cancel it."
        return _sending_page(name, refusal=refusal), 422
    sending.cancel_edition(context.installation, edition.name, actor=current_actor(), now=context.clock())
    return redirect(url_for("sending.show_sending", name=edition.name), 303)


@sending_pages.post("/editions/<name>/<any(hold, release):act>")
def hold_or_release(name: str, act: str) -> ResponseReturnValue:
    """Let nothing leave the installation any more, or let it leave again."""
    context, actor = web_context(), current_actor()
    if act == "hold":
        try:
            reason = read_optional_reason(request.form.get("reason", ""))
        except ReasonError as exc:
            return _sending_page(name, refusal=str(exc)), 400
        hold.hold_installation(context.installation, reason=reason, actor=actor, now=context.clock())
    else:
        hold.release_installation(context.installation, actor=actor, now=context.clock())
    return redirect(url_for("sending.show_sending", name=name), 303)
