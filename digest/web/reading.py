"""What readers' pages stand on, taken from the installation: among it, the mails that were handed over."""

from collections.abc import Callable
from datetime import datetime
from urllib.parse import urlsplit

from sqlalchemy import select
from sqlalchemy.orm import Session

from digest.db import Edition
from digest.deliver import notices
from digest.deliver.forgetting import forget
from digest.delivery_db import Delivery
from digest.install import Install
from digest.settings import Settings
from digest.weekly import bounds_of
from subscribers.disclosures import Passage
from subscribers.journal import Journal
from subscribers.reception import Reception, Site
from subscribers.transfer.exporting import Controller

_WHY = {
    "confirm": "To ask whether you want our mail",
    "remind": "To remind you of that question",
    "ask": "To ask, once, whether you want our mail: a list named your address",
    "known": "To say that you are on the list already",
    "link": "To send you the link to your choices",
    "welcome": "To send you your receipt",
    "data": "To send you the link to your data",
    "move": "To ask whether a new address is yours",
    "moving": "To tell you that your address is about to change",
}


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
        forget=forget,
        controller=controller_of(settings),
        bounds=bounds_of(settings),
        proxies=settings.file.limits.proxies,
    )


def deliveries_of(session: Session, number: int, settings: Settings) -> tuple[Passage, ...]:
    """List the mails to one person that were handed over: that is when the address left the house."""
    mine = select(Delivery).where(Delivery.person == number, Delivery.handed_at.is_not(None))
    rows = list(session.scalars(mine.order_by(Delivery.handed_at.desc())))
    names = {row.purpose.partition(":")[2] for row in rows}
    found = session.execute(select(Edition.name, Edition.number).where(Edition.name.in_(names)))
    numbers = {name: issue for name, issue in found}  # noqa: C416 - a Result is no mapping of pairs to mypy
    return tuple(
        Passage(row.handed_at, recipient(row.transport, settings), _why(row.purpose, numbers), row.message_id)
        for row in rows
        if row.handed_at is not None
    )


def _why(purpose: str, numbers: dict[str, int]) -> str:
    kind, _, name = purpose.partition(":")
    if kind == "edition":
        return f"To deliver No. {numbers[name]}" if name in numbers else f"To deliver {name}"
    return _WHY.get(kind, f"To send you a mail ({kind})")


def recipient(transport: str, settings: Settings) -> str:
    """Say in words who got a message, by the name of the transport that took it."""
    mail = urlsplit(settings.mail_url.get_secret_value())
    if transport == "outbox":
        return "Nobody outside: a file on our own machine"
    if transport == "sendgrid":
        return f"Twilio SendGrid ({urlsplit(settings.sendgrid_host).hostname}), who delivers for us"
    if mail.scheme in {"smtp", "smtps"} and mail.hostname:
        return f"Our mail server {mail.hostname}, on the way to your own"
    return "Our mail server, on the way to your own"


def controller_of(settings: Settings) -> Controller:
    """Say who answers for the list."""
    publication, sender = settings.file.publication, settings.file.sender
    return Controller(publication.name, sender.reply_to, sender.postal_address, publication.site)
