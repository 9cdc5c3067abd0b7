"""Alerts posted to a webhook as JSON, signed as specified by Standard Webhooks.

See https://www.standardwebhooks.com.
"""

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from datetime import datetime

from digest.app.alerts.channel import AlertChannel, AlertEvent, AlertEvents, ChannelTestAlert
from digest.collect.fetch import fetch_rules
from digest.collect.fetch.address_guard import AddressGuard, AddressRefusedError, UnknownHostError
from digest.collect.fetch.guarded_request import TIMEOUT, send_guarded_request
from digest.collect.fetch.result import FetchError
from digest.installation.opened_installation import Installation
from digest.settings import Settings
from digest.settings.values import parse_signing_secret
from digest.store.alert_models import Alert


def build_alert_payload(settings: Settings, alert: Alert, event: AlertEvent) -> bytes:
    """Return the JSON that's posted to the webhook for an alert.

    It contains no email address and nothing about subscribers.
    """
    opened_at = alert.opened_at or alert.seen_at
    is_over = event == "over"
    over_since = (alert.missing_since or alert.ended_at) if is_over else None
    happened_at = (alert.ended_at if is_over else opened_at) or alert.seen_at
    alert_fields = {name: getattr(alert, name) for name in ("id", "kind", "subject", "sentence")}
    return _write_event(settings, event, happened_at, alert_fields, opened_at, over_since)


def build_test_payload(settings: Settings, now: datetime) -> bytes:
    """Return the payload of a test alert. Its kind is one that no real alert has."""
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
    """Return the headers that authenticate a post, an HMAC-SHA256 of its ID, time, and body.

    Raises:
        ValueError: the secret is malformed (see `parse_signing_secret`).
    """
    timestamp = str(int(sent_at.timestamp()))
    signed = f"{message_id}.{timestamp}.".encode() + body
    mac = hmac.new(parse_signing_secret(secret), signed, hashlib.sha256).digest()
    signature = f"v1,{base64.b64encode(mac).decode()}"
    return {"webhook-id": message_id, "webhook-timestamp": timestamp, "webhook-signature": signature}


def _send_post(installation: Installation, events: AlertEvents, now: datetime) -> str:
    """Post one event, and return an error message, or an empty string if it was accepted."""
    ((alert, event),) = events
    settings = installation.settings
    return _post_signed(settings, f"alert-{alert.id}-{event}", build_alert_payload(settings, alert, event), now)


def _post_signed(settings: Settings, message_id: str, body: bytes, now: datetime) -> str:
    """Sign and post a body, and return an error message, or an empty string if it was accepted.

    The rules for outgoing requests apply.
    """
    secret = settings.alert_secret.get_secret_value() if settings.alert_secret else ""
    headers = {"Content-Type": "application/json", **sign_payload(secret, message_id, now, body)}
    return send_guarded_request(settings, settings.file.alerts.webhook, body, headers)


def _send_test(installation: Installation, now: datetime) -> str:
    """Post a test of type `alert.test`.

    Return an error message, or an empty string if it was accepted.
    """
    settings = installation.settings
    return _post_signed(settings, f"alert-test-{secrets.token_hex(8)}", build_test_payload(settings, now), now)


def explain_refused_url(settings: Settings, webhook: str) -> str:
    """Return the reason that alerts can't be posted to a URL, or an empty string if they can.

    The rules for all outgoing requests apply, so an admin learns of a problem before an alert is
    lost. A host name that can't be resolved right now isn't reported.
    """
    if settings.alert_secret is None:
        return "DIGEST_ALERT_SECRET isn't set, so alerts can't be signed. Set it in digest.env and restart."
    try:
        address = fetch_rules.parse_web_address(webhook)
        port = address.port or (443 if address.scheme == "https" else 80)
        AddressGuard(settings.file.limits.allow_networks).resolve(address.host, port, timeout=TIMEOUT)
    except FetchError as exc:
        return exc.message
    except AddressRefusedError as exc:
        return str(exc)
    except UnknownHostError:
        return ""  # the DNS server may be down; a test post will show it
    return ""


CHANNEL = AlertChannel(
    "webhook",
    "webhook",
    "webhook",
    _send_post,
    test=ChannelTestAlert("Sends a signed “test” alert to the saved URL, without subscriber data.", _send_test),
    explain_refusal=explain_refused_url,
)
