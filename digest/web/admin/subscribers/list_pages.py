"""What admins do with the list as a whole: export it, ask those without evidence, let a barred address sign up again."""

import tempfile
from collections.abc import Iterator
from typing import IO

from flask import Response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from digest.app.subscribers import lists, people, reader_records
from digest.installation.reasons import ReasonError, read_reason
from digest.web.admin.blueprint import admin_pages
from digest.web.auth.access import current_actor, current_staff
from digest.web.context import web_context
from subscribers.errors import RefusalError
from subscribers.transfer.exports import ExportRecipient

FIRST_QUESTIONS = 50  # that the form offers: a new sender does well to begin with few
MAX_QUESTIONS = 5000  # of one press
OWN_PEOPLE = "the people who run this list"
_PIECE_LENGTH = 1 << 16  # characters of a file that are sent at once


@admin_pages.get("/readers/export")
def ask_before_export() -> ResponseReturnValue:
    """Ask why the list is exported, and to whom it goes."""
    return _export_page()


@admin_pages.post("/readers/export")
def export_list() -> ResponseReturnValue:
    """Give everyone who may be mailed as a CSV file that no spreadsheet executes; each of them sees that it happened."""
    context, now = web_context(), web_context().clock()
    try:
        recipient = ExportRecipient(
            read_reason(request.form.get("to", "") or OWN_PEOPLE),
            read_reason(request.form.get("reason", "")),
            reader_records.look_reference(current_staff()),
        )
    except ReasonError as exc:
        return _export_page(refusal=exc), 400
    # It has no name, and nothing of it stays once it is sent.
    file = tempfile.TemporaryFile("w+", newline="", encoding="utf-8", dir=context.settings.home)  # noqa: SIM115 - sent below
    lists.write_list(context.installation, current_actor(), file, recipient, now=now)
    answer = Response(_read_pieces(file), mimetype="text/csv")
    day = now.astimezone(context.zone).date()
    answer.headers["Content-Disposition"] = f'attachment; filename="readers-{day}.csv"'
    return answer


def _read_pieces(file: IO[str]) -> Iterator[str]:
    with file:
        file.seek(0)
        while piece := file.read(_PIECE_LENGTH):
            yield piece


def _export_page(*, refusal: RefusalError | None = None) -> str:
    return render_template(
        "web/admin/subscribers/export.html", refusal=refusal, form=request.form, own_people=OWN_PEOPLE
    )


@admin_pages.get("/readers/ask")
def ask_before_asking() -> ResponseReturnValue:
    """Say whom the one question would go to."""
    return _asking_page()


@admin_pages.post("/readers/ask")
def ask_unverified() -> ResponseReturnValue:
    """Queue the one question whether they want the mail, for some of those whom a list named without evidence."""
    context = web_context()
    try:
        most = read_most(request.form.get("most", ""))
    except ReasonError as exc:
        return _asking_page(refusal=exc), 400
    asked = lists.ask_unverified_people(context.installation, current_actor(), limit=most, now=context.clock())
    return redirect(url_for("admin.ask_before_asking", asked=asked), 303)


def read_most(text: str) -> int:
    """Read how many are to be asked at most.

    Raises:
        ReasonError: it is no number that one press may have.
    """
    digits = text.replace(",", "").strip()
    if not (digits.isascii() and digits.isdigit() and len(digits) < 6 and 0 < int(digits) <= MAX_QUESTIONS):
        raise ReasonError(f"Say how many: a number from 1 to {MAX_QUESTIONS:,}.")
    return int(digits)


def _asking_page(*, refusal: RefusalError | None = None) -> str:
    context, asked = web_context(), request.args.get("asked", "")
    candidates = lists.count_unverified_people(context.installation, current_actor(), now=context.clock())
    return render_template(
        "web/admin/subscribers/ask.html",
        candidates=candidates,
        asked=int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 8 else None,
        first=min(FIRST_QUESTIONS, candidates),
        refusal=refusal,
    )


@admin_pages.get("/readers/allow")
def ask_before_allowing() -> ResponseReturnValue:
    """Say what lifting a suppression means, and ask for the address."""
    return _allowing_page()


@admin_pages.post("/readers/allow")
def allow_address() -> ResponseReturnValue:
    """Let the owner of a barred address sign up again; nobody is on the list by it."""
    context, form = web_context(), request.form
    try:
        reason = read_reason(form.get("reason", ""))
        people.allow_signup(context.installation, current_actor(), form.get("address", ""), reason, now=context.clock())
    except RefusalError as exc:
        return _allowing_page(refusal=exc), 400
    return redirect(url_for("admin.ask_before_allowing", done="yes"), 303)


def _allowing_page(*, refusal: RefusalError | None = None) -> str:
    return render_template(
        "web/admin/subscribers/allow.html", refusal=refusal, form=request.form, done=request.args.get("done") == "yes"
    )
