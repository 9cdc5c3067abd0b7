"""The subscriber list for admins, and searches for addresses.

Lists and URLs never contain any part of an address. Searches for a part of an address can be
started, watched, and stopped. Addresses are only shown after another click.
"""

from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any, Literal

from flask import abort, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from pydantic import AfterValidator, BeforeValidator, Field
from werkzeug.datastructures import MultiDict

from digest.app.subscribers import (
    address_searches,
    list_transfers,
    subscriber_actions,
    subscriber_records,
    subscriber_views,
)
from digest.app.subscribers.address_searches import AddressSearch, SearchStage
from digest.app.subscribers.subscriber_actions import UnknownPersonError
from digest.installation.action_reasons import might_contain_address
from digest.web.admin.blueprint import admin_pages, get_installation_actor_and_time, refresh_page
from digest.web.admin.subscribers.address_access_reasons import read_address_access_reason
from digest.web.app_state import get_app_state
from digest.web.auth.access import current_staff
from digest.web.forms import Count, Day, FormOrQueryModel, ReasonForm, read_form, read_query
from digest.web.url_rules import MAX_ROW_NUMBER
from subscribers.consent.preferences import FREQUENCY_LABELS, Frequency
from subscribers.consent.subscriber_list import SubscriberFilter
from subscribers.errors import RefusalError
from subscribers.pages.forms import FormError
from subscribers.store.models import PersonState
from subscribers.transfer.exports import EXPORTABLE_STATES

# These aren't states. They select subscribers whose emails are paused today, and those whose emails aren't.
PAUSED: Literal["paused"] = "paused"
MAILED: Literal["mailed"] = "mailed"
MAX_ORIGIN_LENGTH = 200
# The seconds between reloads of the page while a search is running. No script is needed.
REFRESH_SECONDS = 1


def _check_origin(text: str) -> str:
    if might_contain_address(text):
        raise ValueError("email addresses aren't allowed in URLs")
    return text.replace("\0", "")[:MAX_ORIGIN_LENGTH]


# A keyed hash, because the domain is part of an address.
DomainTag = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


PartKey = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,38}(:[a-z0-9-]{1,24})?$")]


class SubscriberQuery(FormOrQueryModel):
    """The query that filters the subscriber list.

    Invalid values and values that may contain a subscriber's address are ignored.
    """

    state: PersonState | Literal["paused", "mailed"] | None = None
    signup_source: Annotated[str, AfterValidator(_check_origin)] = ""
    batch: Count | None = Field(default=None, ge=1, alias="import")
    domain: DomainTag | None = None
    part: PartKey | None = None
    frequency: Frequency | None = None
    since: Day | None = None
    until: Day | None = None
    below: Count | None = Field(default=None, ge=1)

    def as_url(self) -> dict[str, Any]:
        """Return the values for a URL's query, without the position in the list."""
        values = self.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude={"below"})
        return {name: str(value) for name, value in values.items()}

    def as_filter(self) -> SubscriberFilter:
        """Return the filter that selects the subscribers to list.

        Without a state, a filter by preferences selects only current subscribers. A filter by an
        undone import selects the people who were kept.
        """
        state = PersonState.SUBSCRIBED if self.state in (PAUSED, MAILED) else self.state
        undone = self.batch if self.batch and _is_undone(self.batch) else None
        return SubscriberFilter(
            state=PersonState.SUBSCRIBED if state is None and (self.part or self.frequency) else state,
            asked_where=self.signup_source,
            batch=None if undone else self.batch,
            kept_from=undone,
            domain_tag=self.domain or "",
            part=self.part or "",
            frequency=self.frequency or "",
            since=_find_midnight(self.since) if self.since else None,
            until=_find_midnight(self.until + timedelta(days=1)) if self.until else None,
            paused_on=_find_today() if self.state == PAUSED else None,
            mailed_on=_find_today() if self.state == MAILED else None,
        )


def _is_undone(batch: int) -> bool:
    installation, actor, now = get_installation_actor_and_time()
    finished = list_transfers.find_finished_import(installation, actor, batch, now=now)
    return finished is not None and finished.is_undone


class FilterForm(SubscriberQuery):
    """The form that filters the subscriber list.

    `domain` is plain text, and `tag` is the hash of the previous domain.
    """

    domain: str = ""
    tag: DomainTag | None = None


def _read_number(text: object) -> object:
    if not isinstance(text, str):
        return text
    number = text.strip().lower().removeprefix("subscriber")
    digits = number.strip(" #").replace(",", "")
    if not digits.isascii() or not digits.isdigit():
        raise ValueError("Enter a subscriber number, such as 1042.")
    return digits


class AddressSearchForm(FormOrQueryModel):
    """A complete address or a part of one. It's checked by the action."""

    address: str = ""
    part: str = ""


@admin_pages.get("/readers")
def list_subscribers() -> ResponseReturnValue:
    """Show a page of the list and the search forms."""
    return render_subscriber_list()


@admin_pages.post("/readers/filter")
def filter_subscribers() -> ResponseReturnValue:
    """Redirect to the filtered list.

    The URL contains a hash of the domain, because it's part of an address.
    """
    installation, actor, now = get_installation_actor_and_time()
    form = read_query(FilterForm, request.form)
    filter_values = form.as_url()
    tag = filter_values.pop("tag", None)
    if form.signup_source not in subscriber_views.list_signup_sources(installation):
        # It isn't one of the offered values, and an address in it would appear in the URL.
        filter_values.pop("signup_source", None)
    if form.domain:
        try:
            reason = read_form(ReasonForm).reason if request.form.get("reason") else ""
            tag = subscriber_views.make_domain_filter_hash(installation, actor, form.domain, reason, now=now)
        except FormError as exc:
            return _refuse_filter(exc, filter_values)
        except RefusalError as exc:
            return _refuse_filter(FormError({"domain": str(exc)}), filter_values)
    domain = {"domain": tag} if tag else {}
    return redirect(url_for("admin.list_subscribers", **filter_values | domain, _anchor="list"), 303)


def _refuse_filter(refusal: FormError, filter_values: dict[str, Any]) -> tuple[str, int]:
    """Show the list filtered by everything but the domain, and the problem with the form."""
    rest = {name: value for name, value in filter_values.items() if name != "domain"}
    return render_subscriber_list(refusal=refusal, query=read_query(SubscriberQuery, MultiDict(rest))), 400


SubscriberNumber = Annotated[int, BeforeValidator(_read_number), Field(ge=0, le=MAX_ROW_NUMBER)]


class SubscriberNumberForm(FormOrQueryModel):
    """A subscriber's number as it's written on pages and in logs: 1042, "1,042", "subscriber 1,042", or "#1042"."""

    number: SubscriberNumber = Field(default="")  # type: ignore[assignment]  # an empty field is no number


@admin_pages.post("/readers/open")
def open_subscriber() -> ResponseReturnValue:
    """Redirect to the record of the subscriber with the submitted number."""
    installation, _, now = get_installation_actor_and_time()
    try:
        number = read_form(SubscriberNumberForm).number
        subscriber_records.require_subscriber(installation, current_staff(), number, now=now)
    except FormError as exc:
        return render_subscriber_list(refusal=exc), 400
    except UnknownPersonError as exc:
        return render_subscriber_list(refusal=FormError({"number": str(exc)})), 404
    return redirect(url_for("admin.show_subscriber", number=number), 303)


@admin_pages.post("/readers/find")
def find_subscriber() -> ResponseReturnValue:
    """Redirect to the record of the subscriber with the submitted address."""
    installation, actor, now = get_installation_actor_and_time()
    try:
        number = subscriber_actions.find_person(installation, actor, read_form(AddressSearchForm).address, now=now)
    except RefusalError as exc:
        return render_subscriber_list(refusal=FormError({"address": str(exc)})), 404
    return redirect(url_for("admin.show_subscriber", number=number), 303)


def render_subscriber_list(*, refusal: RefusalError | None = None, query: SubscriberQuery | None = None) -> str:
    """Render the subscriber list, with the refusal of a form, if any.

    `query` defaults to the query of the URL.
    """
    installation, actor, now = get_installation_actor_and_time()
    query = query or read_query(SubscriberQuery)
    list_filter = query.as_filter()
    view = subscriber_views.view_subscriber_list(installation, actor, list_filter, below=query.below, now=now)
    return render_template(
        "web/admin/subscribers/subscribers.html",
        view=view,
        query=query.as_url(),
        states=list(PersonState),
        frequencies=FREQUENCY_LABELS,
        may_export=list_filter.state in EXPORTABLE_STATES,
        now=now,
        zone=get_app_state().zone,
        fresh=current_staff().is_fresh(now),
        refusal=refusal,
    )


def _find_today() -> date:
    app_state = get_app_state()
    return app_state.clock().astimezone(app_state.zone).date()


def _find_midnight(day: date) -> datetime:
    return datetime.combine(day, time(), get_app_state().zone).astimezone(UTC)


@admin_pages.post("/readers/search")
def begin_search() -> ResponseReturnValue:
    """Start a search for a part of an address, and redirect to its page."""
    installation, _, now = get_installation_actor_and_time()
    part, searches = read_form(AddressSearchForm).part, get_app_state().searches
    try:
        reason = read_address_access_reason()
        name = searches.begin(installation, current_staff(), part, reason, now=now)
    except FormError as exc:
        return render_subscriber_list(refusal=exc), 400
    except RefusalError as exc:
        return render_subscriber_list(refusal=FormError({"part": str(exc)})), 400
    return redirect(url_for("admin.show_search", name=name), 303)


@admin_pages.get("/readers/search/<name>")
def show_search(name: str) -> ResponseReturnValue:
    """Show the progress of a search and its matches by number.

    Addresses are only shown while access to them is valid.
    """
    app_state, search = get_app_state(), _find_search(name)
    # This is read before the matches, so that the page is reloaded once more if the search ends in between.
    stage = search.stage
    now = app_state.clock()
    page = render_template(
        "web/admin/subscribers/search.html",
        name=name,
        search=search,
        stage=stage,
        subscribers=address_searches.list_found_subscribers(app_state.installation, search),
        shown=subscriber_records.find_revealed_addresses(
            app_state.installation, current_staff(), search.found_numbers, now=now
        ),
        now=now,
        zone=app_state.zone,
    )
    return refresh_page(page, every_seconds=REFRESH_SECONDS if stage is SearchStage.RUNNING else 0)


@admin_pages.post("/readers/search/<name>/stop")
def stop_search(name: str) -> ResponseReturnValue:
    """Stop a search.

    Its matches are kept.
    """
    _find_search(name).stop_asked.set()
    return redirect(url_for("admin.show_search", name=name), 303)


@admin_pages.post("/readers/search/<name>/addresses")
def reveal_found_addresses(name: str) -> ResponseReturnValue:
    """Grant access to the addresses found by a search.

    Each owner can see the access and its reason.
    """
    app_state, search = get_app_state(), _find_search(name)
    try:
        subscriber_records.reveal_addresses(
            app_state.installation, current_staff(), search.found_numbers, search.reason, now=app_state.clock()
        )
    except UnknownPersonError:
        abort(404, "The people in the results have been erased.")
    return redirect(url_for("admin.show_search", name=name), 303)


def _find_search(name: str) -> AddressSearch:
    app_state = get_app_state()
    search = app_state.searches.find(name, current_staff(), now=app_state.clock())
    return search or abort(
        404, "Search results are available for 15 minutes in the browser that started the search. Search again."
    )
