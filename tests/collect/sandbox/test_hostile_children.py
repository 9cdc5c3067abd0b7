"""A compromised child process reaches nothing, and its answers are only ever treated as bytes."""

import errno
import json
import os
import pickle
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from digest.collect.documents.parsed_document import ParseError, encode_document
from digest.collect.imaging.encoded_image import parse_encoded_image
from digest.collect.parsers import parse_document
from digest.collect.sandbox import client
from digest.collect.sandbox.child import MAX_REPLY_BYTES
from digest.collect.sandbox.client import Sandbox
from digest.collect.sandbox.wire import pack_message
from subscribers.crypto.keys import KeyRing
from tests.collect.parsers.test_hostile_documents import SEEDS
from tests.collect.sandbox.trying_broker import ATTACKS
from tests.moments import DRAFTING as NOW

URL = "https://www.example.org/a/feed"
REFUSALS = {errno.EPERM, errno.EACCES, errno.ENOSYS}
JPEG = b"\xff\xd8\xff\xe0 and so on"
FILE_ATTACKS = {
    *("open the key file", "list its folder", "replace it", "read passwords"),
    *("read another's environment", "read another's memory"),
}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """Give children that can be asked to misbehave."""
    found = Sandbox("tests.collect.sandbox.trying_broker")
    yield found
    found.stop()


@pytest.fixture(scope="module")
def attacked(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """Have a child try everything on a real key file, real listeners and this process."""
    home = tmp_path_factory.mktemp("home")
    KeyRing.create(home / "keys.json", None)
    before = (home / "keys.json").read_bytes()
    with ExitStack() as stack:
        listeners = [stack.enter_context(socket.socket()) for _ in range(2)]
        listeners[0].bind(("127.0.0.1", 0))
        unix = stack.enter_context(socket.socket(socket.AF_UNIX))
        unix.bind(str(home / "socket"))
        for listener in (listeners[0], unix):
            listener.listen()
        head = {
            "operation": "attack",
            "secret": str(home / "keys.json"),
            "port": listeners[0].getsockname()[1],
            "unix": str(home / "socket"),
            "parent": os.getpid(),
        }
        outcome, _ = sandbox.run(head, b"")
    assert (home / "keys.json").read_bytes() == before
    assert sorted(path.name for path in home.iterdir()) == ["keys.json", "socket"]
    return outcome


@pytest.mark.seccomp
@pytest.mark.parametrize("attempt", sorted(ATTACKS.keys() - FILE_ATTACKS))
def test_a_hostile_child_reaches_no_process_no_network_and_no_file_mode(attacked: dict[str, int], attempt: str) -> None:
    assert attacked[attempt] in REFUSALS


@pytest.mark.landlock
@pytest.mark.parametrize("attempt", sorted(FILE_ATTACKS))
def test_a_hostile_child_opens_no_file_of_the_installation(attacked: dict[str, int], attempt: str) -> None:
    assert attacked[attempt] in REFUSALS


class Bomb:
    """A pickle that leaves a file behind where it is opened."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._mark),)


def message(head: object, body: bytes = b"") -> bytes:
    """Put a message together as `pack_message` would, whatever the head is."""
    text = head if isinstance(head, bytes) else json.dumps(head).encode()
    return struct.pack(">I", len(text)) + text + body


def document_with(**changes: object) -> bytes:
    head, body = encode_document(parse_document(SEEDS[0], url=URL, now=NOW))
    return message({**head, **changes}, body)


def broken_lines(body: bytes) -> bytes:
    return message(encode_document(parse_document(SEEDS[0], url=URL, now=NOW))[0], body)


def document_with_item(**changes: object) -> bytes:
    head, body = encode_document(parse_document(SEEDS[0], url=URL, now=NOW))
    return message(head, json.dumps({**json.loads(body.splitlines()[0]), **changes}).encode())


HOSTILE_REPLIES = {
    "nothing": b"",
    "half a head": b"\x00\x00",
    "a head that ends early": b"\x00\x00\x01\x00{}",
    "no JSON": message(b"{"),
    "no text": message(b"\xff\xfe"),
    "a list": message([]),
    "a number": message(17),
    "a thousand lists in each other": message(b"[" * 100_000),
    "a head of nothing": message({}),
    "an unknown type": document_with(kind="pickle"),
    "a title that is a list": document_with(title=["a"]),
    "a language that is an object": document_with(language={"a": 1}),
    "a pause that is a word": document_with(refresh_seconds="soon"),
    "refusals that are words": document_with(rejected=["ab", "cd"]),
    "feeds that are a number": document_with(feeds=7),
    "items that are no JSON": broken_lines(b"cos\nsystem\n"),
    "items without end": broken_lines(b"\n" * 1_000_000),
    "an item with a list for its title": document_with_item(title=["a"]),
    "an item with a script for its address": document_with_item(url="javascript:alert(1)"),
    "an item with a script for its link": document_with_item(link="javascript:alert(1)"),
    "an item with a file for its picture": document_with_item(image_url="file:///etc/passwd"),
    "an item of no time zone": document_with_item(published="2026-11-19T12:00:00"),
    "an item with a number for its time": document_with_item(published=17),
    "an item with a word for its deadline": document_with_item(deadline="soon"),
    "an item with a list in its deadline": document_with_item(deadline={"day": "2026-11-19", "zone": ["a"]}),
    "a broker's word": message({"again": True}),
}


@pytest.fixture
def hostile(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """Have documents read by children that answer what the document says."""
    monkeypatch.setattr(client, "SANDBOX", sandbox)
    return sandbox


@pytest.mark.parametrize("name", HOSTILE_REPLIES)
def test_a_reply_that_is_none_is_refused_and_the_next_document_read(hostile: Sandbox, name: str) -> None:
    with pytest.raises(ParseError, match=r"gave an invalid result .*, so it was discarded") as refusal:
        client.parse_document(b"raw " + HOSTILE_REPLIES[name], url=URL, now=NOW)
    assert "remove the source" in str(refusal.value)
    hostile.stop()  # else the child that waits now would be asked
    assert client.parse_document(SEEDS[0], url=URL, now=NOW).items


@pytest.mark.parametrize("framed", [b"raw ", b"unframed "])
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_is_opened_nowhere(hostile: Sandbox, tmp_path: Path, framed: bytes, protocol: int) -> None:
    with pytest.raises(ParseError):
        client.parse_document(
            framed + pickle.dumps(Bomb(tmp_path / "opened"), protocol) + bytes(1_000), url=URL, now=NOW
        )
    assert not (tmp_path / "opened").exists()
    hostile.stop()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"unframed " + struct.pack(">QI", 0, MAX_REPLY_BYTES + 1), "the parser's response was too long"),
        (b"unframed " + bytes(2_000), "the parser's response was too long"),
        (b"misnumbered " + pack_message({}), "sent an unexpected response"),
    ],
    ids=["too long", "more than it says", "another's"],
)
def test_a_reply_that_breaks_the_rules_of_the_pipe_ends_its_child(hostile: Sandbox, body: bytes, reason: str) -> None:
    with pytest.raises(ParseError, match=reason):
        client.parse_document(body, url=URL, now=NOW)
    assert client.parse_document(SEEDS[0], url=URL, now=NOW).items


def test_what_a_child_says_does_nothing_to_a_terminal_and_is_cut(hostile: Sandbox) -> None:
    with pytest.raises(ParseError) as refusal:
        client.parse_document(b"raw " + message({"refused": "\x1b]0;owned\x07" + "a" * 100_000}), url=URL, now=NOW)
    assert "\x1b" not in str(refusal.value)
    assert len(str(refusal.value)) < 5_000
    hostile.stop()


@pytest.mark.parametrize(
    "head",
    [
        {"content_type": "text/html", "width": 1, "height": 1},
        {"content_type": "image/png", "width": 1, "height": 1},
        {"content_type": "image/jpeg", "width": [], "height": 1},
        {"content_type": "image/jpeg", "width": -1, "height": 1},
        {"content_type": "image/jpeg"},
        {},
    ],
    ids=str,
)
def test_a_picture_that_is_none_is_refused(head: dict[str, object]) -> None:
    assert parse_encoded_image({"content_type": "image/jpeg", "width": 1, "height": 1}, JPEG).width == 1
    with pytest.raises(ValueError, match=r"EncodedImage|not a valid image/png file"):
        parse_encoded_image(head, JPEG)
