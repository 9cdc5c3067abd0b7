"""The team's actions on refusals of an edition: list and acknowledge them, and send those for doubtful reasons again."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from digest.app.editions.edition_status import resolve_edition_name
from digest.deliver.retention import stored_delivery_counts
from digest.deliver.send.refusals import refused_deliveries
from digest.deliver.send.refusals.refused_deliveries import RefusalGroup, map_tags_to_domain_names
from digest.edition.edition_queries import find_edition
from digest.installation.action_reasons import read_optional_reason
from digest.installation.audited_actions import Action, Actor, Role
from digest.installation.opened_installation import Installation
from digest.settings.affected_areas import AffectedArea
from digest.store.models import Edition
from subscribers.callback_types import Clock
from subscribers.consent.sealed_rows import BATCH_SIZE
from subscribers.errors import RefusalError

ACKNOWLEDGE = Action("refusals acknowledged", Role.EDITOR, AffectedArea.NONE)
SEND_AGAIN = Action("refused sent again", Role.ADMIN, AffectedArea.NONE)


class ChangedRefusalsError(RefusalError):
    """There are more or fewer refusals than the person confirmed."""


@dataclass(frozen=True, slots=True)
class RefusalOverview:
    """The refusals of an edition by domain and reason, the largest group first, and the domains that have a name, by tag."""

    edition: Edition
    groups: tuple[RefusalGroup, ...]
    domain_names: Mapping[str, str]

    def choose_resendable(self, chosen: Collection[str]) -> list[RefusalGroup]:
        """Return the groups to send again that have one of these reasons or keys; see `refused_deliveries.list_resendable`."""
        return [group for group in self.groups if group.is_resendable(chosen)]


def read_refusals(installation: Installation, name: str) -> RefusalOverview:
    """Read the refusals of an edition.

    Raises:
        UnknownEditionError: there's no such edition.
    """
    names = map_tags_to_domain_names(installation.keys, installation.settings.file.limits.domains_per_hour)
    with installation.read() as session:
        edition = find_edition(session, name)
        groups = refused_deliveries.group_refusals(session, edition.name)
    return RefusalOverview(edition, tuple(refused_deliveries.merge_refusals(groups)), names)


def acknowledge_refusals(
    installation: Installation, name: str, *, confirmed: int, reason: str, actor: Actor, now: datetime
) -> int:
    """Acknowledge the refusals that an edition was sent with; return how many, 0 if there were none to acknowledge.

    `confirmed` is how many the person was told of.

    Raises:
        UnknownEditionError: there's no such edition.
        ChangedRefusalsError: there are more or fewer by now.
        ReasonError: the reason is too long, or may contain an address.
    """
    name = resolve_edition_name(installation, name)
    with ACKNOWLEDGE.transaction(installation, actor, name, now=now) as (session, audit):
        reason = read_optional_reason(reason)
        edition = find_edition(session, name, lock=True)
        refusals, audit.changed = edition.refusals, edition.has_refusals
        if audit.changed and refusals != confirmed:
            raise ChangedRefusalsError(
                f"The number of refusals changed from {confirmed:,} to {refusals:,}.",
                "Check the refusals, then try again.",
            )
        audit.detail = {"refused": refusals} | ({"because": reason} if reason else {})
        if audit.changed:
            edition.refusals, edition.acknowledged_refusals = 0, refusals
        return refusals if audit.changed else 0


def send_refused_again(
    installation: Installation,
    name: str,
    chosen: Collection[str],
    *,
    confirmed: int,
    reason: str,
    actor: Actor,
    clock: Clock,
) -> int:
    """Send refused messages of an edition again, for doubtful reasons only; return how many.

    Each transaction takes 500, and has its audit row. Messages that aren't refused anymore stay as they are.

    Args:
        installation: the installation.
        name: the edition's name, or `current`.
        chosen: names of reasons, keys of groups, or `all`.
        confirmed: how many messages the person agreed to send again.
        reason: why, for the audit log.
        actor: who sends them again.
        clock: returns the time in UTC.

    Raises:
        UnknownEditionError: there's no such edition.
        EditionControlError: it's canceled.
        ChangedRefusalsError: there are more or fewer than `confirmed`.
    """
    name, sent = resolve_edition_name(installation, name), 0
    with SEND_AGAIN.steps(installation, actor, name, now=clock()) as audit:
        audit.changed = False
        with installation.read() as session:
            ids = refused_deliveries.list_resendable(session, name, chosen)
        if len(ids) != confirmed:
            raise ChangedRefusalsError(
                f"The number of refused messages changed from {confirmed:,} to {len(ids):,}. Nothing was sent again.",
                "Check the refusals, then try again.",
            )
        remaining = iter(ids)
        while page := list(islice(remaining, BATCH_SIZE)):
            with installation.write() as session:
                again = refused_deliveries.send_again(session, installation.keys, name, page, now=clock())
                audit.detail = {"because": reason, "deliveries": again}
                if again:
                    audit.record(session)
                    stored_delivery_counts.recount_stored_edition(session, name, now=clock())
            sent += len(again)
    return sent
