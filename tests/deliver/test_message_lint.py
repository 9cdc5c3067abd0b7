"""The check of finished messages finds the faults that it's meant to find."""

import pytest

from tests.deliver.message_lint import message_faults

LINK = b"https://news.example.org/u/" + b"l" * 22
GOOD = (
    b"From: Desk <digest@news.example.org>\r\n"
    b"To: ada@example.org\r\n"
    b"Date: Fri, 20 Nov 2026 06:00:00 -0500\r\n"
    b"Message-ID: <2026-W47.1@news.example.org>\r\n"
    b"Subject: =?utf-8?q?Ports_reopen?=\r\n"
    b"Reply-To: editors@news.example.org\r\n"
    b"MIME-Version: 1.0\r\n"
    b'List-Id: "HLS.Today" <weekly.news.example.org>\r\n'
    b"List-Post: NO\r\n"
    b"List-Unsubscribe: <" + LINK + b">\r\n"
    b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
    b'Content-Type: multipart/alternative; boundary="b"\r\n\r\n'
    b"--b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\ntext\r\n"
    b"--b\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    b'<a href=3D"https://news.example.org/">x</a>\r\n--b--\r\n'
)


def test_a_message_that_keeps_to_everything_has_no_fault() -> None:
    assert message_faults(GOOD) == []


@pytest.mark.parametrize(
    ("sound", "broken", "says"),
    [
        (b"text\r\n", b"text\n", "bare CR or LF"),
        (b"text\r\n", "caf\u00e9\r\n".encode(), "not ASCII"),
        (b"text\r\n", b"t" * 79 + b"\r\n", "more than 78"),
        (b"text\r\n", b"t" * 77 + b"\r\n", "more than 76"),
        (b"To: ada", b"To: bo@example.org\r\nTo: ada", "to stands 2 times"),
        (b"Reply-To: editors@news.example.org\r\n", b"", "reply-to stands 0 times"),
        (b"Ports_reopen", b"P" * 64, "encoded word of more than 75"),
        (b"<" + LINK + b">", b"=?utf-8?q?=3C" + LINK + b"=3E?=", "encoded word in list-unsubscribe"),
        (b"<https://news", b"<http://news", "begin with an https link"),
        (b"<" + LINK + b">", b"<mailto:x@example.org>, <" + LINK + b">", "begin with an https link"),
        (b"//news.example.org/u/", b"//" + b"n" * 40 + b".example.org/u/", "SendGrid's relay"),
        (b"=One-Click", b"=one-click", "List-Unsubscribe-Post"),
        (b"<weekly.news.example.org>", b"<weekly>", "List-Id"),
        (b"<2026-W47.1@news.example.org>", b"2026-W47.1@news.example.org", "Message-ID"),
        (b"List-Post: NO\r\n", b"", "List-Post"),
        (b"text/html", b"text/calendar", "the parts are"),
        (b"multipart/alternative", b"multipart/mixed", "no multipart/alternative"),
        (b"quoted-printable", b"7bit", "not quoted-printable"),
        (b'=3D"https://', b'=3D"http://', "not https"),
    ],
)  # fmt: skip
def test_every_fault_is_seen(sound: bytes, broken: bytes, says: str) -> None:
    assert GOOD.count(sound) >= 1
    assert any(says in fault for fault in message_faults(GOOD.replace(sound, broken, 1)))
