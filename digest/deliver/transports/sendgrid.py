"""SendGrid's v3 API over its official package, whose traps are shut here.

Bare, the package waits for ever, follows redirects with the key in hand, takes any 2xx for success, puts a
list of recipients into one message, and logs key and payload. See docs/decisions/0007-message-bytes.md.
"""

import http.client
import json
import logging
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from itertools import groupby
from typing import IO, Any

import python_http_client
from python_http_client.client import Response
from python_http_client.exceptions import HTTPError
from sendgrid import SendGridAPIClient

from digest.deliver.handing import Handed, Outcome, Outgoing, Result
from digest.deliver.headers import mailbox_value
from digest.deliver.letters import Letter
from digest.deliver.replies import scrub

TIMEOUT = 30.0  # seconds for every step of a request
MOST = 1000  # personalizations a request may have
BATCH = 250  # a lost answer leaves so many in doubt
TELLING = 8  # refusals in a row that speak of the letter, not of its readers
WITHOUT_A_RESET = 60.0  # seconds to wait after a 429 that does not say how long

_OFF: dict[str, Any] = {
    "click_tracking": {"enable": False, "enable_text": False},
    "open_tracking": {"enable": False},
    "subscription_tracking": {"enable": False},
    "ganalytics": {"enable": False},
}


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a request came to: a status, or why there is none. `sent` says whether the request went out whole."""

    status: int = 0
    said: str = ""
    wait: float = 0.0
    fields: tuple[str | None, ...] = ()  # what a 400 finds fault with
    sent: bool = True


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
        _silence()
        self.batch = min(batch, MOST)
        # Bisecting down to one bad entry takes about two requests a level; more than one bad entry takes more.
        self.patience = timeout * 4 * (2 + self.batch.bit_length())
        self._clock = clock
        api = SendGridAPIClient(api_key=key, host=host)
        headers = dict(api.client.request_headers)
        self._api = _Strict(host=host, request_headers=headers, version=3, timeout=timeout)

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
        answer = self._post(payload(batch))
        if answer.status == 400 and _about_a_reader(answer):
            return self._halve(batch, answer)
        if answer.status == 413 and len(batch) > 1:
            return self._halve(batch, answer)
        return _read(answer, len(batch))

    def _halve(self, batch: list[Outgoing], answer: _Answer) -> Handed:
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

    def _post(self, body: dict[str, Any]) -> _Answer:
        try:
            response: Response = self._api.mail.send.post(request_body=body)
        except HTTPError as exc:
            said, fields = _errors(exc.body)
            return _Answer(exc.status_code, said, wait=self._reset_of(exc), fields=fields)
        except urllib.error.URLError as exc:
            # urllib wraps what fails while connecting and while the request goes out, and nothing after that.
            return _Answer(said=scrub(str(exc.reason)), sent=False)
        except (OSError, http.client.HTTPException) as exc:
            return _Answer(said=type(exc).__name__)
        return _Answer(response.status_code, f"202 {response.headers.get('X-Message-Id', '')}".strip())

    def _reset_of(self, exc: HTTPError) -> float:
        """Read from a 429 how many seconds to wait."""
        if exc.status_code != 429:
            return 0.0
        reset, after = exc.headers.get("X-RateLimit-Reset", ""), exc.headers.get("Retry-After", "")
        if reset.isdigit():
            return max(1.0, int(reset) - self._clock() + 1)
        if after.isdigit():
            return max(1.0, float(after))
        try:
            return max(1.0, parsedate_to_datetime(after).timestamp() - self._clock())
        except ValueError:
            return WITHOUT_A_RESET


def _read(answer: _Answer, size: int) -> Handed:  # noqa: PLR0911 - a row of the table each
    """Read an answer.

    202 is acceptance, and nothing else is. A 401 or 403 is about our account, a 400 that no reader caused
    about our letter, and a 429 about the pace: nothing was taken. A 5xx, a redirect, another 2xx or no answer
    at all leaves everybody in doubt: there is no idempotency key.
    """

    def every(result: Result, reply: str = "") -> tuple[Outcome, ...]:
        return tuple(Outcome(result, reply) for _ in range(size))

    said = f"{answer.status} {answer.said}".strip()
    if answer.status == 202:
        return Handed(every(Result.ACCEPTED, answer.said))
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


def _about_a_reader(answer: _Answer) -> bool:
    """Say whether a 400 may be one entry's fault: it names a personalization, or does not say what it means."""
    return not answer.fields or any(f is None or f.startswith("personalizations") for f in answer.fields)


def _errors(body: bytes | str) -> tuple[str, tuple[str | None, ...]]:
    """Read an error answer, which may as well be a proxy's HTML page."""
    try:
        errors = [e for e in json.loads(body)["errors"] if isinstance(e, dict)]
    except (ValueError, KeyError, TypeError):
        return "", ()
    said = scrub("; ".join(str(e.get("message", "")) for e in errors))
    return said, tuple(f if isinstance(f := e.get("field"), str) else None for e in errors)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the key to wherever it points, and turn the POST into a GET."""

    def redirect_request(
        self, req: Any, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> None:
        """Follow nothing: urllib then raises the redirect as an error."""


class _Strict(python_http_client.Client):  # type: ignore[misc]  # the package is untyped
    """The package's client with an opener that follows no redirects; it stays itself along the URL's steps."""

    def _build_client(self, name: str | None = None) -> "_Strict":
        return _Strict(
            host=self.host,
            version=self._version,
            request_headers=dict(self.request_headers),
            url_path=[*self._url_path, name] if name else self._url_path,
            append_slash=self.append_slash,
            timeout=self.timeout,
        )

    def _make_request(self, opener: Any, request: Any, timeout: float | None = None) -> Any:
        del opener  # it follows redirects
        return super()._make_request(urllib.request.build_opener(_NoRedirect), request, timeout=timeout)


class _NothingBelowWarning(logging.Filter):
    """Drops what the package says at DEBUG, key and payload, whatever level anybody sets."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let warnings and worse pass."""
        return record.levelno >= logging.WARNING


_NOTHING_BELOW_WARNING = _NothingBelowWarning()


def _silence() -> None:
    logger = logging.getLogger("python_http_client.client")
    logger.setLevel(logging.WARNING)
    logger.addFilter(_NOTHING_BELOW_WARNING)  # adding it twice adds it once
