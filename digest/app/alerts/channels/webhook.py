"""Posting alerts to a webhook: signed as Standard Webhooks does it (https://www.standardwebhooks.com), as JSON."""

import base64
import binascii
import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from datetime import datetime

from digest.app.alerts.channel import AlertChannel, AlertEvent, AlertEvents, ChannelTestAlert
from digest.collect.fetch import policy
from digest.collect.fetch.address_guard import AddressGuard, AddressRefusedError, UnknownHostError
from digest.collect.fetch.guarded_request import TIMEOUT, request_guarded
from digest.collect.fetch.result import FetchError
from digest.installation.opened_installation import Installation
from digest.settings import Settings
from digest.store.alert_models import Alert


def build_alert_payload(settings: Settings, alert: Alert, event: AlertEvent) -> bytes:
    """Write what is posted of an alert, as JSON. It names no reader and no address."""
    opened_at = alert.opened_at or alert.seen_at
    is_over = event == "over"
    over_since = (alert.missing_since or alert.ended_at) if is_over else None
    happened_at = (alert.ended_at if is_over else opened_at) or alert.seen_at
    alert_fields = {name: getattr(alert, name) for name in ("id", "kind", "subject", "sentence")}
    return _write_event(settings, event, happened_at, alert_fields, opened_at, over_since)


def build_test_payload(settings: Settings, now: datetime) -> bytes:
    """Write what is posted as a test: the fields of an alert, of a kind that no alert has."""
    sentence = "This is a test from the settings page."
    alert_fields = {"kind": "test", "subject": "", "sentence": sentence}
    return _write_event(settings, "test", now, alert_fields, now, None)


def _write_event(
    settings: Settings,
    event: str,
    happened_at: datetime,
    alert_fields: Mapping[str, object],
    opened_at: datetime,
    over_since: datetime | None,
) -> bytes:
    data = {
        **alert_fields,
        "opened_at": opened_at.isoformat(),
        "over_since": over_since.isoformat() if over_since else None,
        "publication": settings.file.publication.name,
        "desk": f"{settings.link_base}/desk/",
    }
    fields = {"type": f"alert.{event}", "timestamp": happened_at.isoformat(), "data": data}
    return json.dumps(fields, separators=(",", ":")).encode()


def sign_payload(secret: str, message_id: str, sent_at: datetime, body: bytes) -> dict[str, str]:
    """Give the header fields that prove a post: an HMAC-SHA256 over id, time and body.

    A secret that begins with `whsec_` is base64 after that, as Standard Webhooks writes it; any other is taken as it is.
    """
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True) if secret.startswith("whsec_") else b""
    except binascii.Error:
        key = b""
    timestamp = str(int(sent_at.timestamp()))
    signed = f"{message_id}.{timestamp}.".encode() + body
    mac = hmac.new(key or secret.encode(), signed, hashlib.sha256).digest()
    signature = f"v1,{base64.b64encode(mac).decode()}"
    return {"webhook-id": message_id, "webhook-timestamp": timestamp, "webhook-signature": signature}


def _send_post(installation: Installation, events: AlertEvents, now: datetime) -> str:
    """Post one event; return what went wrong, empty where it was taken."""
    ((alert, event),) = events
    settings = installation.settings
    return _post_signed(settings, f"alert-{alert.id}-{event}", build_alert_payload(settings, alert, event), now)


def _post_signed(settings: Settings, message_id: str, body: bytes, now: datetime) -> str:
    """Sign a body and post it under the guards of what goes out; return what went wrong, empty where it was taken."""
    secret = settings.alert_secret.get_secret_value() if settings.alert_secret else ""
    headers = {"Content-Type": "application/json", **sign_payload(secret, message_id, now, body)}
    return request_guarded(settings, settings.file.alerts.webhook, body, headers)


def _send_test(installation: Installation, now: datetime) -> str:
    """Post a test, whose `type` is `alert.test`; return what went wrong, empty where it was taken."""
    settings = installation.settings
    return _post_signed(settings, f"alert-test-{secrets.token_hex(8)}", build_test_payload(settings, now), now)


def explain_refused_url(settings: Settings, webhook: str) -> str:
    """Explain why nothing could be posted to a URL; empty where it can be, and where its name has no address now.

    It's looked up under the guards of every fetch, so that an admin hears before an alert is lost.
    """
    if settings.alert_secret is None:
        return "DIGEST_ALERT_SECRET isn't set, so alerts can't be signed. Set it in digest.env and restart."
    try:
        address = policy.parse_web_address(webhook)
        port = address.port or (443 if address.scheme == "https" else 80)
        AddressGuard(settings.file.limits.allow_networks).resolve(address.host, port, timeout=TIMEOUT)
    except FetchError as exc:
        return exc.message
    except AddressRefusedError as exc:
        return str(exc)
    except UnknownHostError:
        return ""  # the name server may be away; the test post tells
    return ""


CHANNEL = AlertChannel(
    "webhook",
    "webhook",
    "webhook",
    _send_post,
    test=ChannelTestAlert("Sends a signed “test” alert to the saved URL, without subscriber data.", _send_test),
    explain_refusal=explain_refused_url,
)
