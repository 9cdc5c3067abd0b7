"""The provider that the settings select, and the settings it requires."""

import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from digest.deliver.events.server_replies import MAX_REPLY_LENGTH, scrub_addresses
from digest.deliver.providers.base import ParallelProvider
from digest.deliver.providers.kind import ProviderSettingsError
from digest.deliver.providers.outbox.kind import OutboxProvider
from digest.deliver.providers.registry import open_provider, provider_in_use
from digest.deliver.providers.sendgrid.provider import SendGridProvider
from digest.deliver.providers.smtp.provider import SmtpProvider
from digest.settings import SenderSettings, Settings, SettingsFileContent


def _settings(url: str, **more: object) -> Settings:
    return Settings(mail_url=SecretStr(url)).model_copy(update=more)


READY = {
    "base_url": "https://news.hls.test",
    "sendgrid_api_key": SecretStr("SG.key"),
    "file": SettingsFileContent(
        sender=SenderSettings(
            address="digest@news.hls.test",
            reply_to="editors@hls.test",
            list_id="weekly.hls.test",
            postal_address="1 Main St",
        )
    ),
}


@pytest.mark.parametrize(
    ("url", "kind", "away"),
    [
        ("outbox:", OutboxProvider, False),
        ("smtp://127.0.0.1:2525?starttls=off", SmtpProvider, False),
        ("smtp://localhost:2525?starttls=off&connections=4", SmtpProvider, False),
        ("smtp://[::1]:2525", SmtpProvider, False),
        ("smtp://mail.hls.test", SmtpProvider, True),
        ("smtps://user:p%40ss@mail.hls.test?messages=10", SmtpProvider, True),
        ("sendgrid:", SendGridProvider, True),
        ("sendgrid:?batch=1000", SendGridProvider, True),
        ("sendgrid:?batch=1000&connections=4", ParallelProvider, True),
    ],
)
def test_the_url_names_the_provider(url: str, kind: type, away: bool) -> None:  # noqa: FBT001
    settings = _settings(url, **READY)
    provider = open_provider(settings)
    assert isinstance(provider, kind)
    assert provider_in_use(settings).leaves_machine(settings) is away
    provider.close()


@pytest.mark.parametrize("url", ["smtp://mail.hls.test", "smtps://mail.hls.test", "sendgrid:"])
def test_nothing_leaves_home_before_the_settings_say_who_sends(url: str) -> None:
    with pytest.raises(ProviderSettingsError) as caught:
        open_provider(_settings(url, sendgrid_api_key=SecretStr("SG.key")))
    for key in ("sender.postal_address", "sender.address", "sender.list_id", "sender.reply_to", "DIGEST_BASE_URL"):
        assert key in str(caught.value)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("smtp://user:secret@mail.hls.test?starttls=off", r"starttls=off is allowed only for a server on this machine"),
        ("smtp://user:secret@mail.hls.test?starttls=maybe", "'required' or 'off'"),
        ("smtp://user:secret@mail.hls.test?pool=3", "has unknown options: pool"),
        ("smtp://user:secret@mail.hls.test:99999", "Encode special characters"),
        ("smtp://user:secret@mail.hls.test?connections=0", "from 1 to 50"),
        ("smtp:secret", "has no host"),
        ("http://user:secret@mail.hls.test", "Use outbox:"),
        ("secret", "Use outbox:"),
        ("sendgrid:?batch=1001", "from 1 to 1000"),
        ("sendgrid:?connections=9", "from 1 to 8"),
        ("outbox:?secret=1", r"unknown options: secret\..*For outbox, use no options\."),
    ],
)
def test_a_url_that_cannot_be_meant_is_refused_without_being_repeated(url: str, says: str) -> None:
    with pytest.raises(ProviderSettingsError, match=says) as caught:
        open_provider(_settings(url, **READY))
    advice = ("user:password", "the user and password")
    assert "user" not in str(caught.value).replace(advice[0], "").replace(advice[1], "")


def test_sendgrid_needs_its_key() -> None:
    with pytest.raises(ProviderSettingsError, match="DIGEST_SENDGRID_API_KEY"):
        open_provider(_settings("sendgrid:", **(READY | {"sendgrid_api_key": None})))


@pytest.mark.parametrize(
    "reply",
    [
        "550 5.1.1 <ada.l@Mail.Example.org>: unknown",
        "550 no mailbox ADA.L at mail.example.org",
        'no "ada.l@mail.example.org"; ask postmaster@mail.example.org',
        "rejected: bounce+ada.l=mail.example.org@news.hls.test",
        "mx1.mail.example.org says no\r\nto ada.l\x00",
        "ada.l",
    ],
)
def test_a_reply_is_kept_without_any_part_of_an_address(reply: str) -> None:
    kept = scrub_addresses(reply.encode(), "Ada.L@mail.example.org")
    assert "ada.l" not in kept.lower()
    assert "example.org" not in kept.lower()
    assert kept.isprintable()


def test_a_reply_is_kept_short() -> None:
    assert len(scrub_addresses("x" * 5000)) == MAX_REPLY_LENGTH


@pytest.mark.parametrize(
    ("reply", "address", "kept"),
    [
        ("550 maria%2elopez%40firm%2eexample is unknown", "maria.lopez@firm.example", "550 <address> is unknown"),
        ("550 maria%252Elopez at firm", "maria.lopez@firm.example", "550 <reader> at firm"),
        ("550 maria=2Elopez=40firm=2Eexample", "maria.lopez@firm.example", "550 <address>"),
        ("550 maria=2elopez=40firm=2eexample", "", "550 <address>"),
        ("550 no box _maria.lopez_", "maria.lopez@firm.example", "550 no box _<reader>_"),
        ("550 no box ada at firm", "ada+news@firm.example", "550 no box <reader> at firm"),
        ("550 no box ada+news", "ada+news@firm.example", "550 no box <reader>"),
        ("550 ask xn--mnchen-3ya.example", "ada@m\u00fcnchen.example", "550 ask <domain>"),
        ("550 ask m\u00fcnchen.example", "ada@xn--mnchen-3ya.example", "550 ask <domain>"),
        ("552 size=4000 is 100% too much", "ada@firm.example", "552 size=4000 is 100% too much"),
    ],
)
def test_addresses_are_removed_from_replies_in_every_form(reply: str, address: str, kept: str) -> None:
    assert scrub_addresses(reply, address) == kept


def test_a_long_word_in_a_reply_does_not_hold_the_process() -> None:
    """In a child, for the pattern is tried while nothing else runs: 10 s of processor time are a hundred times what it takes."""
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_CPU, (10, 10))\n"
        "from digest.deliver.events.server_replies import scrub_addresses\n"
        "for word in ('x', 'x.', '<x', 'é'):\n"
        "    assert len(scrub_addresses('550 ' + word * 500_000, 'ada@example.org')) == 200\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@given(
    st.lists(st.sampled_from(["ada", "@", "example.org", "<", ">", " ", "_", ".", ";", "é", "\t", "(", "x" * 30])),
    st.booleans(),
)
def test_no_address_is_left_whatever_stands_around_it(pieces: list[str], bare: bool) -> None:  # noqa: FBT001
    reply = "".join(pieces) + ("" if bare else " ada@example.org")
    assert not re.search(r"\w@\w", scrub_addresses(reply))
