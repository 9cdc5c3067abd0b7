"""Messages over SendGrid: in batches, each person in a personalization of their own, and only a 202 is success.

The official package would put a list of recipients into one message; its other traps are shut in `sendgrid_api`.
"""

import time
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

from digest.deliver.compose.headers import mailbox_value
from digest.deliver.compose.message import MessageTemplate
from digest.deliver.providers.base import BatchOutcome, HandoverResult, MessageOutcome, OutgoingMessage
from digest.deliver.providers.replies import scrub_addresses
from digest.deliver.providers.sendgrid.api import STEP_TIMEOUT, SendGridApi, SendGridResponse

MAX_BATCH_SIZE = 1000  # personalizations a request may have
DEFAULT_BATCH_SIZE = 250  # a lost answer leaves so many in doubt
MIN_TELLING_REFUSALS = 8  # refusals in a row that speak of the letter, not of its readers

_TRACKING_OFF: dict[str, Any] = {
    "click_tracking": {"enable": False, "enable_text": False},
    "open_tracking": {"enable": False},
    "subscription_tracking": {"enable": False},
    "ganalytics": {"enable": False},
}


class SendGridProvider:
    """Hands messages over in batches, each person in a personalization of their own."""

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
        # Bisecting down to one bad entry takes about two requests a level; more than one bad entry takes more.
        self.batch_timeout = timeout * 4 * (2 + self.batch_size.bit_length())
        self._api = SendGridApi(api_key, host, timeout=timeout, clock=clock)

    def send_batch(self, messages: Sequence[OutgoingMessage]) -> BatchOutcome:
        """Hand a batch over: one request for each letter among its messages."""
        order = {m.delivery_id: place for place, m in enumerate(messages)}
        by_letter = sorted(messages, key=lambda m: (id(m.template), order[m.delivery_id]))
        outcomes: dict[str, MessageOutcome] = {}
        stop, wait = "", 0.0
        for _, group in groupby(by_letter, key=lambda m: id(m.template)):
            batch = list(group)
            if stop or wait:
                outcomes |= {m.delivery_id: MessageOutcome(HandoverResult.NOT_TRIED) for m in batch}
                continue
            handed = self._send_request(batch)
            outcomes |= {m.delivery_id: o for m, o in zip(batch, handed.outcomes, strict=True)}
            stop, wait = handed.stop_reason, handed.wait_seconds
        return BatchOutcome(tuple(outcomes[m.delivery_id] for m in messages), stop_reason=stop, wait_seconds=wait)

    def close(self) -> None:
        """Nothing is held open: the package makes a connection a request."""

    def _send_request(self, batch: list[OutgoingMessage]) -> BatchOutcome:
        """Hand over messages of one letter; see the table in `_interpret_response`."""
        answer = self._api.call("post", "mail/send", body=build_request_body(batch))
        if answer.status == 400 and _may_concern_one_reader(answer):
            return self._send_in_halves(batch, answer)
        if answer.status == 413 and len(batch) > 1:
            return self._send_in_halves(batch, answer)
        return _interpret_response(answer, len(batch))

    def _send_in_halves(self, batch: list[OutgoingMessage], response: SendGridResponse) -> BatchOutcome:
        """Find the bad entry by halves; what is good goes out on the way."""
        if len(batch) == 1:
            said = f"{response.status} {scrub_addresses(response.text, batch[0].address)}"
            return BatchOutcome((MessageOutcome(HandoverResult.REFUSED, said),))
        middle = len(batch) // 2
        first = self._send_request(batch[:middle])
        if first.stop_reason or first.wait_seconds:
            rest = tuple(MessageOutcome(HandoverResult.NOT_TRIED) for _ in batch[middle:])
            return BatchOutcome(first.outcomes + rest, stop_reason=first.stop_reason, wait_seconds=first.wait_seconds)
        if middle >= MIN_TELLING_REFUSALS and all(o.result is HandoverResult.REFUSED for o in first.outcomes):
            # Not one entry of several is taken: the fault is the letter's, not theirs.
            untouched = tuple(MessageOutcome(HandoverResult.NOT_TRIED) for _ in batch)
            return BatchOutcome(
                untouched, stop_reason=f"SendGrid refuses every message: {response.text}. Nothing was sent."
            )
        second = self._send_request(batch[middle:])
        return BatchOutcome(
            first.outcomes + second.outcomes, stop_reason=second.stop_reason, wait_seconds=second.wait_seconds
        )


def _interpret_response(response: SendGridResponse, count: int) -> BatchOutcome:  # noqa: PLR0911 - a row of the table each
    """Read an answer.

    202 is acceptance, and nothing else is. A 401 or 403 is about our account, a 400 that no reader caused
    about our letter, and a 429 about the pace: nothing was taken. A 5xx, a redirect, another 2xx or no answer
    at all leaves everybody in doubt: there is no idempotency key.
    """

    def every(result: HandoverResult, reply: str = "") -> tuple[MessageOutcome, ...]:
        return tuple(MessageOutcome(result, reply) for _ in range(count))

    said = f"{response.status} {response.text}".strip()
    if response.status == 202:
        return BatchOutcome(every(HandoverResult.ACCEPTED, said))
    if not response.request_sent:
        return BatchOutcome(
            every(HandoverResult.NOT_TRIED),
            stop_reason=f"no connection to SendGrid: {response.text}. Send again later.",
        )
    if response.status == 429:
        return BatchOutcome(every(HandoverResult.NOT_TRIED), wait_seconds=response.wait_seconds)
    if response.status in {401, 403}:
        return BatchOutcome(
            every(HandoverResult.NOT_TRIED),
            stop_reason=f"SendGrid refuses the key or the sender: {said}. Check DIGEST_SENDGRID_API_KEY.",
        )
    if 400 <= response.status < 500:
        return BatchOutcome(
            every(HandoverResult.NOT_TRIED), stop_reason=f"SendGrid refuses the message: {said}. Nothing was sent."
        )
    if response.status >= 500 or not response.status:
        return BatchOutcome(every(HandoverResult.UNCERTAIN, said or "no answer"))
    return BatchOutcome(
        every(HandoverResult.UNCERTAIN, said),
        stop_reason=f"SendGrid's address answers {response.status} instead of 202. Check DIGEST_SENDGRID_HOST.",
    )


def build_request_body(batch: Sequence[OutgoingMessage]) -> dict[str, Any]:
    """Write the request for messages of one letter: one personalization with one `to` for each."""
    letter = batch[0].template
    content = [{"type": "text/plain", "value": letter.text}]
    if letter.html is not None:
        content.append({"type": "text/html", "value": letter.html})
    sender = {"email": letter.sender_address} | ({"name": letter.sender_name} if letter.sender_name else {})
    body: dict[str, Any] = {
        "personalizations": [_personalization(message) for message in batch],
        "from": sender,
        "subject": letter.subject,
        "content": content,
        "headers": _shared_headers(letter),
        "tracking_settings": _TRACKING_OFF,
    }
    if letter.reply_to:
        body["reply_to"] = {"email": letter.reply_to}
    return body


def _personalization(message: OutgoingMessage) -> dict[str, Any]:
    one: dict[str, Any] = {
        "to": [{"email": message.address}],
        "substitutions": message.placeholders.substitutions(),
        # Kept by SendGrid for long and not erasable: an opaque id, and nothing about the person.
        "custom_args": {"delivery_id": message.delivery_id},
    }
    if message.template.unsubscribe_url_prefix:  # substitutions do not reach header fields
        one["headers"] = {
            "List-Unsubscribe": f"<{message.template.unsubscribe_url_prefix}{message.placeholders.leave_token}>"
        }
    return one


def _shared_headers(letter: MessageTemplate) -> dict[str, str]:
    """Give the header fields that all share. To, From, Subject, Reply-To and Content-* are SendGrid's own."""
    shared = dict(letter.extra_headers)
    if letter.unsubscribe_url_prefix:
        shared["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    if letter.list_id:
        shared["List-Id"] = mailbox_value("List-Id", *letter.list_id)
    return shared


def _may_concern_one_reader(response: SendGridResponse) -> bool:
    """Say whether a 400 may be one entry's fault: it names a personalization, or does not say what it means."""
    return not response.error_fields or any(
        f is None or f.startswith("personalizations") for f in response.error_fields
    )
