"""The contract of every provider. Each test runs with each registered provider."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from email import message_from_bytes, policy
from pathlib import Path

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session
from pydantic import SecretStr

from digest.deliver.compose.message import PlaceholderValues
from digest.deliver.providers.base import BatchOutcome, HandoverStatus, OutgoingMessage, Provider
from digest.deliver.providers.kind import ProviderKind, ProviderSettingsError
from digest.deliver.providers.registry import find_provider, load_provider_kinds, open_provider, provider_in_use
from digest.settings import Settings
from subscribers.subscriber_language import ENGLISH
from tests.deliver.conftest import DATE_VALUE, delivery_settings
from tests.deliver.fake_sendgrid import API_KEY, FakeSendGrid, PlannedAnswer
from tests.deliver.mark_recorder import MarkRecorder
from tests.deliver.smtp_servers import SAMPLE_TEMPLATE, RecordingHandler, ScriptedSmtpServer, run_smtp_server
from tests.moments import RELEASE

TEMPLATE = replace(SAMPLE_TEMPLATE, unsubscribe_url_prefix="https://news.example.org/u/")
CLOSED_PORT = 9  # discard: nobody listens there on loopback
Arrivals = Callable[[], list[list[str]]]  # the recipients of each message that arrived


@dataclass(frozen=True)
class ProviderHarness:
    """One provider's other side on this machine: each field but the last opens it and gives the settings for it.

    `refusing` refuses addresses that begin with "bad", and `losing` takes the messages and never answers; both are None where
    a provider has no other side that could.
    """

    accepting: Callable[[Settings], AbstractContextManager[tuple[Settings, Arrivals]]]
    refusing: Callable[[Settings], AbstractContextManager[tuple[Settings, Arrivals]]] | None
    losing: Callable[[Settings], AbstractContextManager[tuple[Settings, Arrivals]]] | None
    unreachable: Callable[[Settings], Settings]
    wrong_urls: tuple[str, ...] = ()


def _at(settings: Settings, url: str, **more: object) -> Settings:
    return settings.model_copy(update={"mail_url": SecretStr(url), **more})


@contextmanager
def _outbox(settings: Settings) -> Iterator[tuple[Settings, Arrivals]]:
    def arrivals() -> list[list[str]]:
        files = sorted((settings.outbox_folder / "edition").glob("*.eml"))
        messages = [message_from_bytes(file.read_bytes(), policy=policy.default) for file in files]
        return [[address.addr_spec for address in message["To"].addresses] for message in messages]

    yield _at(settings, "outbox:"), arrivals


def _unwritable_outbox(settings: Settings) -> Settings:
    file = settings.home / "a-file"
    file.touch()
    return _at(settings, f"outbox:{file}")


class _RefusingHandler(RecordingHandler):
    async def handle_RCPT(  # noqa: N802 - its name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if address.startswith("bad"):
            return f"550 5.1.1 <{address}>: no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 ok"


@contextmanager
def _smtp(settings: Settings) -> Iterator[tuple[Settings, Arrivals]]:
    handler = _RefusingHandler()
    with run_smtp_server(handler) as port:
        url = f"smtp://127.0.0.1:{port}?starttls=off"
        yield _at(settings, url), lambda: [recipients for _, recipients, _ in handler.messages]


@contextmanager
def _losing_smtp(settings: Settings) -> Iterator[tuple[Settings, Arrivals]]:
    with ScriptedSmtpServer({"DOT": [None] * 10}) as server:
        yield _at(settings, f"smtp://127.0.0.1:{server.port}?starttls=off"), list


def _sendgrid_settings(settings: Settings, host: str) -> Settings:
    return _at(settings, "sendgrid:?batch=5", sendgrid_api_key=SecretStr(API_KEY), sendgrid_host=host)


@contextmanager
def _sendgrid(settings: Settings, *answers: PlannedAnswer) -> Iterator[tuple[Settings, Arrivals]]:
    with FakeSendGrid(*answers) as fake:
        yield (
            _sendgrid_settings(settings, fake.host),
            lambda: [
                [to["email"] for to in person["to"]]
                for body in fake.accepted_bodies
                for person in body["personalizations"]
            ],
        )


HARNESSES = {
    "outbox": ProviderHarness(_outbox, None, None, _unwritable_outbox),
    "smtp": ProviderHarness(
        _smtp,
        _smtp,
        _losing_smtp,
        lambda settings: _at(settings, f"smtp://127.0.0.1:{CLOSED_PORT}?starttls=off"),
        ("smtp:secret", "smtp://me:secret@mail.hls.test?starttls=off", "smtp://me:secret@[::1]?connections=none"),
    ),
    "sendgrid": ProviderHarness(
        _sendgrid,
        _sendgrid,
        lambda settings: _sendgrid(settings, *[PlannedAnswer(202, hang_seconds=None)] * 10),
        lambda settings: _sendgrid_settings(settings, f"http://127.0.0.1:{CLOSED_PORT}"),
        ("sendgrid:", "sendgrid:?batch=secret"),
    ),
}
REFUSING = [name for name, harness in HARNESSES.items() if harness.refusing]
LOSING = [name for name, harness in HARNESSES.items() if harness.losing]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return delivery_settings(tmp_path)


def _messages(*addresses: str) -> list[OutgoingMessage]:
    return [
        OutgoingMessage(
            f"{n:026}", "edition", TEMPLATE, PlaceholderValues(to, f"<{n}@x.example.org>", DATE_VALUE, "l" * 22)
        )
        for n, to in enumerate(addresses)
    ]


@contextmanager
def _opened(settings: Settings) -> Iterator[Provider]:
    provider = open_provider(settings)
    try:
        yield provider
    finally:
        provider.close()


def _send(provider: Provider, addresses: Sequence[str]) -> BatchOutcome:
    outcome = provider.send_batch(_messages(*addresses), MarkRecorder())
    text = outcome.stop_reason + "".join(o.reply for o in outcome.outcomes)
    assert "@" not in text, "no address in any error or reply"
    assert not [address for address in addresses if address.partition("@")[0] in text]
    assert API_KEY not in text
    return outcome


def _results(outcome: BatchOutcome) -> list[HandoverStatus]:
    return [o.result for o in outcome.outcomes]


def test_every_provider_of_the_registry_is_tested_here() -> None:
    assert tuple(HARNESSES) == tuple(kind.name for kind in load_provider_kinds())


def test_no_scheme_selects_two_providers() -> None:
    schemes = [example.partition(":")[0] for kind in load_provider_kinds() for example in kind.url_examples]
    assert len(set(schemes)) == len(schemes)


@pytest.mark.parametrize("name", HARNESSES)
def test_each_message_has_one_recipient_and_its_outcome_at_its_place(name: str, settings: Settings) -> None:
    addresses = ["ada@example.org", "bo@example.org", "cy@example.org"]
    with HARNESSES[name].accepting(settings) as (ready, arrivals), _opened(ready) as provider:
        assert provider.name == name
        assert _results(_send(provider, addresses)) == [HandoverStatus.ACCEPTED] * 3
        assert arrivals() == [[address] for address in addresses]


@pytest.mark.parametrize("name", HARNESSES)
def test_a_full_batch_and_an_empty_one_are_handed_over(name: str, settings: Settings) -> None:
    with HARNESSES[name].accepting(settings) as (ready, arrivals), _opened(ready) as provider:
        assert provider.batch_size >= 1
        assert provider.batch_timeout > 0
        assert _send(provider, []) == BatchOutcome(())
        addresses = [f"reader{n}@example.org" for n in range(provider.batch_size)]
        assert _results(_send(provider, addresses)) == [HandoverStatus.ACCEPTED] * len(addresses)
        assert arrivals() == [[address] for address in addresses]


@pytest.mark.parametrize("name", HARNESSES)
def test_nothing_arrives_before_it_is_marked_as_leaving(name: str, settings: Settings) -> None:
    class KilledError(Exception):
        pass

    def kill() -> None:
        raise KilledError

    with HARNESSES[name].accepting(settings) as (ready, arrivals):
        with _opened(ready) as provider, pytest.raises(KilledError):
            provider.send_batch(_messages("ada@example.org"), MarkRecorder(on_dot=kill))
        assert arrivals() == []


@pytest.mark.parametrize("name", HARNESSES)
def test_what_may_not_leave_does_not_and_was_not_tried(name: str, settings: Settings) -> None:
    messages, marks = _messages("ada@example.org", "bo@example.org"), MarkRecorder(may_leave=False)
    with HARNESSES[name].accepting(settings) as (ready, arrivals):
        with _opened(ready) as provider:
            outcome = provider.send_batch(messages, marks)
        assert arrivals() == []
    assert [each.result for each in outcome.outcomes] == [HandoverStatus.NOT_TRIED] * 2
    assert set(dict(marks.marks).values()) <= {"begun", "dot", "untouched"}


@pytest.mark.parametrize("name", HARNESSES)
def test_what_came_of_a_message_is_marked_after_it_was_marked_as_leaving(name: str, settings: Settings) -> None:
    marks = MarkRecorder()
    with HARNESSES[name].accepting(settings) as (ready, _), _opened(ready) as provider:
        messages = _messages("ada@example.org", "bo@example.org")
        provider.send_batch(messages, marks)
    for message in messages:
        assert [mark for delivery, mark in marks.marks if delivery == message.delivery_id] == ["dot", "accepted"]


@pytest.mark.parametrize("name", REFUSING)
def test_a_refused_message_is_not_left_marked_as_leaving(name: str, settings: Settings) -> None:
    open_side, marks = HARNESSES[name].refusing, MarkRecorder()
    assert open_side is not None
    with open_side(settings) as (ready, _), _opened(ready) as provider:
        messages = _messages("ada@example.org", "bad.reader@example.org", "cy@example.org")
        provider.send_batch(messages, marks)
    last = dict(marks.marks)
    assert last[messages[1].delivery_id] in {"refused", "begun"}
    assert last[messages[0].delivery_id] == last[messages[2].delivery_id] == "accepted"


@pytest.mark.parametrize("name", REFUSING)
def test_a_refused_message_is_an_outcome_and_holds_up_nobody(name: str, settings: Settings) -> None:
    open_side = HARNESSES[name].refusing
    assert open_side is not None
    with open_side(settings) as (ready, arrivals), _opened(ready) as provider:
        outcome = _send(provider, ["ada@example.org", "bad.reader@example.org", "cy@example.org"])
        assert _results(outcome) == [HandoverStatus.ACCEPTED, HandoverStatus.REFUSED, HandoverStatus.ACCEPTED]
        assert outcome.outcomes[1].reply, "a refusal says why"
        assert outcome.stop_reason == ""
        assert arrivals() == [["ada@example.org"], ["cy@example.org"]]


@pytest.mark.parametrize("name", LOSING)
def test_a_lost_answer_is_uncertain(name: str, settings: Settings) -> None:
    open_side = HARNESSES[name].losing
    assert open_side is not None
    with open_side(settings) as (ready, _), _opened(ready) as provider:
        assert _results(_send(provider, ["ada@example.org"])) == [HandoverStatus.UNCERTAIN]


@pytest.mark.parametrize("name", HARNESSES)
def test_what_never_left_is_not_uncertain_and_stops_the_run(name: str, settings: Settings) -> None:
    with _opened(HARNESSES[name].unreachable(settings)) as provider:
        outcome = _send(provider, ["ada@example.org", "bo@example.org"])
    assert _results(outcome) == [HandoverStatus.NOT_TRIED] * 2
    assert re.search(r"\bagain\b|\. Start ", outcome.stop_reason), "it says what to do"


@pytest.mark.parametrize("name", HARNESSES)
def test_closing_twice_or_unused_is_fine(name: str, settings: Settings) -> None:
    with HARNESSES[name].accepting(settings) as (ready, _):
        unused, used = open_provider(ready), open_provider(ready)
        _send(used, ["ada@example.org"])
        for provider in (unused, used):
            provider.close()
            provider.close()


@pytest.mark.parametrize("name", HARNESSES)
def test_wrong_settings_are_refused_with_what_to_do_and_without_secrets(name: str, settings: Settings) -> None:
    kind = _kind(name)
    for url in (*HARNESSES[name].wrong_urls, *(f"{example}?nonsense=secret" for example in kind.url_examples)):
        with pytest.raises(
            ProviderSettingsError, match=r"^DIGEST_[A-Z_]+(: | has no host; use | has unknown options: | is missing\. )"
        ) as caught:
            kind.open(_at(settings, url))
        assert "secret" not in str(caught.value)


def _kind(name: str) -> ProviderKind:
    kind = find_provider(name)
    assert kind is not None
    return kind


@pytest.mark.parametrize("name", HARNESSES)
def test_a_provider_is_described_to_subscribers_and_operators(name: str, settings: Settings) -> None:
    kind = _kind(name)
    for example in kind.url_examples:
        ready = _at(settings, example.replace("password", "secret"))
        assert provider_in_use(ready) is kind
        texts = [kind.describe_recipient(ready, ENGLISH), *kind.describe_address_recipients(ready, ENGLISH)]
        texts += [finding.sentence for finding in kind.doctor_findings(ready)]
        assert len(texts) >= 3
        assert all(texts)
        assert "secret" not in " ".join(texts)
    elsewhere = _at(settings, "mailto:nobody")
    assert kind.describe_recipient(elsewhere, ENGLISH), "what it took before is listed after the settings have changed"


@pytest.mark.parametrize("name", [kind.name for kind in load_provider_kinds() if kind.webhook])
def test_a_webhook_takes_no_post_without_proof_and_no_body_breaks_it(name: str, settings: Settings) -> None:
    webhook = _kind(name).webhook
    assert webhook is not None
    headers: list[Callable[[str], str | None]] = [lambda _: None, lambda _: "x", lambda _: "9" * 5000]
    for header in headers:
        assert webhook.refusal_reason(settings, header, b"[]", RELEASE)
    for body in (b"", b"\xff", b"[" * 100_000, b"null", b"{}"):
        assert webhook.parse_body(body, RELEASE) is None
    odd: list[object] = [[], [None], [{}], [{"event": 1, "timestamp": "x", "delivery_id": []}], {"event-data": [1]}]
    for content in odd:
        events = webhook.parse_body(json.dumps(content).encode(), RELEASE) or []
        assert {event.reported_by for event in events} <= {name}


@pytest.mark.parametrize("name", [kind.name for kind in load_provider_kinds() if kind.erasures])
def test_erasures_wait_where_the_settings_give_no_access(name: str, settings: Settings) -> None:
    kind = _kind(name)
    assert kind.erasures is not None
    assert kind.erasures.open_eraser(settings) is None
    assert kind.describe_recipient(settings, ENGLISH).startswith(kind.erasures.recipient_prefix)
