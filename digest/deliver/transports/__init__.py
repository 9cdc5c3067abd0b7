"""The ways out, and the one place that picks one: `open_transport`."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from digest.deliver.dkim import DkimError, Signer, signer_of
from digest.deliver.handing import Transport
from digest.settings import Settings, is_loopback

if TYPE_CHECKING:  # the package behind it is imported once it is used
    from digest.deliver.transports.sendgrid_api import Api

__all__ = ["TransportError", "leaves_home", "open_api", "open_transport", "over_sendgrid"]

MOST_CONNECTIONS = 50  # what Postfix takes from one client, where nobody set it otherwise


class TransportError(Exception):
    """No transport can be opened; the message lists every setting that is wrong or missing."""


def open_transport(settings: Settings) -> Transport:
    """Open what `DIGEST_MAIL_URL` names: outbox:, smtp://, smtps:// or sendgrid:; the caller closes it.

    What leaves this machine must say who sends it, from where, and how to leave: such a transport opens only
    with a postal address, a sender of one's own and an https base URL.

    Raises:
        TransportError: the URL cannot be read, or something is missing; no password is in the message.
    """
    url = _split(settings.mail_url.get_secret_value())
    problems = _missing(settings) if leaves_home(settings) else []
    if problems:
        raise TransportError("Nothing can be sent yet:\n" + "\n".join(f"  {p}" for p in problems))
    if url.scheme == "outbox":
        from digest.deliver.transports.outbox import Outbox

        _options(url, {})
        return Outbox(Path(url.path) if url.path else settings.outbox, _signer(settings))
    if url.scheme == "sendgrid":
        return _sendgrid(url, settings)  # which signs by itself
    return _smtp(url, _signer(settings))


def leaves_home(settings: Settings) -> bool:
    """Say whether messages leave this machine: neither into a folder nor to a server on loopback."""
    url = _split(settings.mail_url.get_secret_value())
    if url.scheme == "outbox":
        return False
    host = urlsplit(settings.sendgrid_host).hostname if url.scheme == "sendgrid" else url.hostname
    return not is_loopback(host or "")


def _split(text: str) -> SplitResult:
    try:
        url = urlsplit(text)
        _ = url.port  # reading it is what checks it
    except ValueError:
        url = SplitResult("", "", "", "", "")
    if url.scheme not in {"outbox", "smtp", "smtps", "sendgrid"}:
        raise TransportError(
            "DIGEST_MAIL_URL: write outbox:, smtp://user:password@host:587, smtps://user:password@host or sendgrid:"
        )
    return url


def _missing(settings: Settings) -> list[str]:
    sender = settings.file.sender
    found = []
    if not sender.postal_address.strip():
        found.append("sender.postal_address: empty; the law (CAN-SPAM, 15 USC 7704) wants it in every mail")
    if sender.bounce_domain.lower().endswith("example.org"):
        found.append("sender.bounce_domain: an example; bounces must reach you")
    if _domain(sender.address).endswith("example.org"):
        found.append("sender.address: still the example; mail must come from a domain of yours")
    if sender.list_id.endswith("example.org"):
        found.append("sender.list_id: still the example; its domain must be yours (RFC 2919)")
    if sender.reply_to and _domain(sender.reply_to).endswith("example.org"):
        found.append("sender.reply_to: still the example; answers must reach you")
    if urlsplit(settings.base_url).scheme != "https":
        found.append("DIGEST_BASE_URL: not https; one-click unsubscribing demands it (RFC 8058)")
    return found


def _domain(address: str) -> str:
    return address.rpartition("@")[2].lower()


def _options(url: SplitResult, known: Mapping[str, str]) -> dict[str, str]:
    """Read what stands after `?`, with the values of `known` where nothing is said."""
    given = {key: values[-1] for key, values in parse_qs(url.query, keep_blank_values=True).items()}
    if unknown := sorted(given.keys() - known.keys()):
        allowed = f"there is {', '.join(known)}" if known else "there are none"
        raise TransportError(
            f"DIGEST_MAIL_URL: no such option: {', '.join(unknown)}; for {url.scheme}: {allowed}"
        )
    return {**known, **given}


def _count(text: str, most: int, name: str) -> int:
    if not (text.isdigit() and 1 <= int(text) <= most):
        raise TransportError(f"DIGEST_MAIL_URL: {name} is a number from 1 to {most}")
    return int(text)


def _sendgrid(url: SplitResult, settings: Settings) -> Transport:
    from digest.deliver.transports.sendgrid import BATCH, MOST, SendGrid

    options = _options(url, {"batch": str(BATCH)})
    return SendGrid(*_account(settings), batch=_count(options["batch"], MOST, "batch"))


def open_api(settings: Settings) -> "Api":
    """Open SendGrid's API for the account whose key the settings name.

    Raises:
        TransportError: there is no key, or it would travel in the clear.
    """
    from digest.deliver.transports.sendgrid_api import Api

    return Api(*_account(settings))


def _account(settings: Settings) -> tuple[str, str]:
    if settings.sendgrid_api_key is None:
        raise TransportError("DIGEST_SENDGRID_API_KEY: missing; sendgrid: needs it")
    host = urlsplit(settings.sendgrid_host)
    if host.scheme != "https" and not is_loopback(host.hostname or ""):
        raise TransportError("DIGEST_SENDGRID_HOST: not https; the key would travel in the clear")
    return settings.sendgrid_api_key.get_secret_value(), settings.sendgrid_host.rstrip("/")


def over_sendgrid(settings: Settings) -> bool:
    """Say whether mail goes out over SendGrid."""
    return _split(settings.mail_url.get_secret_value()).scheme == "sendgrid"


def _signer(settings: Settings) -> Signer | None:
    try:
        return signer_of(settings)
    except DkimError as exc:
        raise TransportError(str(exc)) from exc


def _smtp(url: SplitResult, signer: Signer | None) -> Transport:
    from digest.deliver.transports.crew import crews
    from digest.deliver.transports.several import Several
    from digest.deliver.transports.smtp import Server, Smtp

    options = _options(url, {"starttls": "required", "messages": "100", "ca": "", "connections": "1"})
    if not url.hostname:
        raise TransportError("DIGEST_MAIL_URL: it names no host; write smtp://user:password@host:587")
    clear = options["starttls"] == "off"
    if options["starttls"] not in {"required", "off"}:
        raise TransportError("DIGEST_MAIL_URL: starttls is required or off")
    if clear and not is_loopback(url.hostname):
        raise TransportError("DIGEST_MAIL_URL: starttls=off is for loopback alone: others could read along")
    tls = "implicit" if url.scheme == "smtps" else "off" if clear else "starttls"
    server = Server(
        host=url.hostname,
        port=url.port or {"implicit": 465, "starttls": 587, "off": 25}[tls],
        tls=tls,
        user=unquote(url.username or ""),
        password=unquote(url.password or ""),
        authorities=Path(options["ca"]) if options["ca"] else None,
        messages=_count(options["messages"], 10_000, "messages"),
    )
    connections = _count(options["connections"], MOST_CONNECTIONS, "connections")
    if connections == 1:
        return Smtp(server, signer)
    return Several(crews([Smtp(server, signer) for _ in range(connections)]))
