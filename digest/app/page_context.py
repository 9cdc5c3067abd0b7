"""What readers' pages are handed, taken from the installation."""

from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from digest.app.background import signup_limits
from digest.app.installation import Installation
from digest.deliver.providers.registry import describe_address_holders
from digest.deliver.retention.delivery_disclosures import delivery_disclosures
from digest.deliver.retention.person_erasure import make_erasure_callback
from digest.deliver.send import notices
from digest.edition.rendering.fragments import publication_frame
from digest.settings import Settings
from subscribers.consent.departure_log import DepartureLog
from subscribers.consent.disclosures import AddressDisclosure
from subscribers.pages.context import PageContext, SiteDetails
from subscribers.transfer.exports import DataController


def build_page_context(installation: Installation, site: SiteDetails, clock: Callable[[], datetime]) -> PageContext:
    """Put together what `subscribers.pages.context` asks for.

    Raises:
        InstallationError: the installation has no keys.
    """
    settings = installation.settings

    def deliveries(session: Session, number: int) -> tuple[AddressDisclosure, ...]:
        return delivery_disclosures(session, number, settings)

    return PageContext(
        site=site,
        database=installation.database,
        keys=installation.keys,
        departure_log=DepartureLog(settings.left_log, installation.keys),
        clock=clock,
        queue=notices.make_notice_queue(installation.keys, settings, clock),
        list_deliveries=deliveries,
        delivery_retention=timedelta(days=settings.file.retention.delivery_days),
        forget_deliveries=make_erasure_callback(installation.keys, clock),
        controller=data_controller(settings),
        bounds=signup_limits(settings),
        trusted_proxies=settings.file.limits.proxies,
    )


def data_controller(settings: Settings) -> DataController:
    """Say who answers for the list."""
    publication, sender = settings.file.publication, settings.file.sender
    return DataController(publication.name, sender.reply_to, sender.postal_address, publication.site)


def site_from_settings(settings: Settings) -> SiteDetails:
    """Take from the settings what readers' pages say."""
    publication, sender = settings.file.publication, settings.file.sender
    return SiteDetails(
        name=publication.name,
        tagline=publication.tagline,
        about=publication.about,
        home=publication.site,
        language=publication.language,
        direction=publication.direction,
        zone=publication.zone,
        reply_to=sender.reply_to,
        postal_address=publication_frame(settings).postal_line,
        sections=tuple((s.key, s.title) for s in settings.file.sections),
        recipients=describe_address_holders(settings),
    )
