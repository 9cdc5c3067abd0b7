"""List-Unsubscribe by email, only if a mailbox is read, and Feedback-ID, only if it's set."""

from dataclasses import replace
from email import message_from_bytes, policy

import pytest

from digest.app.editions.sample_emails import make_sample_notice_facts
from digest.deliver.compose import unsubscribe_address
from digest.deliver.compose.message import splice_message
from digest.deliver.compose.notice_mail import SUBSCRIBER_NOTICE_KINDS, TO_STAFF, NoticeComposer
from digest.deliver.compose.variants import create_variants
from digest.edition.content.edition_content import RenderedFragment
from digest.edition.content.mailable_edition import MailableEdition
from digest.settings import Settings
from subscribers.consent.preferences import Preferences
from subscribers.crypto import link_tokens
from subscribers.crypto.keys import KeyRing
from tests.deliver.compose.test_dkim import FILLED
from tests.deliver.message_lint import message_faults

KEYS = KeyRing.from_seed(b"list header tests")
LEAVE_IN_BASE32 = "szmwlfszmwlfszmwlfszmwlfsy"  # 22 l
MAILBOX = {"host": "imap.example.net", "user": "bounce"}
EDITION = MailableEdition(
    *("2026-W47", 147, "Ports reopen", "Ten days", "HLS.Today", "digest@news.example.org", "editors@news.example.org"),
    *("HLS.Today", "weekly.news.example.org", "https://news.example.org"),
    (RenderedFragment("text", "head", "A line.\n", ()), RenderedFragment("html", "head", "<p>A line.</p>", ())),
)


def build_settings(
    *, bounce_domain: str = "", mailbox: dict[str, str] | None = None, feedback_id: str = ""
) -> Settings:
    sender = {"bounce_domain": bounce_domain, "feedback_id": feedback_id}
    file = {"sender": sender} | {"inbound": mailbox or {}}
    return Settings.model_validate({"base_url": "https://news.example.org", "inbound_password": "secret", "file": file})


def read_headers(settings: Settings, edition: MailableEdition = EDITION) -> dict[str, str]:
    template = create_variants(edition, settings).template_for(Preferences())
    assert template is not None
    raw = splice_message(template, FILLED)
    assert message_faults(raw) == []
    return {name: str(value) for name, value in message_from_bytes(raw, policy=policy.default).items()}


@pytest.mark.parametrize(
    ("bounce_domain", "mailbox", "found"),
    [
        (
            "b.example.net",
            MAILBOX,
            f"<https://news.example.org/u/{'l' * 22}>, <mailto:bounce+{LEAVE_IN_BASE32}@b.example.net?subject=unsubscribe>",
        ),
        ("b.example.net", {}, f"<https://news.example.org/u/{'l' * 22}>"),
        ("", MAILBOX, f"<https://news.example.org/u/{'l' * 22}>"),
    ],
    ids=["both", "no mailbox", "no domain"],
)
def test_an_unsubscribe_address_is_offered_only_if_its_mailbox_is_read(
    bounce_domain: str, mailbox: dict[str, str], found: str
) -> None:
    headers = read_headers(build_settings(bounce_domain=bounce_domain, mailbox=mailbox))
    assert headers["List-Unsubscribe"] == found
    assert headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"


def test_transactional_emails_offer_it_to_subscribers_and_not_to_the_team() -> None:
    settings = build_settings(bounce_domain="b.example.net", mailbox=MAILBOX)
    facts = make_sample_notice_facts(settings)
    composer = NoticeComposer.from_settings(settings)
    for kind, offered in ((min(SUBSCRIBER_NOTICE_KINDS), True), (min(TO_STAFF & facts.keys()), False)):
        raw = splice_message(composer.compose_notice(kind, facts[kind]), FILLED)
        assert (b"<mailto:bounce+" in raw) is offered, kind


def test_the_mailbox_reads_back_the_address_that_a_message_offers() -> None:
    token = link_tokens.make_link_token(KEYS, 7, "leave", address="ada@example.org")
    before, after = unsubscribe_address.make_prefix_and_suffix("b.example.net")
    address = before + link_tokens.convert_to_base32(token) + after
    for written in (address, address.upper(), address.replace(before, before.title())):
        assert unsubscribe_address.find_unsubscribing_people(KEYS, f"Ada <{written}>, x@example.org") == {7}
    for other in (address.replace("bounce+", "bounce"), f"x{address}", address.replace("@", "x@")):
        assert unsubscribe_address.find_unsubscribing_people(KEYS, other) == frozenset()


def test_feedback_id_names_the_edition_and_the_sender_and_is_off_by_default() -> None:
    assert "Feedback-ID" not in read_headers(build_settings())
    settings = build_settings(feedback_id="hls-today")
    assert read_headers(settings)["Feedback-ID"] == "2026-W47:weekly:edition:hls-today"
    breaking = replace(EDITION, name="2026-W47-0", number=0)
    assert read_headers(settings, breaking)["Feedback-ID"] == "2026-W47-0:weekly:breaking-news:hls-today"


@pytest.mark.parametrize("value", ["four", "sixteen-letters-", "a:b:c", "with space"])
def test_a_sender_id_that_gmail_would_not_take_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="feedback_id"):
        build_settings(feedback_id=value)
