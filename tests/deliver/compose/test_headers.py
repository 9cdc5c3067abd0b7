import re
from dataclasses import replace
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.header import decode_header, make_header
from email.utils import parseaddr
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from digest.deliver.compose import headers
from digest.deliver.compose.headers import HeaderError
from digest.deliver.compose.message import PlaceholderValues

TEXT = st.text(max_size=200) | st.text(st.sampled_from('abc \u00e9\u6f22\U0001f600=?_"'), max_size=200)


def _lines(field: bytes) -> list[bytes]:
    assert field.endswith(b"\r\n")
    return field[:-2].split(b"\r\n")


def _sound(field: bytes) -> None:
    lines = _lines(field)
    assert all(len(line) <= headers.HEADER_LINE_LENGTH for line in lines)
    assert all(line.startswith(b" ") and line.strip() for line in lines[1:])
    assert field.isascii()
    assert not re.search(rb"[\x00-\x09\x0b\x0c\x0e-\x1f\x7f]", field)
    for word in re.findall(rb"=\?utf-8\?b\?[A-Za-z0-9+/=]*\?=", field):
        assert len(word) <= headers.ENCODED_WORD_LENGTH


def _meant(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in " ".join(text.split()))


@given(TEXT)
def test_a_subject_comes_back_as_it_was(text: str) -> None:
    field = headers.format_unstructured_field("Subject", text)
    _sound(field)
    value = b" ".join(line.strip() for line in _lines(field[len("Subject: ") :]))
    assert str(make_header(decode_header(value.decode()))).split() == _meant(text).split()


@given(TEXT)
def test_a_display_name_comes_back_as_it_was(display: str) -> None:
    field = headers.format_mailbox_field("From", display, "digest@news.example.org")
    if "=?" not in display and display.isascii() and len(display) < 40:
        _sound(field)
    value = message_from_bytes(field + b"\r\n", policy=policy.compat32)["From"]
    name, address = parseaddr(value.replace("\r\n", ""))
    assert address == "digest@news.example.org"
    # Not policy.default: Python 3.11 puts a blank between two encoded words of a phrase (RFC 2047, 6.2).
    assert str(make_header(decode_header(name))).split() == _meant(display).split()


def test_a_name_with_a_dot_is_quoted_and_plain_words_are_not() -> None:
    assert headers.format_mailbox_field("From", "HLS.Today", "d@x.org") == b'From: "HLS.Today" <d@x.org>\r\n'
    assert headers.format_mailbox_field("From", "The Desk", "d@x.org") == b"From: The Desk <d@x.org>\r\n"
    assert headers.format_mailbox_field("Reply-To", "", "d@x.org") == b"Reply-To: <d@x.org>\r\n"
    assert (
        headers.format_mailbox_field("List-Id", 'A "b" \\c.', "w.x.org") == b'List-Id: "A \\"b\\" \\\\c." <w.x.org>\r\n'
    )


def test_a_long_ascii_subject_is_folded_at_its_blanks() -> None:
    words = " ".join(f"word{n}" for n in range(40))
    field = headers.format_unstructured_field("Subject", words)
    assert len(_lines(field)) > 1
    assert message_from_bytes(field + b"\r\n", policy=policy.default)["Subject"] == words


@pytest.mark.parametrize("value", ["a\r\nBcc: x", "a\nb", "a\rb", "a\x00b", "\u00e9", "x" * 999])
def test_a_value_that_would_break_out_of_its_field_is_refused(value: str) -> None:
    with pytest.raises(HeaderError, match="X-Test"):
        headers.format_header_field("X-Test", value)


@pytest.mark.parametrize(
    "address",
    [
        *("a@x.org>\r\nBcc: b@x.org", "a b@x.org", "a@x.org, b@x.org", "\u00e9@x.org"),
        *("a@x.org,b@x.org", '"a@x.org', "a@x.org(b)", "a\\@x.org"),
    ],
)
def test_an_address_that_would_break_out_of_its_field_is_refused(address: str) -> None:
    with pytest.raises(HeaderError, match="From"):
        headers.format_mailbox_field("From", "Desk", address)


def test_a_moment_is_written_with_its_zone() -> None:
    moment = datetime(2026, 11, 20, 11, tzinfo=UTC)
    assert headers.format_date_value(moment, ZoneInfo("Asia/Kolkata")) == "Fri, 20 Nov 2026 16:30:00 +0530"
    assert headers.format_date_value(moment, ZoneInfo("UTC")) == "Fri, 20 Nov 2026 11:00:00 +0000"


@pytest.mark.parametrize("field", ["to", "message_id", "date", "leave_token", "preferences_token"])
@pytest.mark.parametrize("character", ["\r\n", "\n", "\x00", "\x7f"])
def test_a_value_with_a_control_character_never_becomes_part_of_a_message(field: str, character: str) -> None:
    filled = PlaceholderValues("ada@example.org", "<1@x.example.org>", "Fri, 20 Nov 2026 11:00:00 +0000")
    assert filled.encode_slot_values(0)
    broken = replace(filled, **{field: f"a{character}Bcc: b"})
    with pytest.raises(ValueError, match="control character"):
        broken.encode_slot_values(0)
