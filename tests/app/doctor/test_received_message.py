"""A received message: fine as we send it, and every change made in transit is reported."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from digest.app.doctor.network_access import NetworkAccess
from digest.app.doctor.received_message import (
    MAX_MESSAGE_BYTES,
    MESSAGE_CHECKS,
    MessageFileError,
    ReceivedMessage,
    examine_message,
    restore_line_endings,
)
from digest.cli import digest
from digest.deliver.compose.dkim import DkimSigner, load_signer
from digest.settings import Settings
from tests.app.doctor.fake_name_server import FakeNameServer
from tests.app.doctor.outside import write_signing_key
from tests.conftest import WAIT_TIMEOUT

SUBSCRIBER = b"ada.lovelace@readers.test"
LINK = b"https://news.hls.test/u/abcdefghijklmnopqrstuv"
RESULTS = b"mx.provider.test; spf=pass smtp.mailfrom=bounce.hls.test; dkim=pass header.d=hls.test; dmarc=pass"
SENT = b"\r\n".join(
    (
        b'From: "HLS.Today" <digest@hls.test>',
        b"To: <" + SUBSCRIBER + b">",
        b"Subject: Ports reopen",
        b"Date: Fri, 20 Nov 2026 11:00:00 +0000",
        b"Message-ID: <1@hls.test>",
        b"List-Unsubscribe: <" + LINK + b">",
        b"List-Unsubscribe-Post: List-Unsubscribe=One-Click",
        b"MIME-Version: 1.0",
        b"Content-Type: text/html; charset=utf-8",
        b"Content-Transfer-Encoding: 7bit",
        b"",
        b'<p>A story</p><p><a href="' + LINK + b'">Unsubscribe</a></p>',
        b"",
    )
)
Change = Callable[[bytes], bytes]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    file = tmp_path_factory.mktemp("signing") / "dkim.pem"
    write_signing_key(file)
    return Settings(dkim_domain="hls.test", dkim_selector="one", dkim_key_file=file)


@pytest.fixture(scope="module")
def signer(settings: Settings) -> DkimSigner:
    made = load_signer(settings)
    assert made is not None
    return made


def arrive(signed: bytes, results: bytes = RESULTS) -> bytes:
    """Put on top what a receiver does."""
    top = b"Return-Path: <bounce+1@bounce.hls.test>\r\nAuthentication-Results: " + results.replace(b"; ", b";\r\n ")
    return top + b"\r\n" + signed


def examine(settings: Settings, raw: bytes, trusted: str = "", world: NetworkAccess | None = None) -> dict[str, str]:
    """Give the sentences of what is not well, by check."""
    findings = examine_message(ReceivedMessage(raw, settings, world, trusted))
    assert SUBSCRIBER.decode() not in " ".join(f.sentence for f in findings)
    assert {f.check for f in findings} == set(MESSAGE_CHECKS)
    return {f.check: f"{f.level} {f.sentence}" for f in findings if f.level != "ok"}


def sub(old: bytes, new: bytes) -> Change:
    return lambda raw: raw.replace(old, new)


def replace_link(new: bytes) -> Change:
    """Write the link of the text anew, as who counts clicks does."""
    return lambda raw: raw.replace(b'href="' + LINK, b'href="' + new)


def test_a_message_as_we_send_it_is_sound_with_any_line_ends(settings: Settings, signer: DkimSigner) -> None:
    raw = arrive(signer.sign_message(SENT) + SENT)
    assert examine(settings, raw, "mx.provider.test") == {}
    assert examine(settings, restore_line_endings(raw.replace(b"\r\n", b"\n"))) == {}


CHANGED_BEFORE_SIGNING: dict[str, tuple[Change, str, str]] = {
    "one-click is missing": (
        sub(b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n", b""),
        "received-one-click",
        "0 List-Unsubscribe-Post",
    ),
    "one-click is encoded": (sub(b": <https", b": =?utf-8?q?=3Chttps"), "received-one-click", "digest check"),
    "one-click is not https": (
        sub(b"List-Unsubscribe: <https", b"List-Unsubscribe: <http"),
        "received-one-click",
        "https",
    ),
    "one-click says something else": (sub(b"=One-Click", b"=one-click"), "received-one-click", "digest check"),
    "links are counted": (
        replace_link(b"https://url.hls.test/ls/click?upn=x"),
        "received-links",
        "Turn off tracking at the relay",
    ),
    "links are wrapped": (
        replace_link(b"https://nam01.safelinks.protection.outlook.com/?url=x"),
        *("received-links", "No action is needed"),
    ),
    "the link is another": (
        replace_link(b"https://elsewhere.test/u/x"),
        "received-links",
        "Turn off tracking at the relay",
    ),
    "it is too large": (sub(b"A story", b"A story " * 14_000), "received-size", "Remove stories"),
    "it is large": (sub(b"A story", b"A story " * 11_000), "received-size", "Remove stories"),
}


@pytest.mark.parametrize("name", CHANGED_BEFORE_SIGNING)
def test_what_is_wrong_under_a_signature_that_holds_is_named(settings: Settings, signer: DkimSigner, name: str) -> None:
    change, check, remedy = CHANGED_BEFORE_SIGNING[name]
    changed = change(SENT)
    assert changed != SENT
    found = examine(settings, arrive(signer.sign_message(changed) + changed))
    assert found.keys() >= {check}
    assert "received-signature" not in found
    assert remedy in found[check]


def leave_one_click_out(signed: bytes) -> bytes:
    return re.sub(rb"list-unsubscribe(?:-post)?:(?:\r\n )?", b"", signed)


CHANGED_ON_ITS_WAY: dict[str, tuple[Change, set[str], str]] = {
    "a footer was added": (
        lambda raw: raw + b"<p>Scanned</p>\r\n",
        {"received-signature", "received-coverage", "received-alignment"},
        "such as a footer",
    ),
    "a second subject was added": (
        lambda raw: b"Subject: Buy\r\n" + raw,
        {"received-signature", "received-coverage", "received-alignment"},
        "changes signed emails",
    ),
    "a seal is broken": (
        lambda raw: b"ARC-Seal: i=1; a=rsa-sha256; cv=fail; d=lists.test; s=a; b=x\r\n" + raw,
        {"received-forwarding"},
        "that doesn't forward",
    ),
    "no DKIM signature": (
        lambda raw: raw[raw.index(b'From: "') :],
        {"received-signature", "received-coverage", "received-alignment", "received-results"},
        "DIGEST_DKIM_KEY_FILE",
    ),
}


@pytest.mark.parametrize("name", CHANGED_ON_ITS_WAY)
def test_what_was_changed_on_its_way_is_named(settings: Settings, signer: DkimSigner, name: str) -> None:
    change, checks, remedy = CHANGED_ON_ITS_WAY[name]
    found = examine(settings, change(arrive(signer.sign_message(SENT) + SENT)))
    assert found.keys() == checks
    assert remedy in " ".join(found.values())


def test_a_signature_that_leaves_one_click_out_shows_no_button(settings: Settings, signer: DkimSigner) -> None:
    """As relays sign that do not know RFC 8058; without the key nobody can tell whether it holds, and that is said."""
    signed = leave_one_click_out(signer.sign_message(SENT)).replace(b"d=hls.test", b"d=relay.test") + SENT
    found = examine(settings, arrive(signed))
    assert found["received-coverage"].startswith("error ")
    assert found["received-signature"].startswith("warning ")
    assert "--online" in found["received-signature"]
    assert "Only the return path at bounce.hls.test is" in found["received-alignment"]


def test_whose_word_a_result_is_decides_how_much_it_counts(settings: Settings, signer: DkimSigner) -> None:
    signed = signer.sign_message(SENT) + SENT
    failed = RESULTS.replace(b"dmarc=pass", b"dmarc=fail")
    assert examine(settings, arrive(signed, failed), "mx.provider.test")["received-results"].startswith(
        "error mx.provider.test says dmarc=fail."
    )
    unknown = examine(settings, arrive(signed, failed))["received-results"]
    assert unknown.startswith(
        "warning mx.provider.test (this header can be forged; to be sure, pass the name of your mailbox provider's server with --trust"
    )
    forged = arrive(arrive(signed), b"mx.forger.test; spf=fail")
    assert examine(settings, forged, "mx.provider.test") == {}
    assert "no Authentication-Results header" in examine(settings, forged, "mx.absent.test")["received-results"]


def test_online_the_dns_has_the_keys_and_says_whose_domain_is_whose(settings: Settings, signer: DkimSigner) -> None:
    raw = arrive(signer.sign_message(SENT) + SENT)
    record = signer.keys[0].dns_record()
    texts = " ".join(f'"{record[at : at + 250]}"' for at in range(0, len(record), 250))
    key_name = ("one._domainkey.hls.test", "TXT")
    with FakeNameServer({key_name: [texts], ("_dmarc.hls.test", "TXT"): ['"v=DMARC1; p=none"']}) as names:

        def ask() -> dict[str, str]:
            return examine(
                settings,
                raw,
                world=NetworkAccess(("127.0.0.1", int(names.server_address[1])), answer_timeout=WAIT_TIMEOUT),
            )

        assert ask() == {}
        names.records[key_name] = ['"v=DKIM1; k=rsa; p="']
        assert "failed verification" in ask()["received-signature"]
        names.failing.add("one._domainkey.hls.test")
        assert "couldn't be verified (The DNS lookup" in ask()["received-signature"]


@pytest.mark.usefixtures("initialized_home")
def test_the_command_reads_a_file_or_what_is_piped_in(tmp_path: Path) -> None:
    file = tmp_path / "received.eml"
    file.write_bytes(arrive(SENT))
    done = CliRunner().invoke(digest, ["doctor", str(file), "--json"])
    assert done.exit_code == 1
    assert {f["check"] for f in json.loads(done.output)["findings"]} == set(MESSAGE_CHECKS)
    piped = CliRunner().invoke(digest, ["doctor", "-"], input=b"no message")
    assert piped.exit_code == 2
    assert "Show original" in piped.output


def test_what_is_no_message_is_refused(settings: Settings) -> None:
    with pytest.raises(MessageFileError):
        examine_message(ReceivedMessage(b"\x89PNG", settings))
    with pytest.raises(MessageFileError, match="larger than 20 MB"):
        examine_message(ReceivedMessage(SENT + bytes(MAX_MESSAGE_BYTES), settings))


def test_a_hostile_message_is_examined_with_bounded_work(settings: Settings) -> None:
    part = b"--x\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n"
    head = b"From: " + b"(" * 900 + b"\r\nFrom: ada@example.org\r\nContent-Type: multipart/mixed; boundary=x\r\n"
    findings = examine_message(
        ReceivedMessage(head + b"DKIM-Signature: v=1\r\n" * 50 + b"\r\n" + part * 20_000, settings)
    )
    assert {finding.check for finding in findings} == set(MESSAGE_CHECKS)
