"""What readers' pages stand on, taken from the installation: among it, the mails that were handed over."""

from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from digest.app.background import signup_limits
from digest.app.installation import Installation
from digest.deliver.retention.delivery_disclosures import delivery_disclosures
from digest.deliver.retention.person_erasure import make_erasure_callback
from digest.deliver.send import notices
from digest.settings import Settings
from subscribers.consent.departure_log import DepartureLog
from subscribers.consent.disclosures import AddressDisclosure
from subscribers.pages.context import PageContext, SiteDetails
from subscribers.transfer.exports import DataController


def build_page_context(install: Installation, site: SiteDetails, clock: Callable[[], datetime]) -> PageContext:
    """Put together what `subscribers.pages.context` asks for.

    Raises:
        InstallationError: the installation has no keys.
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
