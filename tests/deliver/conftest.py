"""An approved edition, subscribers, and the requirements for a message on arrival."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID
from pydantic import SecretStr

from digest.edition.approval import approved_versions as approval
from digest.edition.content.edition_content import EditionContent, RenderedFragment
from digest.edition.content.slotted_text import LEAVE_SLOT, PREFERENCES_SLOT, SIGNUP_SLOT, Slot, SlottedText
from digest.edition.drafting.drafts import replace_fragments
from digest.settings import AlertSettings, PublicationSettings, SenderSettings, Settings, SettingsFileContent
from digest.store.engine import Database
from digest.store.models import Edition, EditionState
from subscribers.consent.preferences import Preferences, change_preferences
from subscribers.crypto.keys import KeyRing
from subscribers.signup.manual_signup import ConsentEvidence
from tests.deliver.many_subscribers import add_many_subscribers
from tests.deliver.message_lint import message_faults
from tests.deliver.stored_editions import store_rows_once
from tests.moments import RELEASE, Clock

EDITION_NAME = "2026-W47"
SECTIONS = ("featured", "events")
DATE_VALUE = "Fri, 20 Nov 2026 06:00:00 -0500"  # RELEASE, as a Date field has it
KEYS = KeyRing.from_seed(b"deliver tests")


@dataclass(frozen=True)
class DeliverySetup:
    """One installation with an approved edition and nobody on its list."""

    database: Database
    settings: Settings
    keys: KeyRing
    clock: Clock

    def add_subscribers(self, *addresses: str, choices: Preferences | None = None) -> list[int]:
        """Add readers; give their numbers."""
        evidence = ConsentEvidence(
            wording="Yes.",
            wording_version="1",
            language="en",
            page="hls.today",
            method="form",
            actor="test",
            agreed_at=RELEASE - timedelta(days=100),
        )
        with self.database.write() as session:
            numbers = add_many_subscribers(session, self.keys, addresses, evidence=evidence, now=RELEASE)
            if choices:
                for number in numbers:
                    change_preferences(session, number, choices, RELEASE)
        return numbers


def _make_fragment(kind: str, name: str) -> RenderedFragment:
    parts: list[str | Slot] = [
        f"{name}: caf\u00e9, a line that is long enough to need a soft break somewhere before its end = 76."
    ]
    if name == "foot":
        parts += ["\nYou asked for it on ", SIGNUP_SLOT, ".\nLeave: https://news.example.org/u/", LEAVE_SLOT]
        parts += [" or choose: https://news.example.org/preferences/", PREFERENCES_SLOT]
    whole = SlottedText.from_parts([*parts, "\n"] if kind == "text" else [f'<p id="{name}">', *parts, "</p>\n"])
    return RenderedFragment(kind, name, whole.text, whole.slots)


def _draft_edition(name: str, release_at: datetime) -> Edition:
    return Edition(
        slot=release_at.isoformat(),
        name=name,
        number=12,
        state=EditionState.DRAFT,
        opens_at=release_at - timedelta(days=7),
        cut_off=release_at,
        release_at=release_at,
        drafted_at=release_at,
        subject="Ports reopen \u2014 and six more stories",
        preheader="The week in one read",
        content=EditionContent(name, 12, "", "", "", 1, "", "", (), released_on=date(2026, 11, 20)).as_json(),
    )


def delivery_settings(home: Path, mail_url: str = "outbox:") -> Settings:
    """Give the settings of the tests' installation, where nobody goes ahead of a large edition."""
    return Settings(
        home=home,
        base_url="https://news.example.org",
        mail_url=SecretStr(mail_url),
        file=SettingsFileContent(
            publication=PublicationSettings(name="HLS.Today"),
            sender=SenderSettings(postal_address="1 Main St, Springfield"),
            alerts=AlertSettings(canary_minutes=0),
        ),
    )


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a certificate for 127.0.0.1 that nobody but we trusts; key and certificate in one file."""
    return write_certificate(tmp_path_factory.mktemp("tls") / "both.pem")


def write_certificate(file: Path, *, host: str = "", valid_for: timedelta = timedelta(days=1)) -> Path:
    """Write key and certificate of 127.0.0.1, and of a host beside it, into a file; return it.

    The organization is the file's name: of several trusted certificates with one subject, OpenSSL may compare only the wrong one.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    attributes = {NameOID.ORGANIZATION_NAME: file.stem, NameOID.COMMON_NAME: host or "127.0.0.1"}
    name = x509.Name([x509.NameAttribute(kind, value) for kind, value in attributes.items()])
    hosts = [x509.DNSName(host)] if host else []
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + valid_for)
        .add_extension(x509.SubjectAlternativeName([*hosts, x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.write_bytes(secret + built.public_bytes(pem))
    return file


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return delivery_settings(tmp_path)


def store_approved_edition(
    database: Database, settings: Settings, name: str, release_at: datetime, sections: Sequence[str] = SECTIONS
) -> None:
    """Store an edition that is approved and may be sent; `sections` are the names of its fragments between head and foot."""
    with database.write() as session:
        edition = _draft_edition(name, release_at)
        session.add(edition)
        session.flush()
        names = ["head", *(f"section:{s}" for s in sections), "foot"]
        replace_fragments(session, edition, [_make_fragment(kind, name) for kind in ("html", "text") for name in names])
        session.flush()
        content_hash = approval.read_current_content_hash(session, edition, settings)
        approval.sign_approval(
            session, edition, content_hash, settings=settings, keys=KEYS, actor="eve", now=release_at
        )


def _build_delivery_setup(database: Database, settings: Settings) -> DeliverySetup:
    database.row_keys.find = lambda: KEYS
    # What stands in an edition hangs on the settings, but not on where the installation is and how it sends.
    key = settings.model_dump_json(exclude={"home", "mail_url"})
    store_rows_once(database, key, lambda: store_approved_edition(database, settings, EDITION_NAME, RELEASE))
    return DeliverySetup(database, settings, KEYS, Clock(RELEASE))


@pytest.fixture
def world(database: Database, settings: Settings) -> DeliverySetup:
    """Give a world on SQLite, and one on PostgreSQL."""
    return _build_delivery_setup(database, settings)


@pytest.fixture
def one_world(one_database: Database, settings: Settings) -> DeliverySetup:
    """Give a world on SQLite alone, for what does not touch the database."""
    return _build_delivery_setup(one_database, settings)


@pytest.fixture
def postgresql_world(postgresql: Database, settings: Settings) -> DeliverySetup:
    """Give a world on PostgreSQL alone, for two who write at once: SQLite has one writer."""
    return _build_delivery_setup(postgresql, settings)


@pytest.fixture
def keyed(one_world: DeliverySetup, tmp_path: Path) -> Settings:
    """Give settings that sign, with both kinds of key, and have bounces come back to a domain of their own."""
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    keys = (rsa.generate_private_key(65537, 2048), ed25519.Ed25519PrivateKey.generate())
    file = tmp_path / "dkim.pem"
    file.touch(mode=0o600)
    file.write_bytes(b"".join(key.private_bytes(*form) for key in keys))
    settings = one_world.settings
    sender = settings.file.sender.model_copy(update={"bounce_domain": "bounce.example.org"})
    return settings.model_copy(
        update={
            "file": settings.file.model_copy(update={"sender": sender}),
            "dkim_domain": "news.example.org",
            "dkim_selector": "one,two",
            "dkim_key_file": file,
        }
    )


def _only_header(raw: bytes, name: str) -> str:
    head = re.sub(rb"\r\n[ \t]+", b" ", raw.partition(b"\r\n\r\n")[0]).decode("ascii")
    values = re.findall(rf"(?mi)^{name}: (.*?)\r?$", head)
    assert len(values) == 1, f"{name} stands {len(values)} times"
    return str(values[0])


@pytest.fixture
def arrived() -> Callable[[bytes], EmailMessage]:
    """Parse a message as a mail program does, after checking its bytes as a strict server would."""

    def check(raw: bytes) -> EmailMessage:
        assert message_faults(raw) == []
        assert _only_header(raw, "List-Id") == '"HLS.Today" <weekly.news.example.org>'
        message = message_from_bytes(raw, policy=policy.default)
        assert isinstance(message, EmailMessage)
        return message

    return check
