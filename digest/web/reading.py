"""What readers' pages stand on, taken from the installation: among it, the mails that were handed over."""

from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from digest.deliver import notices
from digest.deliver.forgetting import make_erasure_callback
from digest.deliver.passages import delivery_disclosures
from digest.errands import signup_limits
from digest.install import Installation
from digest.settings import Settings
from subscribers.disclosures import AddressDisclosure
from subscribers.journal import DepartureLog
from subscribers.reception import PageContext, SiteDetails
from subscribers.transfer.exporting import DataController


def build_page_context(
    install: Installation, site: SiteDetails, clock: Callable[[], datetime]
) -> PageContext:
    """Put together what `subscribers.pages` asks for.

    Raises:
        InstallError: the installation has no keys.
    """
    settings = install.settings

    def deliveries(session: Session, number: int) -> tuple[AddressDisclosure, ...]:
        return delivery_disclosures(session, number, settings)

    return PageContext(
        site=site,
        database=install.database,
        keys=install.keys,
        departure_log=DepartureLog(settings.left_log, install.keys),
        clock=clock,
        queue=notices.make_notice_queue(install.keys, settings, clock),
        list_deliveries=deliveries,
        delivery_retention=timedelta(days=settings.file.retention.delivery_days),
        forget_deliveries=make_erasure_callback(install.keys, clock),
        controller=data_controller(settings),
        bounds=signup_limits(settings),
        trusted_proxies=settings.file.limits.proxies,
    )


def data_controller(settings: Settings) -> DataController:
    """Say who answers for the list."""
    publication, sender = settings.file.publication, settings.file.sender
    return DataController(publication.name, sender.reply_to, sender.postal_address, publication.site)
