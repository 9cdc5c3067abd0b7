import quopri
import re

from hypothesis import given
from hypothesis import strategies as st

from digest.deliver.compose.quoted_printable import (
    MAX_LINE_LENGTH,
    MAX_VALUE_LENGTH,
    encode_quoted_printable,
    is_safe_value,
)
from digest.edition import placeholders

PIECES = st.lists(
    st.sampled_from(
        [
            *placeholders.ALL_PLACEHOLDERS,
            "\n",
            "\r\n",
            " ",
            "\t",
            ".",
            "=",
            "From ",
            "a" * 70,
            "\u00e9",
            "\u6f22",
            "\U0001f600",
            "~leave-",
        ]
    )
    | st.text(max_size=30),
    max_size=40,
).map("".join)
VALUES = st.text(st.sampled_from("abcXYZ019-_"), min_size=1, max_size=MAX_VALUE_LENGTH)


def _unix(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _decoded(body: bytes) -> str:
    return quopri.decodestring(body).decode().replace("\r\n", "\n")


@given(PIECES)
def test_decoding_gives_the_text_back(text: str) -> None:
    assert _decoded(encode_quoted_printable(text)) == _unix(text)


@given(st.lists(PIECES, max_size=5))
def test_pieces_that_were_encoded_apart_join_to_the_whole(texts: list[str]) -> None:
    assert _decoded(b"".join(encode_quoted_printable(t) for t in texts)) == "".join(_unix(t) for t in texts)


@given(PIECES, VALUES)
def test_lines_keep_their_limit_whatever_the_placeholders_hold(text: str, value: str) -> None:
    body = encode_quoted_printable(text)
    for placeholder in placeholders.ALL_PLACEHOLDERS:
        body = body.replace(placeholder.encode(), value.encode())
    assert all(len(line) <= MAX_LINE_LENGTH for line in body.split(b"\r\n"))
    expected = _unix(text)
    for placeholder in placeholders.ALL_PLACEHOLDERS:
        expected = expected.replace(placeholder, value)
    assert _decoded(body) == expected


@given(PIECES)
def test_encoded_lines_are_safe_on_every_path(text: str) -> None:
    body = encode_quoted_printable(text)
    assert not re.search(rb"(?<!\r)\n|\r(?!\n)", body)
    assert body.isascii()
    for line in body.split(b"\r\n"):
        assert not line.startswith((b".", b"From "))
        assert not line.endswith((b" ", b"\t"))
        assert b"=_" not in line
    assert not body or body.endswith(b"\r\n")


def test_a_placeholder_has_a_line_of_its_own() -> None:
    text = f"Leave: https://news.example.org/u/{placeholders.LEAVE_PLACEHOLDER} or stay\n"
    assert encode_quoted_printable(text).split(b"\r\n") == [
        b"Leave: https://news.example.org/u/=",
        placeholders.LEAVE_PLACEHOLDER.encode() + b"=",
        b" or stay",
        b"",
    ]


def test_only_values_that_nothing_needs_to_escape_are_safe() -> None:
    assert is_safe_value("March 4, 2026, at hls.today")
    for wrong in ("", "a=b", "<b>", "a&b", 'a"b', ".a", " a", "a\nb", "\u00e9", "x" * (MAX_VALUE_LENGTH + 1)):
        assert not is_safe_value(wrong)
