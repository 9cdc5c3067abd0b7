"""The subscriber list for admins, in pages by subscriber number. No part of an address is shown."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import TypeVar
from weakref import WeakKeyDictionary

from sqlalchemy import select
from sqlalchemy.orm import Session

from digest.deliver.plan.delivery_plan import make_edition_delivery_purpose
from digest.deliver.plan.planning import RecipientCounts, count_recipients
from digest.edition.edition_queries import COMING_STATES, IS_REGULAR, PUBLIC_STATES, find_edition
from digest.edition.part_titles import list_part_titles
from digest.installation.audited_actions import Action, Actor
from digest.installation.cached_counts import CachedCount, CachedCounts
from digest.installation.opened_installation import Installation
from digest.store.delivery_models import Delivery, DeliveryState
from digest.store.engine import Database
from digest.store.models import Edition
from subscribers.address import AddressError, read_address
from subscribers.consent import audience, subscriber_list
from subscribers.consent.subscriber_list import ImportOrigin, ListedSubscriber, MatchCount, SubscriberFilter
from subscribers.crypto.stored_addresses import make_domain_tag
from subscribers.pages.forms import FormError
from subscribers.signup.mailbox_identity import is_large_provider
from subscribers.store.models import PersonState
from subscribers.transfer.imports import count_imported_departures

SEARCH = Action("addresses searched")
LIST = Action("readers listed")
COUNTING_SHARE = 100  # counts are cached for this many times as long as they took
RECIPIENTS_KEPT_SECONDS = 10.0  # because they change with the edition and the settings
# A page doesn't wait for a count that takes longer than this, if there's an earlier one.
MIN_CACHED_SECONDS = 0.02  # counts that took less aren't cached
SLOW_COUNT_SECONDS = 0.2
MAX_OVERDUE_SECONDS = 60.0  # an expired count isn't shown for longer than this
Counted = TypeVar("Counted")


@dataclass(frozen=True, slots=True)
class PeopleCounts:
    """The number of people in each state, at the time `counted_at`."""

    by_state: dict[PersonState, int]
    counted_at: datetime

    def __getitem__(self, state: PersonState) -> int:
        return self.by_state[state]

    @property
    def total(self) -> int:
        """The total number of people, including unsubscribed and erased ones."""
        return sum(self.by_state.values())


_kept_counts: WeakKeyDictionary[object, CachedCounts] = WeakKeyDictionary()


def count_subscribers(
    database: Database, *, now: datetime, monotonic: Callable[[], float] = time.monotonic
) -> PeopleCounts:
    """Return the number of people in each state, possibly from a cache (see `get_or_count`)."""

    def count(session: Session) -> PeopleCounts:
        return PeopleCounts(audience.count_people_by_state(session), now)

    return get_or_count(database, "people", count, monotonic)


def count_edition_recipients(installation: Installation, edition: Edition, *, now: datetime) -> RecipientCounts:
    """Return the number of subscribers that an edition will be sent to.

    The number may be cached (see `get_or_count`). Once an edition is being sent, its deliveries are
    counted elsewhere, so all counts here are 0.
    """
    if edition.state not in COMING_STATES:
        return RecipientCounts(0, 0, 0)

    def count(session: Session) -> RecipientCounts:
        return count_recipients(session, find_edition(session, edition.name), installation.settings, now=now)

    # The settings can change while an earlier count is still kept.
    counted_name = f"recipients of {edition.name} under {installation.settings.file.preferences!r}"
    return get_or_count(installation.database, counted_name, count, keep_for=RECIPIENTS_KEPT_SECONDS)


def get_or_count(
    database: Database,
    counted_name: str,
    count: Callable[[Session], Counted],
    monotonic: Callable[[], float] = time.monotonic,
    *,
    keep_for: float = math.inf,
) -> Counted:
    """Return the result of `count`, cached for 100 times as long as counting takes.

    It's cached for at most `keep_for` seconds. Counting therefore takes at most 1% of the time.
    Fast counts aren't cached. Counting a million people by state takes 0.1 s, so it's repeated
    every 10 s. If a slow count expired within the last minute, it's still returned while a thread
    counts again.
    """

    def count_anew() -> CachedCount:
        began = monotonic()
        with database.read() as session:
            result = count(session)
        took = monotonic() - began
        expires = began + min(keep_for, (COUNTING_SHARE + 1) * took) if took > MIN_CACHED_SECONDS else -math.inf
        return CachedCount(result, expires, expires + (MAX_OVERDUE_SECONDS if took > SLOW_COUNT_SECONDS else 0))

    counts = _kept_counts.setdefault(database.engine, CachedCounts())
    result: Counted = counts.get(counted_name, count_anew, now=monotonic()).result  # type: ignore[assignment]  # the name identifies the type
    return result


@dataclass(frozen=True, slots=True)
class LastEditionDeliveryStates:
    """The edition that was sent last, and the states of its deliveries to some people."""

    number: int
    states: dict[int | None, DeliveryState]


@dataclass(frozen=True, slots=True)
class SubscriberListView:
    """A page of the list, with its context.

    `origins`, `imports`, and `parts` are the available filters. `matches` is the number of people
    who match the filter, and `paused` is the number of subscribers whose email is paused today.
    """

    counts: PeopleCounts
    paused: int
    matches: MatchCount
    parts: tuple[tuple[str, str], ...]
    subscribers: tuple[ListedSubscriber, ...]
    next_below: int | None
    is_truncated: bool
    origins: list[str]
    imports: list[ImportOrigin]
    last_edition: LastEditionDeliveryStates | None
    listed_departures: int


def view_subscriber_list(
    installation: Installation, actor: Actor, list_filter: SubscriberFilter, *, below: int | None, now: datetime
) -> SubscriberListView:
    """Return a page of the people who match a filter, with counts and the available filters.

    Raises:
        NotPermittedError: the actor isn't an admin.
    """
    LIST.check_role(installation, actor, "the list", now=now)
    database, settings = installation.database, installation.settings
    counts = count_subscribers(database, now=now)
    today = now.astimezone(settings.zone).date()
    count_paused = partial(subscriber_list.count_paused, today=today)
    paused = get_or_count(database, f"paused on {today}", count_paused)
    matches = _count_matching_people(installation, list_filter, now)
    with installation.read() as session:
        page = subscriber_list.load_subscriber_page(session, list_filter, below=below)
        newest = select(Edition.name, Edition.number).where(IS_REGULAR, Edition.state.in_(PUBLIC_STATES))
        edition = session.execute(newest.order_by(Edition.release_at.desc()).limit(1)).first()
        last_edition = None
        if edition is not None:
            numbers = [subscriber.number for subscriber in page.subscribers]
            sent = select(Delivery.person, Delivery.state).where(
                Delivery.purpose == make_edition_delivery_purpose(edition.name), Delivery.person.in_(numbers)
            )
            states = {row[0]: row[1] for row in session.execute(sent)}
            last_edition = LastEditionDeliveryStates(edition.number, states)
        return SubscriberListView(
            counts=counts,
            paused=paused,
            matches=matches,
            parts=list_part_titles(settings, settings.subscriber_language),
            subscribers=page.subscribers,
            next_below=page.next_below,
            is_truncated=page.is_truncated,
            origins=subscriber_list.list_signup_sources(session),
            imports=subscriber_list.list_recent_imports(session),
            last_edition=last_edition,
            listed_departures=count_imported_departures(session),
        )


def count_exportable(
    installation: Installation, actor: Actor, list_filter: SubscriberFilter, *, now: datetime
) -> tuple[MatchCount, MatchCount]:
    """Count the subscribers who match a filter, including paused ones, and everyone in the list who does.

    Only subscribers may be exported.

    Raises:
        NotPermittedError: the actor isn't an admin.
    """
    LIST.check_role(installation, actor, "the list", now=now)
    subscribers = replace(list_filter, state=PersonState.SUBSCRIBED)
    count = partial(_count_matching_people, installation, now=now)
    return count(subscribers), count(list_filter)


def _count_matching_people(installation: Installation, list_filter: SubscriberFilter, now: datetime) -> MatchCount:
    """Return the number of people who match a filter, possibly from a cache."""
    state = list_filter.state
    if list_filter == SubscriberFilter(state=state):
        counts = count_subscribers(installation.database, now=now)
        return MatchCount(counts[state] if state else counts.total)
    count = partial(subscriber_list.count_matching_people, list_filter=list_filter)
    return get_or_count(installation.database, f"matches of {list_filter}", count)


def list_signup_sources(installation: Installation) -> list[str]:
    """Return the sign-up sources that the list can be filtered by."""
    with installation.read() as session:
        return subscriber_list.list_signup_sources(session)


def make_domain_filter_hash(
    installation: Installation, actor: Actor, domain_text: str, reason: str, *, now: datetime
) -> str:
    """Return the keyed hash that finds a domain's subscribers without decrypting addresses.

    The filter reveals who subscribes from the domain, so this is logged like a search by address,
    except for large providers.

    Raises:
        NotPermittedError: the actor isn't an admin.
        ConfirmationRequiredError: the actor confirmed who they are too long ago.
        AddressError: the text isn't a domain.
        FormError: there's no reason.
    """
    LIST.check_role(installation, actor, "the list", now=now)
    try:
        address = read_address(f"a@{domain_text.strip().removeprefix('@')}")
    except AddressError:
        raise AddressError("This isn't a domain. Enter the part after the @, such as county.example.org.") from None
    if not is_large_provider(address.domain):
        if not reason:
            raise FormError({"reason": "The reason is missing. Say why you need the subscribers at this domain."})
        with SEARCH.transaction(installation, actor, "the list", now=now) as (_, draft):
            draft.detail = {"why": reason}
    return make_domain_tag(installation.keys, address)
