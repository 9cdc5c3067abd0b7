"""The ways out, and the one place that picks one: `open_provider`."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from digest.deliver.compose.dkim import DkimError, DkimSigner, load_signer
from digest.deliver.providers.base import Provider
from digest.settings import Settings, is_loopback
from subscribers.errors import ApplicationError

if TYPE_CHECKING:  # the package behind it is imported once it is used
    from digest.deliver.providers.sendgrid.api import SendGridApi

__all__ = ["ProviderSettingsError", "leaves_this_machine", "open_provider", "open_sendgrid_api", "uses_sendgrid"]

MAX_CONNECTIONS = 50  # what Postfix takes from one client, where nobody set it otherwise


class ProviderSettingsError(ApplicationError):
    """No transport can be opened; the message lists every setting that is wrong or missing."""


def open_provider(settings: Settings) -> Provider:
    """Open what `DIGEST_MAIL_URL` names: outbox:, smtp://, smtps:// or sendgrid:; the caller closes it.

    What leaves this machine must say who sends it, from where, and how to leave: such a transport opens only
    with a postal address, a sender of one's own and an https base URL.

    Raises:
        ProviderSettingsError: the URL cannot be read, or something is missing; no password is in the message.
    """
    url = _parse_mail_url(settings.mail_url.get_secret_value())
    problems = _sender_problems(settings) if leaves_this_machine(settings) else []
    if problems:
        raise ProviderSettingsError("Nothing can be sent yet:\n" + "\n".join(f"  {p}" for p in problems))
    if url.scheme == "outbox":
        from digest.deliver.providers.outbox.provider import OutboxProvider

        _url_options(url, {})
        return OutboxProvider(Path(url.path) if url.path else settings.outbox_folder, _load_signer(settings))
    if url.scheme == "sendgrid":
        return _open_sendgrid(url, settings)  # which signs by itself
    return _open_smtp(url, _load_signer(settings))


def leaves_this_machine(settings: Settings) -> bool:
    """Say whether messages leave this machine: neither into a folder nor to a server on loopback."""
    url = _parse_mail_url(settings.mail_url.get_secret_value())
    if url.scheme == "outbox":
        return False
    host = urlsplit(settings.sendgrid_host).hostname if url.scheme == "sendgrid" else url.hostname
    return not is_loopback(host or "")


def _parse_mail_url(text: str) -> SplitResult:
    try:
        url = urlsplit(text)
        _ = url.port  # reading it is what checks it
    except ValueError:
        url = SplitResult("", "", "", "", "")
    if url.scheme not in {"outbox", "smtp", "smtps", "sendgrid"}:
        raise ProviderSettingsError(
            "DIGEST_MAIL_URL: write outbox:, smtp://user:password@host:587, smtps://user:password@host or sendgrid:"
        )
    return url


def _sender_problems(settings: Settings) -> list[str]:
    sender = settings.file.sender
    found = []
    if not sender.postal_address.strip():
        found.append("sender.postal_address: empty; the law (CAN-SPAM, 15 USC 7704) wants it in every mail")
    if sender.bounce_domain.lower().endswith("example.org"):
        found.append("sender.bounce_domain: an example; bounces must reach you")
    if _domain_of(sender.address).endswith("example.org"):
        found.append("sender.address: still the example; mail must come from a domain of yours")
    if sender.list_id.endswith("example.org"):
        found.append("sender.list_id: still the example; its domain must be yours (RFC 2919)")
    if sender.reply_to and _domain_of(sender.reply_to).endswith("example.org"):
        found.append("sender.reply_to: still the example; answers must reach you")
    if urlsplit(settings.base_url).scheme != "https":
        found.append("DIGEST_BASE_URL: not https; one-click unsubscribing demands it (RFC 8058)")
    return found


def _domain_of(address: str) -> str:
    return address.rpartition("@")[2].lower()


def _url_options(url: SplitResult, defaults: Mapping[str, str]) -> dict[str, str]:
    """Read what stands after `?`, with the values of `defaults` where nothing is said."""
    given = {key: values[-1] for key, values in parse_qs(url.query, keep_blank_values=True).items()}
    if unknown := sorted(given.keys() - defaults.keys()):
        allowed = f"there is {', '.join(defaults)}" if defaults else "there are none"
        raise ProviderSettingsError(
            f"DIGEST_MAIL_URL: no such option: {', '.join(unknown)}; for {url.scheme}: {allowed}"
        )
    return {**defaults, **given}


def _parse_count(text: str, maximum: int, name: str) -> int:
    if not (text.isdigit() and 1 <= int(text) <= maximum):
        raise ProviderSettingsError(f"DIGEST_MAIL_URL: {name} is a number from 1 to {maximum}")
    return int(text)


def _open_sendgrid(url: SplitResult, settings: Settings) -> Provider:
    from digest.deliver.providers.sendgrid.provider import DEFAULT_BATCH_SIZE, MAX_BATCH_SIZE, SendGridProvider

    options = _url_options(url, {"batch": str(DEFAULT_BATCH_SIZE)})
    return SendGridProvider(
        *_sendgrid_account(settings), batch_size=_parse_count(options["batch"], MAX_BATCH_SIZE, "batch")
    )


def open_sendgrid_api(settings: Settings) -> "SendGridApi":
    """Open SendGrid's API for the account whose key the settings name.

    Raises:
        ProviderSettingsError: there is no key, or it would travel in the clear.
    """
    from digest.deliver.providers.sendgrid.api import SendGridApi

    return SendGridApi(*_sendgrid_account(settings))


def _sendgrid_account(settings: Settings) -> tuple[str, str]:
    if settings.sendgrid_api_key is None:
        raise ProviderSettingsError("DIGEST_SENDGRID_API_KEY: missing; sendgrid: needs it")
    host = urlsplit(settings.sendgrid_host)
    if host.scheme != "https" and not is_loopback(host.hostname or ""):
        raise ProviderSettingsError("DIGEST_SENDGRID_HOST: not https; the key would travel in the clear")
    return settings.sendgrid_api_key.get_secret_value(), settings.sendgrid_host.rstrip("/")


def uses_sendgrid(settings: Settings) -> bool:
    """Say whether mail goes out over SendGrid."""
    return _parse_mail_url(settings.mail_url.get_secret_value()).scheme == "sendgrid"


def _load_signer(settings: Settings) -> DkimSigner | None:
    try:
        return load_signer(settings)
    except DkimError as exc:
        raise ProviderSettingsError(str(exc)) from exc


def _open_smtp(url: SplitResult, signer: DkimSigner | None) -> Provider:
    from digest.deliver.providers.parallel import ParallelProvider
    from digest.deliver.providers.smtp.connection_pool import split_into_pools
    from digest.deliver.providers.smtp.provider import SmtpProvider, SmtpServer

    options = _url_options(url, {"starttls": "required", "messages": "100", "ca": "", "connections": "1"})
    if not url.hostname:
        raise ProviderSettingsError("DIGEST_MAIL_URL: it names no host; write smtp://user:password@host:587")
    clear = options["starttls"] == "off"
    if options["starttls"] not in {"required", "off"}:
        raise ProviderSettingsError("DIGEST_MAIL_URL: starttls is required or off")
    if clear and not is_loopback(url.hostname):
        raise ProviderSettingsError("DIGEST_MAIL_URL: starttls=off is for loopback alone: others could read along")
    tls = "implicit" if url.scheme == "smtps" else "off" if clear else "starttls"
    server = SmtpServer(
        host=url.hostname,
        port=url.port or {"implicit": 465, "starttls": 587, "off": 25}[tls],
        tls_mode=tls,
        user=unquote(url.username or ""),
        password=unquote(url.password or ""),
        ca_file=Path(options["ca"]) if options["ca"] else None,
        messages_per_connection=_parse_count(options["messages"], 10_000, "messages"),
    )
    connections = _parse_count(options["connections"], MAX_CONNECTIONS, "connections")
    if connections == 1:
        return SmtpProvider(server, signer)
    return ParallelProvider(split_into_pools([SmtpProvider(server, signer) for _ in range(connections)]))
