"""SMTP as a provider: its URL, and its descriptions for operators and subscribers."""

import ssl
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import SplitResult, quote, unquote

from pydantic import AfterValidator, BeforeValidator, Field

from digest.deliver.providers import kind
from digest.deliver.providers.base import Provider
from digest.deliver.providers.setup_questions import EnvironmentFileText, ProviderQuestionnaire, SecretText, SetupStep
from digest.deliver.providers.signing import check_signing, load_provider_signer
from digest.deliver.providers.smtp.connection import SmtpServer, SmtpTimeouts
from digest.deliver.providers.smtp.provider import SmtpProvider
from digest.deliver.providers.smtp.session import SmtpConnector
from digest.settings import Settings, is_loopback
from digest.settings.operations import check_dkim_record
from digest.settings.setting_lines import advise_key_change, advise_variable_change
from subscribers.subscriber_language import SubscriberLanguage

NO_USER = "-"  # the answer for no user
OPENDKIM_FILE = Path("/etc/opendkim.conf")
DEFAULT_PORTS = {"smtp": 587, "smtps": 465}  # see RFC 6409, section 3.1, and RFC 8314, section 3.3
MAX_CONNECTIONS = 50  # Postfix's default limit per client


def _open(settings: Settings) -> Provider:
    server, connections = _read_server(settings)
    return SmtpProvider(server, load_provider_signer(settings), connections=connections)


def _read_server(settings: Settings) -> tuple[SmtpServer, int]:
    """Return the server from the settings, and the number of connections to open."""
    url = kind.split_mail_url(settings)
    options = kind.read_url_options(url, {"starttls": "required", "messages": "100", "ca": "", "connections": "1"})
    if not url.hostname:
        raise kind.ProviderSettingsError("DIGEST_MAIL_URL has no host; use smtp://user:password@host:587")
    tls = _choose_tls_mode(url, options["starttls"])
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


def _choose_tls_mode(url: SplitResult, starttls: str) -> str:
    if starttls not in {"required", "off"}:
        raise kind.ProviderSettingsError("DIGEST_MAIL_URL: starttls must be 'required' or 'off'")
    if starttls == "off" and not is_loopback(url.hostname or ""):
        raise kind.ProviderSettingsError(
            "DIGEST_MAIL_URL: starttls=off is allowed only for a server on this machine; otherwise, others could read the traffic"
        )
    if url.scheme == "smtps":
        return "implicit"
    return "off" if starttls == "off" else "starttls"


def _examine_server(settings: Settings, tls: ssl.SSLContext, timeout: float) -> kind.MailServerCheckResult:
    server, _ = _read_server(settings)
    impatient_server = replace(server, timeouts=SmtpTimeouts(timeout, timeout, timeout))
    return SmtpConnector(impatient_server, None if server.ca_file else tls).examine()


def _describe_recipient(settings: Settings, language: SubscriberLanguage) -> str:
    url = kind.split_mail_url(settings)
    if url.scheme in {"smtp", "smtps"} and url.hostname:
        return language.gettext("Our mail server %(host)s, on the way to your own", host=url.hostname)
    return language.gettext("Our mail server, on the way to your own")


def _describe_address_recipients(settings: Settings, language: SubscriberLanguage) -> tuple[str, ...]:
    relay = kind.split_mail_url(settings).hostname
    return (
        language.gettext(
            "The mail server %(host)s, which sends our emails. It receives your address with each email.", host=relay
        ),
        language.gettext("Your email provider, which receives the email."),
    )


def _doctor_findings(settings: Settings) -> Iterator[kind.DoctorFinding]:
    yield from check_signing(settings, unsigned="warning")
    domain, log = settings.file.sender.bounce_domain, settings.file.relay.log
    reads_mailbox = bool(settings.file.inbound.host)
    if not domain and (reads_mailbox or log):
        arrives = (
            " whose email for bounce+…@ arrives in the [inbound] mailbox" if reads_mailbox else ", usually the sender's"
        )
        yield kind.DoctorFinding(
            "bounces",
            "warning",
            "No bounce domain is set (sender.bounce_domain), so bounces can't be matched to messages and are ignored.",
            f"Set a domain{arrives}. " + advise_key_change(settings, "sender", 'bounce_domain = "…"'),
            page_remedy=f"Set a domain{arrives}.",
        )
    elif log and not reads_mailbox:
        yield kind.DoctorFinding("bounces", "ok", f"bounces are read from the mail server's log ({log})")
    elif not reads_mailbox:
        place = f"bounce+…@{domain}" if domain else "sender.address"
        yield kind.DoctorFinding(
            "bounces",
            "warning",
            f"Bounces go to {place} but aren't read.",
            "Enter the server, user, and password of the bounce mailbox. "
            + advise_key_change(settings, "inbound", 'host = "…"', 'user = "…"')
            + f". {advise_variable_change(settings, 'DIGEST_INBOUND_PASSWORD=…')}",
        )


def _read_optional(text: str) -> str:
    return "" if text == NO_USER else text


class SmtpQuestionnaire(ProviderQuestionnaire):
    """The questions about a mail server."""

    words = "smtp"
    feedback_steps = (SetupStep("Set up a mailbox for bounces and complaints ([inbound]; see docs/bounces.md)."),)

    smtp_host: Annotated[str, AfterValidator(str.strip)] = Field(title="Mail server host")
    smtp_port: int = Field(
        DEFAULT_PORTS["smtp"], ge=1, le=65535, title="Port (587, or 465 for TLS from the start, or 25 on this machine)"
    )
    smtp_user: Annotated[EnvironmentFileText, BeforeValidator(_read_optional)] = Field(
        "", title=f"User name ({NO_USER} for none)"
    )
    smtp_password: SecretText = Field("", title="Password")
    smtp_dkim_record: Annotated[str, BeforeValidator(_read_optional), AfterValidator(check_dkim_record)] = Field(
        "",
        title=(
            "If this mail server signs all email (DKIM), the DNS name of its key, such as mail._domainkey.news.your.site "
            f"({NO_USER} to sign here)"
        ),
    )

    @classmethod
    def is_asked(cls, key: str, answers: Mapping[str, Any]) -> bool:
        """Return True if a question should be asked.

        Without a user, the server doesn't need a password, and only a server on this machine can sign for us.
        """
        if key == "smtp_dkim_record":
            return is_loopback(str(answers.get("smtp_host", "")))
        return key != "smtp_password" or answers.get("smtp_user") not in {"", NO_USER}

    @classmethod
    def propose(cls, key: str, answers: Mapping[str, Any]) -> Any:
        """Propose no user, the usual port, and the OpenDKIM key on this machine."""
        port = 25 if is_loopback(str(answers.get("smtp_host", ""))) else DEFAULT_PORTS["smtp"]
        if key == "smtp_dkim_record":
            return find_opendkim_record() or NO_USER
        return {"smtp_port": port, "smtp_user": NO_USER}.get(key)

    @classmethod
    def read_settings(cls, settings: Settings) -> dict[str, Any]:
        """Return the server and login from the URL, and the key that the server signs with."""
        url, record = kind.split_mail_url(settings), settings.file.relay.dkim_record
        return {
            **({"smtp_dkim_record": record} if record else {}),
            "smtp_host": url.hostname or "",
            "smtp_port": url.port or DEFAULT_PORTS[url.scheme],
            "smtp_user": unquote(url.username or ""),
            "smtp_password": unquote(url.password or ""),
        }

    @property
    def mail_url(self) -> str:
        """The server's URL. TLS is disabled only for a server on this machine."""
        login = f"{quote(self.smtp_user, safe='')}:{quote(self.smtp_password, safe='')}@" if self.smtp_user else ""
        scheme = "smtps" if self.smtp_port == DEFAULT_PORTS["smtps"] else "smtp"
        in_clear = scheme == "smtp" and not self.smtp_user and is_loopback(self.smtp_host)
        return f"{scheme}://{login}{self.smtp_host}:{self.smtp_port}{'?starttls=off' if in_clear else ''}"

    @property
    def server_host(self) -> str:
        """The server's host."""
        return self.smtp_host

    @property
    def relay_dkim_record(self) -> str:
        """The DNS name of the key that a server on this machine signs with, or "" if it doesn't sign."""
        return self.smtp_dkim_record if is_loopback(self.smtp_host) else ""

    @property
    def signs_here(self) -> bool:
        """True if this program, rather than the mail server, signs email."""
        return not self.relay_dkim_record

    def account_steps(self, sender_domain: str, base_url: str) -> tuple[SetupStep, ...]:
        """Return a step for a mail server that signs email.

        By default, such a server doesn't sign all unsubscribe headers and Feedback-ID.
        """
        del sender_domain, base_url
        if self.signs_here:
            return ()
        title = (
            "Have your mail server sign the unsubscribe headers (RFC 8058, section 4) and Feedback-ID, for example in opendkim.conf. After "
            "the first test, save it as received and run digest doctor MESSAGE --online."
        )
        return (SetupStep(title, ("SignHeaders *,+List-Unsubscribe,+List-Unsubscribe-Post,+Feedback-ID",)),)


def find_opendkim_record(file: Path = OPENDKIM_FILE) -> str:
    """Return the DNS name of the only OpenDKIM key on this machine, or "" if OpenDKIM's settings don't determine it."""
    try:
        lines = map(str.split, file.read_text("utf-8").splitlines())
        options = {words[0].lower(): words[1] for words in lines if len(words) == 2}
        return check_dkim_record(f"{options['selector']}._domainkey.{options['domain']}")
    except (OSError, KeyError, ValueError):
        return ""


KIND = kind.ProviderKind(
    name=SmtpProvider.name,
    title="SMTP",
    url_examples=("smtp://user:password@host:587", "smtps://user:password@host"),
    open=_open,
    leaves_machine=lambda settings: not is_loopback(kind.split_mail_url(settings).hostname or ""),
    describe_recipient=_describe_recipient,
    describe_address_recipients=_describe_address_recipients,
    doctor_findings=_doctor_findings,
    questionnaire=SmtpQuestionnaire,
    mail_server=kind.MailServer(lambda settings: kind.split_mail_url(settings).hostname or "", _examine_server),
    acceptance_is_arrival=True,  # later failures arrive in the bounce mailbox
)
