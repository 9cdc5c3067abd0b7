"""What would go wrong, looked for before it does: each finding says what to do."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from typing import Literal
from urllib.parse import urlsplit

from sqlalchemy import func, select

from digest.attention import needed
from digest.db import Source
from digest.deliver.dkim import DkimError, signer_of
from digest.deliver.inbound import mailbox
from digest.install import Install

OUR_NAMES = ("digest", "subscribers", "scheduler")
LITTLE_DISK = 1_000_000_000  # bytes


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One thing looked at, and how it is."""

    level: Literal["ok", "warning", "error"]
    what: str


def examine(install: Install) -> list[Diagnosis]:
    """Look at everything; nothing is changed."""
    return [
        *_names(),
        *_keys(install),
        *_database(install),
        *_disk(install),
        *_sending(install),
        *_signing(install),
        *_bounces(install),
        *_pages(install),
        *_attention(install),
    ]


def shared_names(owners: dict[str, list[str]]) -> list[str]:
    """Name the import names of ours that another distribution owns too, given who owns which."""
    return [name for name in OUR_NAMES if len(set(owners.get(name, ()))) > 1]


def _names() -> Iterator[Diagnosis]:
    owners = {name: list(found) for name, found in metadata.packages_distributions().items()}
    shared = shared_names(owners)
    for name in shared:
        yield Diagnosis(
            "error",
            f"the import name {name} belongs to {' and '.join(sorted(set(owners[name])))}: "
            "install hls-digest in an environment of its own (pipx, or a venv).",
        )
    if not shared:
        yield Diagnosis("ok", "nobody else owns our import names")


def _keys(install: Install) -> Iterator[Diagnosis]:
    file = install.settings.key_file
    if not file.exists():
        yield Diagnosis("error", f"{file}: no key file. Run 'digest init'.")
        return
    _ = install.keys  # raises where it is unreadable or open to others
    yield Diagnosis("ok", f"{file}: readable by you alone")


def _database(install: Install) -> Iterator[Diagnosis]:
    with install.database.read() as session:
        sources = session.scalar(select(func.count()).select_from(Source).where(Source.active)) or 0
    named = len(install.settings.file.sources)
    yield Diagnosis("ok", f"the database answers; {sources} sources in it")
    if not named:
        yield Diagnosis("error", "the settings name no source. Add one with 'digest sources add URL'.")


def _disk(install: Install) -> Iterator[Diagnosis]:
    free = shutil.disk_usage(install.settings.home).free
    level: Literal["ok", "warning"] = "warning" if free < LITTLE_DISK else "ok"
    yield Diagnosis(level, f"{install.settings.home}: {free // 1_000_000} MB free")


def _sending(install: Install) -> Iterator[Diagnosis]:
    settings = install.settings
    scheme = urlsplit(settings.mail_url.get_secret_value()).scheme
    if scheme == "outbox":
        yield Diagnosis("ok", f"mail goes to files in {settings.outbox}; nobody is mailed")
    if not settings.file.sender.postal_address.strip():
        yield Diagnosis("error", "sender.postal_address is empty: no edition can be approved without it.")
    if urlsplit(settings.base).scheme != "https":
        yield Diagnosis(
            "error", f"DIGEST_BASE_URL is {settings.base}: one-click links must be https to be approved."
        )


def _pages(install: Install) -> Iterator[Diagnosis]:
    """Look at what the pages can tell of where a form comes from."""
    settings = install.settings
    if settings.file.limits.proxies or urlsplit(settings.base).scheme != "https":
        return
    yield Diagnosis(
        "warning",
        "DIGEST_BASE_URL is https, so a proxy stands before the pages, and limits.proxies is 0: all forms seem to come "
        "from the proxy, and the limits on one network count nobody or everybody. Set limits.proxies to how many there "
        "are; each must add the address that it was asked from to X-Forwarded-For.",
    )


def _attention(install: Install) -> Iterator[Diagnosis]:
    with install.database.read() as session:
        sentences = needed(session, datetime.now(UTC))
    yield from (Diagnosis("warning", sentence) for sentence in sentences)


def _signing(install: Install) -> Iterator[Diagnosis]:
    settings = install.settings
    scheme = urlsplit(settings.mail_url.get_secret_value()).scheme
    if scheme == "sendgrid":
        yield Diagnosis("ok", "SendGrid signs the mail by itself")
        return
    try:
        signer = signer_of(settings)
    except DkimError as exc:
        yield Diagnosis("error", str(exc))
        return
    if signer is None:
        yield Diagnosis(
            "ok" if scheme == "outbox" else "warning",
            "mail is not signed (DKIM): the large providers refuse newsletters without a signature. Set "
            "DIGEST_DKIM_DOMAIN, DIGEST_DKIM_SELECTOR and DIGEST_DKIM_KEY_FILE, or let your mail server sign.",
        )
        return
    for key in signer.keys:
        name = f"{key.selector}._domainkey.{signer.domain}"
        yield Diagnosis("ok", f"mail is signed; the DNS must have at {name} the TXT record {key.record()}")
    sender = settings.file.sender.address.rpartition("@")[2].lower()
    if sender != signer.domain and not sender.endswith(f".{signer.domain}"):
        yield Diagnosis(
            "warning",
            f"mail is signed for {signer.domain} and comes from {sender}: without a common domain DMARC fails.",
        )


def _bounces(install: Install) -> Iterator[Diagnosis]:
    """Say whether anybody hears what comes back: of mail over SMTP bounces, of SendGrid its events."""
    settings = install.settings
    scheme = urlsplit(settings.mail_url.get_secret_value()).scheme
    place, domain = settings.file.inbound, settings.file.sender.bounce_domain
    if place.host:
        yield _mailbox(install)
        if scheme.startswith("smtp") and not domain:
            yield Diagnosis(
                "warning",
                "sender.bounce_domain is empty: bounces come back without proof of which message they speak, and "
                "count for nothing. Give a domain whose mail for bounce+…@ ends up in the mailbox of [inbound].",
            )
    elif scheme.startswith("smtp"):
        where = f"bounce+…@{domain}" if domain else "sender.address"
        yield Diagnosis("warning", f"bounces go to {where} and are not read: set [inbound] (docs/admins.md).")
    if scheme == "sendgrid":
        if settings.sendgrid_webhook_key.strip():
            yield Diagnosis("ok", "SendGrid's events are heard where they are signed with our key")
        else:
            yield Diagnosis("warning", "SendGrid's events are refused: DIGEST_SENDGRID_WEBHOOK_KEY is empty.")


def _mailbox(install: Install) -> Diagnosis:
    place = install.settings.file.inbound
    name = f"the bounce mailbox {place.folder} at {place.where}"
    with install.database.read() as session:
        last = mailbox.last_look(session)
    if last is None:
        return Diagnosis(
            "ok", f"{name} was not read yet; 'digest inbound' does it now, 'digest serve' every minute"
        )
    at = f"{last.at.astimezone(install.settings.file.publication.zone):%b %d %H:%M %Z}"
    if last.trouble:
        return Diagnosis(
            "error", f"{name} gave trouble {last.troubles} times in a row, last {at}: {last.trouble}"
        )
    if last.stuck:
        return Diagnosis("error", f"{name} was read last {at}, and {last.stuck}")
    return Diagnosis("ok", f"{name} was read last {at}")
