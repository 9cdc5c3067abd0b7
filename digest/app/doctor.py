"""What would go wrong, looked for before it does: each finding says what to do."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from typing import Literal
from urllib.parse import urlsplit

from sqlalchemy import func, select

from digest.app.attention import attention_sentences
from digest.app.installation import Installation
from digest.deliver.compose.dkim import DkimError, load_signer
from digest.deliver.events.mailbox import poll
from digest.store.models import Source

IMPORT_NAMES = ("digest", "subscribers", "scheduler")
LOW_DISK_BYTES = 1_000_000_000  # bytes


@dataclass(frozen=True, slots=True)
class DoctorFinding:
    """One thing looked at, and how it is."""

    level: Literal["ok", "warning", "error"]
    message: str


def examine_installation(install: Installation) -> list[DoctorFinding]:
    """Look at everything; nothing is changed."""
    return [
        *_check_import_names(),
        *_check_key_file(install),
        *_check_database(install),
        *_check_disk_space(install),
        *_check_sending(install),
        *_check_dkim(install),
        *_check_bounce_handling(install),
        *_check_proxies(install),
        *_report_attention(install),
    ]


def find_shared_names(owners: dict[str, list[str]]) -> list[str]:
    """Name the import names of ours that another distribution owns too, given who owns which."""
    return [name for name in IMPORT_NAMES if len(set(owners.get(name, ()))) > 1]


def _check_import_names() -> Iterator[DoctorFinding]:
    owners = {name: list(found) for name, found in metadata.packages_distributions().items()}
    shared = find_shared_names(owners)
    for name in shared:
        yield DoctorFinding(
            "error",
            f"the import name {name} belongs to {' and '.join(sorted(set(owners[name])))}: "
            "install hls-digest in an environment of its own (pipx, or a venv).",
        )
    if not shared:
        yield DoctorFinding("ok", "nobody else owns our import names")


def _check_key_file(install: Installation) -> Iterator[DoctorFinding]:
    file = install.settings.key_file
    if not file.exists():
        yield DoctorFinding("error", f"{file}: no key file. Run 'digest init'.")
        return
    _ = install.keys  # raises where it is unreadable or open to others
    yield DoctorFinding("ok", f"{file}: readable by you alone")


def _check_database(install: Installation) -> Iterator[DoctorFinding]:
    with install.database.read() as session:
        sources = session.scalar(select(func.count()).select_from(Source).where(Source.active)) or 0
    named = len(install.settings.file.sources)
    yield DoctorFinding("ok", f"the database answers; {sources} sources in it")
    if not named:
        yield DoctorFinding("error", "the settings name no source. Add one with 'digest sources add URL'.")


def _check_disk_space(install: Installation) -> Iterator[DoctorFinding]:
    free = shutil.disk_usage(install.settings.home).free
    level: Literal["ok", "warning"] = "warning" if free < LOW_DISK_BYTES else "ok"
    yield DoctorFinding(level, f"{install.settings.home}: {free // 1_000_000} MB free")


def _check_sending(install: Installation) -> Iterator[DoctorFinding]:
    settings = install.settings
    scheme = urlsplit(settings.mail_url.get_secret_value()).scheme
    if scheme == "outbox":
        yield DoctorFinding("ok", f"mail goes to files in {settings.outbox_folder}; nobody is mailed")
    if not settings.file.sender.postal_address.strip():
        yield DoctorFinding("error", "sender.postal_address is empty: no edition can be approved without it.")
    if urlsplit(settings.link_base).scheme != "https":
        yield DoctorFinding(
            "error", f"DIGEST_BASE_URL is {settings.link_base}: one-click links must be https to be approved."
        )


def _check_proxies(install: Installation) -> Iterator[DoctorFinding]:
    """Look at what the pages can tell of where a form comes from."""
    settings = install.settings
    if settings.file.limits.proxies or urlsplit(settings.link_base).scheme != "https":
        return
    yield DoctorFinding(
        "warning",
        "DIGEST_BASE_URL is https, so a proxy stands before the pages, and limits.proxies is 0: all forms seem to come "
        "from the proxy, and the limits on one network count nobody or everybody. Set limits.proxies to how many there "
        "are; each must add the address that it was asked from to X-Forwarded-For.",
    )


def _report_attention(install: Installation) -> Iterator[DoctorFinding]:
    with install.database.read() as session:
        sentences = attention_sentences(session, datetime.now(UTC))
    yield from (DoctorFinding("warning", sentence) for sentence in sentences)


def _check_dkim(install: Installation) -> Iterator[DoctorFinding]:
    settings = install.settings
    scheme = urlsplit(settings.mail_url.get_secret_value()).scheme
    if scheme == "sendgrid":
        yield DoctorFinding("ok", "SendGrid signs the mail by itself")
        return
    try:
        signer = load_signer(settings)
    except DkimError as exc:
        yield DoctorFinding("error", str(exc))
        return
    if signer is None:
        yield DoctorFinding(
            "ok" if scheme == "outbox" else "warning",
            "mail is not signed (DKIM): the large providers refuse newsletters without a signature. Set "
            "DIGEST_DKIM_DOMAIN, DIGEST_DKIM_SELECTOR and DIGEST_DKIM_KEY_FILE, or let your mail server sign.",
        )
        return
    for key in signer.keys:
        name = f"{key.selector}._domainkey.{signer.domain}"
        yield DoctorFinding("ok", f"mail is signed; the DNS must have at {name} the TXT record {key.dns_record()}")
    sender = settings.file.sender.address.rpartition("@")[2].lower()
    if sender != signer.domain and not sender.endswith(f".{signer.domain}"):
        yield DoctorFinding(
            "warning",
            f"mail is signed for {signer.domain} and comes from {sender}: without a common domain DMARC fails.",
        )


def _check_bounce_handling(install: Installation) -> Iterator[DoctorFinding]:
    """Say whether anybody hears what comes back: of mail over SMTP bounces, of SendGrid its events."""
    settings = install.settings
    scheme = urlsplit(settings.mail_url.get_secret_value()).scheme
    place, domain = settings.file.inbound, settings.file.sender.bounce_domain
    if place.host:
        yield _check_bounce_mailbox(install)
        if scheme.startswith("smtp") and not domain:
            yield DoctorFinding(
                "warning",
                "sender.bounce_domain is empty: bounces come back without proof of which message they speak, and "
                "count for nothing. Give a domain whose mail for bounce+…@ ends up in the mailbox of [inbound].",
            )
    elif scheme.startswith("smtp"):
        where = f"bounce+…@{domain}" if domain else "sender.address"
        yield DoctorFinding("warning", f"bounces go to {where} and are not read: set [inbound] (docs/admins.md).")
    if scheme == "sendgrid":
        if settings.sendgrid_webhook_key.strip():
            yield DoctorFinding("ok", "SendGrid's events are heard where they are signed with our key")
        else:
            yield DoctorFinding("warning", "SendGrid's events are refused: DIGEST_SENDGRID_WEBHOOK_KEY is empty.")


def _check_bounce_mailbox(install: Installation) -> DoctorFinding:
    place = install.settings.file.inbound
    name = f"the bounce mailbox {place.folder} at {place.host_and_port}"
    with install.database.read() as session:
        last = poll.last_mailbox_poll(session)
    if last is None:
        return DoctorFinding(
            "ok", f"{name} was not read yet; 'digest inbound' does it now, 'digest serve' every minute"
        )
    at = f"{last.at.astimezone(install.settings.file.publication.zone):%b %d %H:%M %Z}"
    if last.trouble:
        return DoctorFinding("error", f"{name} gave trouble {last.troubles} times in a row, last {at}: {last.trouble}")
    if last.stuck:
        return DoctorFinding("error", f"{name} was read last {at}, and {last.stuck}")
    return DoctorFinding("ok", f"{name} was read last {at}")
