"""Sending through SendGrid in batches, with one personalization per person. Only a 202 response is success.

The official package would put a list of recipients into a single message. `api` works around its
other pitfalls.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from digest.deliver.compose.headers import format_mailbox_value
from digest.deliver.compose.message import BODY_SLOTS, MessageTemplate
from digest.deliver.events.server_replies import scrub_addresses
from digest.deliver.providers.base import (
    LEASE_EXPIRED,
    BatchOutcome,
    HandoverRecorder,
    HandoverStatus,
    MessageOutcome,
    OutgoingMessage,
)
from digest.deliver.providers.sendgrid.api import STEP_TIMEOUT, SendGridApi, SendGridResponse
from digest.edition.rendering.slot_marks import SlotMarks

MAX_BATCH_SIZE = 1000  # maximum personalizations per request
# Number of messages whose status becomes unknown if a response is lost.
DEFAULT_BATCH_SIZE = 250
# Refusals found one by one in a batch, after which the rest of it is returned untried.
MAX_REFUSALS_IN_A_ROW = 8

_TRACKING_OFF: dict[str, Any] = {
    "click_tracking": {"enable": False, "enable_text": False},
    "open_tracking": {"enable": False},
    "subscription_tracking": {"enable": False},
    "ganalytics": {"enable": False},
}


class SendGridProvider:
    """A provider that uses the v3/mail/send endpoint."""

    name = "sendgrid"

    def __init__(
        self,
        api_key: str,
        host: str,
        *,
        batch_size: int = DEFAULT_BATCH_SIZE,
        timeout: float = STEP_TIMEOUT,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.batch_size = min(batch_size, MAX_BATCH_SIZE)
        # Bisecting down to one bad entry takes about two requests per level, and more if there are several.
        self.batch_timeout = timeout * 4 * (2 + self.batch_size.bit_length())
        self._api = SendGridApi(api_key, host, timeout=timeout, clock=clock)

    def send_batch(self, messages: Sequence[OutgoingMessage], recorder: HandoverRecorder) -> BatchOutcome:
        """Hand over a batch, with one request for each template among its messages."""
        groups: dict[int, list[OutgoingMessage]] = {}
        for message in messages:
            groups.setdefault(id(message.template), []).append(message)
        outcomes: dict[str, MessageOutcome] = {}
        batch = BatchOutcome(())
        for group in groups.values():
            if not (batch.stop_reason or batch.wait_seconds):
                batch = self._send_request(group, recorder)
                outcomes |= {m.delivery_id: o for m, o in zip(group, batch.outcomes, strict=True)}
        not_tried = MessageOutcome(HandoverStatus.NOT_TRIED)
        return replace(batch, outcomes=tuple(outcomes.get(m.delivery_id, not_tried) for m in messages))

    def close(self) -> None:
        """Do nothing, because the package opens a connection for each request."""

    def _send_request(self, batch: list[OutgoingMessage], recorder: HandoverRecorder) -> BatchOutcome:
        """Hand over messages that share a template.

        See `_interpret_response` for the outcomes.
        """
        body, withheld = build_request_body(batch), list[OutgoingMessage]()

        def announce() -> bool:
            withheld[:] = [message for message in batch if not recorder.mark_sending(message)]
            return not withheld

        response = self._api.call("post", "mail/send", body=body, announce_body=announce)
        if withheld:
            for message in batch:
                recorder.mark_unsent(message)
            return BatchOutcome(_same_outcome(HandoverStatus.NOT_TRIED, len(batch), LEASE_EXPIRED))
        one_subscriber = response.status == 400 and _may_concern_one_subscriber(response)
        if one_subscriber or (response.status == 413 and len(batch) > 1):
            for message in batch:
                recorder.mark_unsent(message)
            return self._send_in_halves(batch, response, recorder)
        outcome = _interpret_response(response, len(batch))
        for message, message_outcome in zip(batch, outcome.outcomes, strict=True):
            recorder.mark_outcome(message, message_outcome)
        return outcome

    def _send_in_halves(
        self, batch: list[OutgoingMessage], response: SendGridResponse, recorder: HandoverRecorder
    ) -> BatchOutcome:
        """Find the bad entry by bisecting the batch, which also sends the good ones."""
        if len(batch) == 1:
            reply = f"{response.status} {scrub_addresses(response.text, batch[0].address)}"
            return BatchOutcome((MessageOutcome(HandoverStatus.REFUSED, reply, may_blame_message=True),))
        middle = len(batch) // 2
        first = self._send_request(batch[:middle], recorder)
        results = {outcome.result for outcome in first.outcomes}
        # If all messages were refused, each would cost two requests, so the caller decides how to continue.
        all_refused = middle >= MAX_REFUSALS_IN_A_ROW and results == {HandoverStatus.REFUSED}
        if first.stop_reason or all_refused or HandoverStatus.NOT_TRIED in results:
            untried = _same_outcome(HandoverStatus.NOT_TRIED, len(batch) - middle)
            return replace(first, outcomes=first.outcomes + untried)
        second = self._send_request(batch[middle:], recorder)
        return replace(second, outcomes=first.outcomes + second.outcomes)


def _same_outcome(result: HandoverStatus, count: int, reply: str = "") -> tuple[MessageOutcome, ...]:
    return (MessageOutcome(result, reply),) * count


def _interpret_response(response: SendGridResponse, count: int) -> BatchOutcome:
    """Return the outcomes for the response to a request with `count` messages.

    Only a 202 is acceptance. Nothing was accepted after a 401 or 403, which concern our account; a
    400 not caused by a subscriber, which concerns our template; or a 429, which concerns the rate.
    After a 5xx, a redirect, another 2xx, or no response, all messages are uncertain, because
    there's no idempotency key.
    """
    status, text = response.status, f"{response.status} {response.text}".strip()
    result, reply, stop_reason = HandoverStatus.NOT_TRIED, "", ""
    if status == 202:
        result, reply = HandoverStatus.ACCEPTED, text
    elif not response.request_sent:
        stop_reason = f"couldn't connect to SendGrid: {response.text}. Send again later."
    elif status in {401, 403}:
        stop_reason = f"SendGrid rejected the key or the sender: {text}. Check DIGEST_SENDGRID_API_KEY."
    elif 400 <= status < 500 and status != 429:
        stop_reason = f"SendGrid rejected the message: {text}."
    elif status != 429:
        result, reply = HandoverStatus.UNCERTAIN, text
        if 0 < status < 500:
            stop_reason = f"SendGrid responded with {status} instead of 202. Check DIGEST_SENDGRID_HOST."
    wait_seconds = response.wait_seconds if status == 429 else 0.0
    return BatchOutcome(_same_outcome(result, count, reply), stop_reason=stop_reason, wait_seconds=wait_seconds)


def build_request_body(batch: Sequence[OutgoingMessage]) -> dict[str, Any]:
    """Return the request body for messages that share a template.

    It has a personalization for each message.
    """
    template = batch[0].template
    marks, column = _choose_marks(batch), template.signup_column
    content = [
        {"type": kind, "value": marks.write(text)}
        for kind, text in zip(("text/plain", "text/html"), template.body_texts, strict=False)
    ]
    sender = {"email": template.sender_address} | ({"name": template.sender_name} if template.sender_name else {})
    names = [marks.mark(slot) for slot in BODY_SLOTS]
    body: dict[str, Any] = {
        "personalizations": [
            _personalization(m, dict(zip(names, m.placeholders.format_body_values(column), strict=True))) for m in batch
        ],
        "from": sender,
        "subject": template.subject,
        "content": content,
        "headers": _shared_headers(template),
        "tracking_settings": _TRACKING_OFF,
    }
    if template.reply_to:
        body["reply_to"] = {"email": template.reply_to}
    return body


def _choose_marks(batch: Sequence[OutgoingMessage]) -> SlotMarks:
    """Return marks that don't occur in any text or value of a request, because SendGrid replaces every occurrence."""
    template = batch[0].template
    texts = [template.subject, template.sender_name, *(text.text for text in template.body_texts)]
    texts += {message.placeholders.signup_text for message in batch}
    marks = SlotMarks()
    while marks.occurs_in(texts):
        marks = SlotMarks()
    return marks


def _personalization(message: OutgoingMessage, substitutions: Mapping[str, str]) -> dict[str, Any]:
    personalization: dict[str, Any] = {
        "to": [{"email": message.address}],
        "substitutions": substitutions,
        # SendGrid stores this for a long time and can't erase it, so it's opaque.
        "custom_args": {"delivery_id": message.delivery_id},
    }
    if message.template.unsubscribe_url_prefix:  # substitutions don't apply to header fields
        personalization["headers"] = {
            "List-Unsubscribe": f"<{message.template.unsubscribe_url_prefix}{message.placeholders.leave_token}>"
        }
    return personalization


def _shared_headers(template: MessageTemplate) -> dict[str, str]:
    """Return the header fields that are the same in all messages.

    SendGrid sets To, From, Subject, Reply-To, and Content-*.
    """
    headers = dict(template.extra_headers)
    if template.unsubscribe_url_prefix:
        headers["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    if template.list_id:
        headers["List-Id"] = format_mailbox_value("List-Id", *template.list_id)
    return headers


def _may_concern_one_subscriber(response: SendGridResponse) -> bool:
    """Return True if a 400 response may be due to a single entry: it names a personalization, or no field at all."""
    return not response.error_fields or any(
        f is None or f.startswith("personalizations") for f in response.error_fields
    )
