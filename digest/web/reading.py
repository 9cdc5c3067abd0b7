"""What readers' pages stand on, taken from the installation: among it, the mails that were handed over."""

from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from digest.deliver import notices
from digest.deliver.forgetting import everywhere
from digest.deliver.passages import deliveries_of
from digest.errands import bounds_of
from digest.install import Install
from digest.settings import Settings
from subscribers.disclosures import Passage
from subscribers.journal import Journal
from subscribers.reception import Reception, Site
from subscribers.transfer.exporting import Controller


def reception_of(install: Install, site: Site, clock: Callable[[], datetime]) -> Reception:
    """Put together what `subscribers.pages` asks for.

    Raises:
        InstallError: the installation has no keys.
    """
    settings = install.settings

    def deliveries(session: Session, number: int) -> tuple[Passage, ...]:
        return deliveries_of(session, number, settings)

    return Reception(
        site=site,
        books=install.database,
        keys=install.keys,
        journal=Journal(settings.left_log, install.keys),
        clock=clock,
        queue=notices.queue(install.keys, settings, clock),
        deliveries_of=deliveries,
        mails_for=timedelta(days=settings.file.retention.delivery_days),
        forget=everywhere(install.keys, clock),
        controller=controller_of(settings),
        bounds=bounds_of(settings),
        proxies=settings.file.limits.proxies,
    )


def controller_of(settings: Settings) -> Controller:
    """Say who answers for the list."""
    publication, sender = settings.file.publication, settings.file.sender
    return Controller(publication.name, sender.reply_to, sender.postal_address, publication.site)
