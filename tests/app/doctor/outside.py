"""The outside world on loopback, without faults: DNS, mail server, mailbox, SendGrid account, a feed, and pages behind a proxy."""

import json
import ssl
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from aiosmtpd.smtp import AuthResult
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from pydantic import SecretStr
from werkzeug import Request, Response
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from digest.app.doctor.check_registry import ExaminedInstallation
from digest.app.doctor.network_access import NetworkAccess
from digest.deliver.compose.dkim import load_signer
from digest.installation.opened_installation import Installation
from digest.settings import Settings, SourceSettings
from digest.web.app import create_app
from tests.app.doctor.fake_name_server import FakeNameServer, Records
from tests.app.doctor.test_source_answers import FEED
from tests.conftest import WAIT_TIMEOUT
from tests.deliver.conftest import write_certificate
from tests.deliver.fake_imap_server import PASSWORD, USER, FakeImapServer
from tests.deliver.fake_sendgrid_account import API_KEY, FakeSendGridAccount, RecordedRequest, ScriptedResponse
from tests.deliver.smtp_servers import RecordingHandler, run_smtp_server, server_tls_context

DAYS_LEFT = 300  # of every certificate
SITE_HOST, MAIL_HOST, MAIL_ADDRESS = "news.hls.test", "mx.hls.test", "192.0.2.25"


def make_certificate(file: Path, days: int = DAYS_LEFT, host: str = SITE_HOST) -> Path:
    """Write a key and a certificate of our own for the pages and for the servers on loopback."""
    return write_certificate(file, host=host, valid_for=timedelta(days=days, hours=1))


def write_signing_key(file: Path, bits: int = 2048) -> rsa.RSAPrivateKey:
    """Write a key that mail is signed with."""
    key = rsa.generate_private_key(65537, bits)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.touch(mode=0o600)
    file.write_bytes(key.private_bytes(*form))
    return key


class _QuietHandler(WSGIRequestHandler):
    def log(self, *_: Any) -> None:
        """Say nothing."""


@dataclass
class ProxiedSite:
    """The real pages behind a proxy that may get in the way: it answers itself for paths in `answers`, and drops headers."""

    pages: WSGIApplication
    answers: dict[str, tuple[str, list[tuple[str, str]], str]] = field(default_factory=dict)
    dropped_headers: set[str] = field(default_factory=set)
    changed_headers: dict[str, str] = field(default_factory=dict)
    forwarded: list[str] = field(default_factory=lambda: ["192.0.2.7"])  # the clients that proxies add

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        request = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"
        for begin, (status, headers, body) in self.answers.items():
            if request.startswith(begin):
                start_response(
                    status, [(name, value.replace("{path}", environ["PATH_INFO"])) for name, value in headers]
                )
                return [body.encode()]

        def start(status: str, headers: list[tuple[str, str]], *_: Any) -> Any:
            kept = [(name, value) for name, value in headers if name.lower() not in self.dropped_headers]
            return start_response(status, [*kept, *self.changed_headers.items()])

        return self.pages(environ | {"HTTP_X_FORWARDED_FOR": ", ".join(self.forwarded)}, start)

    def pass_on(self, *paths: str) -> None:
        """No longer answer itself for these paths and those below them."""
        kept = {
            request: self.answers[request] for request in self.answers if not request.split(" ")[1].startswith(paths)
        }
        self.answers = kept


@dataclass
class WebServer:
    """A web server on loopback that can be stopped, and then started again at the same port."""

    pages: WSGIApplication
    context: ssl.SSLContext | None = None
    port: int = 0
    running: BaseWSGIServer | None = None

    def start(self) -> None:
        if self.running is None:
            self.running = make_server(
                *("127.0.0.1", self.port, self.pages),
                threaded=True,
                request_handler=_QuietHandler,
                ssl_context=self.context,
            )
            self.port = self.running.server_port
            threading.Thread(target=self.running.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        if self.running is not None:
            self.running.shutdown()
            self.running.server_close()
            self.running = None


@Request.application
def serve_feed(request: Request) -> Response:
    """Serve a publisher's feed at /feed, and nothing else."""
    return Response(FEED if request.path == "/feed" else "", 200 if request.path == "/feed" else 404)


@dataclass
class OutsideSetup:
    """The servers, and the settings that lead to them. Tests change what they want; `reset` makes all sound again."""

    names: FakeNameServer
    imap: FakeImapServer
    sendgrid: FakeSendGridAccount
    site: ProxiedSite
    web_server: WebServer
    feeds: WebServer
    installation: Installation
    sound_records: Records
    certificate: Path
    folder: Path
    smtp_port: int
    contexts: dict[str, ssl.SSLContext]  # of the servers, by name
    account_answers: dict[str, tuple[int, Any]] = field(default_factory=dict)
    settings: Settings = field(init=False)
    now: datetime = field(init=False)
    authorities: Path = field(init=False)

    def reset(self) -> None:
        self.names.records, self.names.failing = dict(self.sound_records), set()
        self.web_server.start()
        for context in self.contexts.values():
            context.load_cert_chain(self.certificate)
        self.site.forwarded = ["192.0.2.7"]
        self.site.answers, self.site.dropped_headers, self.site.changed_headers = {}, set(), {}
        self.account_answers.clear()
        self.account_answers |= SOUND_ACCOUNT
        self.settings = self.installation.settings
        self.now = datetime.now(UTC)
        self.authorities = self.certificate

    def install_certificate(self, server: str, days: int = DAYS_LEFT, host: str = SITE_HOST) -> Path:
        """Give a server a certificate that is trusted, in a file of its own."""
        file = make_certificate(self.folder / f"{server}.pem", days, host)
        self.contexts[server].load_cert_chain(file)
        self.authorities = self.folder / "trusted.pem"
        self.authorities.write_text(self.certificate.read_text() + file.read_text())
        return file

    def change_settings(self, **columns: Any) -> None:
        self.settings = self.settings.model_copy(update=columns)

    def change_table(self, name: str, **columns: Any) -> None:
        """Change settings in a table of digest.toml."""
        table = getattr(self.settings.file, name).model_copy(update=columns)
        self.change_settings(file=self.settings.file.model_copy(update={name: table}))

    def list_source(self, path: str) -> None:
        """List a source of the publisher's, in place of any other."""
        self.change_table("limits", allow_networks=["127.0.0.0/8"])
        source = SourceSettings(url=f"http://127.0.0.1:{self.feeds.port}{path}", name="Port", publisher="Port")
        self.change_settings(file=self.settings.file.model_copy(update={"sources": [source]}))

    def mail_by(self, url: str) -> None:
        self.change_settings(mail_url=SecretStr(url))

    def use_sendgrid(self) -> None:
        self.mail_by("sendgrid:")

    def set_text(self, name: str, *texts: str) -> None:
        self.names.records[name, "TXT"] = [_quote(text) for text in texts]

    def examined(self) -> ExaminedInstallation:
        world = NetworkAccess(
            ("127.0.0.1", int(self.names.server_address[1])), self.authorities, WAIT_TIMEOUT, WAIT_TIMEOUT
        )
        return ExaminedInstallation(Installation(self.settings, self.installation.database), self.now, world)


SOUND_ACCOUNT: dict[str, tuple[int, Any]] = {
    "/v3/scopes": (200, {"scopes": ["mail.send", "suppression.read"]}),
    "/v3/tracking_settings/open": (200, {"enabled": False}),
    "/v3/tracking_settings/click": (200, {"enabled": False, "enable_text": False}),
    "/v3/whitelabel/domains": (200, [{"domain": "hls.test", "subdomain": "em1", "valid": True}]),
}


def _quote(text: str) -> str:
    return " ".join(f'"{text[at : at + 250]}"' for at in range(0, len(text), 250))


def _sound_records(settings: Settings) -> Records:
    signer = load_signer(settings)
    assert signer is not None
    return {
        (SITE_HOST, "A"): ["127.0.0.1"],
        (MAIL_HOST, "A"): [MAIL_ADDRESS],
        ("25.2.0.192.in-addr.arpa", "PTR"): [f"{MAIL_HOST}."],
        ("hls.test", "MX"): [f"10 {MAIL_HOST}."],
        ("bounce.hls.test", "MX"): [f"10 {MAIL_HOST}."],
        ("bounce.hls.test", "TXT"): [f'"v=spf1 a:{MAIL_HOST} -all"', '"google-site-verification=x"'],
        ("hls.test", "TXT"): ['"v=spf1 include:sendgrid.net -all"'],
        ("sendgrid.net", "TXT"): ['"v=spf1 ip4:198.51.100.0/24 ~all"'],
        ("_dmarc.hls.test", "TXT"): ['"v=DMARC1; p=quarantine; rua=mailto:dmarc@hls.test"'],
        ("one._domainkey.hls.test", "TXT"): [_quote(signer.keys[0].dns_record())],
    }


def _check_password(_server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
    return AuthResult(success=data.password == b"right", handled=data.password == b"right")


@contextmanager
def run_outside(folder: Path, make_installation: Any) -> Iterator[OutsideSetup]:
    """Run all servers; `make_installation` gives an installation for settings that are made here."""
    certificate = make_certificate(folder / "outside.pem")
    write_signing_key(folder / "dkim.pem")
    contexts = {name: server_tls_context(certificate) for name in ("imap", "smtp", "site")}
    with ExitStack() as stack:
        imap = stack.enter_context(FakeImapServer(contexts["imap"]))
        smtp_port = stack.enter_context(
            run_smtp_server(
                RecordingHandler(),
                ssl_context=contexts["smtp"],
                server_hostname=MAIL_HOST,
                authenticator=_check_password,
                auth_require_tls=False,
            )
        )
        answers: dict[str, tuple[int, Any]] = {}

        def answer(request: RecordedRequest) -> ScriptedResponse | None:
            status, body = answers.get(request.path, (0, None))
            return ScriptedResponse(status, json.dumps(body).encode()) if status else None

        sendgrid = stack.enter_context(FakeSendGridAccount(answer))
        settings = Settings.model_validate(
            {
                "home": folder,
                "base_url": f"https://{SITE_HOST}",
                "sendgrid_host": sendgrid.host,
                "mail_url": f"smtps://digest:right@127.0.0.1:{smtp_port}",
                "sendgrid_api_key": API_KEY,
                "dkim_domain": "hls.test",
                "dkim_selector": "one",
                "dkim_key_file": folder / "dkim.pem",
                "inbound_password": PASSWORD,
                "file": {
                    "sender": {
                        "address": "digest@hls.test",
                        "reply_to": "desk@hls.test",
                        "bounce_domain": "bounce.hls.test",
                    },
                    "inbound": {"host": "127.0.0.1", "port": imap.port, "user": USER},
                    "limits": {"proxies": 1},
                },
            }
        )
        site = ProxiedSite(create_app(make_installation(settings)).wsgi_app)
        web_server, feeds = WebServer(site, contexts["site"]), WebServer(serve_feed)
        for server in (web_server, feeds):
            server.start()
            stack.callback(server.stop)
        settings = settings.model_copy(update={"base_url": f"https://{SITE_HOST}:{web_server.port}"})
        records = _sound_records(settings)
        names = stack.enter_context(FakeNameServer(records))
        installation = make_installation(settings)
        servers = (
            names,
            imap,
            sendgrid,
            site,
            web_server,
            feeds,
            installation,
            records,
            certificate,
            folder,
            smtp_port,
        )
        yield OutsideSetup(*servers, contexts, answers)
