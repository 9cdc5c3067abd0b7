"""Posting alerts to a webhook: signed as Standard Webhooks does it (https://www.standardwebhooks.com), tried again with bounds."""

import base64
import binascii
import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

import httpx
import structlog
from sqlalchemy import select, update

from digest.collect.fetch import http_connection, policy
from digest.collect.fetch.address_guard import AddressGuard, AddressRefusedError, UnknownHostError
from digest.collect.fetch.fetcher import build_user_agent
from digest.collect.fetch.result import FetchError
from digest.installation.acts import Act, Actor, Role
from digest.installation.opened import Installation
from digest.settings import Settings
from digest.settings.concerns import Concern
from digest.store.alert_models import Alert, AlertPost
from subscribers.errors import RefusalError

TIMEOUT = 10.0  # seconds for one post
RETRY_DELAYS = tuple(
    timedelta(minutes=minutes) for minutes in (1, 5, 30, 120, 720)
)  # after each try; then it is given up
MAX_POSTS = 50  # of one run

SEND_TEST = Act("alert tested", Role.ADMIN, Concern.NONE)

log = structlog.get_logger("alerts")


class AlertTestError(RefusalError):
    """A test was not taken by the webhook; the message says why and what to do."""


def write_payload(settings: Settings, alert: Alert, event: str) -> bytes:
    """Write what is posted of an alert, as JSON. It names no reader and no address."""
    ended_at = alert.missing_since or alert.ended_at if event == "over" else None
    fields = {
        "type": f"alert.{event}",
        "timestamp": ((alert.ended_at if event == "over" else alert.opened_at) or alert.seen_at).isoformat(),
        "data": {
            "id": alert.id,
            "kind": alert.kind,
            "subject": alert.subject,
            "sentence": alert.sentence,
            "opened_at": (alert.opened_at or alert.seen_at).isoformat(),
            "over_since": ended_at.isoformat() if ended_at else None,
            "publication": settings.file.publication.name,
            "desk": f"{settings.link_base}/desk/",
        },
    }
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


@dataclass(frozen=True, slots=True)
class _DuePost:
    """A post that this process has claimed, with its number of tries before."""

    number: int
    attempts: int
    event: str
    alert: Alert


def send_alert_posts(installation: Installation, *, now: datetime) -> str:
    """Post what is due, each once at a time; what fails is tried again, six times in all."""
    if not installation.settings.file.alerts.webhook:
        return ""
    sent = failed = 0
    for _ in range(MAX_POSTS):
        post = _claim_due_post(installation, now)
        if post is None:
            break
        trouble = _send_post(installation.settings, post, now)
        _record_outcome(installation, post, trouble, now)
        sent, failed = sent + (not trouble), failed + bool(trouble)
    return f"{sent} posts of alerts, {failed} failed" if sent or failed else ""


def _claim_due_post(installation: Installation, now: datetime) -> _DuePost | None:
    """Claim the next post that is due: its next try is written before this one begins, so that no other process makes it too."""
    due = select(AlertPost).where(AlertPost.next_try_at <= now).order_by(AlertPost.id).limit(1)
    with installation.database.read() as session:
        if session.scalar(due) is None:
            return None
    with installation.database.write() as session:
        post = session.scalar(due.with_for_update(skip_locked=True))
        if post is None:
            return None
        tries = post.attempts
        post.attempts = tries + 1
        post.next_try_at = now + RETRY_DELAYS[tries] if tries < len(RETRY_DELAYS) else None
        return _DuePost(post.id, tries, post.event, session.get_one(Alert, post.alert_id))


def _record_outcome(installation: Installation, post: _DuePost, trouble: str, now: datetime) -> None:
    is_given_up = bool(trouble) and post.attempts >= len(RETRY_DELAYS)
    values = {"trouble": trouble} if trouble else {"trouble": "", "done_at": now, "next_try_at": None}
    with installation.database.write() as session:
        session.execute(update(AlertPost).where(AlertPost.id == post.number).values(**values))
    if trouble:
        log.warning("the webhook of alerts", kind=post.alert.kind, trouble=trouble, given_up=is_given_up)


def _send_post(settings: Settings, post: _DuePost, now: datetime) -> str:
    """Post one alert; return what went wrong, empty where it was taken."""
    body = write_payload(settings, post.alert, post.event)
    return _post_signed(settings, f"alert-{post.alert.id}-{post.event}", body, now)


def _post_signed(settings: Settings, message_id: str, body: bytes, now: datetime) -> str:
    """Sign a body and post it under the guards of what goes out; return what went wrong, empty where it was taken."""
    alerts, limits = settings.file.alerts, settings.file.limits
    secret = settings.alert_secret.get_secret_value() if settings.alert_secret else ""
    headers = {
        "User-Agent": build_user_agent(settings.link_base),
        "Content-Type": "application/json",
        "Connection": "close",
        **sign_payload(secret, message_id, now, body),
    }
    budget = http_connection.TimeBudget(TIMEOUT)
    try:
        with (
            budget.running(),
            http_connection.open_response(
                policy.parse_web_address(alerts.webhook),
                headers,
                guard=AddressGuard(limits.allow_networks),
                tls=httpx.create_ssl_context(),
                budget=budget,
                body=body,
            ) as response,
        ):
            status = response.status
    except FetchError as exc:
        return str(exc)
    except policy.FETCH_EXCEPTIONS as exc:
        return policy.classify_exception(exc, 0, TIMEOUT)[1]
    return "" if 200 <= status < 300 else f"it answered {status}"


def send_test_post(installation: Installation, actor: Actor, *, now: datetime) -> None:
    """Post a test to the webhook as an alert is posted, once; its `type` is `alert.test`, and it says that nothing is wrong.

    Raises:
        NotPermittedError: the actor is no admin.
        AlertTestError: there is no webhook, or it did not take the test.
    """
    with SEND_TEST.steps(installation, actor, "webhook", now=now) as draft:
        settings = installation.settings
        if not settings.file.alerts.webhook:
            raise AlertTestError("No webhook is named. Name one, save, and send the test then.")
        trouble = _post_signed(settings, f"alert-test-{secrets.token_hex(8)}", write_test_payload(settings, now), now)
        draft.detail = {"trouble": trouble}
        if trouble:
            raise AlertTestError(
                f"The test was not taken: {trouble}. Correct the address or its receiver, and try again."
            )


def write_test_payload(settings: Settings, now: datetime) -> bytes:
    """Write what is posted as a test: the fields of an alert, of a kind that no alert has."""
    data = {
        "kind": "test",
        "subject": "",
        "sentence": "A test from the settings page. Nothing is wrong.",
        "opened_at": now.isoformat(),
        "over_since": None,
        "publication": settings.file.publication.name,
        "desk": f"{settings.link_base}/desk/",
    }
    fields = {"type": "alert.test", "timestamp": now.isoformat(), "data": data}
    return json.dumps(fields, separators=(",", ":")).encode()


def explain_webhook_refusal(settings: Settings, webhook: str) -> str:
    """Explain why nothing could be posted to a URL; empty where it can be, and where its name has no address now.

    It's looked up under the guards of every fetch, so that an admin hears before an alert is lost.
    """
    if settings.alert_secret is None:
        return "DIGEST_ALERT_SECRET is not set, so no post could be signed. Set it in digest.env and start again."
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
