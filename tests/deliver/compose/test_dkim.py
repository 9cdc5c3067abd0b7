"""dkimpy verifies each of our signatures, and rejects messages that were tampered with."""

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import dkim as judge
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import example, given, settings
from hypothesis import strategies as st

from digest.deliver.compose.dkim import OVERSIGNED, DkimError, DkimSigner, SigningKey, canonicalize_body, load_signer
from digest.deliver.compose.message import MessageTemplate, PlaceholderValues, splice_message, splice_signed_message
from digest.edition.content.slotted_text import LEAVE_SLOT, PREFERENCES_SLOT, SIGNUP_SLOT, SlottedText
from digest.edition.rendering.sanitizer import sanitize_text
from digest.settings import Settings, SettingsError, load_settings
from tests.deliver.conftest import DATE_VALUE
from tests.moments import RELEASE as NOW


@cache
def _signer() -> DkimSigner:
    keys = (
        SigningKey("first", rsa.generate_private_key(65537, 2048)),
        SigningKey("second", ed25519.Ed25519PrivateKey.generate()),
    )
    return DkimSigner("news.example.org", keys, clock=NOW.timestamp)


def _dns(signer: DkimSigner) -> Callable[..., bytes | None]:
    records = {f"{k.selector}._domainkey.{signer.domain}.".encode(): k.dns_record().encode() for k in signer.keys}
    return lambda name, timeout: records.get(name) if timeout else None


def _verdicts(message: bytes, signer: DkimSigner) -> list[bool]:
    """Let dkimpy judge each signature, the RSA first."""
    verdicts = []
    for at in range(len(signer.keys)):
        try:
            verdicts.append(bool(judge.DKIM(message).verify(idx=at, dnsfunc=_dns(signer))))
        except judge.DKIMException:
            verdicts.append(False)
    return verdicts


LETTER = MessageTemplate(
    subject="Ports reopen \u2014 and six more stories",
    sender_name="HLS.Today",
    sender_address="digest@news.example.org",
    reply_to="editors@news.example.org",
    text=SlottedText.from_parts(
        ["Caf\u00e9.  Two  blanks. \n\n.dot\n", SIGNUP_SLOT, "\nLeave: https://x/u/", LEAVE_SLOT, "\n\n\n"]
    ),
    html=SlottedText.from_parts(["<p>A   story</p>\n<p>", PREFERENCES_SLOT, " ", LEAVE_SLOT, "</p>\n\n"]),
    list_id=("HLS.Today", "weekly.news.example.org"),
    unsubscribe_url_prefix="https://news.example.org/u/",
    unsubscribe_mail_domain="b.example.net",
    extra_headers={"List-Archive": "<https://news.example.org/>", "Precedence": "bulk"},
)
FILLED = PlaceholderValues(
    "ada@example.org", "<1@x.example.org>", DATE_VALUE, "l" * 22, "p" * 22, "March 4, 2026, at hls.today"
)
SIGNED = splice_signed_message(LETTER, FILLED, _signer())


def _tag(message: bytes, name: str) -> str:
    head = re.sub(rb"\r\n[ \t]+", b"", message.partition(b"\r\n\r\n")[0]).decode()
    match = re.search(rf"DKIM-Signature:.*?\b{name}=([^;]*)", head)
    assert match
    return match[1].strip()


def test_both_signatures_of_a_message_are_valid() -> None:
    assert _verdicts(SIGNED, _signer()) == [True, True]


def test_the_signature_says_what_it_must() -> None:
    field = SIGNED.partition(b"\r\nDKIM-Signature")[0].decode()
    assert _tag(SIGNED, "c") == "relaxed/relaxed"
    assert _tag(SIGNED, "t") == str(int(NOW.timestamp()))
    assert not re.search(r"\bl=", field), "RFC 6376, 8.2: what follows the signed part could be anything"
    signs = _tag(SIGNED, "h").split(":")
    head = SIGNED.partition(b"\r\n\r\n")[0].lower()
    for name in OVERSIGNED:
        occurrences = head.count(b"\r\n" + name + b":")
        assert occurrences == (name != b"content-transfer-encoding")
        assert signs.count(name.decode()) == occurrences + 1
    assert {"mime-version", "content-type", "list-archive"} <= set(signs)
    assert max(map(len, SIGNED.split(b"\r\n"))) <= 78


def test_what_is_put_before_the_message_leaves_it_as_it_was() -> None:
    assert SIGNED.endswith(splice_message(LETTER, FILLED))


TAMPERED = {
    "another subject": SIGNED.replace(b"Subject: ", b"Subject: Re: "),
    "a second subject": b"Subject: Win a prize\r\n" + SIGNED,
    "a second From": SIGNED.replace(b"\r\nTo:", b"\r\nFrom: evil@example.org\r\nTo:"),
    "a second List-Unsubscribe": b"List-Unsubscribe: <https://evil.example.org>\r\n" + SIGNED,
    "no List-Unsubscribe-Post": SIGNED.replace(b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n", b""),
    "another recipient": SIGNED.replace(b"To: ada@", b"To: bob@"),
    "another token": SIGNED.replace(b"/u/llll", b"/u/mmmm"),
    "another token by email": SIGNED.replace(b"bounce+s", b"bounce+t"),
    "another body": SIGNED.replace(b"<p>A", b"<p>B"),
    "a longer body": SIGNED + b"more\r\n",
    "a second Content-Type": b"Content-Type: text/html; charset=utf-8\r\n" + SIGNED,
    "a second MIME-Version": b"MIME-Version: 2.0\r\n" + SIGNED,
    "a Content-Transfer-Encoding": b"Content-Transfer-Encoding: base64\r\n" + SIGNED,
    "another archive": SIGNED.replace(b"List-Archive: <https://news", b"List-Archive: <https://olds"),
}


@pytest.mark.parametrize("how", TAMPERED)
def test_a_tampered_message_fails(how: str) -> None:
    assert TAMPERED[how] != SIGNED
    assert _verdicts(TAMPERED[how], _signer()) == [False, False]


@pytest.mark.parametrize(
    "harmless",
    [
        b"Received: from a by b\r\n" + SIGNED,
        SIGNED + b"\r\n\r\n",
        SIGNED.replace(b"List-Id: ", b"list-id:   "),
        SIGNED.replace(b"boundary=", b"  boundary="),
    ],
)
def test_what_relays_do_to_a_message_does_no_harm(harmless: bytes) -> None:
    assert _verdicts(harmless, _signer()) == [True, True]


WORDS = st.text("ab \t.=<>\u00e9\u2014", max_size=120)
SLOTS = st.sampled_from((LEAVE_SLOT, PREFERENCES_SLOT, SIGNUP_SLOT))
TEXTS = st.lists(st.one_of(WORDS, SLOTS, st.just("\n")), max_size=16).map(SlottedText.from_parts)
TOKENS = st.sampled_from(("", "l" * 22))
ASKED = st.one_of(
    TOKENS, st.text("ab ", max_size=9), st.text(st.sampled_from("ab .=F<&é漢ع "), max_size=200).map(sanitize_text)
)


@settings(max_examples=150, deadline=None)
@given(text=TEXTS, html=st.one_of(st.none(), TEXTS), asked=ASKED, leave=TOKENS)
@example(text=SlottedText.from_parts([SIGNUP_SLOT]), html=None, asked="", leave="")
@example(text=SlottedText(""), html=None, asked="", leave="")
def test_every_spliced_message_is_signed_as_the_same_message_in_one_piece(
    text: SlottedText, html: SlottedText | None, asked: str, leave: str
) -> None:
    template = MessageTemplate("S", "D", "d@example.org", "", text=text, html=html)
    filled = PlaceholderValues("ada@example.org", "<1@x.example.org>", DATE_VALUE, leave_token=leave, signup_text=asked)
    message = splice_signed_message(template, filled, _signer())
    plain = splice_message(template, filled)
    assert message == _signer().sign_message(plain) + plain
    assert _verdicts(message, _signer()) == [True, True]


PRINTABLE = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=30)
FOLDS = st.sampled_from([" ", "\t", "  ", "\r\n ", "\r\n\t ", " \r\n  "])
VALUE = st.lists(st.tuples(PRINTABLE, FOLDS), max_size=6).map(lambda parts: "".join(w + f for w, f in parts))
NAMES = ["From", "SUBJECT", "to", "List-Id", "List-Unsubscribe", "list-help", "Content-Type", "X-Own", "Date"]
FIELDS = st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from([": ", ":", ":\t "]), VALUE), max_size=12)
BODY = st.lists(st.sampled_from(["", " ", "\t ", ".", "a  b", " c ", "=", "w" * 2000]), max_size=9)


@settings(max_examples=150, deadline=None)
@given(fields=FIELDS, body=BODY)
@example(fields=[], body=[])
@example(fields=[("From", ": ", "x")] * 3, body=["", ""])
def test_odd_headers_long_lines_and_empty_bodies_are_signed_right(
    fields: list[tuple[str, str, str]], body: list[str]
) -> None:
    head = "From: Desk <d@example.org>\r\n" + "".join(f"{n}{c}{v.rstrip()}\r\n" for n, c, v in fields)
    message = (head + "\r\n" + "".join(f"{line}\r\n" for line in body)).encode()
    fields_ = _signer().sign_message(message)
    assert max(map(len, fields_.split(b"\r\n"))) <= 78
    assert _verdicts(fields_ + message, _signer()) == [True, True]


@given(st.lists(st.sampled_from([b" ", b"\t", b"\r\n", b"a", b"."]), max_size=30).map(b"".join))
def test_a_canonical_body_stays_what_it_is(body: bytes) -> None:
    once = canonicalize_body(body)
    assert canonicalize_body(once) == once
    assert once == b"" or (once.endswith(b"\r\n") and not once.endswith(b"\r\n\r\n"))


def _pem(*keys: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return b"".join(k.private_bytes(*form) for k in keys)


def _settings(folder: Path, pem: bytes, selector: str = "first", mode: int = 0o600) -> Settings:
    file = folder / "dkim.pem"
    file.write_bytes(pem)
    file.chmod(mode)
    return Settings(dkim_domain="news.example.org", dkim_selector=selector, dkim_key_file=file)


def test_keys_are_read_from_one_file_with_a_selector_each(tmp_path: Path) -> None:
    first, second = (k.private_key for k in _signer().keys)
    signer = load_signer(_settings(tmp_path, _pem(first, second), "first, second"))
    assert signer is not None
    assert [(k.selector, k.key_type) for k in signer.keys] == [("first", "rsa"), ("second", "ed25519")]
    message = splice_message(LETTER, FILLED)
    assert _verdicts(signer.sign_message(message) + message, _signer()) == [True, True]


def test_without_settings_nothing_is_signed() -> None:
    assert load_signer(Settings()) is None


_RSA, _ED = (k.private_key for k in _signer().keys)
assert isinstance(_RSA, rsa.RSAPrivateKey)
_LOCKED = _RSA.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
)


@pytest.mark.parametrize(
    ("pem", "selector", "mode", "says"),
    [
        (_pem(_RSA), "first", 0o640, "chmod 600"),
        (_pem(_RSA), "first,second", 0o600, r"contains 1 key, but DIGEST_DKIM_SELECTOR names 2"),
        (b"no key", "first", 0o600, r"contains 0 keys, but DIGEST_DKIM_SELECTOR names 1"),
        (_pem(_ED), "first", 0o600, "the first key must be RSA"),
        (_pem(_RSA, _RSA), "first,second", 0o600, "any others must be Ed25519"),
        (_pem(rsa.generate_private_key(65537, 1024)), "first", 0o600, "1024 bits"),
        (_pem(ec.generate_private_key(ec.SECP256R1())), "first", 0o600, "only RSA and Ed25519"),
        (_LOCKED, "first", 0o600, "is protected by a passphrase"),
        (_pem(_RSA)[:900] + b"\n-----END PRIVATE KEY-----", "first", 0o600, "a key in the file can't be read"),
    ],
)
def test_a_key_file_that_cannot_be_used_is_refused_with_the_reason(
    tmp_path: Path, pem: bytes, selector: str, mode: int, says: str
) -> None:
    with pytest.raises(DkimError, match=says) as caught:
        load_signer(_settings(tmp_path, pem, selector, mode))
    assert "DIGEST_DKIM_KEY_FILE" in str(caught.value)


def test_a_missing_key_file_is_named(tmp_path: Path) -> None:
    settings = Settings(dkim_domain="x.example.org", dkim_selector="s", dkim_key_file=tmp_path / "gone.pem")
    with pytest.raises(DkimError, match="No such file"):
        load_signer(settings)


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"DIGEST_DKIM_DOMAIN": "x.example.org"}, "also set DIGEST_DKIM_SELECTOR and DIGEST_DKIM_KEY_FILE"),
        ({"DIGEST_DKIM_DOMAIN": "x y", "DIGEST_DKIM_SELECTOR": "s", "DIGEST_DKIM_KEY_FILE": "k"}, "isn't a domain"),
        ({"DIGEST_DKIM_DOMAIN": "x.org", "DIGEST_DKIM_SELECTOR": "s;", "DIGEST_DKIM_KEY_FILE": "k"}, "selector"),
    ],
)
def test_the_settings_for_signing_are_given_all_or_none(environ: dict[str, str], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        load_settings(environ=environ)
