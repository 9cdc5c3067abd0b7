"""Finding readers by a part of their address: begun, watched, stopped; the addresses themselves on a further click."""

from flask import abort, make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from digest.app.subscribers import address_searches, reader_records
from digest.app.subscribers.address_searches import AddressSearch, SearchStage
from digest.app.subscribers.people import UnknownPersonError
from digest.web.admin.blueprint import admin_pages
from digest.web.admin.subscribers.look_reasons import read_look_reason
from digest.web.admin.subscribers.reader_pages import render_reader_list
from digest.web.auth.access import current_staff
from digest.web.context import web_context
from subscribers.errors import RefusalError

REFRESH_SECONDS = 1  # between two looks of the page at a search that runs; it works without scripts


@admin_pages.post("/readers/search")
def begin_search() -> ResponseReturnValue:
    """Begin a search for a part of an address, and lead to its page."""
    context = web_context()
    try:
        reason = read_look_reason()
        name = context.searches.begin(
            context.installation, current_staff(), request.form.get("part", ""), reason, now=context.clock()
        )
    except RefusalError as exc:
        return render_reader_list(refusal=exc, at_fault="part"), 400
    return redirect(url_for("admin.show_search", name=name), 303)


@admin_pages.get("/readers/search/<name>")
def show_search(name: str) -> ResponseReturnValue:
    """Show how far a search is and whom it found, by number; addresses only while a look at them holds."""
    context, search = web_context(), _find_search(name)
    stage = search.stage  # before what it found is read: a search that ends meanwhile is looked at once more
    shown = reader_records.find_shown_addresses(
        context.installation, current_staff(), search.found, now=context.clock()
    )
    page = render_template(
        "web/admin/subscribers/search.html",
        name=name,
        search=search,
        stage=stage,
        readers=address_searches.list_found_readers(context.installation, search),
        shown=shown,
        now=context.clock(),
        zone=context.zone,
    )
    answer = make_response(page)
    if stage is SearchStage.RUNNING:
        answer.headers["Refresh"] = str(REFRESH_SECONDS)
    return answer


@admin_pages.post("/readers/search/<name>/stop")
def stop_search(name: str) -> ResponseReturnValue:
    """Stop a search; what it found so far stays."""
    _find_search(name).stop_asked.set()
    return redirect(url_for("admin.show_search", name=name), 303)


@admin_pages.post("/readers/search/<name>/addresses")
def show_found_addresses(name: str) -> ResponseReturnValue:
    """Let the member see the addresses that a search found: each owner sees that they did, and why."""
    context, search = web_context(), _find_search(name)
    try:
        reader_records.show_addresses(
            context.installation, current_staff(), search.found, search.reason, now=context.clock()
        )
    except UnknownPersonError:
        abort(404, "Nobody whom the search found is there any more.")
    return redirect(url_for("admin.show_search", name=name), 303)


def _find_search(name: str) -> AddressSearch:
    search = web_context().searches.find(name, current_staff(), now=web_context().clock())
    if search is None:
        abort(
            404, "This search is over: its result is kept for 15 minutes, for the browser that began it. Search again."
        )
    return search
