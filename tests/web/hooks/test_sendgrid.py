"""The signed Event Webhook: only SendGrid's own posts are accepted, and each is stored before it's answered."""

import json
from base64 import b64encode
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, select
from werkzeug.test import TestResponse

from digest.app.sending import background_tasks
from digest.deliver.providers.sendgrid.events import MAX_AGE, MAX_CLOCK_SKEW, SIGNATURE_HEADER, TIMESTAMP_HEADER
from digest.installation.opened_installation import Installation
from digest.settings import Settings, SettingsError, load_settings
from digest.settings.values import parse_public_keys
from digest.store.delivery_models import Delivery, DeliveryState, ReceivedEventPayload, StoredDeliveryEvent
from digest.web.app import create_app
from digest.web.hooks.pages import MAX_POST_BYTES
from digest.web.server import MAX_BODY_BYTES, open_page_server
from tests.conftest import WAIT_TIMEOUT
from tests.moments import DRAFTING as NOW
from tests.web.conftest import ADA_ADDRESS

KEY = ec.generate_private_key(ec.SECP256R1())
OTHER = ec.generate_private_key(ec.SECP256R1())
BODY = b'[{"email":"ada.lovelace@analytical.example","event":"processed","timestamp":1795127000}]\r\n'


def shown(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    """Give a public key as SendGrid shows it."""
    return b64encode(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()


@dataclass(frozen=True)
class Hook:
    """The application with a webhook key, and SendGrid's side of it."""

    install: Installation
    app: Flask

    @property
    def client(self) -> FlaskClient:
        return self.app.test_client()

    def post(self, body: bytes = BODY, *, key: Any = KEY, at: datetime = NOW, **headers: str | None) -> TestResponse:
        stamp = headers.get("timestamp", str(int(at.timestamp()))) or ""
        made = b64encode(key.sign(stamp.encode() + body, ec.ECDSA(SHA256()))).decode()
        sent = {TIMESTAMP_HEADER: stamp, SIGNATURE_HEADER: headers.get("signature", made)}
        return self.client.post(
            "/hooks/sendgrid",
            data=body,
            headers={name: value for name, value in sent.items() if value},
            content_type="application/json",
        )

    @property
    def kept(self) -> int:
        with self.install.database.read() as session:
            return session.scalar(select(func.count()).select_from(ReceivedEventPayload)) or 0


def hook_of(world: Any, keys: str) -> Hook:
    settings = world.install.settings.model_copy(update={"sendgrid_webhook_key": keys})
    install = Installation(settings, world.database)
    return Hook(install, create_app(install, clock=lambda: NOW))


@pytest.fixture
def hook(world: Any) -> Hook:
    return hook_of(world, shown(KEY))


def test_a_signed_post_is_kept_encrypted_before_it_is_answered(both: Any) -> None:
    hook = hook_of(both, shown(KEY))
    answer = hook.post()
    assert (answer.status_code, answer.text) == (200, "taken\n")
    with both.database.read() as session:
        row = session.scalars(select(ReceivedEventPayload)).one()
    assert (row.at, row.applied_at) == (NOW, None)
    assert b"lovelace" not in row.ciphertext


def test_two_keys_verify_while_the_key_changes(world: Any) -> None:
    hook = hook_of(world, f"{shown(OTHER)}, {shown(KEY)}")
    assert hook.post(key=KEY).status_code == hook.post(b"[]", key=OTHER).status_code == 200
    assert hook.kept == 2


FORGED: dict[str, dict[str, Any]] = {
    "another key": {"key": OTHER},
    "no signature": {"signature": None},
    "no timestamp": {"timestamp": None},
    "a signature that is no base64": {"signature": "%%%"},
    "a signature that is no signature": {"signature": "AAAA"},
    "an empty signature in DER": {"signature": b64encode(b"0\x06\x02\x01\x00\x02\x01\x00").decode()},
    "a signature without an end": {"signature": "A" * 60_000},
    "a timestamp that is a word": {"timestamp": "soon"},
    "a timestamp with a sign": {"timestamp": f"+{int(NOW.timestamp())}"},
    "a timestamp in other digits": {"timestamp": "\u0661\u0667\u0669\u0665\u0661\u0662\u0667\u0660"},
    "too old": {"at": NOW - MAX_AGE - timedelta(seconds=1)},
    "from the future": {"at": NOW + MAX_CLOCK_SKEW + timedelta(seconds=2)},
}


@pytest.mark.parametrize("wrong", FORGED.values(), ids=FORGED.keys())
def test_whatever_is_wrong_gets_one_and_the_same_answer(hook: Hook, wrong: dict[str, Any]) -> None:
    if "timestamp" in wrong and wrong["timestamp"] and not wrong["timestamp"].isascii():
        wrong = {**wrong, "timestamp": wrong["timestamp"].encode().decode("latin-1")}
    answer = hook.post(**wrong)
    assert (answer.status_code, answer.data) == (403, b"refused\n")
    assert answer.headers["Cache-Control"] == "no-store"
    assert hook.kept == 0


@pytest.mark.parametrize("body", [BODY.rstrip(), BODY.replace(b":", b": "), b"", BODY + b" "])
def test_the_raw_bytes_are_what_was_signed(hook: Hook, body: bytes) -> None:
    stamp = str(int(NOW.timestamp()))
    made = b64encode(KEY.sign(stamp.encode() + BODY, ec.ECDSA(SHA256()))).decode()
    answer = hook.client.post("/hooks/sendgrid", data=body, headers={TIMESTAMP_HEADER: stamp, SIGNATURE_HEADER: made})
    assert answer.status_code == 403


def test_without_a_key_nothing_is_taken(world: Any) -> None:
    hook = hook_of(world, "")
    assert (hook.post().status_code, hook.post().data, hook.kept) == (403, b"refused\n", 0)


def test_the_edges_of_the_window_are_inside(hook: Hook) -> None:
    assert hook.post(at=NOW - MAX_AGE).status_code == 200
    assert hook.post(b"[]", at=NOW + MAX_CLOCK_SKEW).status_code == 200


def test_a_post_that_is_repeated_or_replayed_adds_nothing(hook: Hook) -> None:
    for minutes in range(46):
        assert hook.post(at=NOW - timedelta(minutes=minutes)).status_code == 200
    assert hook.kept == 1


def test_a_post_that_is_too_large_is_not_read(hook: Hook) -> None:
    assert hook.post(b" " * (MAX_POST_BYTES + 1)).status_code == 413
    assert hook.post(b" " * MAX_POST_BYTES).status_code == 200
    assert MAX_BODY_BYTES >= MAX_POST_BYTES


def test_only_posts_are_taken(hook: Hook) -> None:
    for method in ("GET", "PUT", "DELETE", "PATCH"):
        answer = hook.client.open("/hooks/sendgrid", method=method)
        assert answer.status_code == 405
        assert "POST" in answer.headers["Allow"]
    assert hook.kept == 0


@pytest.mark.parametrize("body", [b"", b"not json", b'{"event":"processed"}', b'[{"event":"news"},[],7,null]'])
def test_what_is_signed_is_never_turned_away(hook: Hook, body: bytes) -> None:
    assert hook.post(body).status_code == 200
    background_tasks.apply_inbound_events(hook.install, clock=lambda: NOW)
    assert hook.kept == 1


def test_a_bounce_goes_all_the_way_to_the_subscriber_over_the_real_server(world: Any) -> None:
    import urllib.request

    named = "a" * 26
    with world.database.write() as session:
        session.add(
            Delivery(
                id=named,
                purpose="edition:2026-W46",
                person=world.ada,
                state=DeliveryState.ACCEPTED,
                due_at=NOW,
                next_try_at=NOW,
                handed_at=NOW - timedelta(hours=1),
            )
        )
    values = {"event": "bounce", "type": "bounce", "status": "5.1.1", "delivery_id": named, "email": ADA_ADDRESS}
    body = json.dumps([values] * 2000).encode()
    stamp = str(int(NOW.timestamp()))
    signed = b64encode(KEY.sign(stamp.encode() + body, ec.ECDSA(SHA256()))).decode()
    hook = hook_of(world, shown(KEY))
    with open_page_server(hook.app, "127.0.0.1", 0) as server:
        asked = urllib.request.Request(
            f"http://127.0.0.1:{server.port}/hooks/sendgrid",
            data=body,
            headers={TIMESTAMP_HEADER: stamp, SIGNATURE_HEADER: signed},
        )
        with urllib.request.urlopen(asked, timeout=WAIT_TIMEOUT) as answer:
            assert answer.status == 200
    assert background_tasks.apply_inbound_events(hook.install, clock=lambda: NOW) == {
        "bounced": 1,
        "known": 1999,
        "person bounced": 1,
    }
    with world.database.read() as session:
        assert session.scalar(select(func.count()).select_from(StoredDeliveryEvent)) == 1
        assert session.scalars(select(Delivery.state)).one() is DeliveryState.REFUSED


@pytest.mark.parametrize(
    "keys",
    [
        "nonsense",
        b64encode(b"no key").decode(),
        shown(rsa.generate_private_key(65537, 2048)),
        shown(ec.generate_private_key(ec.SECP384R1())),
        f"{shown(KEY)},{shown(KEY)},{shown(OTHER)}",
        f"{shown(KEY)},",
    ],
    ids=["text", "bytes", "rsa", "another curve", "three", "an empty second"],
)
def test_a_key_that_is_none_is_said_when_the_settings_are_read(keys: str) -> None:
    with pytest.raises(SettingsError, match="DIGEST_SENDGRID_WEBHOOK_KEY"):
        load_settings(environ={"DIGEST_SENDGRID_WEBHOOK_KEY": keys})


def test_good_keys_are_read() -> None:
    settings: Settings = load_settings(environ={"DIGEST_SENDGRID_WEBHOOK_KEY": f"{shown(KEY)}, {shown(OTHER)}"})
    assert len(parse_public_keys(settings.provider_variable("sendgrid_webhook_key"))) == 2
