"""Asking readers of whom nothing was heard for long: counted first, then mailed the question."""

from flask import redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from digest.app.subscribers import silent_readers
from digest.app.subscribers.silent_readers import MOST_YEARS, USUAL_YEARS
from digest.installation.reasons import ReasonError
from digest.web.admin.blueprint import admin_pages
from digest.web.admin.subscribers.list_pages import FIRST_QUESTIONS, MAX_QUESTIONS, read_most
from digest.web.auth.access import current_actor
from digest.web.context import web_context
from subscribers.errors import RefusalError

OFFERED_YEARS = (1, 2, 3, 5)


@admin_pages.get("/readers/silent")
def ask_before_counting() -> ResponseReturnValue:
    """Say what the question is, and since when nobody may have been heard of whom it goes to."""
    asked = request.args.get("asked", "")
    return _silence_page(asked=int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 8 else None)


@admin_pages.post("/readers/silent/count")
def count_silent_readers() -> ResponseReturnValue:
    """Count whom the question would go to: it goes through the whole list."""
    try:
        return _counted_page(_read_years())
    except RefusalError as exc:
        return _silence_page(refusal=exc), 400


@admin_pages.post("/readers/silent")
def ask_silent_readers() -> ResponseReturnValue:
    """Queue the question for some of those who were counted."""
    context, years = web_context(), USUAL_YEARS
    try:
        years = _read_years()
        most = read_most(request.form.get("most", ""))
    except RefusalError as exc:
        return _counted_page(years, refusal=exc), 400
    asked = silent_readers.ask_silent_readers(
        context.installation,
        current_actor(),
        years,
        takes_off=request.form.get("unanswered") == "taken off",
        limit=most,
        now=context.clock(),
    )
    return redirect(url_for("admin.ask_before_counting", asked=asked), 303)


def _read_years() -> int:
    text = request.form.get("years", "").strip()
    if not (text.isascii() and text.isdigit() and len(text) < 3 and 0 < int(text) <= MOST_YEARS):
        raise ReasonError(f"Say how many years: a whole number from 1 to {MOST_YEARS}.")
    return int(text)


def _counted_page(years: int, *, refusal: RefusalError | None = None) -> str:
    context = web_context()
    silent = silent_readers.count_silent_readers(context.installation, current_actor(), years, now=context.clock())
    return _silence_page(years=years, silent=silent, refusal=refusal)


def _silence_page(
    *,
    years: int = USUAL_YEARS,
    silent: int | None = None,
    asked: int | None = None,
    refusal: RefusalError | None = None,
) -> str:
    return render_template(
        "web/admin/subscribers/silent.html",
        offered=OFFERED_YEARS,
        years=years,
        silent=silent,
        asked=asked,
        refusal=refusal,
        first=min(FIRST_QUESTIONS, silent or 0),
        most=MAX_QUESTIONS,
        days=silent_readers.ANSWER_DAYS,
    )
