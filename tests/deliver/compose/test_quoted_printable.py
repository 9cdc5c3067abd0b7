import quopri
import re

from hypothesis import given
from hypothesis import strategies as st

from digest.deliver.compose.quoted_printable import MAX_LINE_LENGTH, encode_quoted_printable, encode_value
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
VALUES = st.text(st.characters(codec="utf-8", exclude_characters="~\r"), min_size=1, max_size=300)


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
        body = body.replace(placeholder.encode(), encode_value(value))
    assert all(len(line) <= MAX_LINE_LENGTH for line in body.split(b"\r\n"))
    expected = _unix(text)
    for placeholder in placeholders.ALL_PLACEHOLDERS:
        expected = expected.replace(placeholder, value)
    assert _decoded(body) == expected


@given(PIECES)
def test_encoded_lines_are_safe_on_every_path(text: str) -> None:
    _check_paths(encode_quoted_printable(text))


@given(VALUES)
def test_so_are_the_lines_of_a_value(value: str) -> None:
    _check_paths(encode_quoted_printable("") + encode_value(value) + b"=\r\n")


def _check_paths(body: bytes) -> None:
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
