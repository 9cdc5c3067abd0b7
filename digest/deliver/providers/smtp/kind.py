"""SMTP as a provider: its URL, and what operators and readers are told about it."""

import ssl
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

from digest.deliver.providers import kind
from digest.deliver.providers.base import ParallelProvider, Provider
from digest.deliver.providers.signing import find_signing_problems, load_provider_signer
from digest.deliver.providers.smtp.connection import SmtpServer, SmtpTimeouts
from digest.deliver.providers.smtp.connection_pool import split_into_pools
from digest.deliver.providers.smtp.provider import SmtpProvider
from digest.settings import Settings, is_loopback
from digest.settings.setting_lines import advise_key_change, advise_variable_change
from subscribers.reader_language import ReaderLanguage

MAX_CONNECTIONS = 50  # what Postfix takes from one client, where nobody set it otherwise


def _open(settings: Settings) -> Provider:
    signer = load_provider_signer(settings)
    server, connections = _read_server(settings)
    if connections == 1:
        return SmtpProvider(server, signer)
    return ParallelProvider(split_into_pools([SmtpProvider(server, signer) for _ in range(connections)]))


def _read_server(settings: Settings) -> tuple[SmtpServer, int]:
    """Read the server, and over how many connections mail goes to it."""
    url = kind.split_mail_url(settings)
    options = kind.read_url_options(url, {"starttls": "required", "messages": "100", "ca": "", "connections": "1"})
    if not url.hostname:
        raise kind.ProviderSettingsError("DIGEST_MAIL_URL: it names no host; write smtp://user:password@host:587")
    clear = options["starttls"] == "off"
    if options["starttls"] not in {"required", "off"}:
        raise kind.ProviderSettingsError("DIGEST_MAIL_URL: starttls is required or off")
    if clear and not is_loopback(url.hostname):
        raise kind.ProviderSettingsError("DIGEST_MAIL_URL: starttls=off is for loopback alone: others could read along")
    tls = "implicit" if url.scheme == "smtps" else "off" if clear else "starttls"
    server = SmtpServer(
        host=url.hostname,
        port=url.port or {"implicit": 465, "starttls": 587, "off": 25}[tls],
        tls_mode=tls,
        user=unquote(url.username or ""),
        password=unquote(url.password or ""),
        ca_file=Path(options["ca"]) if options["ca"] else None,
        settings_place=str(settings.environment_place),
        messages_per_connection=kind.parse_count(options["messages"], 10_000, "messages"),
    )
    return server, kind.parse_count(options["connections"], MAX_CONNECTIONS, "connections")


def _examine_server(settings: Settings, tls: ssl.SSLContext, timeout: float) -> kind.MailServerFacts:
    server, _ = _read_server(settings)
    hasty = replace(server, timeouts=SmtpTimeouts(timeout, timeout, timeout))
    return SmtpProvider(hasty, trusted=None if server.ca_file else tls).examine_server()


def _describe_recipient(settings: Settings, language: ReaderLanguage) -> str:
    url = kind.split_mail_url(settings)
    if url.scheme in {"smtp", "smtps"} and url.hostname:
        return language.gettext("Our mail server %(host)s, on the way to your own", host=url.hostname)
    return language.gettext("Our mail server, on the way to your own")


def _describe_address_holders(settings: Settings, language: ReaderLanguage) -> tuple[str, ...]:
    relay = kind.split_mail_url(settings).hostname
    return (
        language.gettext(
            "The mail server %(host)s, through which our mail leaves. It gets your address with each mail.", host=relay
        ),
        language.gettext("Your own mail provider, to whom the mail goes."),
    )


def _doctor_findings(settings: Settings) -> Iterator[kind.DoctorFinding]:
    yield from find_signing_problems(settings, unsigned="warning")
    domain = settings.file.sender.bounce_domain
    if not settings.file.inbound.host:
        place = f"bounce+…@{domain}" if domain else "sender.address"
        yield kind.DoctorFinding(
            "bounces",
            "warning",
            f"bounces go to {place} and are not read.",
            "Write down server, user and password of the mailbox that they come to: "
            + advise_key_change(settings, "inbound", 'host = "…"', 'user = "…"')
            + f"; {advise_variable_change(settings, 'DIGEST_INBOUND_PASSWORD=…')}",
        )
    elif not domain:
        yield kind.DoctorFinding(
            "bounces",
            "warning",
            "sender.bounce_domain is empty: bounces come back without proof of which message they speak, and "
            "count for nothing.",
            "Name a domain whose mail for bounce+…@ ends up in the mailbox of [inbound]: "
            + advise_key_change(settings, "sender", 'bounce_domain = "…"'),
        )


KIND = kind.ProviderKind(
    name=SmtpProvider.name,
    title="SMTP",
    url_examples=("smtp://user:password@host:587", "smtps://user:password@host"),
    open=_open,
    leaves_machine=lambda settings: not is_loopback(kind.split_mail_url(settings).hostname or ""),
    describe_recipient=_describe_recipient,
    describe_address_holders=_describe_address_holders,
    doctor_findings=_doctor_findings,
    mail_server=kind.MailServer(lambda settings: kind.split_mail_url(settings).hostname or "", _examine_server),
    acceptance_is_arrival=True,  # what fails later comes back to the bounce mailbox
)
