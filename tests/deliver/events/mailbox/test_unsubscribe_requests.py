"""Replies that ask to unsubscribe: the recognized words and forms, and their senders."""

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from digest.deliver.events.mailbox.mime import parse_mime
from digest.deliver.events.mailbox.unsubscribe_requests import (
    asks_to_unsubscribe,
    is_automatic_message,
    read_unsubscribe_request,
)

ADA = "ada.lovelace@analytical.example"
STOP_IN_UTF_16 = b64encode("stop".encode("utf-16")).decode()
NESTED = """Content-Type: multipart/mixed; boundary=a

--a
Content-Type: multipart/alternative; boundary=b

--b
Content-Type: text/plain

Abmelden
--b
Content-Type: text/html

<p>Abmelden
--b--
--a--
"""


def sender_of(raw: str) -> str | None:
    request = read_unsubscribe_request(parse_mime(raw.encode()))
    return request.sender.mailbox if request else None


@pytest.mark.parametrize(
    "line",
    [
        "Unsubscribe",
        "UNSUBSCRIBE!!!",
        "please remove me from your list.",
        "Please take me off this mailing list, thank you",
        "Stop",
        "opt out",
        "Bitte abmelden",
        "Bitte den Newsletter abbestellen",
        "Bitte austragen, danke",
        "Me d\u00e9sabonner, s'il vous pla\u00eet",
        "d\u00e9sinscription",
        "Por favor, darme de baja de esta lista",
        "BAJA",
    ],
)
def test_these_ask_to_leave(line: str) -> None:
    assert asks_to_unsubscribe(line)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "Thanks for the newsletter",
        "do not unsubscribe me",
        "How did the ports stop the cranes?",
        "Your article on opt out rules",
        "Please send me the list",
        "Nicht abmelden",
    ],
)
def test_these_do_not(line: str) -> None:
    assert not asks_to_unsubscribe(line)


@pytest.mark.parametrize(
    "mail",
    [
        "Subject: Re: unsubscribe\n\nI read it elsewhere now.",
        "Subject: =?utf-8?q?d=C3=A9sabonner?=\n\n",
        "Subject: Re: The week\n\n\n  Unsubscribe me please\n\n> Ports get ten days",
        f"Content-Type: text/plain; charset=utf-16\nContent-Transfer-Encoding: base64\n\n{STOP_IN_UTF_16}",
        "Content-Type: text/plain; charset=none-such\n\nstop",
        NESTED,
    ],
    ids=["subject", "encoded subject", "first line", "base64", "odd charset", "nested parts"],
)
def test_subject_and_first_line_are_read_however_they_are_written(mail: str) -> None:
    assert sender_of(f"From: Ada <{ADA}>\n{mail}") == ADA


@pytest.mark.parametrize(
    "mail",
    [
        "Subject: The week\n\nHello,\nunsubscribe",
        "Subject: Re: The week\n\n> unsubscribe",
        "Subject: The week\nContent-Type: text/html\n\nunsubscribe",
    ],
)
def test_nothing_else_of_a_mail_counts(mail: str) -> None:
    assert sender_of(f"From: {ADA}\n{mail}") is None


@pytest.mark.parametrize("sender", ["", "Ada", f"{ADA}, bo@county.example", f"{ADA}\nFrom: bo@county.example"])
def test_who_cannot_be_told_asks_for_nothing(sender: str) -> None:
    assert sender_of(f"From: {sender}\nSubject: unsubscribe\n\n") is None


@given(st.binary(max_size=500), st.binary(max_size=200))
def test_reading_never_raises(head: bytes, body: bytes) -> None:
    mail = parse_mime(b"From: " + head + b"\nSubject: " + body + b"\n\nstop\n" + body)
    read_unsubscribe_request(mail)
    assert is_automatic_message(mail.fields) in {True, False}
