"""TLS connects to the checked IP address, with the requested name in the certificate and SNI."""

import datetime as dt
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from digest.collect.fetch.fetcher import HttpFetcher
from digest.collect.fetch.result import FetchError, FetchErrorReason
from digest.settings import UsageLimitSettings
from tests.conftest import WAIT_TIMEOUT

LIMITS = UsageLimitSettings(allow_networks=["127.0.0.0/8"], fetch_timeout=WAIT_TIMEOUT)
AGENT = "hls-digest/1 (+https://hls.example/)"
NAME = "feeds.example.org"


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Write a certificate of our own for NAME, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = dt.datetime.now(dt.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = tmp_path / "site.pem"
    file.write_bytes(signed.public_bytes(serialization.Encoding.PEM) + private)
    return file


@contextmanager
def serving(
    certificate: Path, names: list[str | None], *, newest: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED
) -> Iterator[int]:
    """Serve one connection over TLS; gives the port, and notes the names that the client asked for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if newest is not ssl.TLSVersion.MAXIMUM_SUPPORTED:
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version, context.maximum_version = ssl.TLSVersion.MINIMUM_SUPPORTED, newest
    context.load_cert_chain(certificate)
    context.sni_callback = lambda _socket, name, _context: names.append(name)

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection, suppress(OSError), context.wrap_socket(connection, server_side=True) as safe:
            safe.recv(65536)
            safe.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<rss/>")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


def test_tls_keeps_the_name_while_the_connection_goes_to_the_checked_address(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    names: list[str | None] = []
    with serving(certificate, names) as port, HttpFetcher(LIMITS, AGENT, resolver=lambda *_: ["127.0.0.1"]) as fetcher:
        assert fetcher.get(f"https://{NAME}:{port}/feed").body == b"<rss/>"
    assert names == [NAME]


def test_a_certificate_for_another_name_is_refused(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with (
        serving(certificate, []) as port,
        HttpFetcher(LIMITS, AGENT, resolver=lambda *_: ["127.0.0.1"]) as fetcher,
        pytest.raises(FetchError, match="certificate") as caught,
    ):
        fetcher.get(f"https://other.example.org:{port}/feed")
    assert caught.value.reason is FetchErrorReason.TLS


def test_a_certificate_that_nobody_vouches_for_is_refused(certificate: Path) -> None:
    with (
        serving(certificate, []) as port,
        HttpFetcher(LIMITS, AGENT, resolver=lambda *_: ["127.0.0.1"]) as fetcher,
        pytest.raises(FetchError, match="certificate") as caught,
    ):
        fetcher.get(f"https://{NAME}:{port}/feed")
    assert caught.value.reason is FetchErrorReason.TLS


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_a_server_without_tls_1_2_is_refused(
    certificate: Path, monkeypatch: pytest.MonkeyPatch, newest: ssl.TLSVersion
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    old = ssl.create_default_context(cafile=certificate)
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with (
        serving(certificate, [], newest=newest) as port,
        socket.create_connection(("127.0.0.1", port)) as plain,
        old.wrap_socket(plain, server_hostname=NAME) as safe,
    ):
        assert safe.version() in {"TLSv1", "TLSv1.1"}, "it does serve"
    with (
        serving(certificate, [], newest=newest) as port,
        HttpFetcher(LIMITS, AGENT, resolver=lambda *_: ["127.0.0.1"]) as fetcher,
        pytest.raises(FetchError) as caught,
    ):
        fetcher.get(f"https://{NAME}:{port}/feed")
    assert caught.value.reason is FetchErrorReason.TLS
