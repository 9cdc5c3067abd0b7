"""Readers, for admins: the list in pages, and finding one of them. No part of an address stands in a list or a URL."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

from flask import redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from digest.app.subscribers import people, readers
from digest.installation.reasons import may_hold_address
from digest.web.admin.blueprint import admin_pages
from digest.web.admin.subscribers.look_reasons import LOOK_REASONS
from digest.web.auth.access import current_actor, current_staff
from digest.web.context import web_context
from digest.web.routes import MAX_ROW_NUMBER
from subscribers.consent.reader_list import ReaderFilter
from subscribers.errors import RefusalError
from subscribers.store.models import PersonState

MAX_ORIGIN_LENGTH = 200
_TAG_LENGTH = 32  # hex digits of a domain's keyed hash


@admin_pages.get("/readers")
def list_readers() -> ResponseReturnValue:
    """Show a page of the list, with the forms that find one reader."""
    return render_reader_list()


@admin_pages.post("/readers/filter")
def filter_readers() -> ResponseReturnValue:
    """Lead to the list of those who match. A domain is part of an address: the URL holds a keyed hash of it."""
    form, query = request.form, {}
    for name in ("state", "came", "import", "since"):
        if form.get(name):
            query[name] = form[name]
    if query.get("came") not in readers.list_origins(web_context().installation):
        query.pop("came", None)  # typed by nobody: the form offers a list, and an address in it would get into the URL
    if domain := form.get("domain", "").strip():
        try:
            query["domain"] = readers.tag_domain(web_context().installation.keys, domain)
        except RefusalError as exc:
            return render_reader_list(refusal=exc, at_fault="domain"), 400
    elif _is_tag(form.get("tag", "")):
        query["domain"] = form["tag"]
    return redirect(url_for("admin.list_readers", **_readable_query(query)), 303)


@admin_pages.post("/readers/find")
def find_reader() -> ResponseReturnValue:
    """Find one reader by their whole address, and lead to their record."""
    context = web_context()
    try:
        number = people.find_person(
            context.installation, current_actor(), request.form.get("address", ""), now=context.clock()
        )
    except RefusalError as exc:
        return render_reader_list(refusal=exc, at_fault="address"), 404
    return redirect(url_for("admin.show_reader", number=number), 303)


def render_reader_list(*, refusal: RefusalError | None = None, at_fault: str = "") -> str:
    """Write the page of the list, with what was refused and in which field."""
    context, now = web_context(), web_context().clock()
    query = _readable_query(request.args)
    view = readers.view_reader_list(
        context.installation,
        current_actor(),
        _parse_filter(query, context.zone),
        below=_parse_number(request.args.get("below", "")),
        now=now,
    )
    return render_template(
        "web/admin/subscribers/readers.html",
        view=view,
        query=query,
        states=list(PersonState),
        now=now,
        zone=context.zone,
        fresh=current_staff().is_fresh(now),
        reasons=LOOK_REASONS,
        # Never a whole address: a page that shows one is a look at it.
        typed=request.form if at_fault in {"part", "domain"} else {},
        refusal=refusal,
        at_fault=at_fault,
    )


def _readable_query(values: Mapping[str, str]) -> dict[str, Any]:
    """Return what a URL asks for, without what makes no sense or may hold a subscriber's address."""
    came = values.get("came", "")
    kept = {
        "state": values.get("state", "") if values.get("state") in set(PersonState) else "",
        "came": "" if may_hold_address(came) else came.replace("\0", "")[:MAX_ORIGIN_LENGTH],
        "import": str(_parse_number(values.get("import", "")) or ""),
        "domain": values.get("domain", "") if _is_tag(values.get("domain", "")) else "",
        "since": values.get("since", "") if _parse_day(values.get("since", "")) else "",
    }
    return {name: value for name, value in kept.items() if value}


def _parse_filter(query: Mapping[str, str], zone: ZoneInfo) -> ReaderFilter:
    since = _parse_day(query.get("since", ""))
    fields: dict[str, Any] = {
        "state": PersonState(query["state"]) if "state" in query else None,
        "asked_where": query.get("came", ""),
        "batch": _parse_number(query.get("import", "")),
        "domain_tag": query.get("domain", ""),
        "since": datetime.combine(since, time(), zone).astimezone(UTC) if since else None,
    }
    return ReaderFilter(**fields)


def _parse_day(text: str) -> date | None:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return None
    return day if 1970 <= day.year <= 9000 else None


def _parse_number(text: str) -> int | None:
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 11 else 0
    return number if 0 < number <= MAX_ROW_NUMBER else None


def _is_tag(text: str) -> bool:
    return len(text) == _TAG_LENGTH and all(letter in "0123456789abcdef" for letter in text)
