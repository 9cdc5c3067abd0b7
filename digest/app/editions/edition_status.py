"""The status of an edition: its schedule, its delivery counts, and anything that blocks it.

This module imports little, so that `digest status` responds quickly in an emergency.
"""

from dataclasses import dataclass
from datetime import datetime

from digest.deliver.control import installation_hold
from digest.deliver.plan.delivery_plan import DeliveryCounts, count_deliveries, make_edition_delivery_purpose
from digest.deliver.send.claims.send_progress import SendProgress, describe_progress, read_progress
from digest.deliver.send.run.send_gate import explain_blocked_send
from digest.edition.approval import approved_versions as approval
from digest.edition.edition_queries import find_edition, find_upcoming_or_last_edition
from digest.installation.opened_installation import Installation
from digest.store.delivery_models import DeliveryState
from digest.store.models import BREAKING_NEWS_NUMBER, EditionState
from subscribers.english_text import weekday_date


def resolve_edition_name(installation: Installation, name: str) -> str:
    """Return the full name of an edition that's given by its name or as `current`.

    `current` stands for the next edition to be sent, or else the last one sent.

    Raises:
        UnknownEditionError: there's no edition of that name.
    """
    with installation.read() as session:
        return find_edition(session, name).name


@dataclass(frozen=True, slots=True)
class EditionStatus:
    """The status of an edition, including its delivery counts and anything that blocks it.

    `refusals` is the number of refusals that need a decision, and `content_hash` identifies the
    content. `blocked_reason` says why sending is stopped, if the edition or all sending is paused.
    `progress_sentence` describes the last run.
    """

    name: str
    number: int
    state: EditionState
    state_words: str
    refusals: int
    content_hash: str
    release_text: str
    delivery_counts: DeliveryCounts
    blocked_reason: str
    progress: SendProgress | None
    progress_sentence: str

    @property
    def is_breaking_news(self) -> bool:
        """True if this is an extra edition with breaking news."""
        return self.number == BREAKING_NEWS_NUMBER


def read_edition_status(installation: Installation, name: str, *, now: datetime) -> EditionStatus:
    """Return the status of an edition, including its delivery counts.

    Raises:
        UnknownEditionError: there's no edition of that name.
    """
    zone = installation.settings.zone
    with installation.read() as session:
        edition = find_edition(session, name)
        local = edition.release_at.astimezone(zone)
        release = f"{weekday_date(local)}, {local:%H:%M %Z}"
        if edition.is_breaking_news:
            release = "as soon as it's approved and someone chooses to send it"
        counts = count_deliveries(session, make_edition_delivery_purpose(edition.name))
        progress = read_progress(session, edition.name)
        blocked = explain_blocked_send(
            edition.name, edition, installation_hold.read_installation_value(session, installation_hold.HOLD_STATE_KEY)
        )
        return EditionStatus(
            name=edition.name,
            number=edition.number,
            state=edition.state,
            state_words=edition.state_words,
            refusals=edition.refusals if edition.has_refusals else 0,
            content_hash=approval.read_current_content_hash(session, edition, installation.settings),
            release_text=release,
            delivery_counts=counts,
            blocked_reason=blocked,
            progress=progress,
            progress_sentence="" if blocked else describe_progress(progress, counts.open, now, zone),
        )


def describe_delivery_counts(counts: DeliveryCounts) -> str:
    """Return delivery counts as a sentence, such as those in a status report.

    States that no delivery has are left out.
    """
    words = {DeliveryState.CANCELLED: "canceled"}  # stored with the British spelling
    parts = [f"{count:,} {words.get(state, state)}" for state, count in counts.by_state.items() if count]
    return f"{counts.planned:,} planned" + "".join(f", {part}" for part in parts) + "."


def find_edition_status(installation: Installation, name: str, *, now: datetime) -> EditionStatus | None:
    """Return the status of an edition, or None if `name` is `current` and there's no edition yet.

    Raises:
        UnknownEditionError: another name was given, and there's no edition of that name.
    """
    if name == "current":
        with installation.read() as session:
            if find_upcoming_or_last_edition(session) is None:
                return None
    return read_edition_status(installation, name, now=now)
