"""One reader's record for admins: what happened, what was sent, where the address has been, and every act on it."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime

from flask import Response, abort, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from digest.app.subscribers import people, reader_records
from digest.app.subscribers.people import UnknownPersonError
from digest.installation.reasons import ReasonError, read_reason
from digest.web.admin.blueprint import admin_pages
from digest.web.admin.subscribers.look_reasons import LOOK_REASONS, read_look_reason
from digest.web.auth.access import current_actor, current_staff
from digest.web.context import web_context
from subscribers.errors import RefusalError
from subscribers.lifecycle.my_data import DataLinkOutcome
from subscribers.signup.manual_signup import ConsentEvidence
from subscribers.store.models import ConsentKind

DATA_REQUEST_REASON = "to answer your request for your data"


@dataclass(frozen=True, slots=True)
class RecordAct:
    """One act on a person as its page says it: what it is called, what will happen, its button, and what is said afterwards.

    `unchanged` is said instead of `done` where there was nothing to do any more: a stale page, or a form that was sent twice.
    """

    title: str
    consequence: str
    button: str
    done: str
    unchanged: str
    is_grave: bool = False


RECORD_ACTS = {
    "leave": RecordAct(
        "Take reader {number} off the list",
        "It counts as if they had left by themselves, from now on. They may sign up again; no import brings them back.",
        "Take off the list",
        "This reader is off the list.",
        "Nothing was changed: this reader was off the list before.",
    ),
    "stop": RecordAct(
        "Never mail reader {number} again",
        "Their address is suppressed: no import and no form brings it back. Only an admin can allow a new sign-up.",
        "Never mail this address again",
        "This address is not mailed any more.",
        "Nothing was changed: mail to this address was stopped before.",
    ),
    "links": RecordAct(
        "Renew the links in the mails of reader {number}",
        "The links in mails so far will leave the list and do no more: for somebody who forwarded one. The next mail has new ones.",
        "Renew the links",
        "The links are renewed. The next mail holds the new ones.",
        "Nothing was changed: this reader is erased, and their links with them.",
    ),
    "erase": RecordAct(
        "Erase reader {number}",
        "The address and the choices go for good, here and at the provider. The counts stay, and a keyed hash, so that no import "
        "brings them back. This cannot be undone.",
        "Erase everything",
        "This reader is erased.",
        "Nothing was changed: this reader was erased before.",
        is_grave=True,
    ),
}


@admin_pages.get("/readers/<int(max=2147483647):number>")
def show_reader(number: int) -> ResponseReturnValue:
    """Show one reader's record; the address only while a look at it holds."""
    return _record_page(number)


def _record_page(number: int, *, refusal: RefusalError | None = None, done: str = "") -> str:
    context, now = web_context(), web_context().clock()
    try:
        record = reader_records.view_reader_record(
            context.installation, current_staff(), number, everything="all" in request.args, now=now
        )
    except UnknownPersonError:
        abort(404, "No reader has this number.")
    return render_template(
        "web/admin/subscribers/reader.html",
        record=record,
        zone=context.zone,
        acts=RECORD_ACTS,
        fresh=current_staff().is_fresh(now),
        hidden=request.args.get("address") == "hidden",
        refusal=refusal,
        done=done or _done_words(request.args.get("done", "")),
    )


_UNCHANGED_PREFIX = "unchanged-"
_LINK_WORDS = {
    DataLinkOutcome.QUEUED: "A link to their data is on its way to the reader. It works once, for 24 hours.",
    DataLinkOutcome.UNREACHABLE: "Nothing was mailed: this reader has no address that may be written to.",
    DataLinkOutcome.STILL_OPEN: "Nothing was mailed: a link that was mailed within the last 24 hours may still be used.",
    DataLinkOutcome.TOO_MANY: "Nothing was mailed: three links went to this reader within seven days, and that is the limit.",
}


def _done_words(done: str) -> str:
    if done in RECORD_ACTS:
        return RECORD_ACTS[done].done
    if done.removeprefix(_UNCHANGED_PREFIX) in RECORD_ACTS:
        return RECORD_ACTS[done.removeprefix(_UNCHANGED_PREFIX)].unchanged
    if done in {"added", "known"}:
        return (
            "This reader is added." if done == "added" else "This reader was on the list already. Nothing was changed."
        )
    return _LINK_WORDS[DataLinkOutcome(done)] if done in set(DataLinkOutcome) else ""


@admin_pages.get("/readers/<int(max=2147483647):number>/address")
def ask_for_reason(number: int) -> ResponseReturnValue:
    """Ask why an address has to be seen."""
    return _reason_page(number)


@admin_pages.post("/readers/<int(max=2147483647):number>/address")
def show_address(number: int) -> ResponseReturnValue:
    """Let the member see an address for a quarter of an hour: its owner sees that they did, and why."""
    context = web_context()
    try:
        reason = read_look_reason()
        reader_records.show_addresses(context.installation, current_staff(), [number], reason, now=context.clock())
    except ReasonError as exc:
        return _reason_page(number, refusal=exc), 400
    except UnknownPersonError as exc:
        return _record_page(number, refusal=exc), 409
    return redirect(url_for("admin.show_reader", number=number), 303)


def _reason_page(number: int, *, refusal: RefusalError | None = None) -> str:
    _check_reader(number)
    return render_template(
        "web/admin/subscribers/look.html", number=number, reasons=LOOK_REASONS, typed=request.form, refusal=refusal
    )


@admin_pages.get("/readers/<int(max=2147483647):number>/<any(leave, stop, links, erase):act>")
def ask_before_act(number: int, act: str) -> ResponseReturnValue:
    """Say what an act on a reader will do, and ask why."""
    return _act_page(number, act)


@admin_pages.post("/readers/<int(max=2147483647):number>/<any(leave, stop, links, erase):act>")
def act_on_reader(number: int, act: str) -> ResponseReturnValue:
    """Take a reader off the list, stop mail to them for good, renew their links, or erase them."""
    context, actor = web_context(), current_actor()
    installation, now = context.installation, context.clock()
    try:
        reason = read_reason(request.form.get("reason", ""))
        _check_typed_number(number, act)
        if act == "leave":
            _, changed = people.withdraw_person(installation, actor, number, reason, now=now)
        elif act == "stop":
            changed = people.suppress_address(installation, actor, number, reason, now=now)
        elif act == "links":
            _, changed = people.renew_person_links(installation, actor, number, reason, now=now)
        else:
            _, changed = people.erase_subscriber(installation, actor, number, reason, now=now)
    except ReasonError as exc:
        return _act_page(number, act, refusal=exc), 400
    except UnknownPersonError as exc:
        return _record_page(number, refusal=exc), 409
    done = act if changed else f"{_UNCHANGED_PREFIX}{act}"
    return redirect(url_for("admin.show_reader", number=number, done=done), 303)


def _check_typed_number(number: int, act: str) -> None:
    """Refuse a grave act without its typed confirmation."""
    if RECORD_ACTS[act].is_grave and request.form.get("number", "").strip().replace(",", "") != str(number):
        raise ReasonError(f"Type the number {number}, so that nobody is erased by a slip.")


def _check_reader(number: int) -> None:
    """Answer "not found" where nobody has a number."""
    context = web_context()
    try:
        reader_records.check_reader(context.installation, current_staff(), number, now=context.clock())
    except UnknownPersonError:
        abort(404, "No reader has this number.")


def _act_page(number: int, act: str, *, refusal: RefusalError | None = None) -> str:
    _check_reader(number)
    return render_template(
        "web/admin/subscribers/reader_act.html",
        number=number,
        act=act,
        words=RECORD_ACTS[act],
        refusal=refusal,
        form=request.form,
    )


@admin_pages.get("/readers/<int(max=2147483647):number>/request")
def ask_how_to_answer(number: int) -> ResponseReturnValue:
    """Say how a reader's request for their data can be answered."""
    _check_reader(number)
    return render_template("web/admin/subscribers/data_request.html", number=number)


@admin_pages.post("/readers/<int(max=2147483647):number>/request/<any(mail, html, json):form>")
def answer_data_request(number: int, form: str) -> ResponseReturnValue:
    """Answer a reader's request for their data: by a link that is mailed to them, or with their record as a file."""
    context, actor, staff = web_context(), current_actor(), current_staff()
    installation, now = context.installation, context.clock()
    if form == "mail":
        outcome = people.mail_data_link(installation, actor, number, DATA_REQUEST_REASON, now=now)
        return redirect(url_for("admin.show_reader", number=number, done=str(outcome)), 303)
    try:
        record = people.show_person(
            installation, actor, number, DATA_REQUEST_REASON, reference=reader_records.look_reference(staff), now=now
        )
    except UnknownPersonError:
        abort(404, "No reader has this number.")
    if form == "html":
        answer = Response(people.render_record_page(installation, record), mimetype="text/html")
    else:
        answer = Response(json.dumps(record, indent=2, ensure_ascii=False), mimetype="application/json")
    answer.headers["Content-Disposition"] = f'attachment; filename="reader-{number}.{form}"'
    return answer


@admin_pages.get("/readers/add")
def before_adding() -> ResponseReturnValue:
    """Show the form that adds a reader on the evidence of their consent."""
    return _adding_page()


@admin_pages.post("/readers/add")
def add_reader() -> ResponseReturnValue:
    """Add a reader on the evidence of their consent. Nobody is mailed by this."""
    context, form, actor = web_context(), request.form, current_actor()
    try:
        evidence = _read_evidence()
        signup = people.add_person(context.installation, actor, form.get("address", ""), evidence, now=context.clock())
    except RefusalError as exc:
        return _adding_page(refusal=exc), 400
    done = "known" if signup.already_subscribed else "added"
    return redirect(url_for("admin.show_reader", number=signup.number, done=done), 303)


def _read_evidence() -> ConsentEvidence:
    context, form = web_context(), request.form
    texts = {name: " ".join(form.get(name, "").split()) for name in ("wording", "where", "method")}
    try:
        agreed = datetime.fromisoformat(form.get("on", ""))
        agreed_at = agreed.replace(tzinfo=agreed.tzinfo or context.zone).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ReasonError("Give the day on which the person agreed, such as 2026-06-16.") from None
    if not all(texts.values()) or any("@" in text or len(text) > 2000 for text in texts.values()):
        raise ReasonError("Say in which words, where and how the person agreed, with no address among them.")
    return ConsentEvidence(
        wording=texts["wording"],
        wording_version="1",
        language=form.get("language", "en")[:20] or "en",
        page=texts["where"][:200],
        method=texts["method"][:200],
        actor=current_actor().name,
        agreed_at=agreed_at,
        kind=ConsentKind.CONFIRMED if form.get("confirmed") else ConsentKind.ATTESTED,
    )


def _adding_page(*, refusal: RefusalError | None = None) -> str:
    return render_template("web/admin/subscribers/add_reader.html", refusal=refusal, form=request.form)
