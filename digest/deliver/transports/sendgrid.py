"""Messages over SendGrid: in batches, each person in a personalization of their own, and only a 202 is success.

The official package would put a list of recipients into one message; its other traps are shut in `sendgrid_api`.
"""

import time
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

from digest.deliver.handing import Handed, Outcome, Outgoing, Result
from digest.deliver.headers import mailbox_value
from digest.deliver.letters import Letter
from digest.deliver.replies import scrub
from digest.deliver.transports.sendgrid_api import TIMEOUT, Answer, Api

MOST = 1000  # personalizations a request may have
BATCH = 250  # a lost answer leaves so many in doubt
TELLING = 8  # refusals in a row that speak of the letter, not of its readers

_OFF: dict[str, Any] = {
    "click_tracking": {"enable": False, "enable_text": False},
    "open_tracking": {"enable": False},
    "subscription_tracking": {"enable": False},
    "ganalytics": {"enable": False},
}


class SendGrid:
    """Hands messages over in batches, each person in a personalization of their own."""

    name = "sendgrid"

    def __init__(
        self,
        key: str,
        host: str,
        *,
        batch: int = BATCH,
        timeout: float = TIMEOUT,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.batch = min(batch, MOST)
        # Bisecting down to one bad entry takes about two requests a level; more than one bad entry takes more.
        self.patience = timeout * 4 * (2 + self.batch.bit_length())
        self._api = Api(key, host, timeout=timeout, clock=clock)

    def hand_all(self, messages: Sequence[Outgoing]) -> Handed:
        """Hand a batch over: one request for each letter among its messages."""
        order = {m.delivery: place for place, m in enumerate(messages)}
        by_letter = sorted(messages, key=lambda m: (id(m.letter), order[m.delivery]))
        outcomes: dict[str, Outcome] = {}
        stop, wait = "", 0.0
        for _, group in groupby(by_letter, key=lambda m: id(m.letter)):
            batch = list(group)
            if stop or wait:
                outcomes |= {m.delivery: Outcome(Result.UNTOUCHED) for m in batch}
                continue
            handed = self._hand(batch)
            outcomes |= {m.delivery: o for m, o in zip(batch, handed.outcomes, strict=True)}
            stop, wait = handed.stop, handed.wait
        return Handed(tuple(outcomes[m.delivery] for m in messages), stop=stop, wait=wait)

    def close(self) -> None:
        """Nothing is held open: the package makes a connection a request."""

    def _hand(self, batch: list[Outgoing]) -> Handed:
        """Hand over messages of one letter; see the table in `_read`."""
        answer = self._api.call("post", "mail/send", body=payload(batch))
        if answer.status == 400 and _about_a_reader(answer):
            return self._halve(batch, answer)
        if answer.status == 413 and len(batch) > 1:
            return self._halve(batch, answer)
        return _read(answer, len(batch))

    def _halve(self, batch: list[Outgoing], answer: Answer) -> Handed:
        """Find the bad entry by halves; what is good goes out on the way."""
        if len(batch) == 1:
            said = f"{answer.status} {scrub(answer.said, batch[0].address)}"
            return Handed((Outcome(Result.REFUSED, said),))
        middle = len(batch) // 2
        first = self._hand(batch[:middle])
        if first.stop or first.wait:
            rest = tuple(Outcome(Result.UNTOUCHED) for _ in batch[middle:])
            return Handed(first.outcomes + rest, stop=first.stop, wait=first.wait)
        if middle >= TELLING and all(o.result is Result.REFUSED for o in first.outcomes):
            # Not one entry of several is taken: the fault is the letter's, not theirs.
            untouched = tuple(Outcome(Result.UNTOUCHED) for _ in batch)
            return Handed(untouched, stop=f"SendGrid refuses every message: {answer.said}. Nothing was sent.")
        second = self._hand(batch[middle:])
        return Handed(first.outcomes + second.outcomes, stop=second.stop, wait=second.wait)


def _read(answer: Answer, size: int) -> Handed:  # noqa: PLR0911 - a row of the table each
    """Read an answer.

    202 is acceptance, and nothing else is. A 401 or 403 is about our account, a 400 that no reader caused
    about our letter, and a 429 about the pace: nothing was taken. A 5xx, a redirect, another 2xx or no answer
    at all leaves everybody in doubt: there is no idempotency key.
    """

    def every(result: Result, reply: str = "") -> tuple[Outcome, ...]:
        return tuple(Outcome(result, reply) for _ in range(size))

    said = f"{answer.status} {answer.said}".strip()
    if answer.status == 202:
        return Handed(every(Result.ACCEPTED, said))
    if not answer.sent:
        return Handed(
            every(Result.UNTOUCHED), stop=f"no connection to SendGrid: {answer.said}. Send again later."
        )
    if answer.status == 429:
        return Handed(every(Result.UNTOUCHED), wait=answer.wait)
    if answer.status in {401, 403}:
        return Handed(
            every(Result.UNTOUCHED),
            stop=f"SendGrid refuses the key or the sender: {said}. Check DIGEST_SENDGRID_API_KEY.",
        )
    if 400 <= answer.status < 500:
        return Handed(
            every(Result.UNTOUCHED), stop=f"SendGrid refuses the message: {said}. Nothing was sent."
        )
    if answer.status >= 500 or not answer.status:
        return Handed(every(Result.UNCERTAIN, said or "no answer"))
    return Handed(
        every(Result.UNCERTAIN, said),
        stop=f"SendGrid's address answers {answer.status} instead of 202. Check DIGEST_SENDGRID_HOST.",
    )


def payload(batch: Sequence[Outgoing]) -> dict[str, Any]:
    """Write the request for messages of one letter: one personalization with one `to` for each."""
    letter = batch[0].letter
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
        "tracking_settings": _OFF,
    }
    if letter.reply_to:
        body["reply_to"] = {"email": letter.reply_to}
    return body


def _personalization(message: Outgoing) -> dict[str, Any]:
    one: dict[str, Any] = {
        "to": [{"email": message.address}],
        "substitutions": message.filled.substitutions(),
        # Kept by SendGrid for long and not erasable: an opaque id, and nothing about the person.
        "custom_args": {"delivery_id": message.delivery},
    }
    if message.letter.one_click:  # substitutions do not reach header fields
        one["headers"] = {"List-Unsubscribe": f"<{message.letter.one_click}{message.filled.leave}>"}
    return one


def _shared_headers(letter: Letter) -> dict[str, str]:
    """Give the header fields that all share. To, From, Subject, Reply-To and Content-* are SendGrid's own."""
    shared = dict(letter.extra)
    if letter.one_click:
        shared["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    if letter.list_id:
        shared["List-Id"] = mailbox_value("List-Id", *letter.list_id)
    return shared


def _about_a_reader(answer: Answer) -> bool:
    """Say whether a 400 may be one entry's fault: it names a personalization, or does not say what it means."""
    return not answer.fields or any(f is None or f.startswith("personalizations") for f in answer.fields)
