"""Passkeys, answered by an authenticator in software. Only answers given on our own page count."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from digest.app.accounts import passkeys, sign_in
from digest.app.accounts.passkeys import PasskeyError, encode_base64url
from digest.app.accounts.visitor import Visitor
from digest.installation.opened_installation import Installation
from digest.settings import Settings
from digest.store.delivery_models import StaffMember
from digest.store.engine import Database
from subscribers.crypto.keys import KeyRing
from tests.moments import DRAFTING as NOW

HOST, ORIGIN = "localhost", "http://localhost:8025"
PARTY = passkeys.RelyingParty(HOST, ORIGIN)
VISITOR = Visitor("8.8.4.9", "Firefox on Linux")


@dataclass
class Authenticator:
    """An authenticator with one P-256 key that verifies its user and attests nothing (WebAuthn level 2)."""

    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    uses: int = 0

    def make_passkey(self, challenge: str, **client_data: Any) -> str:
        numbers = self.key.public_key().public_numbers()
        public = {1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")}
        credential = bytes(16) + len(b"credential").to_bytes(2, "big") + b"credential" + cbor2.dumps(public)
        attestation = {"fmt": "none", "attStmt": {}, "authData": self._data(0x45) + credential}
        return answer(
            {
                "clientDataJSON": client_json("webauthn.create", challenge, client_data),
                "attestationObject": encode_base64url(cbor2.dumps(attestation)),
            }
        )

    def sign_in(self, challenge: str, **client_data: Any) -> str:
        self.uses += 1
        data, client = self._data(0x05), client_bytes("webauthn.get", challenge, client_data)
        signature = self.key.sign(data + hashlib.sha256(client).digest(), ec.ECDSA(SHA256()))
        return answer(
            {
                "clientDataJSON": encode_base64url(client),
                "authenticatorData": encode_base64url(data),
                "signature": encode_base64url(signature),
            }
        )

    def _data(self, flags: int) -> bytes:
        return hashlib.sha256(HOST.encode()).digest() + bytes([flags]) + self.uses.to_bytes(4, "big")


def client_bytes(kind: str, challenge: str, more: dict[str, Any]) -> bytes:
    return json.dumps({"type": kind, "challenge": challenge, "origin": ORIGIN} | more).encode()


def client_json(kind: str, challenge: str, more: dict[str, Any]) -> str:
    return encode_base64url(client_bytes(kind, challenge, more))


def answer(response: dict[str, str]) -> str:
    credential = encode_base64url(b"credential")
    return json.dumps({"id": credential, "rawId": credential, "type": "public-key", "response": response})


@pytest.fixture
def install(database: Database, tmp_path: Path) -> Installation:
    settings = Settings(home=tmp_path, base_url=ORIGIN)
    KeyRing.create(settings.key_file)
    with database.write() as session:
        member = StaffMember(email="sam@newsroom.example", role="editor", added_at=NOW, added_by="test", proven_at=NOW)
        session.add(member)
    return Installation(settings, database)


def add_passkey(install: Installation, device: Authenticator, **client_data: Any) -> None:
    challenge = passkeys.make_passkey_challenge(install.keys, "add", "me", now=NOW)
    made = device.make_passkey(challenge, **client_data)
    with install.database.write() as session:
        passkeys.add_passkey(session, install.keys, PARTY, 1, made, "Laptop", subject="me", now=NOW)


def sign_in_by(install: Installation, device: Authenticator, **client_data: Any) -> str:
    challenge = sign_in.make_passkey_challenge(install, "sign in", None, now=NOW)
    return sign_in.sign_in_by_passkey(install, device.sign_in(challenge, **client_data), VISITOR, now=NOW).token


# A page of another origin had the passkey asked for in a frame: our pages can't be framed, so it isn't ours.
FOREIGN_FRAMES: tuple[dict[str, Any], ...] = (
    {"crossOrigin": True},
    {"crossOrigin": True, "topOrigin": "https://elsewhere.example"},
    {"topOrigin": "https://elsewhere.example"},
    {"crossOrigin": False, "topOrigin": "https://elsewhere.example"},
    {"crossOrigin": "true"},
    {"crossOrigin": 1},
)


@pytest.mark.parametrize("client_data", [{}, {"crossOrigin": False}])
def test_a_passkey_used_on_our_own_page_signs_in(install: Installation, client_data: dict[str, Any]) -> None:
    device = Authenticator()
    add_passkey(install, device, **client_data)
    assert sign_in_by(install, device, **client_data)


@pytest.mark.parametrize("client_data", FOREIGN_FRAMES)
def test_a_passkey_used_in_a_foreign_frame_is_refused(install: Installation, client_data: dict[str, Any]) -> None:
    device = Authenticator()
    with pytest.raises(PasskeyError, match="on another site"):
        add_passkey(install, device, **client_data)
    add_passkey(install, device)
    with pytest.raises(PasskeyError, match="on another site"):
        sign_in_by(install, device, **client_data)
    assert sign_in_by(install, device)
